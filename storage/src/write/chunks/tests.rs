use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::Int64Type;
use insula_proto::{TableId, UserNo};

use super::*;
use crate::{
    ErrorKind, Store, TableDef, TableOptions,
    hot::{
        chunk::CHUNK_ROWS,
        db::{Batch, Family},
    },
    notes::{self, ALICE, BOB},
};

/// A store as it is configured for users, but that nothing happens by itself.
async fn store(dir: &std::path::Path) -> Arc<Store> {
    Store::open(crate::StoreConfig { chunk_rows: CHUNK_ROWS, ..notes::config(dir, 1 << 20) }).await.unwrap()
}

fn rows(table: &TableDef, ids: impl Iterator<Item = i64>, note: &str) -> RecordBatch {
    let ids: Vec<i64> = ids.collect();
    let notes: ArrayRef = Arc::new(StringArray::from_iter_values(ids.iter().map(|id| format!("{note}{id}"))));
    RecordBatch::try_new(table.schema(), vec![notes, Arc::new(Int64Array::from(ids))]).unwrap()
}

async fn insert(store: &Arc<Store>, table: &Arc<TableDef>, user: UserNo, rows: &RecordBatch) {
    notes::write(store, table, user, |set| set.insert(rows).unwrap()).await;
}

fn chunks(store: &Store) -> usize {
    store.db.scan(Family::Chunk, &[]).unwrap().len()
}

/// How many rows lie in chunks, and how many apart.
fn places(store: &Store) -> (usize, usize) {
    let rows = store.db.scan(Family::Hot, &[]).unwrap();
    let within = rows.iter().filter(|(_, row)| value::chunk(row).is_some()).count();
    (within, rows.len() - within)
}

/// Key and note of all rows, as a scan yields them.
fn read(store: &Arc<Store>, table: &Arc<TableDef>, user: UserNo) -> Result<Vec<(i64, String)>> {
    let mut found = Vec::new();
    for batch in store.view().slice(table, user)?.hot(&[5, 4], 700, false)? {
        let batch = batch?;
        let ids = batch.column(0).as_primitive::<Int64Type>().values().iter().copied();
        let notes = batch.column(1).as_string::<i32>().iter().map(|note| note.unwrap().to_owned());
        found.extend(ids.zip(notes));
    }
    Ok(found)
}

fn expected(ids: impl Iterator<Item = i64>, note: &str) -> Vec<(i64, String)> {
    ids.map(|id| (id, format!("{note}{id}"))).collect()
}

#[tokio::test]
async fn many_rows_in_the_order_of_their_keys_lie_in_chunks() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let table = notes::notes(&store, TableOptions::default()).await;
    insert(&store, &table, ALICE, &rows(&table, 0..2500, "a")).await;
    assert_eq!((chunks(&store), places(&store)), (3, (2500, 0)));
    assert_eq!(read(&store, &table, ALICE).unwrap(), expected(0..2500, "a"));
    // Each chunk holds the keys between its first and its last alone.
    let places: Vec<u64> =
        store.db.scan(Family::Hot, &[]).unwrap().iter().map(|(_, row)| value::chunk(row).unwrap()).collect();
    assert!(places.is_sorted());
    insert(&store, &table, BOB, &rows(&table, 0..CHUNK_ROWS as i64 - 1, "b")).await;
    assert_eq!(chunks(&store), 3);
    store.flush(table.id).await.unwrap();
    assert_eq!(chunks(&store), 0);
}

#[tokio::test]
async fn rows_in_no_order_wide_ones_and_those_of_streams_lie_apart() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let table = notes::notes(&store, TableOptions::default()).await;
    insert(&store, &table, BOB, &rows(&table, (0..2500).map(|i| i * 7919 % 2500), "b")).await;
    assert_eq!((chunks(&store), places(&store)), (0, (0, 2500)));
    let wide = "x".repeat(MOST_ROW_BYTES);
    insert(&store, &table, ALICE, &rows(&table, 0..2000, &wide)).await;
    let mut one_long = rows(&table, 3000..5000, "y");
    let notes =
        StringArray::from_iter_values((0..2000).map(|i| "z".repeat(if i == 7 { LONGEST_VALUE + 1 } else { 1 })));
    one_long = RecordBatch::try_new(one_long.schema(), vec![Arc::new(notes), Arc::clone(one_long.column(1))]).unwrap();
    insert(&store, &table, ALICE, &one_long).await;
    assert_eq!((chunks(&store), places(&store)), (0, (0, 6500)));
    assert_eq!(read(&store, &table, ALICE).unwrap()[..2000], expected(0..2000, &wide));
    let mut set = WriteSet::new(Arc::new(TableDef { kind: TableKind::Stream, ..table.as_ref().clone() }), ALICE);
    set.insert(&rows(&table, 0..2000, "s")).unwrap();
    assert!(set.chunks.is_empty());
}

