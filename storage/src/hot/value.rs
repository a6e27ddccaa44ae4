//! Row values: one row version as bytes, and the encoder. The decoder is in `decode.rs`.
//!
//! ```text
//! format u8 | schema version u32 | flags u8 | _updated i64 | nulls | fixed area | variable area | crc32
//! ```
//!
//! Little-endian, like Arrow. `nulls` has a bit for each declared column, set where the value is NULL. In the fixed
//! area every column has a place that depends on the schema alone: the value itself, a byte for a boolean, or, for
//! what varies in length, the u32 end of its bytes in the variable area; so a projected column is decoded without
//! its neighbours. A nested value is a column of one row in the variable area, written by [`encode_range`].
//! The system columns that are not here are in the key: user, row id, sequence number.
//!
//! The columns of a row that was written with many others lie in a chunk ([`super::chunk`]). Its value says where:
//!
//! ```text
//! format u8 | schema version u32 | flags u8 | _updated i64 | chunk u64 | row u32 | crc32
//! ```

use arrow::{array::RecordBatch, datatypes::DataType};

use super::raw::{self, Offsets, Raw, Shape};
use crate::{Error, ErrorKind, Result, TableDef, table::Version};

/// The columns are here.
pub(crate) const FORMAT: u8 = 1;
/// They lie in a chunk.
pub(crate) const FORMAT_IN_CHUNK: u8 = 2;
const DELETED: u8 = 1;
/// Format, schema version, flags, `_updated`.
const HEADER: usize = 14;
const UPDATED: std::ops::Range<usize> = 6..14;
const CHUNK: std::ops::Range<usize> = HEADER..HEADER + 8;
/// Without the checksum.
const IN_CHUNK: usize = HEADER + 12;
const CRC: usize = 4;

/// Where the columns of one table lie in its row values.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub schema_version: u32,
    pub columns: Vec<Slot>,
    /// Where the variable area begins.
    pub variable: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub shape: Shape,
    /// Where the column's place in the fixed area begins, from the start of the value.
    pub at: usize,
    /// The same of the column before it in the variable area.
    pub before: Option<usize>,
}

impl Layout {
    pub fn of(table: &TableDef) -> Result<Self> {
        Self::new(table.schema_version, table.columns.iter().map(|column| column.field.data_type()))
    }

    /// Of a version of the table before its present one.
    pub fn of_version(version: &Version) -> Result<Self> {
        Self::new(version.number, version.columns.iter().map(|(_, data_type)| data_type))
    }

    fn new<'a>(schema_version: u32, types: impl ExactSizeIterator<Item = &'a DataType>) -> Result<Self> {
        let mut at = HEADER + types.len().div_ceil(8);
        let mut before = None;
        let mut columns = Vec::with_capacity(types.len());
        for data_type in types {
            let shape = Shape::of(data_type)?;
            columns.push(Slot { shape, at, before });
            at += match shape {
                Shape::Null => 0,
                Shape::Bool => 1,
                Shape::Fixed(width) => width,
                _ => size_of::<u32>(),
            };
            if shape.is_variable() {
                before = columns.last().map(|slot| slot.at);
            }
        }
        Ok(Self { schema_version, columns, variable: at })
    }
}

/// What makes values of the rows of one batch.
pub(crate) enum Encoder<'a> {
    Apart(Rows<'a>),
    /// The rows lie in chunks of so many each, the first of which has this number.
    InChunks {
        schema_version: u32,
        first: u64,
        rows: usize,
    },
}

impl Encoder<'_> {
    /// Appends row `i` to `out`; [`complete`] has to follow.
    pub fn encode(&self, i: usize, deleted: bool, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Apart(rows) => rows.encode(i, deleted, out),
            Self::InChunks { schema_version, first, rows } => {
                push_header(FORMAT_IN_CHUNK, *schema_version, deleted, out);
                out.extend_from_slice(&(first + (i / rows) as u64).to_le_bytes());
                // A chunk has no more rows than its batch, and those are counted with 32 bits.
                out.extend_from_slice(&((i % rows) as u32).to_le_bytes());
                out.extend_from_slice(&[0; CRC]);
                Ok(())
            }
        }
    }
}

