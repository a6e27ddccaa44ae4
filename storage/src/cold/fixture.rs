//! Small tables and files for the tests of the cold tier.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array},
    datatypes::{DataType, Field},
};
use insula_proto::{ColumnId, TableId, UserNo};
use uuid::Uuid;

use super::{
    ColdFile, ColdTier, layout,
    open_file::{self, OpenFile},
    writer::FileWriter,
};
use crate::{ColdSlice, ColumnDef, KeyCodec, Result, TableDef, TableKind, TableOptions};

pub(super) fn table(columns: &[(&str, DataType, bool)], key: &[usize]) -> TableDef {
    let columns = columns.iter().zip(1..).map(|((name, data_type, nullable), id)| ColumnDef {
        id: ColumnId(id),
        field: Arc::new(Field::new(*name, data_type.clone(), *nullable)),
        default: None,
        initial: None,
    });
    let columns: Vec<_> = columns.collect();
    TableDef {
        id: TableId(7),
        namespace: "public".into(),
        name: "t".into(),
        kind: TableKind::User,
        next_column_id: columns.len() as u32 + 1,
        columns,
        key: key.to_vec(),
        checks: Vec::new(),
        options: TableOptions::default(),
        schema_version: 1,
        created_micros: 0,
        older: Default::default(),
    }
}

/// `note` text, `id` bigint primary key: the key is in the second column.
pub(crate) fn notes() -> TableDef {
    table(&[("note", DataType::Utf8, true), ("id", DataType::Int64, false)], &[1])
}

/// Rows of any table: per row the user and whether it is deleted, and the declared columns.
pub(crate) fn rows(table: &TableDef, owners: &[(u64, bool)], declared: Vec<ArrayRef>) -> RecordBatch {
    let seqs = Int64Array::from_iter_values(100..100 + owners.len() as i64);
    let updated = TimestampMicrosecondArray::from(vec![1_000_000; owners.len()]).with_timezone("UTC");
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from_iter_values(owners.iter().map(|owner| owner.0))),
        Arc::new(seqs),
        Arc::new(updated),
        Arc::new(BooleanArray::from_iter(owners.iter().map(|owner| Some(owner.1)))),
    ];
    columns.extend(declared);
    RecordBatch::try_new(table.stored_schema(), columns).unwrap()
}

/// Rows of [`notes`]: user, id, deleted.
pub(crate) fn note_rows(of: &[(u64, i64, bool)]) -> RecordBatch {
    let owners: Vec<_> = of.iter().map(|(user, _, deleted)| (*user, *deleted)).collect();
    let texts = StringArray::from_iter_values(of.iter().map(|(user, id, _)| format!("{user}/{id}")));
    let ids = Int64Array::from_iter_values(of.iter().map(|row| row.1));
    rows(&notes(), &owners, vec![Arc::new(texts), Arc::new(ids)])
}

pub(crate) fn keys_of(table: &TableDef, rows: &RecordBatch) -> Vec<Vec<u8>> {
    let columns: Vec<_> = table.stored_key().iter().map(|column| Arc::clone(rows.column(*column))).collect();
    let keys = KeyCodec::new(table).unwrap().encode(&columns).unwrap();
    (0..keys.len()).map(|i| keys.row(i).to_vec()).collect()
}

/// Keys of [`notes`].
pub(super) fn note_key(id: i64) -> Vec<u8> {
    keys_of(&notes(), &note_rows(&[(1, id, false)])).remove(0)
}

pub(super) async fn write(cold: &ColdTier, table: &TableDef, batches: &[RecordBatch]) -> ColdFile {
    let keyed: Vec<_> = batches.iter().map(|batch| (batch.clone(), keys_of(table, batch))).collect();
    write_keyed(cold, table, &keyed).await
}

/// As [`write`], with the keys that the user index is to be made of.
pub(super) async fn write_keyed(
    cold: &ColdTier,
    table: &TableDef,
    batches: &[(RecordBatch, Vec<Vec<u8>>)],
) -> ColdFile {
    let mut writer = FileWriter::new(table).unwrap();
    let id = Uuid::now_v7();
    let mut upload = cold.upload(layout::file_path(table.id, id));
    for (batch, keys) in batches {
        writer.write(table, batch, keys.iter().map(Vec::as_slice)).unwrap();
        upload.write(writer.take().into()).await.unwrap();
    }
    let (rest, summary) = writer.finish(table).unwrap();
    upload.write(rest.into()).await.unwrap();
    ColdFile {
        id,
        bytes: upload.finish().await.unwrap(),
        rows: summary.rows,
        deleted_rows: summary.deleted_rows,
        users: summary.users,
        keys: summary.keys,
        seqs: summary.seqs,
        level: 0,
        schema_version: 1,
        deletion_vector: None,
        created_micros: 0,
        stamp: None,
        tail: summary.tail,
        oldest_deleted_micros: summary.oldest_deleted_micros,
    }
}

pub(super) fn memory() -> ColdTier {
    ColdTier::open(Some("memory://"), std::path::Path::new("/nowhere"), &crate::StoreMemory::default()).unwrap()
}

/// All rows of a file, under their stored types.
pub(super) async fn read(cold: &ColdTier, table: &TableDef, file: &ColdFile) -> RecordBatch {
    let whole = std::iter::once(0..file.rows).collect::<Vec<_>>();
    let open = cold.open_file(table.id, file).await.unwrap();
    rows_in(&open, table, &whole).await.unwrap()
}

/// The rows of a slice, under their stored types.
pub(crate) async fn rows_of(cold: &ColdTier, table: &TableDef, slice: &ColdSlice) -> RecordBatch {
    try_rows_of(cold, table, slice).await.unwrap()
}

/// The same, from a store that may fail.
pub(crate) async fn try_rows_of(cold: &ColdTier, table: &TableDef, slice: &ColdSlice) -> Result<RecordBatch> {
    let id = layout::file_id(&slice.path).unwrap();
    let open = cold.files.get(id, &slice.path).await?;
    rows_in(&open, table, &slice.ranges).await
}

async fn rows_in(open: &OpenFile, table: &TableDef, ranges: &[Range<u64>]) -> Result<RecordBatch> {
    use futures::TryStreamExt;
    let stored = table.stored_schema();
    let names: Vec<String> = stored.fields().iter().map(|field| field.name().clone()).collect();
    let path = object_store::path::Path::from("the file");
    let batches = open.read(&names, ranges)?.try_collect::<Vec<_>>().await;
    let batches = batches.map_err(|error| open_file::read_error(&path, error))?;
    let batches: Vec<_> = batches.iter().map(|batch| crate::table::conform(table, batch, &stored).unwrap()).collect();
    Ok(arrow::compute::concat_batches(&stored, &batches).unwrap())
}

/// The columns that lie in a file, by their stored names.
pub(crate) async fn column_names(cold: &ColdTier, table: &TableDef, file: &ColdFile) -> Vec<String> {
    let path = layout::file_path(table.id, file.id);
    let open = OpenFile::load(cold.objects.store(), path, file.bytes, file.tail).await.unwrap();
    open.metadata().schema().fields().iter().map(|field| field.name().clone()).collect()
}

pub(super) const ALICE: UserNo = UserNo(1);
pub(super) const BOB: UserNo = UserNo(2);
