//! One Parquet file, opened: its tail (footer, user index, checksums), read once, checked and cached; and reading rows
//! of it.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryFutureExt, future::BoxFuture, stream, stream::BoxStream};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use parquet::{
    arrow::{
        ParquetRecordBatchStreamBuilder, ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection},
        async_reader::{AsyncFileReader, ParquetRecordBatchStream},
    },
    errors::ParquetError,
    file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader},
};

use super::{
    blocks::{BLOCK, Blocks, Tail, in_store},
    objects::store_error,
    user_index::UserIndex,
    writer::Location,
};
use crate::{Error, ErrorKind, Result};

/// Rows decoded at a time.
const BATCH_ROWS: usize = 8192;
/// Bytes read at a time of a file that is read whole: many blocks.
pub(super) const PIECE: u64 = 64 * BLOCK;

pub(super) struct OpenFile {
    reader: Reader,
    metadata: ArrowReaderMetadata,
    pub(super) users: UserIndex,
    tail: Tail,
    bytes: u64,
}

impl OpenFile {
    /// `bytes` and `tail`: of the file, as its manifest says. One request.
    pub(super) async fn load(store: &Arc<dyn ObjectStore>, path: Path, bytes: u64, tail: Tail) -> Result<Self> {
        let read = read_tail(store, &path, bytes, tail).await?;
        let lost = |what: &str| Error::new(ErrorKind::DataLoss, format!("{path} {what}"));
        let metadata = footer(&read, bytes).map_err(|error| read_error(&path, error))?;
        let part = |location: Option<Location>| location.and_then(|location| location.within(&read, tail.offset));
        let users = part(Location::of_index(&metadata)).ok_or_else(|| lost("has no user index"))?;
        let users = UserIndex::decode(users).map_err(|error| lost(error.message()))?;
        if i64::try_from(users.rows()) != Ok(metadata.file_metadata().num_rows()) {
            return Err(lost("has a user index that counts other rows than the footer"));
        }
        let blocks = part(Location::of_blocks(&metadata)).and_then(|crcs| Blocks::new(crcs, tail.offset));
        let blocks = Arc::new(blocks.ok_or_else(|| lost("has no checksums"))?);
        let metadata = ArrowReaderMetadata::try_new(Arc::new(metadata), ArrowReaderOptions::new());
        let metadata = metadata.map_err(|error| read_error(&path, error))?;
        let reader = Reader { store: Arc::clone(store), path, blocks, metadata: Arc::clone(metadata.metadata()) };
        Ok(Self { reader, metadata, users, tail, bytes })
    }

    /// The tail's bytes stay in memory as long as the index that is a part of them.
    pub(super) fn memory(&self) -> usize {
        (self.bytes - self.tail.offset) as usize + self.metadata.metadata().memory_size()
    }

    pub(super) fn metadata(&self) -> &ArrowReaderMetadata {
        &self.metadata
    }

    pub(super) fn blocks(&self) -> &Blocks {
        &self.reader.blocks
    }

    /// Names of all columns.
    pub(super) fn columns(&self) -> Vec<String> {
        self.metadata.schema().fields().iter().map(|field| field.name().clone()).collect()
    }

    /// Size of the whole file.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Any ranges of the file's bytes, checked.
    pub(super) async fn read_bytes(&self, ranges: &[Range<u64>]) -> object_store::Result<Vec<Bytes>> {
        let Reader { store, path, blocks, .. } = &self.reader;
        if ranges.iter().all(|range| range.end <= blocks.body()) {
            return blocks.read(store, path, ranges).await;
        }
        // Rare: whoever has the parsed footer needs nothing of the tail.
        let tail = read_tail(store, path, self.bytes, self.tail).await.map_err(in_store)?;
        let mut read = Vec::with_capacity(ranges.len());
        for range in ranges {
            let end = range.end.min(self.bytes);
            let (in_body, in_tail) = (range.start..end.min(self.tail.offset), range.start.max(self.tail.offset)..end);
            let mut bytes = Vec::with_capacity(end.saturating_sub(range.start) as usize);
            if !in_body.is_empty() {
                blocks.read(store, path, &[in_body]).await?.iter().for_each(|part| bytes.extend_from_slice(part));
            }
            let at = |position: u64| (position - self.tail.offset) as usize;
            if !in_tail.is_empty() {
                bytes.extend_from_slice(tail.get(at(in_tail.start)..at(in_tail.end)).unwrap_or_default());
            }
            read.push(bytes.into());
        }
        Ok(read)
    }

