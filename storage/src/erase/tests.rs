use std::{path::Path, time::Duration};

use arrow::{
    array::{ArrayRef, AsArray, BinaryArray, RecordBatch, StringArray},
    datatypes::{DataType, UInt64Type},
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::{NewTable, TableOptions, notes::*};

/// Random text and bytes that no compression can hide.
fn random(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed;
    let next = move || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

/// The canary in values and, as text, in keys.
struct Canary {
    value: Vec<u8>,
    key: String,
}

impl Canary {
    fn new() -> Self {
        let key = random(4711, 24).iter().map(|byte| char::from(b'A' + byte % 26)).collect();
        Self { value: random(42, 2000), key }
    }

    /// Files below `directory` that show any part of it.
    fn found(&self, directory: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(self.found(&path));
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            let holds = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
            let raw = self.value.chunks(200).any(|part| holds(&part[..16])) || holds(&self.key.as_bytes()[8..]);
            if raw || (path.extension().is_some_and(|e| e == "parquet") && self.is_in_rows(&path)) {
                found.push(path.display().to_string());
            }
        }
        found
    }

    fn is_in_rows(&self, path: &Path) -> bool {
        let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap()).unwrap();
        let mut rows = reader.build().unwrap().map(Result::unwrap);
        rows.any(|rows| {
            let users = rows.column(0).as_primitive::<UInt64Type>().values().contains(&ALICE.0);
            let keys = rows.column_by_name("c1").unwrap().as_string::<i32>();
            users || keys.iter().flatten().any(|key| key.contains(&self.key))
        })
    }
}

async fn blobs(store: &Arc<Store>, name: &str) -> Arc<TableDef> {
    let table = NewTable {
        namespace: "public".into(),
        name: name.into(),
        kind: TableKind::User,
        columns: vec![column("id", DataType::Utf8, false), column("blob", DataType::Binary, true)],
        key: vec![0],
        checks: Vec::new(),
        options: TableOptions::default(),
    };
    store.create_table(table).await.unwrap()
}

async fn put(store: &Arc<Store>, table: &Arc<TableDef>, user: UserNo, id: &str, blob: &[u8]) -> Result<()> {
    let columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from(vec![id])), Arc::new(BinaryArray::from(vec![blob]))];
    let mut set = store.write_set(table, user);
    set.replace(&RecordBatch::try_new(table.schema(), columns).unwrap())?;
    let lock = store.lock(table, user).await;
    store.commit(&lock, set).await.map(drop)
}

async fn count(store: &Arc<Store>, table: &Arc<TableDef>, user: UserNo) -> u64 {
    let usage = store.usage(table, Some(user)).await.unwrap();
    usage.hot_rows + usage.cold_rows
}

/// Rows of Alice and Bob on both tiers and in all stages: replaced, merged, just written.
async fn fill(store: &Arc<Store>, table: &Arc<TableDef>, canary: &Canary) {
    for round in 0..3u64 {
        for i in 0..4 {
            let id = format!("{}{i}", canary.key);
            put(store, table, ALICE, &id, &canary.value).await.unwrap();
            put(store, table, BOB, &format!("bob{i}"), &random(100 + round, 2000)).await.unwrap();
        }
        if round < 2 {
            store.flush(table.id).await.unwrap();
        }
    }
}

#[tokio::test]
async fn no_byte_of_an_erased_user_is_left() {
    let (directory, canary) = (tempfile::tempdir().unwrap(), Canary::new());
    let store = open(directory.path()).await;
    let (first, second) = (blobs(&store, "first").await, blobs(&store, "second").await);
    fill(&store, &first, &canary).await;
    // Fresh rows in files of RocksDB, not in its log alone: their keys are then in its list of files, too.
    store.db.purge().unwrap();
    fill(&store, &second, &canary).await;
    store.compact(second.id).await.unwrap();
    let dropped = blobs(&store, "dropped").await;
    fill(&store, &dropped, &canary).await;
    store.drop_table(dropped.id).await.unwrap();
    let before = canary.found(directory.path());
    for kind in [".parquet", ".log", ".sst", "MANIFEST"] {
        let seen = before.iter().any(|path| path.contains(kind));
        assert!(seen, "the test would not see it in a {kind} file: {before:?}");
    }

    let report = store.erase(ALICE).await.unwrap();
    assert_eq!(report.tables, 2);
    assert!(report.files >= 2 && report.rows >= 8, "{report:?}");
    assert_eq!(canary.found(directory.path()), Vec::<String>::new());
    for table in [&first, &second] {
        assert_eq!((count(&store, table, ALICE).await, count(&store, table, BOB).await), (0, 4));
    }
    let late = put(&store, &first, ALICE, &canary.key, &canary.value).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::FailedPrecondition, "{late}");
    put(&store, &first, BOB, "more", b"x").await.unwrap();
    assert_eq!(store.erase(ALICE).await.unwrap(), EraseReport::default(), "nothing is left to erase");
    let store = reopen(store, directory.path()).await;
    assert_eq!(count(&store, &first, BOB).await, 5);
    assert_eq!(canary.found(directory.path()), Vec::<String>::new());
    store.close().await.unwrap();
}

#[tokio::test]
async fn an_erasure_waits_for_those_who_may_still_read_what_goes() {
    let (directory, canary) = (tempfile::tempdir().unwrap(), Canary::new());
    let store = open(directory.path()).await;
    let table = blobs(&store, "t").await;
    fill(&store, &table, &canary).await;
    let view = store.view();
    let erase = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.erase(ALICE).await })
    };
    wait_until(|| async { count(&store, &table, ALICE).await == 0 }).await;
    assert!(!erase.is_finished());
    assert!(!canary.found(directory.path()).is_empty());
    drop(view);
    tokio::time::timeout(Duration::from_secs(60), erase).await.unwrap().unwrap().unwrap();
    assert!(canary.found(directory.path()).is_empty());
    store.close().await.unwrap();
}

#[tokio::test]
async fn shared_rows_are_nobodys() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    assert_eq!(store.erase(UserNo::SHARED).await.unwrap_err().kind(), ErrorKind::Invalid);
    store.close().await.unwrap();
}