#[tokio::test]
async fn what_is_hot_is_counted_alike_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let id: TableId;
    let before = {
        let store = store(dir.path()).await;
        let table = notes::notes(&store, TableOptions::default()).await;
        id = table.id;
        insert(&store, &table, ALICE, &rows(&table, 0..3000, "a")).await;
        insert(&store, &table, BOB, &rows(&table, 0..10, "b")).await;
        let load = store.tables.load(id);
        store.close().await.unwrap();
        load
    };
    let store = store(dir.path()).await;
    let after = store.tables.load(id);
    assert_eq!((after.rows, after.bytes), (before.rows, before.bytes));
    assert!(after.bytes > 3000 * 16, "{after:?}");
    let user = |user| store.view().slice(&store.tables()[0], user).unwrap().hot_rows().size().unwrap();
    assert_eq!((user(ALICE).0 + user(BOB).0, user(ALICE).1 + user(BOB).1), (before.rows, before.bytes));
}

#[tokio::test]
async fn a_chunk_that_is_gone_is_missed_by_who_needs_it_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let table = notes::notes(&store, TableOptions::default()).await;
    insert(&store, &table, ALICE, &rows(&table, 0..1500, "a")).await;
    let alices = store.db.scan(Family::Chunk, &[]).unwrap();
    insert(&store, &table, BOB, &rows(&table, 0..1500, "b")).await;
    let mut batch = Batch::default();
    alices.iter().for_each(|(key, _)| batch.delete(Family::Chunk, key.as_slice()));
    store.committer.write(batch).await.unwrap();
    assert_eq!(read(&store, &table, ALICE).unwrap_err().kind(), ErrorKind::DataLoss);
    assert_eq!(store.view().slice(&table, ALICE).unwrap().hot_rows().size().unwrap().0, 1500);
    assert_eq!(read(&store, &table, BOB).unwrap(), expected(0..1500, "b"));
    assert!(store.flush(table.id).await.is_err());
}

/// A row of Alice's that says that it lies in a chunk of Bob's does not find it.
#[tokio::test]
async fn nobody_reads_anothers_chunk() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let table = notes::notes(&store, TableOptions::default()).await;
    insert(&store, &table, BOB, &rows(&table, 0..1024, "b")).await;
    insert(&store, &table, ALICE, &rows(&table, 0..1024, "a")).await;
    let all = store.db.scan(Family::Hot, &[]).unwrap();
    let bobs = value::chunk(&all[1500].1).unwrap();
    let mut batch = Batch::default();
    for (key, mut row) in all.into_iter().take(1024) {
        value::set_chunk(&mut row, bobs);
        value::complete(&mut row, 0);
        batch.put(Family::Hot, key, row);
    }
    store.committer.write(batch).await.unwrap();
    let error = read(&store, &table, ALICE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLoss);
    assert!(error.message().contains("is missing"), "{error}");
}

/// Rows that a transaction writes again and again do not leave all their chunks in memory, nor in the database.
#[tokio::test]
async fn a_transaction_keeps_the_chunks_of_its_rows() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let table = notes::notes(&store, TableOptions::default()).await;
    let mut transaction = store.transaction();
    let mut sizes = Vec::new();
    for round in 0..20 {
        let mut set = store.write_set(&table, ALICE);
        set.replace(&rows(&table, 0..2048, &format!("{round}/"))).unwrap();
        transaction.write(set).await.unwrap();
        sizes.push(transaction.memory());
    }
    assert!(sizes[19] < sizes[0] * 3, "{sizes:?}");
    let seen = notes::seen(&store, &transaction.view(), &table, ALICE).await.into_values();
    assert!(seen.map(|(note, _)| note).all(|note| note.starts_with("19/")));
    transaction.commit().await.unwrap();
    assert_eq!(chunks(&store), 2);
    assert_eq!(read(&store, &table, ALICE).unwrap(), expected(0..2048, "19/"));
}