    /// The same for one range of any size, a piece after the other.
    pub(super) fn stream_bytes(self: Arc<Self>, range: Range<u64>) -> BoxStream<'static, object_store::Result<Bytes>> {
        let starts = (range.start / PIECE..range.end.div_ceil(PIECE)).map(|piece| piece * PIECE);
        let pieces = starts.map(move |start| start.max(range.start)..(start + PIECE).min(range.end));
        let read = move |piece| {
            let file = Arc::clone(&self);
            async move { Ok(file.read_bytes(&[piece]).await?.pop().unwrap_or_default()) }
        };
        stream::iter(pieces).then(read).boxed()
    }

    /// The named columns of the rows in `ranges`, which ascend and do not overlap.
    pub(super) fn read(&self, columns: &[String], ranges: &[Range<u64>]) -> Result<ParquetRecordBatchStream<Reader>> {
        let schema = self.metadata.parquet_schema();
        let mask = ProjectionMask::columns(schema, columns.iter().map(String::as_str));
        let total = self.users.rows() as usize;
        let ranges = ranges.iter().map(|range| range.start as usize..range.end as usize);
        let selection = RowSelection::from_consecutive_ranges(ranges, total);
        ParquetRecordBatchStreamBuilder::new_with_metadata(self.reader.clone(), self.metadata.clone())
            .with_projection(mask)
            .with_row_selection(selection)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(|error| read_error(&self.reader.path, error))
    }

    /// Decoded bytes of a row, as the footer counts them.
    pub(super) fn row_bytes(&self) -> u64 {
        let bytes = self.metadata.metadata().row_groups().iter().map(|group| group.total_byte_size().max(0));
        bytes.sum::<i64>().unsigned_abs() / self.users.rows().max(1)
    }

    pub(super) fn read_error(&self, error: ParquetError) -> Error {
        read_error(&self.reader.path, error)
    }

    pub(super) fn path(&self) -> &Path {
        &self.reader.path
    }
}

/// The tail of a file, checked.
async fn read_tail(store: &Arc<dyn ObjectStore>, path: &Path, bytes: u64, tail: Tail) -> Result<Bytes> {
    let lost = |what: String| Error::new(ErrorKind::DataLoss, format!("{path}: {what}; restore it from a backup"));
    if tail.offset >= bytes {
        return Err(lost("the manifest gives it no footer".to_owned()));
    }
    let read = match store.get_range(path, tail.offset..bytes).await {
        Ok(read) => read,
        Err(error @ object_store::Error::NotFound { .. }) => return Err(store_error("read", path, error)),
        Err(error) => match store.head(path).await {
            Ok(meta) if meta.size != bytes => {
                return Err(lost(format!("it has {} bytes instead of {bytes}", meta.size)));
            }
            _ => return Err(store_error("read", path, error)),
        },
    };
    if read.len() as u64 != bytes - tail.offset {
        return Err(lost(format!("its footer, at byte {}, is cut short", tail.offset)));
    }
    if crc32fast::hash(&read) != tail.crc {
        return Err(lost(format!("its footer, at byte {}, fails its checksum", tail.offset)));
    }
    Ok(read)
}

/// Footer and page indexes, out of the end of a file of `bytes` bytes.
fn footer(tail: &Bytes, bytes: u64) -> Result<ParquetMetaData, ParquetError> {
    let mut reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
    reader.try_parse_sized(tail, bytes)?;
    reader.finish()
}

pub(super) fn read_error(path: &Path, error: ParquetError) -> Error {
    match error {
        ParquetError::External(source) => match source.downcast::<object_store::Error>() {
            Ok(error) => store_error("read", path, *error),
            Err(source) => Error::new(ErrorKind::DataLoss, format!("cannot decode {path}")).with_source(source),
        },
        error => Error::new(ErrorKind::DataLoss, format!("cannot decode {path}")).with_source(error),
    }
}

/// Byte ranges of one object, as the Parquet reader asks for them; checked.
#[derive(Clone)]
pub(super) struct Reader {
    store: Arc<dyn ObjectStore>,
    path: Path,
    blocks: Arc<Blocks>,
    metadata: Arc<ParquetMetaData>,
}

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        async move { Ok(self.get_byte_ranges(vec![range]).await?.pop().unwrap_or_default()) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move { self.blocks.read(&self.store, &self.path, &ranges).map_err(external).await }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        let metadata = Arc::clone(&self.metadata);
        async move { Ok(metadata) }.boxed()
    }
}

fn external(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}
