//! Chunks: the values of many rows of one write, side by side, as an Arrow record batch in its IPC form.
//!
//! Each of these rows has its own key all the same, in the order and under the rules of all hot rows; its value is short
//! and says which row of which chunk it is (`value.rs`). So whatever seeks, counts, compares or hides by key knows nothing
//! of chunks; only who wants columns reads them, a chunk at a time and no columns but those.
//!
//! ```text
//! key:   table u32 | shard u16 | generation u32 | user_no u64 | chunk u64                  (all big-endian)
//! value: format u8 | length of the message u32 | message | body | crc32                    (little-endian)
//! ```
//!
//! The key begins as those of the user's rows do, so a generation's chunks go with its rows. Message and body are Arrow's,
//! without compression (RocksDB compresses what it puts into files): the table's declared columns, as the version of the
//! definition says that is named in each row.

use std::collections::HashMap;

use arrow::{
    array::RecordBatch,
    buffer::Buffer,
    datatypes::{DataType, Field, SchemaRef},
    error::ArrowError,
    ipc::{
        self, MetadataVersion,
        reader::read_record_batch,
        root_as_message,
        writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions},
    },
};
use insula_proto::{Generation, TableId, UserNo};

use super::key;
use crate::{Error, ErrorKind, Result};

/// Rows of a chunk, and the fewest that are stored as one. A chunk is read whole, so more would slow down single rows.
pub const CHUNK_ROWS: usize = 1024;
/// Rows of a chunk are not larger on the average: wide ones gain nothing by lying side by side.
pub(crate) const MOST_ROW_BYTES: usize = 512;
pub(crate) const FORMAT: u8 = 1;
const HEADER: usize = 5;
const CRC: usize = 4;
/// Bytes to whose multiples Arrow pads each buffer.
const ALIGNMENT: usize = 8;

/// Where a chunk lies in its table. Its number is never given out twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct At {
    pub generation: Generation,
    pub user: UserNo,
    pub chunk: u64,
}

impl At {
    /// Of a stored key.
    pub fn read(stored: &[u8]) -> Result<Self> {
        // What is before the number of a chunk is before the key of a row; that number is as long as a row's.
        let parts = key::split(stored)?;
        if !parts.key.is_empty() {
            return Err(damaged("has a key that is too long"));
        }
        Ok(Self { generation: parts.generation, user: parts.user, chunk: !parts.seq.0 })
    }

    pub fn key(&self, table: TableId) -> [u8; key::PREFIX + size_of::<u64>()] {
        let mut bytes = [0; key::PREFIX + size_of::<u64>()];
        bytes[..key::PREFIX].copy_from_slice(&key::prefix(table, self.generation, self.user));
        bytes[key::PREFIX..].copy_from_slice(&self.chunk.to_be_bytes());
        bytes
    }
}

/// Who knows the values of chunks.
pub(crate) trait Chunks {
    /// Hands the value of a chunk to `read`; that there is none is `DataLoss`.
    fn with(&self, at: At, read: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;
}

/// For rows none of which lies in a chunk.
pub(crate) struct NoChunks;

impl Chunks for NoChunks {
    fn with(&self, at: At, _: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        Err(missing(at))
    }
}

pub(crate) fn missing(at: At) -> Error {
    damaged(&format!("{} is missing", at.chunk))
}

/// `rows`: declared columns in their stored types.
pub(crate) fn encode(rows: &RecordBatch) -> Result<Vec<u8>> {
    let failed = |e| Error::new(ErrorKind::Internal, "rows cannot be stored as a chunk").with_source(e);
    let options = IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5).map_err(failed)?;
    let (mut tracker, mut context) = (DictionaryTracker::new(false), IpcWriteContext::default());
    // Stored types hold no dictionaries.
    let (_, encoded) =
        IpcDataGenerator::default().encode(rows, &mut tracker, &options, &mut context).map_err(failed)?;
    let (message, body) = (&encoded.ipc_message, &encoded.arrow_data);
    let length = u32::try_from(message.len()).map_err(|_| Error::new(ErrorKind::Invalid, "a chunk is too large"))?;
    let mut value = Vec::with_capacity(HEADER + message.len() + body.len() + CRC);
    value.push(FORMAT);
    value.extend_from_slice(&length.to_le_bytes());
    value.extend_from_slice(message);
    value.extend_from_slice(body);
    value.extend_from_slice(&[0; CRC]);
    seal(&mut value);
    Ok(value)
}

/// Puts the checksum at the end.
pub(crate) fn seal(value: &mut [u8]) {
    let (content, crc) = value.split_at_mut(value.len() - CRC);
    crc.copy_from_slice(&crc32fast::hash(content).to_le_bytes());
}

