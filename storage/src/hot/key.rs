//! Row keys: their layout in RocksDB, and primary keys as memcomparable bytes.
//!
//! ```text
//! table u32 | shard u16 (0) | generation u32 | user_no u64 | primary key | !seq u64        (all big-endian)
//! ```
//!
//! The first [`PREFIX`] bytes are one user's rows of one generation. Under one primary key the newest version comes
//! first, for the sequence number is stored inverted. A primary key is the concatenation of its columns, each so
//! encoded that bytes compare as values do and no encoding is a prefix of another:
//!
//! | type | bytes |
//! |---|---|
//! | boolean | 0 or 1 |
//! | unsigned | big-endian |
//! | signed, decimal, date, time, timestamp, duration | big-endian, sign bit flipped |
//! | float | IEEE bits, negative ones inverted, others with the sign bit set; -0.0 is 0.0, all NaN are one, the largest |
//! | utf8, binary | 00 becomes 00 FF, then 00 00 |
//! | fixed binary | as they are |
//!
//! These bytes are on disk and in Parquet's user index: they never change meaning. A table without primary key has
//! the hidden row id, an unsigned 64-bit number, as its key. arrow-row is not used, since its encoding may change.

mod first;

use arrow::{array::ArrayRef, datatypes::DataType};
use insula_proto::{Generation, Seq, TableId, UserNo};

use super::raw::{Body, Raw};
use crate::{Error, ErrorKind, Result, TableDef};

/// Bytes before the primary key.
pub(crate) const PREFIX: usize = 18;
/// Bytes after it.
pub(crate) const SUFFIX: usize = 8;
/// Where a stored key's user begins: before it lies the generation, in which alone two versions' keys may differ.
pub(crate) const USER_AT: usize = 10;
const SHARD: u16 = 0;

/// What all rows of one user in one generation begin with.
pub(crate) fn prefix(table: TableId, generation: Generation, user: UserNo) -> [u8; PREFIX] {
    let mut bytes = [0; PREFIX];
    bytes[..4].copy_from_slice(&table.0.to_be_bytes());
    bytes[4..6].copy_from_slice(&SHARD.to_be_bytes());
    bytes[6..10].copy_from_slice(&generation.0.to_be_bytes());
    bytes[10..].copy_from_slice(&user.0.to_be_bytes());
    bytes
}

/// The bounds of all keys of a table, in generations up to and including `up_to`.
pub(crate) fn generation_range(table: TableId, up_to: Generation) -> (Vec<u8>, Vec<u8>) {
    let lower = table.0.to_be_bytes().to_vec();
    let upper = after_prefix(&prefix(table, up_to, UserNo(0))[..10]);
    (lower, upper)
}

/// The bounds of all keys of one generation, whoever owns them.
pub(crate) fn one_generation(table: TableId, generation: Generation) -> (Vec<u8>, Vec<u8>) {
    let lower = prefix(table, generation, UserNo(0))[..10].to_vec();
    let upper = after_prefix(&lower);
    (lower, upper)
}

/// The smallest key above all that begin with `prefix`.
pub(crate) fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut upper = prefix.to_vec();
    while let Some(last) = upper.pop() {
        if last < u8::MAX {
            upper.push(last + 1);
            return upper;
        }
    }
    // Nothing is above a prefix of FF alone; longer than any key stands for "no bound".
    vec![u8::MAX; 64]
}

/// A stored key, taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Parts<'a> {
    pub table: TableId,
    pub generation: Generation,
    pub user: UserNo,
    pub key: &'a [u8],
    pub seq: Seq,
}

pub(crate) fn split(stored: &[u8]) -> Result<Parts<'_>> {
    let short = || Error::new(ErrorKind::DataLoss, "a key of the hot tier is cut short");
    let (table, rest) = stored.split_first_chunk().ok_or_else(short)?;
    let (_shard, rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
    let (generation, rest) = rest.split_first_chunk().ok_or_else(short)?;
    let (user, rest) = rest.split_first_chunk().ok_or_else(short)?;
    let (key, seq) = rest.split_last_chunk().ok_or_else(short)?;
    Ok(Parts {
        table: TableId(u32::from_be_bytes(*table)),
        generation: Generation(u32::from_be_bytes(*generation)),
        user: UserNo(u64::from_be_bytes(*user)),
        key,
        seq: Seq(!u64::from_be_bytes(*seq)),
    })
}

