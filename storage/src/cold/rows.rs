//! All live rows of one file, or some by their place, in bounded memory however large the file: for compaction, the
//! one reader that crosses users.
//!
//! The file is read in windows of rows, each a selection of its own, so that only the pages of one window are in
//! memory and not a whole row group of every input.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray},
    datatypes::UInt64Type,
};
use futures::TryStreamExt;
use insula_proto::UserNo;
use parquet::arrow::async_reader::ParquetRecordBatchStream;
use roaring::RoaringBitmap;

use super::{
    ColdFile, ColdTier, Stamp,
    deletion_vector::live_ranges,
    open_file::{OpenFile, Reader},
};
use crate::{
    Error, ErrorKind, KeyCodec, KeyRows, Result, TableDef,
    table::{USER_NO, conform, updated_type},
};

/// Decoded bytes of a window, as the footer counts them.
const WINDOW_BYTES: u64 = 4 << 20;
const WINDOW_ROWS: u64 = 128 << 10;

/// Which rows of a file are read.
pub(crate) enum Pick {
    /// All but those in the vector, and none of the user's.
    Live {
        replaced: Arc<RoaringBitmap>,
        without: Option<UserNo>,
    },
    Only(RoaringBitmap),
}

/// A reader's place in one file.
pub(crate) struct FileRows {
    open: Arc<OpenFile>,
    columns: Vec<String>,
    pick: Pick,
    /// Rows of the user who is left out.
    hole: Range<u64>,
    window: u64,
    next: u64,
    stream: Option<ParquetRecordBatchStream<Reader>>,
}

impl ColdTier {
    /// The named columns, which come in the order of the file.
    pub(crate) async fn rows(
        &self,
        table: &TableDef,
        file: &ColdFile,
        columns: Vec<String>,
        pick: Pick,
    ) -> Result<FileRows> {
        let open = self.open_file(table.id, file).await?;
        let hole = match &pick {
            Pick::Live { without: Some(user), .. } => open.users.get(*user)?.map(|entry| entry.rows),
            _ => None,
        };
        let window = (WINDOW_BYTES / open.row_bytes().max(1)).clamp(1, WINDOW_ROWS);
        Ok(FileRows { open, columns, pick, hole: hole.unwrap_or_default(), window, next: 0, stream: None })
    }

    /// All rows that are left of `file`, under the stored schema of `table`.
    pub(crate) async fn live_rows(
        &self,
        table: &TableDef,
        file: &ColdFile,
        replaced: Arc<RoaringBitmap>,
        without: Option<UserNo>,
    ) -> Result<FileRows> {
        let names = table.stored_schema().fields().iter().map(|field| field.name().clone()).collect();
        self.rows(table, file, names, Pick::Live { replaced, without }).await
    }

    /// Whether the file holds rows of `user`.
    pub(crate) async fn holds(&self, table: &TableDef, file: &ColdFile, user: UserNo) -> Result<bool> {
        Ok(file.spans(user) && self.open_file(table.id, file).await?.users.get(user)?.is_some())
    }
}

impl FileRows {
    /// The next few rows; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(stream) = &mut self.stream {
                match stream.try_next().await.map_err(|error| self.open.read_error(error))? {
                    Some(batch) if batch.num_rows() > 0 => return Ok(Some(batch)),
                    Some(_) => continue,
                    None => self.stream = None,
                }
            }
            let end = (self.next + self.window).min(self.open.users.rows());
            if self.next >= end {
                return Ok(None);
            }
            let ranges = self.ranges(self.next..end);
            self.next = end;
            if !ranges.is_empty() {
                self.stream = Some(self.open.read(&self.columns, &ranges)?);
            }
        }
    }

    fn ranges(&self, window: Range<u64>) -> Vec<Range<u64>> {
        match &self.pick {
            Pick::Live { replaced, .. } => {
                let before = window.start..window.end.min(self.hole.start).max(window.start);
                let after = window.start.max(self.hole.end).min(window.end)..window.end;
                let parts = if self.hole.is_empty() { vec![window] } else { vec![before, after] };
                parts.into_iter().filter(|part| !part.is_empty()).flat_map(|part| live_ranges(part, replaced)).collect()
            }
            Pick::Only(rows) => {
                let bound = |row: u64| u32::try_from(row).unwrap_or(u32::MAX);
                let rows = rows.range(bound(window.start)..bound(window.end)).map(u64::from);
                let mut ranges: Vec<Range<u64>> = Vec::new();
                for row in rows {
                    match ranges.last_mut() {
                        Some(last) if last.end == row => last.end += 1,
                        _ => ranges.push(row..row + 1),
                    }
                }
                ranges
            }
        }
    }

    /// The user at this place in the order of users, and the number of their rows, replaced ones included.
    pub(crate) fn user(&self, place: usize) -> Result<Option<(UserNo, u64)>> {
        self.open.users.count(place)
    }
}

/// Columns that say whose rows they are and under which keys.
pub(crate) fn key_columns(table: &TableDef) -> Vec<String> {
    let schema = table.stored_schema();
    let key = table.stored_key().into_iter().map(|column| schema.field(column).name().clone());
    std::iter::once(USER_NO.to_owned()).chain(key).collect()
}

/// Users and keys of rows that have at least the [`key_columns`].
pub(crate) fn users_and_keys(table: &TableDef, codec: &KeyCodec, rows: &RecordBatch) -> Result<(Vec<UserNo>, KeyRows)> {
    let missing = || Error::new(ErrorKind::DataLoss, "a cold file lacks a key column or whose its rows are");
    let column = |name: &str| rows.column_by_name(name).ok_or_else(missing);
    let names = key_columns(table);
    let users = column(USER_NO)?.as_primitive_opt::<UInt64Type>().ok_or_else(missing)?;
    let key: Vec<ArrayRef> = names[1..].iter().map(|name| column(name).cloned()).collect::<Result<_>>()?;
    Ok((users.values().iter().copied().map(UserNo).collect(), codec.encode(&key)?))
}

/// Rows as they lie in `file`, under the stored schema of `table` as it is now: the one place where the rows of an older
/// file become those of today.
pub(crate) fn to_stored(table: &TableDef, file: &ColdFile, rows: &RecordBatch) -> Result<RecordBatch> {
    let rows = conform(table, rows, &table.stored_schema())?;
    match file.stamp {
        None => Ok(rows),
        Some(stamp) => stamped(&rows, stamp),
    }
}

/// The rows with the order and time of their commit, which were not known when they were written.
fn stamped(rows: &RecordBatch, stamp: Stamp) -> Result<RecordBatch> {
    let mut columns = rows.columns().to_vec();
    let updated = TimestampMicrosecondArray::from(vec![stamp.updated_micros; rows.num_rows()]);
    columns[1] = Arc::new(Int64Array::from(vec![stamp.seq.0.cast_signed(); rows.num_rows()]));
    columns[2] = Arc::new(updated.with_data_type(updated_type()));
    RecordBatch::try_new(rows.schema(), columns)
        .map_err(|error| Error::new(ErrorKind::Internal, "a loaded file's stamp does not fit").with_source(error))
}

#[cfg(test)]
mod tests;
