use std::{sync::Arc, time::Duration};

use arrow::{
    array::{ArrayRef, BinaryArray, Int64Array, RecordBatch},
    datatypes::DataType,
};
use insula_proto::UserNo;

use super::*;
use crate::{StoreConfig, WriteSet, hot::tests::new_table, table::TableOptions};

/// A store that flushes only when it is told to, and a table in it.
async fn open(dir: &tempfile::TempDir, max_hot_bytes: u64) -> (Arc<Store>, Arc<TableDef>) {
    let config = StoreConfig {
        min_free_bytes: 0,
        max_hot_bytes,
        stall_timeout: Duration::from_millis(50),
        ..StoreConfig::new(dir.path().join("data"))
    };
    let store = Store::open(config).await.unwrap();
    let options =
        TableOptions { flush_rows: u64::MAX, flush_bytes: 16 << 20, flush_interval: None, ..Default::default() };
    let table = new_table(&[("k", DataType::Int64, false), ("v", DataType::Binary, false)], &[0]);
    let table = store.create_table(crate::NewTable { options, ..table }).await.unwrap();
    (store, table)
}

async fn write(store: &Arc<Store>, table: &Arc<TableDef>, key: i64, bytes: usize) -> Result<crate::Commit> {
    let value = vec![7; bytes];
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from(vec![key])), Arc::new(BinaryArray::from_vec(vec![value.as_slice()]))];
    let rows = RecordBatch::try_new(table.schema(), columns).unwrap();
    let lock = store.lock(table, UserNo(1)).await;
    let mut set = WriteSet::new(Arc::clone(table), UserNo(1));
    set.insert(&rows)?;
    store.commit(&lock, set).await
}

#[tokio::test]
async fn a_table_that_outruns_its_flushes_makes_its_writers_wait_and_then_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (store, table) = open(&dir, u64::MAX).await;
    // No flush can begin while the test has the table's turn.
    let turn = store.flusher.turns.take(table.id).await.unwrap();
    write(&store, &table, 1, 40 << 20).await.unwrap();
    write(&store, &table, 2, 40 << 20).await.unwrap();
    let error = write(&store, &table, 3, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("write stall") && error.message().contains("\"ns.t\""), "{error}");
    let other = store.create_table(crate::NewTable {
        name: "other".into(),
        ..new_table(&[("k", DataType::Int64, false), ("v", DataType::Binary, false)], &[0])
    });
    let other = other.await.unwrap();
    write(&store, &other, 1, 1).await.unwrap();
    // The flush that the full table is due for makes room.
    drop(turn);
    store.flush(table.id).await.unwrap();
    write(&store, &table, 3, 1).await.unwrap();
    assert_eq!(store.usage(&table, Some(UserNo(1))).await.unwrap().cold_rows, 2, "what was refused left nothing");
    store.close().await.unwrap();
}

#[tokio::test]
async fn writers_go_on_as_soon_as_a_crowded_hot_tier_has_been_flushed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, table) = open(&dir, 4 << 20).await;
    // None of these flushes would be due by the table's own settings.
    for key in 0..20 {
        while write(&store, &table, key, 1 << 20).await.is_err() {}
        assert!(store.tables.load(table.id).bytes < 6 << 20);
    }
    store.close().await.unwrap();
}
