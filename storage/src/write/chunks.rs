//! Which rows of a write set lie in chunks.

use arrow::{
    array::{Array, RecordBatch, UInt32Array},
    compute::take_record_batch,
};

use super::WriteSet;
use crate::{
    Error, ErrorKind, KeyRows, Result, TableKind,
    hot::{
        chunk::{self, At, Chunks, MOST_ROW_BYTES},
        committer::Chunk,
        value::{self, Encoder, Layout, Rows},
    },
    store::Ids,
};

impl WriteSet {
    /// What makes values of these rows. Where they are many, their columns are put into chunks right away.
    pub(super) fn encoder<'a>(&mut self, layout: &'a Layout, rows: &RecordBatch) -> Result<Encoder<'a>> {
        if !self.is_chunked(rows) {
            return Ok(Encoder::Apart(Rows::new(layout, rows)?));
        }
        let first = self.chunks.len() as u64;
        for slice in slices(rows, self.chunk_rows) {
            self.chunks.push(chunk::encode(&slice)?);
        }
        Ok(Encoder::InChunks { schema_version: layout.schema_version, first, rows: self.chunk_rows })
    }

    /// Rows of chunks in the order of their keys, so that readers, who go by it, find them side by side. Of equal keys
    /// the order stays.
    pub(super) fn in_order(&self, keys: KeyRows, rows: &RecordBatch) -> Result<(KeyRows, RecordBatch)> {
        if (1..keys.len()).all(|i| keys.row(i - 1) <= keys.row(i)) || !self.is_chunked(rows) {
            return Ok((keys, rows.clone()));
        }
        let count =
            u32::try_from(keys.len()).map_err(|_| Error::new(ErrorKind::Invalid, "a batch has too many rows"))?;
        let mut order: Vec<u32> = (0..count).collect();
        order.sort_by(|a, b| keys.row(*a as usize).cmp(keys.row(*b as usize)));
        let mut sorted = KeyRows::default();
        order.iter().for_each(|at| sorted.push(keys.row(*at as usize)));
        let rows = take_record_batch(rows, &UInt32Array::from(order))
            .map_err(|e| Error::new(ErrorKind::Internal, "rows cannot be sorted by their keys").with_source(e))?;
        Ok((sorted, rows))
    }

    /// Rows of stream tables go one by one, and would leave their chunks behind. Wide rows gain nothing by being beside
    /// each other, and whoever wants one would read them all.
    fn is_chunked(&self, rows: &RecordBatch) -> bool {
        self.table.kind != TableKind::Stream
            && rows.num_rows() >= self.chunk_rows
            && slices(rows, self.chunk_rows).all(|slice| {
                let sizes = slice.columns().iter().map(|column| column.to_data().get_slice_memory_size().ok());
                let bytes = sizes.sum::<Option<usize>>();
                bytes.is_some_and(|bytes| bytes <= slice.num_rows().saturating_mul(MOST_ROW_BYTES))
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

fn slices(rows: &RecordBatch, size: usize) -> impl Iterator<Item = RecordBatch> {
    (0..rows.num_rows()).step_by(size).map(move |from| rows.slice(from, size.min(rows.num_rows() - from)))
}

#[cfg(test)]
mod tests;
