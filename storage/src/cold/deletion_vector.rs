//! Which rows of one Parquet file a newer version replaces. One immutable object per file and manifest version.
//!
//! Bytes: `format u8 = 1 | file uuid 16 | cardinality u64 BE | roaring bitmap (portable format) | crc32 u32 BE` of all
//! before it. The uuid binds the object to its file: a vector read for the wrong file would hide the wrong rows.

use std::ops::Range;

use object_store::path::Path;
use roaring::RoaringBitmap;
use uuid::Uuid;

use crate::{Error, ErrorKind, Result};

const FORMAT: u8 = 1;
const HEADER: usize = 1 + 16 + 8;

pub(super) fn encode(file: Uuid, rows: &RoaringBitmap) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(HEADER + rows.serialized_size() + 4);
    bytes.push(FORMAT);
    bytes.extend(file.as_bytes());
    bytes.extend(rows.len().to_be_bytes());
    rows.serialize_into(&mut bytes)
        .map_err(|error| Error::new(ErrorKind::Internal, "cannot encode a deletion vector").with_source(error))?;
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    Ok(bytes)
}

/// `path` is for messages only.
pub(super) fn decode(path: &Path, bytes: &[u8], file: Uuid) -> Result<RoaringBitmap> {
    let lost = |what: &str| Error::new(ErrorKind::DataLoss, format!("deletion vector {path}: {what}"));
    let (body, crc) = bytes.split_last_chunk::<4>().ok_or_else(|| lost("too short"))?;
    if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
        return Err(lost("checksum mismatch"));
    }
    let (header, rows) = body.split_first_chunk::<HEADER>().ok_or_else(|| lost("too short"))?;
    if header[0] != FORMAT {
        return Err(lost(&format!("unknown format {}", header[0])));
    }
    if header[1..17] != file.as_bytes()[..] {
        return Err(lost("belongs to another file"));
    }
    let rows = RoaringBitmap::deserialize_from(rows).map_err(|error| lost("malformed bitmap").with_source(error))?;
    if header[17..] != rows.len().to_be_bytes() {
        return Err(lost("wrong cardinality"));
    }
    Ok(rows)
}

/// The parts of `range` that `replaced` leaves.
pub(super) fn live_ranges(range: Range<u64>, replaced: &RoaringBitmap) -> Vec<Range<u64>> {
    let mut live = Vec::new();
    let mut start = range.start;
    let (Ok(first), Ok(last)) = (u32::try_from(range.start), u32::try_from(range.end)) else { return vec![range] };
    for hole in replaced.range(first..last) {
        let hole = u64::from(hole);
        if start < hole {
            live.push(start..hole);
        }
        start = hole + 1;
    }
    if start < range.end {
        live.push(start..range.end);
    }
    live
}

#[cfg(test)]
mod tests;
