//! Which rows of a Parquet file are whose, exactly, with enough keys to find a row without reading a column whole.
//!
//! Bytes, all numbers big-endian:
//! `format u8 = 1 | users u32 | rows u32 | entries | keys | crc32 u32` of all before it. An entry, sorted by user, is
//! `user_no u64 | first row u32 | soft-deleted rows u32 | offset u32` of its keys within `keys`: the number of blocks
//! u32, the key of the first row of each block of [`BLOCK_ROWS`] rows, and the user's last key (each `length u32 |
//! bytes`). Rows of a user are contiguous, so the next entry's first row ends them. The index stays in this form in
//! memory; a lookup is a binary search.

use std::ops::Range;

use bytes::Bytes;
use insula_proto::UserNo;

use super::writer::groups::Bounds;
use crate::{Error, ErrorKind, KeyBounds, Result};

/// Rows between two keys of a user that the index holds: the most that a lookup of one key reads.
pub(super) const BLOCK_ROWS: u64 = 4096;

const FORMAT: u8 = 1;
const HEADER: usize = 1 + 4 + 4;
const ENTRY: usize = 8 + 4 + 4 + 4;

/// Builds the index while rows are written in their order.
#[derive(Default)]
pub(super) struct Builder {
    entries: Vec<u8>,
    keys: Vec<u8>,
    rows: u32,
    open: Option<Open>,
}

/// The user whose rows are being written.
struct Open {
    user: UserNo,
    first: u32,
    deleted: u32,
    blocks: u32,
    /// Lengths and keys of the blocks so far.
    block_keys: Vec<u8>,
    last_key: Vec<u8>,
}

impl Builder {
    /// The next row of the file. Rows must come sorted by user and key, each key once.
    pub(super) fn push(&mut self, user: UserNo, key: &[u8], deleted: bool) -> Result<()> {
        match &self.open {
            Some(open) if open.user == user => {
                if open.last_key.as_slice() >= key {
                    return Err(Error::new(ErrorKind::Internal, "rows for a cold file came out of key order"));
                }
            }
            Some(open) if open.user > user => {
                return Err(Error::new(ErrorKind::Internal, "rows for a cold file came out of user order"));
            }
            _ => {
                self.close_user()?;
                self.open = Some(Open::new(user, self.rows));
            }
        }
        if let Some(open) = &mut self.open {
            if u64::from(self.rows - open.first).is_multiple_of(BLOCK_ROWS) {
                open.blocks += 1;
                put_key(&mut open.block_keys, key)?;
            }
            open.last_key.clear();
            open.last_key.extend_from_slice(key);
            open.deleted += u32::from(deleted);
        }
        self.rows = self.rows.checked_add(1).ok_or_else(too_large)?;
        Ok(())
    }

    /// Bytes of the index so far.
    pub(super) fn len(&self) -> usize {
        self.entries.len() + self.keys.len() + self.open.as_ref().map_or(0, |open| open.block_keys.len())
    }

    pub(super) fn finish(mut self) -> Result<Vec<u8>> {
        self.close_user()?;
        let users = u32::try_from(self.entries.len() / ENTRY).map_err(|_| too_large())?;
        let mut bytes = Vec::with_capacity(HEADER + self.entries.len() + self.keys.len() + 4);
        bytes.push(FORMAT);
        bytes.extend(users.to_be_bytes());
        bytes.extend(self.rows.to_be_bytes());
        bytes.append(&mut self.entries);
        bytes.append(&mut self.keys);
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        Ok(bytes)
    }

    fn close_user(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let offset = u32::try_from(self.keys.len()).map_err(|_| too_large())?;
        self.entries.extend(open.user.0.to_be_bytes());
        self.entries.extend(open.first.to_be_bytes());
        self.entries.extend(open.deleted.to_be_bytes());
        self.entries.extend(offset.to_be_bytes());
        self.keys.extend(open.blocks.to_be_bytes());
        self.keys.extend(open.block_keys);
        put_key(&mut self.keys, &open.last_key)
    }
}

impl Open {
    fn new(user: UserNo, first: u32) -> Self {
        Self { user, first, deleted: 0, blocks: 0, block_keys: Vec::new(), last_key: Vec::new() }
    }
}

fn put_key(into: &mut Vec<u8>, key: &[u8]) -> Result<()> {
    into.extend(u32::try_from(key.len()).map_err(|_| too_large())?.to_be_bytes());
    into.extend_from_slice(key);
    Ok(())
}

fn too_large() -> Error {
    Error::new(ErrorKind::Internal, "the user index of a cold file grew past its format's limits")
}

/// The index of one file, read back.
#[derive(Debug)]
pub(super) struct UserIndex {
    bytes: Bytes,
    users: usize,
    rows: u64,
}

/// A user's rows in a file.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    /// Never empty.
    pub(super) rows: Range<u64>,
    pub(super) deleted: u64,
    /// The first key of each block of [`BLOCK_ROWS`] rows; the first is the smallest key of all. Never empty.
    pub(super) blocks: Vec<&'a [u8]>,
    pub(super) last: &'a [u8],
}

impl UserIndex {
    pub(super) fn decode(bytes: Bytes) -> Result<Self> {
        let lost = |what: &str| Error::new(ErrorKind::DataLoss, format!("user index: {what}"));
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or_else(|| lost("too short"))?;
        if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
            return Err(lost("checksum mismatch"));
        }
        if body.first() != Some(&FORMAT) {
            return Err(lost("unknown format"));
        }
        let (users, rows) = (read_u32(body, 1)? as usize, u64::from(read_u32(body, 5)?));
        if body.len() < HEADER + users.saturating_mul(ENTRY) {
            return Err(lost("too short"));
        }
        Ok(Self { bytes, users, rows })
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn len(&self) -> usize {
        self.users
    }