/// What all versions of one user's key share, whatever their generation.
pub(crate) fn user_and_key(stored: &[u8]) -> Result<&[u8]> {
    let short = || Error::new(ErrorKind::DataLoss, "a key of the hot tier is cut short");
    stored.get(USER_AT..stored.len().saturating_sub(SUFFIX)).ok_or_else(short)
}

/// Completes a key that was made before its commit: generation and sequence number are known only now.
pub(crate) fn complete(stored: &mut [u8], generation: Generation, seq: Seq) {
    let end = stored.len();
    stored[6..10].copy_from_slice(&generation.0.to_be_bytes());
    stored[end - SUFFIX..].copy_from_slice(&(!seq.0).to_be_bytes());
}

/// How one column of a key is encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Bool,
    Unsigned,
    Signed,
    Float,
    Bytes,
    FixedBytes,
}

impl Kind {
    fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Boolean => Self::Bool,
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => Self::Unsigned,
            DataType::Float16 | DataType::Float32 | DataType::Float64 => Self::Float,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => Self::Bytes,
            DataType::FixedSizeBinary(_) => Self::FixedBytes,
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Self::Signed,
            DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..)
            | DataType::Date32
            | DataType::Date64
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Timestamp(..)
            | DataType::Duration(_) => Self::Signed,
            _ => return None,
        })
    }
}

/// Whether a column of this type can be part of a primary key.
pub(crate) fn is_key_type(data_type: &DataType) -> bool {
    Kind::of(data_type).is_some()
}

/// Turns key columns into memcomparable bytes.
#[derive(Clone, Debug)]
pub struct KeyCodec {
    columns: Vec<(Kind, DataType)>,
}

impl KeyCodec {
    pub fn new(table: &TableDef) -> Result<Self> {
        if table.has_row_id() {
            return Ok(Self { columns: vec![(Kind::Unsigned, DataType::UInt64)] });
        }
        let column = |i: &usize| {
            let field = table
                .columns
                .get(*i)
                .map(|c| &c.field)
                .ok_or_else(|| Error::new(ErrorKind::Internal, "a primary key names a column that is not there"))?;
            let kind = Kind::of(field.data_type()).ok_or_else(|| {
                let message =
                    format!("column \"{}\" of type {} cannot be part of a key", field.name(), field.data_type());
                Error::new(ErrorKind::Invalid, message)
            })?;
            Ok((kind, field.data_type().clone()))
        };
        Ok(Self { columns: table.key.iter().map(column).collect::<Result<_>>()? })
    }

    /// `columns`: the columns of [`TableDef::stored_key`], in key order.
    pub fn encode(&self, columns: &[ArrayRef]) -> Result<KeyRows> {
        let mut rows = KeyRows::default();
        let parts = self.parts(columns)?;
        for row in 0..columns.first().map_or(0, |c| c.len()) {
            for (kind, raw) in &parts {
                encode_value(*kind, raw, row, &mut rows.bytes)?;
            }
            rows.ends.push(rows.bytes.len());
        }
        Ok(rows)
    }

    /// Of a key of one integer, date or time: its bytes. Such keys compare as numbers do.
    pub(crate) fn number_width(&self) -> Option<usize> {
        match self.columns.as_slice() {
            [(Kind::Unsigned | Kind::Signed, data_type)] => data_type.primitive_width().filter(|width| *width <= 8),
            _ => None,
        }
    }

    /// Such keys as numbers, in the order of their bytes.
    pub(crate) fn numbers(&self, columns: &[ArrayRef]) -> Result<Vec<u64>> {
        let parts = self.parts(columns)?;
        let [(kind, Raw { body: Body::Fixed { width, bytes }, .. })] = parts.as_slice() else {
            return Err(Error::new(ErrorKind::Internal, "a key is no number"));
        };
        let sign = if *kind == Kind::Signed { 1 << (width * 8 - 1) } else { 0 };
        Ok(match *width {
            1 => bytes.iter().map(|byte| u64::from(*byte) ^ sign).collect(),
            2 => words(bytes, u16::from_le_bytes, sign),
            4 => words(bytes, u32::from_le_bytes, sign),
            _ => words(bytes, u64::from_le_bytes, sign),
        })
    }

