//! Cold rows by single keys: what a point read asks.
//!
//! The user index says in which block of rows a key must be. A block is decoded once, in all columns, and remembered as
//! one user's under one version of the table; a key of it is then found by a search in memory. Whether a row is still
//! live is never remembered: the deletion vector of the reader's own manifest says so.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, new_empty_array},
    compute::{concat_batches, interleave_record_batch},
    datatypes::UInt64Type,
};
use futures::TryStreamExt;
use insula_proto::UserNo;
use uuid::Uuid;

use super::{ColdFile, ColdTier, rows::to_stored};
use crate::{Error, ErrorKind, KeyCodec, KeyRows, Result, TableDef, TableSlice};

/// Of the stored schema.
const USER_NO: usize = 0;
const DELETED: usize = 3;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Place {
    file: Uuid,
    user: UserNo,
    first: u64,
    schema_version: u32,
}

/// Rows of one user, under the stored schema, and their keys.
pub(super) struct Block {
    rows: RecordBatch,
    keys: KeyRows,
}

impl Block {
    fn memory(&self) -> usize {
        self.rows.get_array_memory_size() + self.keys.memory()
    }

    fn find(&self, key: &[u8]) -> Option<usize> {
        let at = self.keys.partition_point(|own| own < key);
        (at < self.keys.len() && self.keys.row(at) == key).then_some(at)
    }
}

impl TableSlice {
    /// The live cold rows with these keys, in the columns `projection` of the stored schema. With `deleted` false,
    /// soft-deleted rows are left out. For few keys: each may cost a block of rows.
    pub async fn cold_keys(&self, wanted: &KeyRows, projection: &[usize], deleted: bool) -> Result<RecordBatch> {
        let (mut blocks, mut picked) = (Vec::new(), Vec::new());
        for file in self.manifest().files.iter().filter(|file| file.spans(self.user())) {
            for (block, row) in self.cold_tier().find_keys(self.table(), file, self.user(), wanted).await? {
                if deleted || !block.rows.column(DELETED).as_boolean().value(row) {
                    picked.push((blocks.len(), row));
                    blocks.push(block);
                }
            }
        }
        let cannot_gather =
            |error| Error::new(ErrorKind::Internal, "rows of single keys cannot be gathered").with_source(error);
        let parts = blocks.iter().map(|block| block.rows.project(projection));
        let parts: Vec<_> = parts.collect::<Result<_, _>>().map_err(cannot_gather)?;
        match (parts.as_slice(), picked.as_slice()) {
            ([], _) => {
                let schema = self.table().stored_schema().project(projection).map_err(cannot_gather)?;
                Ok(RecordBatch::new_empty(Arc::new(schema)))
            }
            ([part], [(_, row)]) => Ok(part.slice(*row, 1)),
            _ => interleave_record_batch(&parts.iter().collect::<Vec<_>>(), &picked).map_err(cannot_gather),
        }
    }
}

impl TableSlice {
    /// The same of the first of `keys` alone, as columns of one row or of none.
    pub(crate) async fn cold_row(&self, keys: &KeyRows, projection: &[usize], deleted: bool) -> Result<Vec<ArrayRef>> {
        // A key has one live cold version. What changes is in the newest files, which come last.
        for file in self.manifest().files.iter().rev().filter(|file| file.spans(self.user())) {
            let found = self.cold_tier().find_keys(self.table(), file, self.user(), keys).await?;
            if let Some((block, row)) = found.into_iter().next() {
                let shown = usize::from(deleted || !block.rows.column(DELETED).as_boolean().value(row));
                return Ok(projection.iter().map(|column| block.rows.column(*column).slice(row, shown)).collect());
            }
        }
        let schema = self.table().stored_schema();
        Ok(projection.iter().map(|column| new_empty_array(schema.field(*column).data_type())).collect())
    }
}

impl ColdTier {
    /// The wanted keys that live in `file`: each as a row of a block.
    async fn find_keys(
        &self,
        table: &Arc<TableDef>,
        file: &ColdFile,
        user: UserNo,
        wanted: &KeyRows,
    ) -> Result<Vec<(Arc<Block>, usize)>> {
        let open = self.open_file(table.id, file).await?;
        let Some(entry) = open.users.get(user)? else { return Ok(Vec::new()) };
        let replaced = self.vector(table.id, file).await?;
        let mut found = Vec::new();
        for key in wanted.iter() {
            let Some(rows) = entry.block_of(key) else { continue };
            #[cfg(test)]
            let rows = tests::misread(rows, file.rows);
            let block = self.block(table, file, user, rows.clone()).await?;
            let live = |at: &usize| !u32::try_from(rows.start + *at as u64).is_ok_and(|row| replaced.contains(row));
            found.extend(block.find(key).filter(live).map(|at| (block, at)));
        }
        Ok(found)
    }

    async fn block(
        &self,
        table: &Arc<TableDef>,
        file: &ColdFile,
        user: UserNo,
        rows: Range<u64>,
    ) -> Result<Arc<Block>> {
        let place = Place { file: file.id, user, first: rows.start, schema_version: table.schema_version };
        if let Some(block) = self.blocks.get(&place) {
            return Ok(block);
        }
        let open = self.open_file(table.id, file).await?;
        let schema = table.stored_schema();
        let columns: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let read = open.read(&columns, std::slice::from_ref(&rows))?;
        let batches: Vec<RecordBatch> = read.try_collect().await.map_err(|error| open.read_error(error))?;
        let first = batches.first().map_or_else(|| Arc::clone(&schema), RecordBatch::schema);
        let lost = |what: &str| Error::new(ErrorKind::DataLoss, format!("{}: {what}", open.path()));
        let decoded = concat_batches(&first, &batches).map_err(|e| lost("rows do not fit together").with_source(e))?;
        if decoded.num_rows() as u64 != rows.end - rows.start {
            return Err(lost("a block of rows is cut short"));
        }
        let rows = to_stored(table, file, &decoded)?;
        drop((batches, decoded));
        let rows = shrunk(rows)?;
        guard(&rows, user)?;
        let key: Vec<_> = table.stored_key().into_iter().map(|column| Arc::clone(rows.column(column))).collect();
        let block = Arc::new(Block { keys: KeyCodec::new(table)?.encode(&key)?, rows });
        self.blocks.insert(place, Arc::clone(&block), block.memory());
        Ok(block)
    }
}

/// The rows in buffers that are as large as they are: Parquet decodes into larger ones. Only buffers that nobody else holds
/// become smaller.
fn shrunk(rows: RecordBatch) -> Result<RecordBatch> {
    let (schema, mut columns, count) = rows.into_parts();
    columns.iter_mut().for_each(ArrayRef::shrink_to_fit);
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    RecordBatch::try_new_with_options(schema, columns, &options)
        .map_err(|error| Error::new(ErrorKind::Internal, "a block's columns are not its own").with_source(error))
}

/// Nothing is remembered as a user's that is not theirs.
fn guard(rows: &RecordBatch, user: UserNo) -> Result<()> {
    let owners = rows.column(USER_NO).as_primitive::<UInt64Type>();
    if owners.null_count() == 0 && owners.values().iter().all(|owner| *owner == user.0) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Internal, "a look-up in the cold tier met a row that is not its user's"))
}

#[cfg(test)]
mod tests;
