//! One user's rows in one Parquet file, as a scan is to read them.

use std::{ops::Range, sync::Arc};

use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use roaring::RoaringBitmap;
use uuid::Uuid;

use crate::{
    Bits,
    cold::{Shadowed, Stamp},
};

/// Rows that a range must have on average, or it is cheaper to read the holes too and drop their rows afterwards.
const ROWS_A_RANGE: u64 = 128;

#[derive(Clone, Debug)]
pub struct ColdSlice {
    pub id: Uuid,
    /// Path in [`crate::Store::objects`].
    pub path: object_store::path::Path,
    pub file_bytes: u64,
    pub file_rows: u64,
    /// Ascending, disjoint row ranges of the user that live in no newer version.
    pub ranges: Vec<Range<u64>>,
    /// The same with the rows that a deletion vector names.
    pub whole: Vec<Range<u64>>,
    pub replaced: Arc<RoaringBitmap>,
    /// Memcomparable bytes of the user's smallest and largest key in the file.
    pub key_bounds: (Vec<u8>, Vec<u8>),
    /// The rows at both bounds are in `ranges`; else the user's smallest and largest key lie within the bounds.
    pub bounds_live: bool,
    /// False: no row of the file is soft-deleted.
    pub has_deleted: bool,
    /// Present: `_seq` and `_updated` of every row, whatever the file's own columns say.
    pub stamp: Option<Stamp>,
    /// Footer, page index and Arrow schema of the file, parsed once for all its readers. It tells of all users' rows:
    /// for pruning only, never for what a statement may show.
    pub footer: ArrowReaderMetadata,
}

impl ColdSlice {
    pub fn rows(&self) -> u64 {
        self.ranges.iter().map(|r| r.end - r.start).sum()
    }

    /// Whether the deletion vector leaves so many small ranges that skipping between them costs more than it saves.
    pub fn is_riddled(&self) -> bool {
        let holes = self.ranges.len().saturating_sub(self.whole.len()) as u64;
        holes * ROWS_A_RANGE > self.rows()
    }

    /// The rows of `whole` that are not to be seen: those in the deletion vector, and the shadowed ones.
    pub fn hidden(&self, shadowed: Option<&Shadowed>) -> Arc<Bits> {
        let (first, last) = (self.whole.first().map_or(0, |r| r.start), self.whole.last().map_or(0, |r| r.end));
        let bound = |row: u64| u32::try_from(row).unwrap_or(u32::MAX);
        let mut replaced = self.replaced.range(bound(first)..bound(last)).map(u64::from).peekable();
        let shadowed = shadowed.and_then(|shadowed| shadowed.of(self.id));
        if let (Some(shadowed), None) = (shadowed, replaced.peek()) {
            return Arc::clone(shadowed);
        }
        let mut hidden = shadowed.map_or_else(|| Bits::between(first, last), |shadowed| Bits::clone(shadowed));
        replaced.for_each(|row| hidden.insert(row));
        Arc::new(hidden)
    }
}