    /// The entry of the user at `i` in the order of users.
    pub(super) fn nth(&self, i: usize) -> Result<(UserNo, Entry<'_>)> {
        Ok((self.user(i)?, self.entry(i)?))
    }

    pub(super) fn get(&self, user: UserNo) -> Result<Option<Entry<'_>>> {
        let (mut low, mut high) = (0, self.users);
        while low < high {
            let middle = low.midpoint(high);
            match self.user(middle)?.cmp(&user) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return self.entry(middle).map(Some),
            }
        }
        Ok(None)
    }

    /// The user at a place in the order of users, and the number of their rows.
    pub(super) fn count(&self, place: usize) -> Result<Option<(UserNo, u64)>> {
        if place >= self.users {
            return Ok(None);
        }
        let rows = self.first_row(place + 1)?.checked_sub(self.first_row(place)?).ok_or_else(malformed)?;
        Ok(Some((self.user(place)?, rows)))
    }

    /// First and last user and key; `None` for an index without users.
    pub(super) fn bounds(&self) -> Result<Option<Bounds>> {
        let Some(end) = self.users.checked_sub(1) else { return Ok(None) };
        let (first, last) = (self.entry(0)?, self.entry(end)?);
        let first = (self.user(0)?, first.blocks.first().copied().unwrap_or_default().to_vec());
        Ok(Some(Bounds { first, last: (self.user(end)?, last.last.to_vec()) }))
    }

    fn body(&self) -> &[u8] {
        &self.bytes[..self.bytes.len() - 4]
    }

    fn user(&self, i: usize) -> Result<UserNo> {
        let at = HEADER + i * ENTRY;
        let bytes = self.body().get(at..).and_then(|rest| rest.first_chunk::<8>()).ok_or_else(malformed)?;
        Ok(UserNo(u64::from_be_bytes(*bytes)))
    }

    fn first_row(&self, i: usize) -> Result<u64> {
        if i == self.users { Ok(self.rows) } else { Ok(read_u32(self.body(), HEADER + i * ENTRY + 8)?.into()) }
    }

    fn entry(&self, i: usize) -> Result<Entry<'_>> {
        let body = self.body();
        let at = HEADER + i * ENTRY;
        let rows = self.first_row(i)?..self.first_row(i + 1)?;
        let mut cursor = HEADER + self.users * ENTRY + read_u32(body, at + 16)? as usize;
        let blocks = u64::from(read_u32(body, cursor)?);
        cursor += 4;
        if rows.is_empty() || blocks != (rows.end - rows.start).div_ceil(BLOCK_ROWS) {
            return Err(malformed());
        }
        let mut keys = Vec::with_capacity(blocks as usize + 1);
        for _ in 0..=blocks {
            let length = read_u32(body, cursor)? as usize;
            keys.push(body.get(cursor + 4..cursor + 4 + length).ok_or_else(malformed)?);
            cursor += 4 + length;
        }
        let last = keys.pop().ok_or_else(malformed)?;
        Ok(Entry { rows, deleted: read_u32(body, at + 12)?.into(), blocks: keys, last })
    }
}

/// The rows of a user among which all wanted keys are that the file has, whole blocks of them.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Part<'a> {
    /// Ascending, disjoint, not empty.
    pub(super) rows: Vec<Range<u64>>,
    /// No key of these rows is smaller or larger.
    pub(super) bounds: (&'a [u8], &'a [u8]),
}

impl<'a> Entry<'a> {
    /// `None`: the file has none of the wanted keys.
    pub(super) fn part(&self, wanted: &KeyBounds) -> Option<Part<'a>> {
        let mut blocks: Vec<Range<usize>> = Vec::new();
        match wanted {
            KeyBounds::All => blocks.push(0..self.blocks.len()),
            KeyBounds::Range(range) => {
                let first = self.blocks.partition_point(|first| *first <= range.lower.as_slice()).saturating_sub(1);
                let upper = range.upper.as_deref();
                let end = upper.map_or(self.blocks.len(), |upper| self.blocks.partition_point(|first| *first < upper));
                if first < end && range.lower.as_slice() <= self.last {
                    blocks.push(first..end);
                }
            }
            KeyBounds::Keys(keys) => {
                for block in keys.iter().filter_map(|key| self.block(key)) {
                    match blocks.last_mut() {
                        Some(last) if block <= last.end => last.end = last.end.max(block + 1),
                        _ => blocks.push(block..block + 1),
                    }
                }
            }
        }
        let (low, end) = (self.blocks.get(blocks.first()?.start)?, blocks.last()?.end);
        let bounds = (*low, self.blocks.get(end).copied().unwrap_or(self.last));
        Some(Part { rows: blocks.into_iter().map(|blocks| self.rows_of(blocks)).collect(), bounds })
    }

    fn rows_of(&self, blocks: Range<usize>) -> Range<u64> {
        let row = |block: usize| (self.rows.start + block as u64 * BLOCK_ROWS).min(self.rows.end);
        row(blocks.start)..row(blocks.end)
    }

    fn block(&self, key: &[u8]) -> Option<usize> {
        if key > self.last {
            return None;
        }
        self.blocks.partition_point(|first| *first <= key).checked_sub(1)
    }

    /// The rows among which `key` must be if it is here at all.
    pub(super) fn block_of(&self, key: &[u8]) -> Option<Range<u64>> {
        self.block(key).map(|block| self.rows_of(block..block + 1))
    }
}

fn read_u32(bytes: &[u8], at: usize) -> Result<u32> {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()).ok_or_else(malformed)?;
    Ok(u32::from_be_bytes(*bytes))
}

fn malformed() -> Error {
    Error::new(ErrorKind::DataLoss, "user index: malformed entry")
}

#[cfg(test)]
mod tests;