/// All but the commit time.
fn push_header(format: u8, schema_version: u32, deleted: bool, out: &mut Vec<u8>) {
    out.push(format);
    out.extend_from_slice(&schema_version.to_le_bytes());
    out.push(if deleted { DELETED } else { 0 });
    out.extend_from_slice(&[0; UPDATED.end - UPDATED.start]);
}

/// The rows of one batch, ready to be encoded one by one.
pub(crate) struct Rows<'a> {
    layout: &'a Layout,
    columns: Vec<Raw>,
}

impl<'a> Rows<'a> {
    /// `rows` has the table's declared columns in their stored types.
    pub fn new(layout: &'a Layout, rows: &RecordBatch) -> Result<Self> {
        let columns = rows.columns().iter().map(|c| Raw::of(c)).collect::<Result<_>>()?;
        Ok(Self { layout, columns })
    }

    /// Appends row `i` to `out`; [`complete`] has to follow.
    pub fn encode(&self, i: usize, deleted: bool, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        push_header(FORMAT, self.layout.schema_version, deleted, out);
        out.resize(start + self.layout.variable, 0);
        let variable = out.len();
        for (n, (slot, raw)) in self.layout.columns.iter().zip(&self.columns).enumerate() {
            let at = start + slot.at;
            if raw.is_null(i) {
                out[start + HEADER + n / 8] |= 1 << (n % 8);
            } else {
                match &raw.body {
                    raw::Body::Null => {}
                    raw::Body::Bool(values) => out[at] = u8::from(values.value(i)),
                    raw::Body::Fixed { width, bytes } => {
                        out[at..at + width].copy_from_slice(&bytes[i * width..(i + 1) * width]);
                    }
                    raw::Body::Var { offsets, bytes } => {
                        out.extend_from_slice(&bytes[offsets.at(i)..offsets.at(i + 1)])
                    }
                    _ => encode_range(raw, i, 1, out)?,
                }
            }
            if slot.shape.is_variable() {
                let end = length(out.len() - variable)?;
                out[at..at + 4].copy_from_slice(&end);
            }
        }
        out.extend_from_slice(&[0; CRC]);
        Ok(())
    }
}

/// Writes `len` values of a column: a byte that tells whether a null bitmap follows, the bitmap, then by shape
/// the values, or bits, or ends and bytes, or ends and the child, or the children.
fn encode_range(raw: &Raw, start: usize, len: usize, out: &mut Vec<u8>) -> Result<()> {
    let has_nulls = (start..start + len).any(|i| raw.is_null(i)) && !matches!(raw.body, raw::Body::Null);
    out.push(u8::from(has_nulls));
    if has_nulls {
        push_bits(len, |i| raw.is_null(start + i), out);
    }
    match &raw.body {
        raw::Body::Null => {}
        raw::Body::Bool(values) => push_bits(len, |i| values.value(start + i), out),
        raw::Body::Fixed { width, bytes } => out.extend_from_slice(&bytes[start * width..(start + len) * width]),
        raw::Body::Var { offsets, bytes } => {
            let (from, to) = push_ends(offsets, start, len, out)?;
            out.extend_from_slice(&bytes[from..to]);
        }
        raw::Body::List { offsets, child } => {
            let (from, to) = push_ends(offsets, start, len, out)?;
            encode_range(child, from, to - from, out)?;
        }
        raw::Body::FixedList { n, child } => encode_range(child, start * n, len * n, out)?,
        raw::Body::Struct(children) => {
            for child in children {
                encode_range(child, start, len, out)?;
            }
        }
    }
    Ok(())
}

fn push_bits(len: usize, bit: impl Fn(usize) -> bool, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + len.div_ceil(8), 0);
    for i in (0..len).filter(|i| bit(*i)) {
        out[start + i / 8] |= 1 << (i % 8);
    }
}

