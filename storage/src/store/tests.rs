use arrow::{
    array::{Int32Array, RecordBatch, StringArray},
    datatypes::DataType,
};

use super::*;
use crate::{MetaBatch, hot::tests::new_table};

fn config(dir: &tempfile::TempDir) -> StoreConfig {
    StoreConfig { min_free_bytes: 0, ..StoreConfig::new(dir.path().join("data")) }
}

fn people() -> NewTable {
    new_table(&[("id", DataType::Int32, false), ("name", DataType::Utf8, true)], &[0])
}

fn rows(table: &TableDef, rows: &[(i32, &str)]) -> RecordBatch {
    let ids = Int32Array::from_iter_values(rows.iter().map(|r| r.0));
    let names = StringArray::from_iter_values(rows.iter().map(|r| r.1));
    RecordBatch::try_new(table.schema(), vec![Arc::new(ids), Arc::new(names)]).unwrap()
}

async fn insert(store: &Arc<Store>, table: &Arc<TableDef>, user: u64, new: &[(i32, &str)]) -> Result<Commit> {
    let mut set = WriteSet::new(Arc::clone(table), UserNo(user));
    set.insert(&rows(table, new))?;
    let lock = store.lock(table, UserNo(user)).await;
    store.commit(&lock, set).await
}

fn names(store: &Arc<Store>, table: &Arc<TableDef>, user: u64) -> Vec<String> {
    let slice = store.view().slice(table, UserNo(user)).unwrap();
    let batches: Vec<RecordBatch> = slice.hot(&[5], 100, false).unwrap().collect::<Result<_>>().unwrap();
    let column = |b: &RecordBatch| {
        b.column(0).as_any().downcast_ref::<StringArray>().unwrap().iter().flatten().map(str::to_owned).collect()
    };
    batches.iter().flat_map(|b| -> Vec<String> { column(b) }).collect()
}

#[tokio::test]
async fn what_is_written_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    let mut also = MetaBatch::default();
    also.put(*b"ns/1", *b"one");
    also.put(*b"ns/2", *b"two");
    also.put(*b"user/1", *b"x");
    store.meta().write(also).await.unwrap();
    let table = store.create_table(people()).await.unwrap();
    insert(&store, &table, 1, &[(2, "b"), (1, "a")]).await.unwrap();
    insert(&store, &table, 2, &[(1, "other")]).await.unwrap();
    let ids = store.next_ids(3);
    insert(&store, &table, 2, &[(3, "more")]).await.unwrap();
    store.close().await.unwrap();
    drop(store);

    let store = Store::open(config(&dir)).await.unwrap();
    assert_eq!(store.tables(), [Arc::clone(&table)]);
    assert_eq!(names(&store, &table, 1), ["a", "b"]);
    assert_eq!(names(&store, &table, 2), ["other", "more"]);
    assert!(names(&store, &table, 3).is_empty());
    let two = |key: &[u8], value: &[u8]| (key.to_vec(), value.to_vec());
    assert_eq!(store.meta().scan(b"ns/").unwrap(), [two(b"ns/1", b"one"), two(b"ns/2", b"two")]);
    let mut batch = MetaBatch::default();
    batch.delete(*b"ns/1");
    store.meta().write(batch).await.unwrap();
    assert_eq!(store.meta().get(b"ns/1").unwrap(), None);
    assert_eq!(store.meta().get(b"user/1").unwrap(), Some(b"x".to_vec()));
    let usage = store.usage(&table, None).await.unwrap();
    assert_eq!((usage.hot_rows, usage.cold_rows), (4, 0));
    let usage = store.usage(&table, Some(UserNo(2))).await.unwrap();
    assert!(usage.hot_rows == 2 && usage.hot_bytes > 80, "{usage:?}");
    assert!(store.next_ids(1)[0] > ids[2]);
    // Numbers of sequence go on.
    assert_eq!(insert(&store, &table, 1, &[(9, "z")]).await.unwrap().seq.0, 4);
}

#[tokio::test]
async fn a_second_opener_is_told_who_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    let error = Store::open(config(&dir)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    let holder = format!("is in use by process {}", std::process::id());
    assert!(error.message().contains(&holder), "{error}");
    store.close().await.unwrap();
}

#[tokio::test]
async fn tables_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    let first = store.create_table(people()).await.unwrap();
    let again = store.create_table(people()).await.unwrap_err();
    assert_eq!((again.kind(), again.message()), (ErrorKind::AlreadyExists, "table \"ns.t\" exists already"));
    insert(&store, &first, 1, &[(1, "cold")]).await.unwrap();
    store.flush(first.id).await.unwrap();
    insert(&store, &first, 1, &[(2, "hot")]).await.unwrap();
    let view = store.view();
    store.drop_table(first.id).await.unwrap();
    // A view from before still reads it; a new one does not know it.
    assert_eq!(view.slice(&first, UserNo(1)).unwrap().cold().await.unwrap().len(), 1);
    assert_eq!(store.view().slice(&first, UserNo(1)).err().map(|e| e.kind()), Some(ErrorKind::NotFound));
    drop(view);
    assert_eq!(insert(&store, &first, 1, &[(3, "late")]).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.drop_table(first.id).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.flush(first.id).await.unwrap_err().kind(), ErrorKind::NotFound);
    store.close().await.unwrap();
    drop(store);
    let store = Store::open(config(&dir)).await.unwrap();
    assert!(store.tables().is_empty());
    let second = store.create_table(people()).await.unwrap();
    assert!(second.id > first.id);
    assert!(names(&store, &second, 1).is_empty());
}

#[tokio::test]
async fn after_close_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    let table = store.create_table(people()).await.unwrap();
    store.close().await.unwrap();
    store.close().await.unwrap();
    assert_eq!(insert(&store, &table, 1, &[(1, "a")]).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(store.flush(table.id).await.unwrap_err().kind(), ErrorKind::Unavailable);
}
