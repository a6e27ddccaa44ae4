use std::{path::Path, sync::Arc};

use arrow::{
    array::{AsArray, Int32Array, RecordBatch},
    datatypes::{DataType, Int32Type},
};
use insula_proto::{Generation, TableId, UserNo};

use crate::{
    ErrorKind, MetaBatch, Store, StoreConfig, TableDef,
    cold::fixture,
    hot::{
        db::{Batch, Family},
        key,
        tables::record_key,
        tests::new_table,
    },
};

async fn open(dir: &Path) -> Arc<Store> {
    Store::open(StoreConfig { min_free_bytes: 0, chunk_rows: 2, ..StoreConfig::new(dir.to_owned()) }).await.unwrap()
}

async fn insert(store: &Arc<Store>, table: &Arc<TableDef>, user: u64, numbers: std::ops::Range<i32>) {
    let mut set = store.write_set(table, UserNo(user));
    let rows = RecordBatch::try_new(table.schema(), vec![Arc::new(Int32Array::from_iter_values(numbers))]).unwrap();
    set.insert(&rows).unwrap();
    let lock = store.lock(table, UserNo(user)).await;
    store.commit(&lock, set).await.unwrap();
}

/// All numbers of a user, ascending.
async fn numbers(store: &Arc<Store>, user: u64) -> Vec<i32> {
    let table = Arc::clone(&store.tables()[0]);
    let slice = store.view().slice(&table, UserNo(user)).unwrap();
    let all: Vec<usize> = (0..table.stored_schema().fields().len()).collect();
    let mut batches: Vec<RecordBatch> = slice.hot(&all, 100, false).unwrap().map(Result::unwrap).collect();
    for cold in slice.cold().await.unwrap() {
        batches.push(fixture::rows_of(&store.cold, &table, &cold).await);
    }
    let column = |batch: &RecordBatch| batch.column(4).as_primitive::<Int32Type>().values().to_vec();
    let mut numbers: Vec<i32> = batches.iter().flat_map(column).collect();
    numbers.sort_unstable();
    numbers
}

/// A store with rows in both tiers and a record of the layers above, and where its backup goes.
async fn filled(dir: &Path) -> (Arc<Store>, Arc<TableDef>, String) {
    let store = open(&dir.join("data")).await;
    let table = store.create_table(new_table(&[("n", DataType::Int32, false)], &[0])).await.unwrap();
    let mut users = MetaBatch::default();
    users.put(*b"user/ann", *b"secret");
    store.meta().write(users).await.unwrap();
    insert(&store, &table, 1, 0..10).await;
    insert(&store, &table, 2, 0..3).await;
    store.flush(table.id).await.unwrap();
    insert(&store, &table, 1, 10..12).await;
    let url = format!("file://{}", dir.join("backup").display());
    (store, table, url)
}

#[tokio::test]
async fn what_was_backed_up_comes_back_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (store, table, url) = filled(dir.path()).await;
    let taken = store.backup(&url).await.unwrap();
    assert!(taken.tables == 1 && taken.files > 3 && taken.bytes > 1000, "{taken:?}");
    // What comes later is not part of it, and the place is taken.
    insert(&store, &table, 2, 3..4).await;
    assert_eq!(store.backup(&url).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(store.restore(&url).await.unwrap_err().kind(), ErrorKind::FailedPrecondition);
    store.close().await.unwrap();

    let mut other = open(&dir.path().join("other")).await;
    assert_eq!(other.restore(&url).await.unwrap(), taken);
    for restarted in [false, true] {
        if restarted {
            other.close().await.unwrap();
            drop(other);
            other = open(&dir.path().join("other")).await;
        }
        assert_eq!(numbers(&other, 1).await, (0..12 + i32::from(restarted)).collect::<Vec<_>>());
        assert_eq!(numbers(&other, 2).await, [0, 1, 2]);
        assert_eq!(other.meta().get(b"user/ann").unwrap().unwrap(), b"secret");
        let table = Arc::clone(&other.tables()[0]);
        insert(&other, &table, 1, 12 + i32::from(restarted)..13 + i32::from(restarted)).await;
        other.flush(table.id).await.unwrap();
        let new = other.create_table(new_table(&[("n", DataType::Int32, false)], &[])).await;
        assert_eq!(new.unwrap_err().kind(), ErrorKind::AlreadyExists);
    }
    assert!(!dir.path().join("other/scratch").read_dir().is_ok_and(|mut left| left.next().is_some()));
    other.close().await.unwrap();
}

#[tokio::test]
async fn a_damaged_backup_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _, url) = filled(dir.path()).await;
    store.backup(&url).await.unwrap();
    store.close().await.unwrap();
    let mut files = Vec::new();
    let mut directories = vec![dir.path().join("backup")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() { directories.push(entry) } else { files.push(entry) }
        }
    }
    let other = open(&dir.path().join("other")).await;
    for file in files.iter().filter(|file| file.metadata().unwrap().len() > 0) {
        let good = std::fs::read(file).unwrap();
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        for damage in [Some(bad), Some(good[..good.len() - 1].to_vec()), None] {
            match damage {
                Some(bytes) => std::fs::write(file, bytes).unwrap(),
                None => std::fs::remove_file(file).unwrap(),
            }
            let error = other.restore(&url).await.unwrap_err();
            // Without the list of its files there is no backup at all.
            let is_list = file.file_name().unwrap() == super::MANIFEST && !file.exists();
            let expected = if is_list { ErrorKind::NotFound } else { ErrorKind::DataLoss };
            assert_eq!(error.kind(), expected, "{}: {error}", file.display());
            assert!(other.tables().is_empty());
            std::fs::write(file, &good).unwrap();
        }
    }
    assert!(other.db.scan(Family::Hot, &[]).unwrap().is_empty());
    other.restore(&url).await.unwrap();
    assert_eq!(numbers(&other, 2).await, [0, 1, 2]);
    other.close().await.unwrap();
}

#[tokio::test]
async fn a_restore_that_a_crash_cut_short_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut batch = Batch::default();
    batch.put(Family::Meta, record_key::RESTORING, []);
    let mut key = key::prefix(TableId(1), Generation(1), UserNo(1)).to_vec();
    key.extend_from_slice(&[7; key::SUFFIX + 1]);
    batch.put(Family::Hot, key, [1; 40]);
    store.committer.write(batch).await.unwrap();
    std::fs::create_dir_all(dir.path().join("scratch/left")).unwrap();
    let object = dir.path().join(format!("cold/t1/{}.parquet", uuid::Uuid::now_v7()));
    std::fs::create_dir_all(object.parent().unwrap()).unwrap();
    std::fs::write(&object, "half").unwrap();
    store.close().await.unwrap();
    drop(store);
    let store = open(dir.path()).await;
    assert!(store.db.scan(Family::Hot, &[]).unwrap().is_empty());
    assert_eq!(store.db.get(Family::Meta, record_key::RESTORING).unwrap(), None);
    assert!(!object.exists() && !dir.path().join("scratch").exists());
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_place_of_the_servers_own_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("data")).await;
    for inside in ["data", "data/cold", "data/hot/x"] {
        let url = format!("file://{}", dir.path().join(inside).display());
        assert_eq!(store.backup(&url).await.unwrap_err().kind(), ErrorKind::FailedPrecondition, "{url}");
    }
    assert_eq!(store.backup("memory://").await.unwrap_err().kind(), ErrorKind::Invalid);
    let nowhere = dir.path().join("nowhere");
    let error = store.restore(&format!("file://{}", nowhere.display())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(!nowhere.exists());
    store.close().await.unwrap();
}