    /// The beginning that all keys share whose first columns hold these values, one each.
    pub fn prefix(&self, values: &[ArrayRef]) -> Result<Vec<u8>> {
        let first = Self { columns: self.columns.iter().take(values.len()).cloned().collect() };
        Ok(first.encode(values)?.iter().next().unwrap_or_default().to_vec())
    }

    fn parts(&self, columns: &[ArrayRef]) -> Result<Vec<(Kind, Raw)>> {
        if columns.len() != self.columns.len() {
            let message = format!("the key has {} columns, {} were given", self.columns.len(), columns.len());
            return Err(Error::new(ErrorKind::Internal, message));
        }
        let part = |((kind, data_type), array): (&(Kind, DataType), &ArrayRef)| {
            if array.data_type() != data_type {
                let message = format!("a key column is {}, {data_type} was expected", array.data_type());
                return Err(Error::new(ErrorKind::Invalid, message));
            }
            if array.null_count() > 0 {
                return Err(Error::new(ErrorKind::Invalid, "a primary key cannot be NULL"));
            }
            Ok((*kind, Raw::of(array)?))
        };
        self.columns.iter().zip(columns).map(part).collect()
    }
}

fn words<const N: usize, W: Into<u64>>(bytes: &[u8], word: fn([u8; N]) -> W, sign: u64) -> Vec<u64> {
    bytes.as_chunks().0.iter().map(|bytes| word(*bytes).into() ^ sign).collect()
}

fn encode_value(kind: Kind, raw: &Raw, row: usize, out: &mut Vec<u8>) -> Result<()> {
    match &raw.body {
        Body::Bool(values) => out.push(u8::from(values.value(row))),
        Body::Fixed { width, bytes } => {
            let value = &bytes[row * width..(row + 1) * width];
            match kind {
                Kind::Float => encode_float(value, out),
                Kind::FixedBytes => out.extend_from_slice(value),
                _ => {
                    let start = out.len();
                    out.extend(value.iter().rev());
                    if kind == Kind::Signed {
                        out[start] ^= 0x80;
                    }
                }
            }
        }
        Body::Var { offsets, bytes } => encode_bytes(&bytes[offsets.at(row)..offsets.at(row + 1)], out),
        _ => return Err(Error::new(ErrorKind::Internal, "a nested value cannot be part of a key")),
    }
    Ok(())
}

fn encode_float(value: &[u8], out: &mut Vec<u8>) {
    let bits = value.iter().rev().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    // Per width: the sign bit, and the bits of the quiet NaN, which are those of infinity and the highest of the mantissa.
    let (sign, infinity, nan) = match value.len() {
        2 => (0x8000, 0x7C00, 0x7E00),
        4 => (0x8000_0000, 0x7F80_0000, 0x7FC0_0000),
        _ => (1 << 63, 0x7FF0_0000_0000_0000, 0x7FF8_0000_0000_0000),
    };
    let bits = match bits & !sign {
        0 => 0,
        magnitude if magnitude > infinity => nan,
        _ => bits,
    };
    let ordered = if bits & sign == 0 { bits | sign } else { !bits };
    out.extend_from_slice(&ordered.to_be_bytes()[8 - value.len()..]);
}

fn encode_bytes(value: &[u8], out: &mut Vec<u8>) {
    for piece in value.split_inclusive(|byte| *byte == 0) {
        out.extend_from_slice(piece);
        if piece.last() == Some(&0) {
            out.push(0xFF);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

/// The encoded keys of a batch, one a row.
#[derive(Clone, Default, Debug)]
pub struct KeyRows {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl KeyRows {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// # Panics
    /// If `i` is not below [`Self::len`].
    pub fn row(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.bytes[start..self.ends[i]]
    }

    pub(crate) fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|i| self.row(i))
    }

    /// Of ascending keys: how many are `below`.
    pub(crate) fn partition_point(&self, below: impl Fn(&[u8]) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if below(self.row(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    pub(crate) fn memory(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<usize>()
    }
}

#[cfg(test)]
mod tests;
