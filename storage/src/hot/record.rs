//! The frame of every record that is not a row: a format byte, the payload, a checksum over both.
//!
//! Rows have a frame of their own (`value.rs`), because the committer completes them in place.

use crate::{Error, ErrorKind, Result};

const FORMAT: u8 = 1;
const CRC: usize = 4;

/// `format | payload | crc32`, little-endian.
pub(crate) fn seal(payload: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(1 + payload.len() + CRC);
    record.push(FORMAT);
    record.extend_from_slice(payload);
    let crc = crc32fast::hash(&record);
    record.extend_from_slice(&crc.to_le_bytes());
    record
}

/// The payload of a sealed record; `what` names it in the error.
pub(crate) fn open<'a>(record: &'a [u8], what: &str) -> Result<&'a [u8]> {
    let Some((body, crc)) = record.split_last_chunk::<CRC>() else {
        return Err(damaged(what, "is cut short"));
    };
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return Err(damaged(what, "fails its checksum"));
    }
    match body.split_first() {
        Some((&FORMAT, payload)) => Ok(payload),
        Some((format, _)) => Err(damaged(what, &format!("has format {format}, which this version does not know"))),
        None => Err(damaged(what, "is cut short")),
    }
}

/// A sealed 32-bit number.
pub(crate) fn number(record: &[u8], what: &str) -> Result<u32> {
    let bytes = open(record, what)?.try_into().map_err(|_| damaged(what, "has a wrong length"))?;
    Ok(u32::from_le_bytes(bytes))
}

fn damaged(what: &str, how: &str) -> Error {
    Error::new(ErrorKind::DataLoss, format!("{what} {how}"))
}

#[cfg(test)]
mod tests;
