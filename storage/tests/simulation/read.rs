//! Reads a user's rows from both tiers in the plainest way: every cold row, minus those that a hot one shadows.
//!
//! It is written against the description of the files, not with the store's own mapping of old schema versions, so that
//! the two check each other.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Int32Type, Int64Type, TimestampMicrosecondType, UInt64Type},
};
use insula_proto::UserNo;
use insula_storage::{ColdSlice, KeyCodec, ReadView, Store, TableDef, table};
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection};

use super::model::{Found, Key};

/// Values that rows from before a column's time have in it, by column id.
pub type Initial = BTreeMap<u32, Option<i64>>;

pub async fn rows(
    store: &Arc<Store>,
    view: &Arc<ReadView>,
    table: &Arc<TableDef>,
    user: u64,
    initial: &Initial,
) -> insula_storage::Result<Found> {
    let slice = view.slice(table, UserNo(user))?;
    let codec = KeyCodec::new(table)?;
    let hot = slice.hot_keys()?;
    let mut found = Found::new();
    for cold in slice.cold().await? {
        for batch in file_rows(store, &cold).await {
            let key: Vec<ArrayRef> = key_columns(table, &batch);
            let keys = codec.encode(&key)?;
            let rows = of_batch(table, user, &batch, cold.stamp, initial);
            assert_eq!(rows.len(), keys.len());
            for (i, (key, row)) in rows.into_iter().enumerate() {
                let bounds = (cold.key_bounds.0.as_slice(), cold.key_bounds.1.as_slice());
                assert!(bounds.0 <= keys.row(i) && keys.row(i) <= bounds.1, "a key is outside the file's bounds");
                assert!(cold.has_deleted || !row.1, "a deleted row in a file that says it has none");
                if !hot.contains(keys.row(i)) {
                    let twice = found.insert(key, row);
                    assert!(twice.is_none(), "two cold versions of a key live: {twice:?}");
                }
            }
        }
    }
    let all: Vec<usize> = (0..table.stored_schema().fields().len()).collect();
    for batch in slice.hot(&all, 5, true)? {
        for (key, row) in of_batch(table, user, &batch?, None, initial) {
            assert!(found.insert(key, row).is_none(), "a hot row does not shadow its cold version");
        }
    }
    Ok(found)
}

async fn file_rows(store: &Arc<Store>, cold: &ColdSlice) -> Vec<RecordBatch> {
    let file = store.objects().get(&cold.path).await.unwrap().bytes().await.unwrap();
    assert_eq!(file.len() as u64, cold.file_bytes);
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let ranges = cold.ranges.iter().map(|r| r.start as usize..r.end as usize);
    let selection = RowSelection::from_consecutive_ranges(ranges, cold.file_rows as usize);
    let batches: Vec<_> = builder.with_row_selection(selection).build().unwrap().map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>(), cold.rows());
    batches
}

/// By name: an old file has its columns in another order, or not at all.
fn column<'a>(batch: &'a RecordBatch, name: &str) -> &'a ArrayRef {
    batch.column_by_name(name).unwrap_or_else(|| panic!("column {name} is missing"))
}

fn key_columns(table: &TableDef, batch: &RecordBatch) -> Vec<ArrayRef> {
    let of_key = table.key.iter().map(|i| format!("c{}", table.columns[*i].id));
    of_key.map(|name| Arc::clone(column(batch, &name))).collect()
}

type Read = (BTreeMap<u32, Option<i64>>, bool, i64, i64);

fn of_batch(
    table: &TableDef,
    user: u64,
    batch: &RecordBatch,
    stamp: Option<insula_storage::Stamp>,
    initial: &Initial,
) -> Vec<(Key, Read)> {
    let users = column(batch, table::USER_NO).as_primitive::<UInt64Type>();
    assert!(users.values().iter().all(|no| *no == user), "a foreign row");
    let seqs = column(batch, table::SEQ).as_primitive::<Int64Type>();
    let updated = column(batch, table::UPDATED).as_primitive::<TimestampMicrosecondType>();
    let deleted = column(batch, table::DELETED).as_boolean();
    let key = key_columns(table, batch);
    let (texts, numbers) = (key[0].as_string::<i32>(), key[1].as_primitive::<Int32Type>());
    let declared: Vec<(u32, Option<ArrayRef>)> = table
        .columns
        .iter()
        .enumerate()
        .filter(|(i, _)| !table.key.contains(i))
        .map(|(_, c)| {
            let there = batch.column_by_name(&format!("c{}", c.id));
            (c.id.0, there.map(|array| cast(array, &DataType::Int64).unwrap()))
        })
        .collect();
    let value = |(id, array): &(u32, Option<ArrayRef>), i: usize| match array {
        None => (*id, initial.get(id).copied().flatten()),
        Some(array) => {
            let array = array.as_primitive::<Int64Type>();
            (*id, array.is_valid(i).then(|| array.value(i)))
        }
    };
    let row = |i: usize| {
        let values = declared.iter().map(|column| value(column, i)).collect();
        let (seq, updated) = match stamp {
            Some(stamp) => (stamp.seq.0 as i64, stamp.updated_micros),
            None => (seqs.value(i), updated.value(i)),
        };
        assert!(seq > 0, "a row without a sequence number");
        ((texts.value(i).to_owned(), numbers.value(i)), (values, deleted.value(i), seq, updated))
    };
    (0..batch.num_rows()).map(row).collect()
}
