use std::{
    fs,
    path::{Path, PathBuf},
};

use arrow::{
    array::{ArrayRef, Int32Array, RecordBatch, StringArray},
    datatypes::DataType,
};
use insula_proto::UserNo;
use uuid::Uuid;

use super::*;
use crate::{
    TableDef, TableKind,
    hot::{
        db::{Batch, Family},
        tests::new_table,
    },
};

fn config(dir: &Path) -> StoreConfig {
    StoreConfig { min_free_bytes: 0, chunk_rows: 8, ..StoreConfig::new(dir.to_owned()) }
}

async fn insert(store: &Arc<Store>, table: &Arc<TableDef>, user: u64, numbers: std::ops::Range<i32>) {
    let mut set = store.write_set(table, UserNo(user));
    let notes = numbers.clone().map(|n| format!("{user}/{n}"));
    let columns: [ArrayRef; 2] =
        [Arc::new(Int32Array::from_iter_values(numbers.clone())), Arc::new(StringArray::from_iter_values(notes))];
    let rows = RecordBatch::try_new(table.schema(), columns.to_vec()).unwrap();
    set.replace(&rows).unwrap();
    let lock = store.lock(table, UserNo(user)).await;
    store.commit(&lock, set).await.unwrap();
}

/// A database with rows of two users in two files, one with a deletion vector, and in the hot tier.
async fn filled(dir: &Path) -> Arc<Store> {
    let store = Store::open(config(dir)).await.unwrap();
    let columns = [("n", DataType::Int32, false), ("note", DataType::Utf8, true)];
    let table = store.create_table(new_table(&columns, &[0])).await.unwrap();
    let mut shared = new_table(&columns, &[0]);
    (shared.name, shared.kind) = ("shared".to_owned(), TableKind::Shared);
    let shared = store.create_table(shared).await.unwrap();
    insert(&store, &table, 1, 0..40).await;
    insert(&store, &table, 2, 0..30).await;
    insert(&store, &shared, 0, 0..5).await;
    store.flush(table.id).await.unwrap();
    insert(&store, &table, 1, 30..50).await;
    store.flush(table.id).await.unwrap();
    insert(&store, &table, 2, 20..35).await;
    store
}

async fn closed(dir: &Path) {
    let store = filled(dir).await;
    store.close().await.unwrap();
}

async fn check(dir: &Path) -> (CheckReport, Vec<Finding>) {
    let mut found = Vec::new();
    let report = Store::check(&config(dir), &mut |finding| found.push(finding)).await.unwrap();
    assert_eq!(report.faults, found.iter().filter(|finding| finding.is_fault).count() as u64);
    (report, found)
}

/// All files that hold data, below the data directory.
fn data_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            files.extend(data_files(&path));
        } else if name != "LOCK" && name != "LOG" && !name.starts_with("LOG.") {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[tokio::test]
async fn nothing_is_wrong_with_what_was_closed() {
    let dir = tempfile::tempdir().unwrap();
    closed(dir.path()).await;
    for _ in 0..2 {
        let (report, found) = check(dir.path()).await;
        assert_eq!(found, []);
        assert_eq!(report, CheckReport { tables: 2, files: 2, rows: 70 + 20 + 5 + 15, faults: 0 });
    }
    // Nothing was changed: the database opens, and closes, as before.
    Store::open(config(dir.path())).await.unwrap().close().await.unwrap();
    assert_eq!(check(dir.path()).await.1, []);
}

/// A bit of any byte of any file. `INSULA_CHECK_FLIPS`: how many bytes of each file, 0 for all.
#[tokio::test]
async fn every_flipped_bit_is_found() {
    let dir = tempfile::tempdir().unwrap();
    closed(dir.path()).await;
    let flips: u64 = std::env::var("INSULA_CHECK_FLIPS").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    let files = data_files(dir.path());
    assert!(files.len() >= 9, "{files:?}");
    for path in files {
        let whole = fs::read(&path).unwrap();
        let step = if flips == 0 { 1 } else { (whole.len() as u64).div_ceil(flips).max(1) } as usize;
        let last = whole.len().saturating_sub(1);
        for at in (0..whole.len()).step_by(step).chain([last]) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(&path, &damaged).unwrap();
            let (report, _) = check(dir.path()).await;
            assert!(report.faults > 0, "byte {at} of {} was flipped and nobody saw it", path.display());
        }
        fs::write(&path, &whole[..last]).unwrap();
        assert!(check(dir.path()).await.0.faults > 0, "{} was cut and nobody saw it", path.display());
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(check(dir.path()).await.1, []);
}

/// RocksDB would read such a log for ever, or take it for empty.
#[tokio::test]
async fn a_log_that_says_it_was_written_over_another_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    closed(dir.path()).await;
    let logs = data_files(dir.path()).into_iter().filter(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.ends_with(".log") || name.starts_with("MANIFEST-")
    });
    for path in logs {
        let whole = fs::read(&path).unwrap();
        let second = 7 + usize::from(u16::from_le_bytes([whole[4], whole[5]]));
        for record in [0, second] {
            let mut damaged = whole.clone();
            damaged[record + 6] ^= 4;
            fs::write(&path, &damaged).unwrap();
            let (_, found) = check(dir.path()).await;
            let said = format!("its record at byte {record} has a type");
            assert!(found.iter().any(|fault| fault.to_string().contains(&said)), "{found:?}");
            let refused = Store::open(config(dir.path())).await.err().expect("a store that does not open");
            assert_eq!(refused.kind(), ErrorKind::DataLoss);
        }
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(check(dir.path()).await.1, []);
}