/// All of a value but its checksum, which is right.
pub(crate) fn check(value: &[u8]) -> Result<&[u8]> {
    let (content, crc) = value.split_last_chunk::<CRC>().ok_or_else(|| damaged("is cut short"))?;
    if crc32fast::hash(content) != u32::from_le_bytes(*crc) {
        return Err(damaged("fails its checksum"));
    }
    Ok(content)
}

/// The columns `projection` of a chunk whose declared columns are those of `schema`.
pub(crate) fn decode(value: &[u8], schema: &SchemaRef, projection: &[usize]) -> Result<RecordBatch> {
    let content = check(value)?;
    let ([format, length @ ..], rest) = content.split_first_chunk::<HEADER>().ok_or_else(|| damaged("is cut short"))?;
    if *format != FORMAT {
        return Err(damaged(&format!("has format {format}, which this version does not know")));
    }
    let length = u32::from_le_bytes(*length) as usize;
    let (message, body) = rest.split_at_checked(length).ok_or_else(|| damaged("is cut short"))?;
    let message = root_as_message(message).map_err(|e| damaged("has no message").with_source(e.to_string()))?;
    let batch = message.header_as_record_batch().ok_or_else(|| damaged("holds no rows"))?;
    Layout::of(&batch, body.len())?.check(schema)?;
    let dictionaries = HashMap::new();
    read_record_batch(
        &Buffer::from(body),
        batch,
        SchemaRef::clone(schema),
        &dictionaries,
        Some(projection),
        &message.version(),
    )
    .map_err(undecodable)
}

/// What a message says of the buffers behind it. Arrow's reader takes its word for where they lie and how long the bitmaps
/// are, and panics where that is not so; the rest it checks.
struct Layout {
    /// Rows and NULLs of each array, parents before children.
    nodes: std::vec::IntoIter<(usize, usize)>,
    /// Bytes of each buffer.
    buffers: std::vec::IntoIter<usize>,
}

impl Layout {
    fn of(batch: &ipc::RecordBatch<'_>, body: usize) -> Result<Self> {
        if batch.compression().is_some() || batch.variadicBufferCounts().is_some_and(|counts| !counts.is_empty()) {
            return Err(damaged("is not stored as it should be"));
        }
        let size = |n: i64| usize::try_from(n).map_err(|_| damaged("has a negative length"));
        size(batch.length())?;
        let node = |node: &ipc::FieldNode| Ok((size(node.length())?, size(node.null_count())?));
        let buffer = |buffer: &ipc::Buffer| {
            let (from, bytes) = (size(buffer.offset())?, size(buffer.length())?);
            let end = from.checked_add(bytes).filter(|end| *end <= body);
            end.map(|_| bytes).ok_or_else(|| damaged("is shorter than it says"))
        };
        let nodes: Vec<_> = batch.nodes().into_iter().flatten().map(node).collect::<Result<_>>()?;
        let buffers: Vec<_> = batch.buffers().into_iter().flatten().map(buffer).collect::<Result<_>>()?;
        Ok(Self { nodes: nodes.into_iter(), buffers: buffers.into_iter() })
    }

    fn check(mut self, schema: &SchemaRef) -> Result<()> {
        schema.fields().iter().try_for_each(|field| self.array(field))
    }

    fn array(&mut self, field: &Field) -> Result<()> {
        let (rows, nulls) = self.nodes.next().ok_or_else(|| damaged("lacks a column"))?;
        if matches!(field.data_type(), DataType::Null) {
            return Ok(());
        }
        let bitmap = self.buffer()?;
        if nulls > rows || (nulls > 0 && bitmap < rows.div_ceil(8)) {
            return Err(damaged("has a bitmap that is too short"));
        }
        match field.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => {
                self.buffer()?;
                self.buffer().map(drop)
            }
            DataType::List(child) | DataType::LargeList(child) | DataType::Map(child, _) => {
                self.buffer()?;
                self.array(child)
            }
            DataType::FixedSizeList(child, _) => self.array(child),
            DataType::Struct(children) => children.iter().try_for_each(|child| self.array(child)),
            _ => self.buffer().map(drop),
        }
    }

    fn buffer(&mut self) -> Result<usize> {
        self.buffers.next().ok_or_else(|| damaged("lacks a buffer"))
    }
}

fn damaged(how: &str) -> Error {
    Error::new(ErrorKind::DataLoss, format!("a chunk of the hot tier {how}"))
}

fn undecodable(e: ArrowError) -> Error {
    damaged("cannot be decoded").with_source(e)
}

#[cfg(test)]
mod tests;
