//! What is remembered of decoded hot rows is never stale, never another user's, and really spares the decoding.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use arrow::{
    array::{ArrayRef, AsArray, Int64Array, RecordBatch},
    datatypes::{DataType, Field, Int64Type, UInt64Type},
};
use insula_proto::UserNo;
use insula_storage::{NewColumn, NewTable, Store, StoreConfig, TableDef, TableKind, TableOptions, WriteSet};

/// Enough of them to be remembered.
const ROWS: i64 = 300;
const USERS: u64 = 2;

async fn open(dir: &tempfile::TempDir) -> (Arc<Store>, Arc<TableDef>) {
    let config = StoreConfig { min_free_bytes: 0, ..StoreConfig::new(dir.path().to_owned()) };
    let store = Store::open(config).await.unwrap();
    let column = |name: &str| NewColumn { field: Arc::new(Field::new(name, DataType::Int64, false)), default: None };
    let table = NewTable {
        namespace: "ns".into(),
        name: "t".into(),
        kind: TableKind::User,
        columns: vec![column("k"), column("v")],
        key: vec![0],
        checks: Vec::new(),
        options: TableOptions::default(),
    };
    let table = store.create_table(table).await.unwrap();
    (store, table)
}

/// All rows of the user get this value, in one commit.
async fn write(store: &Arc<Store>, table: &Arc<TableDef>, user: u64, value: i64) {
    let lock = store.lock(table, UserNo(user)).await;
    store.commit(&lock, rows(table, user, value)).await.unwrap();
}

fn rows(table: &Arc<TableDef>, user: u64, value: i64) -> WriteSet {
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from_iter_values(0..ROWS)), Arc::new(Int64Array::from(vec![value; ROWS as usize]))];
    let rows = RecordBatch::try_new(table.schema(), columns).unwrap();
    let mut set = WriteSet::new(Arc::clone(table), UserNo(user));
    set.replace(&rows).unwrap();
    set
}

/// The one value that all of the user's hot rows have; `None`: they are cold. Read twice from one view.
fn read(store: &Arc<Store>, table: &Arc<TableDef>, user: u64) -> Option<i64> {
    let slice = store.view().slice(table, UserNo(user)).unwrap();
    let once = || -> Vec<i64> {
        let batches: Vec<RecordBatch> = slice.hot(&[0, 5], 100, false).unwrap().collect::<Result<_, _>>().unwrap();
        assert!(batches.iter().all(|b| b.column(0).as_primitive::<UInt64Type>().values().iter().all(|no| *no == user)));
        batches.iter().flat_map(|b| b.column(1).as_primitive::<Int64Type>().values().to_vec()).collect()
    };
    let (values, again, keys) = (once(), once(), slice.hot_keys().unwrap());
    assert_eq!(values, again, "one view, two answers");
    assert_eq!(values.len(), keys.len());
    let first = values.first().copied();
    assert!(values.iter().all(|value| Some(*value) == first), "half a commit was seen");
    assert!(values.is_empty() || values.len() == ROWS as usize);
    first
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_read_is_older_than_a_commit_that_was_acknowledged_before_it() {
    let commits = std::env::var("INSULA_CACHE_TEST_COMMITS").map_or(150, |n| n.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let (store, table) = open(&dir).await;
    let done = Arc::new(AtomicBool::new(false));
    let acknowledged: Arc<[AtomicI64]> = (0..USERS).map(|_| AtomicI64::new(-1)).collect();
    let mut readers = Vec::new();
    for user in (0..USERS).flat_map(|user| [user, user]) {
        let (store, table, done) = (Arc::clone(&store), Arc::clone(&table), Arc::clone(&done));
        let acknowledged = Arc::clone(&acknowledged);
        readers.push(tokio::task::spawn_blocking(move || {
            while !done.load(Ordering::SeqCst) {
                let before = acknowledged[user as usize].load(Ordering::SeqCst);
                if let Some(value) = read(&store, &table, user + 1) {
                    assert!(value >= before, "{value} was read after {before} was acknowledged");
                }
            }
        }));
    }
    let writers: Vec<_> = (0..USERS)
        .map(|user| {
            let (store, table, acknowledged) = (Arc::clone(&store), Arc::clone(&table), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                for value in 0..commits {
                    write(&store, &table, user + 1, value).await;
                    acknowledged[user as usize].store(value, Ordering::SeqCst);
                    if value % 40 == 39 {
                        store.flush(table.id).await.unwrap();
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    for reader in readers {
        reader.await.unwrap();
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn an_older_view_keeps_its_answer_and_spoils_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (store, table) = open(&dir).await;
    write(&store, &table, 1, 1).await;
    let value = |slice: &insula_storage::TableSlice| {
        let batch = slice.hot(&[5], 1000, false).unwrap().next().unwrap().unwrap();
        batch.column(0).as_primitive::<Int64Type>().value(0)
    };
    let old = store.view().slice(&table, UserNo(1)).unwrap();
    write(&store, &table, 1, 2).await;
    let new = store.view().slice(&table, UserNo(1)).unwrap();
    for _ in 0..2 {
        assert_eq!((value(&old), value(&new)), (1, 2));
        assert_eq!((value(&new), value(&old)), (2, 1));
    }
    // A flush moves the rows; who reads the view from before still finds them.
    store.flush(table.id).await.unwrap();
    let flushed = store.view().slice(&table, UserNo(1)).unwrap();
    assert!(flushed.hot(&[5], 1000, false).unwrap().next().is_none() && flushed.hot_keys().unwrap().is_empty());
    assert_eq!((value(&old), value(&new)), (1, 2));
    store.close().await.unwrap();
}

#[tokio::test]
async fn what_was_read_whole_is_recalled_and_what_was_not_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (store, table) = open(&dir).await;
    write(&store, &table, 1, 7).await;
    write(&store, &table, 2, 8).await;
    let slice = |user: u64| store.view().slice(&table, UserNo(user)).unwrap();
    let scan = |user: u64, columns: &[usize]| slice(user).hot(columns, 100, false).unwrap();
    let mut given_up = scan(1, &[5]);
    given_up.next().unwrap().unwrap();
    drop(given_up);
    assert!(!scan(1, &[5]).is_quick());
    assert_eq!(scan(1, &[5]).count(), 3);
    assert!(scan(1, &[5]).is_quick(), "the second read decodes nothing");
    assert_eq!(scan(1, &[5]).map(|b| b.unwrap().num_rows() as i64).sum::<i64>(), ROWS);
    assert!(!scan(1, &[4]).is_quick() && !scan(2, &[5]).is_quick(), "other columns and other users are read");
    write(&store, &table, 2, 9).await;
    assert!(scan(1, &[5]).is_quick(), "the commits of others change nothing");
    write(&store, &table, 1, 9).await;
    assert!(!scan(1, &[5]).is_quick());
    store.close().await.unwrap();
}

/// Users whose rows came with one commit have the same number, so nothing but their own tells what is remembered apart.
#[tokio::test]
async fn what_came_with_one_commit_is_remembered_by_user() {
    let dir = tempfile::tempdir().unwrap();
    let (store, table) = open(&dir).await;
    let mut transaction = store.transaction();
    for (user, value) in [(1, 7), (2, 8)] {
        transaction.write(rows(&table, user, value)).await.unwrap();
    }
    transaction.commit().await.unwrap();
    for _ in 0..2 {
        assert_eq!((read(&store, &table, 1), read(&store, &table, 2)), (Some(7), Some(8)));
    }
    store.close().await.unwrap();
}