#[tokio::test]
async fn a_fault_names_the_file_and_the_place() {
    let dir = tempfile::tempdir().unwrap();
    closed(dir.path()).await;
    let path =
        data_files(dir.path()).into_iter().find(|path| path.extension().is_some_and(|e| e == "parquet")).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (_, found) = check(dir.path()).await;
    let [fault] = &found[..] else { panic!("{found:?}") };
    assert!(path.ends_with(&fault.place) && fault.offset == Some(0) && fault.is_fault, "{fault:?}");
    assert!(fault.to_string().starts_with("fault: t1/") && fault.to_string().contains(", byte 0: "), "{fault}");
    assert!(fault.to_json().contains("\"offset\":0"), "{}", fault.to_json());
}

/// RocksDB's own checksums are right: such damage came about before the bytes were written.
#[tokio::test]
async fn a_damaged_chunk_is_found_also_where_no_row_lies_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path()).await;
    let chunks = store.db.scan(Family::Chunk, &[]).unwrap();
    assert_eq!(chunks.len(), 2);
    let mut batch = Batch::default();
    for (mut key, mut value) in chunks {
        key[20] ^= 1;
        value[20] ^= 1;
        batch.put(Family::Chunk, key, value);
    }
    store.committer.write(batch).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let (_, found) = check(dir.path()).await;
    let [fault] = &found[..] else { panic!("{found:?}") };
    assert!(fault.is_fault && fault.to_string().contains("a chunk of the hot tier fails its checksum"), "{fault}");
}

#[tokio::test]
async fn objects_that_are_missing_or_nobodys_are_found() {
    let dir = tempfile::tempdir().unwrap();
    closed(dir.path()).await;
    let orphan = format!("t1/{}.parquet", Uuid::now_v7());
    fs::write(dir.path().join("cold").join(&orphan), "x").unwrap();
    let (_, found) = check(dir.path()).await;
    assert_eq!(
        found.iter().map(|fault| (fault.is_fault, fault.place.as_str())).collect::<Vec<_>>(),
        [(true, &*orphan)]
    );
    fs::remove_file(dir.path().join("cold").join(&orphan)).unwrap();
    for path in data_files(dir.path()) {
        let aside = dir.path().join("aside");
        fs::rename(&path, &aside).unwrap();
        let (report, found) = check(dir.path()).await;
        // Without the list there is nothing to compare with, as after a crash.
        let is_list = path.ends_with(sealed::NAME);
        assert_eq!(report.faults == 0, is_list, "{} is missing: {found:?}", path.display());
        fs::rename(&aside, &path).unwrap();
    }
    assert_eq!(check(dir.path()).await.1, []);
}

#[tokio::test]
async fn after_a_crash_there_is_less_to_compare_and_nothing_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(&dir.path().join("data")).await;
    let busy = Store::check(&config(&dir.path().join("data")), &mut |_| {}).await.unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::FailedPrecondition);
    copy(&dir.path().join("data"), &dir.path().join("copy"));
    fs::write(dir.path().join("copy/cold").join(format!("t1/{}.dv", Uuid::now_v7())), "x").unwrap();
    store.close().await.unwrap();
    let (report, found) = check(&dir.path().join("copy")).await;
    assert_eq!((report.faults, report.rows), (0, 110));
    assert_eq!(found.len(), 2, "{found:?}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_directory_without_a_database_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let error = Store::check(&config(dir.path()), &mut |_| {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