/// Writes the ends of `len` ranges, counted from the first one's start; returns what they cover.
fn push_ends(offsets: &Offsets, start: usize, len: usize, out: &mut Vec<u8>) -> Result<(usize, usize)> {
    let from = offsets.at(start);
    for i in start..start + len {
        out.extend_from_slice(&length(offsets.at(i + 1) - from)?);
    }
    Ok((from, offsets.at(start + len)))
}

fn length(n: usize) -> Result<[u8; 4]> {
    let n = u32::try_from(n).map_err(|_| Error::new(ErrorKind::Invalid, "a row is larger than 4 GB"))?;
    Ok(n.to_le_bytes())
}

/// Fills in the commit time and the checksum.
pub(crate) fn complete(value: &mut [u8], updated: i64) {
    value[UPDATED].copy_from_slice(&updated.to_le_bytes());
    let (body, crc) = value.split_at_mut(value.len() - CRC);
    crc.copy_from_slice(&crc32fast::hash(body).to_le_bytes());
}

/// The commit time of a value that need not be read otherwise; its checksum is not looked at.
pub(crate) fn updated(value: &[u8]) -> Option<i64> {
    Some(i64::from_le_bytes(value.get(UPDATED)?.try_into().ok()?))
}

/// The chunk of a value that lies in one; its checksum is not looked at.
pub(crate) fn chunk(value: &[u8]) -> Option<u64> {
    let (chunk, format) = (value.get(CHUNK)?, value.first()?);
    (*format == FORMAT_IN_CHUNK).then_some(u64::from_le_bytes(chunk.try_into().ok()?))
}

/// Moves a value, which lies in a chunk, to the one of that number. [`complete`] has to follow.
pub(crate) fn set_chunk(value: &mut [u8], chunk: u64) {
    value[CHUNK].copy_from_slice(&chunk.to_le_bytes());
}

/// A checked value.
#[derive(Clone, Copy)]
pub(crate) struct Header<'a> {
    pub schema_version: u32,
    pub deleted: bool,
    pub updated: i64,
    pub content: Content<'a>,
}

/// Where a row's columns are.
#[derive(Clone, Copy)]
pub(crate) enum Content<'a> {
    Here(Body<'a>),
    InChunk { chunk: u64, row: u32 },
}

/// All of a value but its checksum.
#[derive(Clone, Copy)]
pub(crate) struct Body<'a>(pub &'a [u8]);

impl<'a> Header<'a> {
    pub fn read(value: &'a [u8]) -> Result<Self> {
        let damaged = |how: &str| Error::new(ErrorKind::DataLoss, format!("a row of the hot tier {how}"));
        let (body, crc) = value.split_last_chunk::<CRC>().ok_or_else(|| damaged("is cut short"))?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Err(damaged("fails its checksum"));
        }
        let (header, _) = body.split_first_chunk::<HEADER>().ok_or_else(|| damaged("is cut short"))?;
        let [format, v0, v1, v2, v3, flags, u0, u1, u2, u3, u4, u5, u6, u7] = *header;
        let content = match format {
            FORMAT => Content::Here(Body(body)),
            FORMAT_IN_CHUNK => {
                let place: [u8; IN_CHUNK - HEADER] =
                    body[HEADER..].try_into().map_err(|_| damaged("does not say where it lies"))?;
                let [c0, c1, c2, c3, c4, c5, c6, c7, r0, r1, r2, r3] = place;
                let chunk = u64::from_le_bytes([c0, c1, c2, c3, c4, c5, c6, c7]);
                Content::InChunk { chunk, row: u32::from_le_bytes([r0, r1, r2, r3]) }
            }
            _ => return Err(damaged(&format!("has format {format}, which this version does not know"))),
        };
        Ok(Self {
            schema_version: u32::from_le_bytes([v0, v1, v2, v3]),
            deleted: flags & DELETED != 0,
            updated: i64::from_le_bytes([u0, u1, u2, u3, u4, u5, u6, u7]),
            content,
        })
    }
}

impl Body<'_> {
    pub fn is_null(&self, column: usize) -> bool {
        self.0.get(HEADER + column / 8).is_some_and(|byte| byte >> (column % 8) & 1 == 1)
    }
}

#[cfg(test)]
mod tests;
