//! What an Arrow message of a client unfolds to, counted before Arrow's reader believes what the message says of itself.
//!
//! That reader allocates whatever length a compressed buffer claims, and lets LZ4 write more than was claimed: either way
//! a message of a few bytes takes memory until the process ends, which no caught panic helps against.

use std::{
    collections::HashMap,
    io::{self, Read},
};

use arrow::ipc::{CompressionType, MessageHeader, RecordBatch, root_as_message};
use arrow_flight::FlightData;
use insula_engine::{Error, ErrorKind, Result};
use lz4_flex::frame::FrameDecoder;

#[cfg(test)]
mod tests;

/// Bytes of a value of a column whose rows come without any bytes, once it is stored as another type.
const BARE_ROW: u64 = 8;

/// Counts the messages of one stream. `T` holds memory for as long as what was counted may be there.
pub struct Unfold<T, F> {
    /// Bytes that one message may unfold to.
    most: u64,
    hold: F,
    /// Of the message that came last.
    last: Option<T>,
    /// Dictionaries stay until others of the same number replace them.
    dictionaries: HashMap<i64, T>,
}

impl<T, F: FnMut(usize) -> Result<T>> Unfold<T, F> {
    pub fn new(most: u64, hold: F) -> Self {
        Self { most, hold, last: None, dictionaries: HashMap::new() }
    }

    /// What is no Arrow message at all is left to Arrow's reader, which says so.
    pub fn check(&mut self, data: &FlightData) -> Result<()> {
        self.last = None;
        let Ok(message) = root_as_message(&data.data_header) else { return Ok(()) };
        let dictionary = match message.header_type() {
            MessageHeader::DictionaryBatch => message.header_as_dictionary_batch(),
            _ => None,
        };
        let batch = match message.header_type() {
            MessageHeader::RecordBatch => message.header_as_record_batch(),
            _ => dictionary.and_then(|dictionary| dictionary.data()),
        };
        let Some(batch) = batch else { return Ok(()) };
        let body = Body { bytes: &data.data_body, codec: batch.compression().map(|compression| compression.codec()) };
        let bytes = body.unfolded(&batch)?;
        if bytes > self.most {
            let text = format!(
                "one message unfolds to {bytes} bytes, and --max-message-size is {}; send smaller batches",
                self.most
            );
            return Err(Error::new(ErrorKind::ResourceExhausted, text));
        }
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        match dictionary {
            Some(dictionary) => {
                self.dictionaries.remove(&dictionary.id());
                self.dictionaries.insert(dictionary.id(), (self.hold)(bytes)?);
            }
            None => match bytes.saturating_sub(data.data_body.len()) {
                0 => {}
                beyond => self.last = Some((self.hold)(beyond)?),
            },
        }
        body.check_lz4(&batch)
    }
}

struct Body<'a> {
    bytes: &'a [u8],
    codec: Option<CompressionType>,
}

impl<'a> Body<'a> {
    fn buffers(&self, batch: &RecordBatch<'_>) -> impl Iterator<Item = Result<&'a [u8]>> {
        let bytes = self.bytes;
        batch.buffers().into_iter().flatten().map(move |buffer| {
            let (start, length) = (usize::try_from(buffer.offset()), usize::try_from(buffer.length()));
            let (start, length) = start.ok().zip(length.ok()).ok_or_else(|| malformed(OUTSIDE))?;
            let end = start.checked_add(length).ok_or_else(|| malformed(OUTSIDE))?;
            bytes.get(start..end).ok_or_else(|| malformed(OUTSIDE))
        })
    }

    fn unfolded(&self, batch: &RecordBatch<'_>) -> Result<u64> {
        let mut bytes = 0_u64;
        for buffer in self.buffers(batch) {
            let buffer = buffer?;
            let more = match self.claim(buffer)? {
                Some((claimed, _)) => claimed,
                None => buffer.len() as u64,
            };
            bytes = bytes.saturating_add(more);
        }
        // Columns of NULL, and values without a width, have rows and no bytes.
        let mut rows = 0_u64;
        for node in batch.nodes().into_iter().flatten() {
            let length = u64::try_from(node.length()).map_err(|_| malformed("a column has less than no rows"))?;
            rows = rows.saturating_add(length);
        }
        let rows = rows.max(u64::try_from(batch.length()).map_err(|_| malformed("it has less than no rows"))?);
        Ok(bytes.saturating_add(rows.saturating_sub(bytes).saturating_mul(BARE_ROW)))
    }

    /// What a compressed buffer says that it unfolds to, and what is to be unfolded.
    fn claim(&self, buffer: &'a [u8]) -> Result<Option<(u64, &'a [u8])>> {
        if self.codec.is_none() || buffer.is_empty() {
            return Ok(None);
        }
        let (length, rest) = buffer.split_first_chunk().ok_or_else(|| malformed("a compressed buffer is cut short"))?;
        match i64::from_le_bytes(*length) {
            // So are marked those that are not compressed after all.
            -1 => Ok(None),
            length => {
                let length = u64::try_from(length).map_err(|_| malformed("a buffer's length is below 0"))?;
                Ok(Some((length, rest)))
            }
        }
    }

    /// Zstandard is given as much room as was claimed, and no more; LZ4 would take what it needs.
    fn check_lz4(&self, batch: &RecordBatch<'_>) -> Result<()> {
        if self.codec != Some(CompressionType::LZ4_FRAME) {
            return Ok(());
        }
        for buffer in self.buffers(batch) {
            if let Some((claimed, compressed)) = self.claim(buffer?)? {
                let mut unfolded = FrameDecoder::new(compressed).take(claimed.saturating_add(1));
                let length = io::copy(&mut unfolded, &mut io::sink()).map_err(|e| malformed(&e.to_string()))?;
                if claimed > 0 && length != claimed {
                    return Err(malformed("a compressed buffer does not unfold to what it says"));
                }
            }
        }
        Ok(())
    }
}

const OUTSIDE: &str = "a buffer lies outside of the message's body";

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("malformed Arrow data: {what}"))
}
