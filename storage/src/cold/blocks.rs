//! Checksums of a Parquet file: whatever is read of it, is what was written.
//!
//! A file is a body (its row groups) and a tail (user index, checksums, page indexes, footer). The body's checksums are
//! here, one crc32 (u32 big-endian) for each [`BLOCK`] bytes, and lie in the tail; the tail's own checksum is in the
//! manifest. Parquet would allow for one a page, but the crate writes none, and a page can be megabytes: so a read is
//! widened to whole blocks, checked, and cut.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use crc32fast::Hasher;
use object_store::{ObjectStore, path::Path};

use crate::{Error, ErrorKind};

/// A block's size in bytes. It is part of the format.
pub(crate) const BLOCK: u64 = 64 << 10;

/// Name of the store in errors that wrap ours for the way through object_store's interface.
const STORE: &str = "cold tier";

/// Where a file's tail begins, and its checksum.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Tail {
    pub(crate) offset: u64,
    pub(crate) crc: u32,
}

/// Makes the checksums while the body is written.
#[derive(Default)]
pub(super) struct Builder {
    crcs: Vec<u8>,
    open: Hasher,
    filled: usize,
}

impl Builder {
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(BLOCK as usize - self.filled));
            self.open.update(now);
            self.filled += now.len();
            bytes = rest;
            if self.filled == BLOCK as usize {
                self.close();
            }
        }
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.filled > 0 {
            self.close();
        }
        self.crcs
    }

    fn close(&mut self) {
        self.crcs.extend(std::mem::take(&mut self.open).finalize().to_be_bytes());
        self.filled = 0;
    }
}

/// The checksums of one file's body.
#[derive(Debug)]
pub(super) struct Blocks {
    crcs: Bytes,
    body: u64,
}

impl Blocks {
    /// `None`: the number of checksums does not fit the body's size.
    pub(super) fn new(crcs: Bytes, body: u64) -> Option<Self> {
        (crcs.len() as u64 == body.div_ceil(BLOCK) * 4).then_some(Self { crcs, body })
    }

    pub(super) fn body(&self) -> u64 {
        self.body
    }

    /// The whole blocks that a range of the body touches.
    fn cover(&self, range: &Range<u64>) -> Range<u64> {
        let start = range.start / BLOCK * BLOCK;
        start..range.end.div_ceil(BLOCK).saturating_mul(BLOCK).min(self.body).max(start)
    }

    /// Offsets of the damaged blocks among `bytes`, which begin at `start` and hold whole blocks.
    pub(super) fn damaged(&self, start: u64, bytes: &[u8]) -> impl Iterator<Item = u64> {
        let offsets = (start..).step_by(BLOCK as usize);
        let blocks = offsets.zip(bytes.chunks(BLOCK as usize));
        blocks.filter(|(offset, block)| self.crc(*offset) != Some(crc32fast::hash(block))).map(|(offset, _)| offset)
    }

    fn crc(&self, offset: u64) -> Option<u32> {
        let at = usize::try_from(offset / BLOCK * 4).ok()?;
        Some(u32::from_be_bytes(*self.crcs.get(at..)?.first_chunk()?))
    }

    /// Ranges of the body, checked. Damage comes as an error of ours inside one of object_store's.
    pub(super) async fn read(
        &self,
        store: &Arc<dyn ObjectStore>,
        path: &Path,
        ranges: &[Range<u64>],
    ) -> object_store::Result<Vec<Bytes>> {
        if let Some(range) = ranges.iter().find(|range| range.end > self.body || range.start > range.end) {
            let message = format!("{path}: bytes {range:?} lie outside of the file's body");
            return Err(in_store(Error::new(ErrorKind::DataLoss, message)));
        }
        let whole = merged(ranges.iter().map(|range| self.cover(range)).collect());
        let read = store.get_ranges(path, &whole).await?;
        for (range, bytes) in whole.iter().zip(&read) {
            if bytes.len() as u64 != range.end - range.start {
                return Err(in_store(damage(path, range.start, "is cut short")));
            }
            if let Some(offset) = self.damaged(range.start, bytes).next() {
                return Err(in_store(damage(path, offset, "fails its checksum")));
            }
        }
        let cut = |range: &Range<u64>| {
            if range.is_empty() {
                return Some(Bytes::new());
            }
            let at = whole.partition_point(|whole| whole.end < range.end);
            let (whole, bytes) = (whole.get(at)?, read.get(at)?);
            let start = usize::try_from(range.start.checked_sub(whole.start)?).ok()?;
            let end = start + usize::try_from(range.end - range.start).ok()?;
            (end <= bytes.len()).then(|| bytes.slice(start..end))
        };
        let cuts: Option<Vec<_>> = ranges.iter().map(cut).collect();
        cuts.ok_or_else(|| in_store(Error::new(ErrorKind::Internal, format!("{path}: a range was not read"))))
    }
}

/// Sorted, and those that touch joined.
fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// What is said of damage: the file and the place, nothing of what is stored there.
pub(super) fn damage(path: &Path, offset: u64, how: &str) -> Error {
    let message = format!(
        "{path}: the block at byte {offset} {how}; the rows in it are lost unless a backup has them (insula check lists all damage)"
    );
    Error::new(ErrorKind::DataLoss, message)
}

/// An error of ours on its way through object_store's interface.
pub(super) fn in_store(error: Error) -> object_store::Error {
    object_store::Error::Generic { store: STORE, source: Box::new(error) }
}

#[cfg(test)]
mod tests;
