//! Which rows of a write set lie in chunks.

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::DataType,
};

use super::WriteSet;
use crate::{
    KeyRows, Result, TableKind,
    hot::{
        chunk::{self, At, Chunks, MOST_ROW_BYTES},
        committer::Chunk,
        value::{self, Encoder, Layout, Rows},
    },
    store::Ids,
};

/// Bytes of the longest text of a row in a chunk: readers reckon with what rows have on the average.
const LONGEST_VALUE: usize = 16 << 10;

impl WriteSet {
    /// What makes values of these rows. Where they are many, their columns are put into chunks right away. `keys`: theirs,
    /// unless they get ids in the order in which they come.
    pub(super) fn encoder<'a>(
        &mut self,
        layout: &'a Layout,
        keys: Option<&KeyRows>,
        rows: &RecordBatch,
    ) -> Result<Encoder<'a>> {
        if !self.is_chunked(keys, rows) {
            return Ok(Encoder::Apart(Rows::new(layout, rows)?));
        }
        let first = self.chunks.len() as u64;
        for slice in slices(rows, self.chunk_rows) {
            self.chunks.push(chunk::encode(&slice)?);
        }
        Ok(Encoder::InChunks { schema_version: layout.schema_version, first, rows: self.chunk_rows })
    }

    /// Rows of stream tables go one by one, and would leave their chunks behind. Wide rows gain nothing by being beside
    /// each other, and whoever wants one would read them all. Rows in no order of their keys mostly come in many writes
    /// whose keys lie between each other's: readers, who go by the keys, would turn to another chunk with each row.
    fn is_chunked(&self, keys: Option<&KeyRows>, rows: &RecordBatch) -> bool {
        self.table.kind != TableKind::Stream
            && rows.num_rows() >= self.chunk_rows
            && keys.is_none_or(|keys| (1..keys.len()).all(|i| keys.row(i - 1) <= keys.row(i)))
            && slices(rows, self.chunk_rows).all(|slice| {
                let sizes = slice.columns().iter().map(|column| column.to_data().get_slice_memory_size().ok());
                let bytes = sizes.sum::<Option<usize>>();
                let is_narrow = |column: &ArrayRef| longest(column) <= LONGEST_VALUE;
                bytes.is_some_and(|bytes| bytes <= slice.num_rows().saturating_mul(MOST_ROW_BYTES))
                    && slice.columns().iter().all(is_narrow)
            })
    }

    /// The chunks with numbers that no other will have. The rows learn them.
    pub(super) fn take_chunks(&mut self, ids: &Ids) -> Vec<Chunk> {
        if self.chunks.is_empty() {
            return Vec::new();
        }
        let first = ids.reserve(self.chunks.len());
        for entry in &self.entries {
            let [_, middle, end] = entry.place;
            let row = &mut self.bytes[middle..end];
            if let Some(chunk) = value::chunk(row) {
                value::set_chunk(row, first + chunk);
            }
        }
        let numbered = (first..).zip(std::mem::take(&mut self.chunks));
        numbered.map(|(number, value)| Chunk { number, value: value.into() }).collect()
    }
}

/// The set's own chunks, before they have their numbers.
impl Chunks for WriteSet {
    fn with(&self, at: At, read: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let value = usize::try_from(at.chunk).ok().and_then(|at| self.chunks.get(at));
        read(value.ok_or_else(|| chunk::missing(at))?)
    }
}

/// Bytes of the longest value of a column of texts or bytes.
fn longest(column: &ArrayRef) -> usize {
    let small = |ends: &[i32]| ends.windows(2).map(|pair| (pair[1] - pair[0]).unsigned_abs() as usize).max();
    let large = |ends: &[i64]| ends.windows(2).map(|pair| (pair[1] - pair[0]).unsigned_abs() as usize).max();
    let longest = match column.data_type() {
        DataType::Utf8 => small(column.as_string::<i32>().offsets()),
        DataType::Binary => small(column.as_binary::<i32>().offsets()),
        DataType::LargeUtf8 => large(column.as_string::<i64>().offsets()),
        DataType::LargeBinary => large(column.as_binary::<i64>().offsets()),
        _ => None,
    };
    longest.unwrap_or(0)
}

fn slices(rows: &RecordBatch, size: usize) -> impl Iterator<Item = RecordBatch> {
    (0..rows.num_rows()).step_by(size).map(move |from| rows.slice(from, size.min(rows.num_rows() - from)))
}

#[cfg(test)]
mod tests;
