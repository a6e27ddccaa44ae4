//! Rows that lie in one chunk.

use arrow::{
    array::{RecordBatch, UInt32Array},
    compute::take_record_batch,
};

use super::{batch, damaged, part::Part};
use crate::{
    Error, ErrorKind, Result, TableDef,
    hot::chunk::{self, At, Chunks},
};

/// What a row counts as before it is read: the most that rows of chunks have on the average.
pub(super) const ROW_BYTES: usize = chunk::MOST_ROW_BYTES;

pub(super) struct InChunk {
    pub at: At,
    /// The part of the rows' version.
    pub part: usize,
    rows: Vec<u32>,
}

impl InChunk {
    pub fn new(at: At, part: usize) -> Self {
        Self { at, part, rows: Vec::new() }
    }

    pub fn memory(&self) -> usize {
        self.rows.len() * (ROW_BYTES + size_of::<u32>())
    }

    /// Adds a row; returns which one of them it is.
    pub fn push(&mut self, row: u32) -> usize {
        self.rows.push(row);
        self.rows.len() - 1
    }

    /// The rows that were added, and no other's bytes: what is kept of them is not to keep the chunk.
    pub fn read(&self, table: &TableDef, part: &Part, chunks: &dyn Chunks) -> Result<RecordBatch> {
        if part.slots.is_empty() {
            return batch(&part.schema, Vec::new(), self.rows.len());
        }
        let schema = part.whole(table);
        let mut whole = None;
        chunks.with(self.at, &mut |value| {
            whole = Some(chunk::decode(value, &schema, &part.slots)?);
            Ok(())
        })?;
        let whole = whole.ok_or_else(|| chunk::missing(self.at))?;
        if self.rows.iter().any(|row| *row as usize >= whole.num_rows()) {
            return Err(Error::new(ErrorKind::DataLoss, "a row of the hot tier lies behind the end of its chunk"));
        }
        let rows = self.pick(&whole)?;
        batch(&part.schema, rows.columns().to_vec(), self.rows.len())
    }

    fn pick(&self, whole: &RecordBatch) -> Result<RecordBatch> {
        let (first, count) = (self.rows.first().map_or(0, |row| *row as usize), self.rows.len());
        let side_by_side = self.rows.windows(2).all(|pair| pair[0].checked_add(1) == Some(pair[1]));
        if side_by_side && count * 2 >= whole.num_rows() {
            return Ok(whole.slice(first, count));
        }
        take_record_batch(whole, &UInt32Array::from(self.rows.clone())).map_err(damaged)
    }
}
