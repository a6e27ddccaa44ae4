//! A look at RocksDB's logs before RocksDB reads them.
//!
//! A log that is written over an older one says so in the type of each of its records. RocksDB (11.8) gives up on such a
//! record in the middle of a log without stepping over it, and so reads it for ever; as the first record it passes for
//! the end of the log. Our logs are never written over, so one flipped bit would keep the server from starting, without
//! a word, or take away all that was not yet in tables. The format is that of `db/log_format.h`: blocks of 32 KiB with
//! records, each a checksum (4 bytes), a length (2) and a type (1) before its content.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use super::sealed;
use crate::{Error, ErrorKind, Result};

const BLOCK: usize = 32 << 10;
const HEADER: usize = 7;

/// Whether it is the type of a record in a log that was written over another.
fn is_of_recycled_log(kind: u8) -> bool {
    matches!(kind, 5..=8 | 11 | 131)
}

/// Fails where a log would not be read to its end.
pub(super) fn check(hot: &Path) -> Result<()> {
    let unreadable = |path: &Path, e: io::Error| {
        Error::new(ErrorKind::Unavailable, format!("cannot read {}", path.display())).with_source(e)
    };
    if !fs::exists(hot).map_err(|e| unreadable(hot, e))? {
        return Ok(());
    }
    for name in sealed::names(hot).map_err(|e| unreadable(hot, e))? {
        if !name.ends_with(".log") && !name.starts_with("MANIFEST-") {
            continue;
        }
        let path = hot.join(&name);
        if let Some(byte) = File::open(&path).and_then(damage).map_err(|e| unreadable(&path, e))? {
            let what =
                format!("{} is damaged: its record at byte {byte} has a type that is never written", path.display());
            return Err(Error::new(ErrorKind::DataLoss, what));
        }
    }
    Ok(())
}

/// The first byte of a record that would not be read. What RocksDB steps over, as torn or as damaged, is not told.
fn damage(mut log: impl Read) -> io::Result<Option<u64>> {
    let mut block = Vec::with_capacity(BLOCK);
    let mut begin = 0;
    loop {
        block.clear();
        log.by_ref().take(BLOCK as u64).read_to_end(&mut block)?;
        let mut at = 0;
        while let Some(&[_, _, _, _, low, high, kind]) = block.get(at..at + HEADER) {
            if is_of_recycled_log(kind) {
                return Ok(Some(begin + at as u64));
            }
            let length = usize::from(u16::from_le_bytes([low, high]));
            if kind == 0 && length == 0 {
                break;
            }
            at += HEADER + length;
        }
        if block.len() < BLOCK {
            return Ok(None);
        }
        begin += BLOCK as u64;
    }
}

#[cfg(test)]
mod tests;
