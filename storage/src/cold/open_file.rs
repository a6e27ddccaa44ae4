//! One Parquet file, opened: its footer and its user index, read once and cached; and reading rows of it.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures::{FutureExt, TryFutureExt, future::BoxFuture};
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

use super::{objects::store_error, user_index::UserIndex, writer::IndexLocation};
use crate::{Error, ErrorKind, Result};

/// Read from the file's end at first: most footers fit, and then one request opens a file.
const FOOTER_GUESS: usize = 64 << 10;
/// Rows decoded at a time.
const BATCH_ROWS: usize = 8192;

pub(super) struct OpenFile {
    reader: Reader,
    metadata: ArrowReaderMetadata,
    pub(super) users: UserIndex,
}

impl OpenFile {
    pub(super) async fn load(store: &Arc<dyn ObjectStore>, path: Path, bytes: u64) -> Result<Self> {
        let mut reader = Reader { store: Arc::clone(store), path, bytes };
        // The page index too: with it, pages that are not wanted are not even read. Whoever scans the file gets this very
        // footer, so that it is parsed once.
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = ArrowReaderMetadata::load_async(&mut reader, options).await;
        let metadata = metadata.map_err(|error| read_error(&reader.path, error))?;
        let location = IndexLocation::of(metadata.metadata())
            .ok_or_else(|| Error::new(ErrorKind::DataLoss, format!("{} has no user index", reader.path)))?;
        let range = location.range();
        let index = reader.store.get_range(&reader.path, range).await;
        let index = index.map_err(|error| store_error("read", &reader.path, error))?;
        if !location.holds(&index) {
            return Err(Error::new(
                ErrorKind::DataLoss,
                format!("the user index of {} fails its checksum", reader.path),
            ));
        }
        let users =
            UserIndex::decode(index).map_err(|error| Error::new(error.kind(), format!("{}: {error}", reader.path)))?;
        if i64::try_from(users.rows()) != Ok(metadata.metadata().file_metadata().num_rows()) {
            let message = format!("the user index of {} counts other rows than the file", reader.path);
            return Err(Error::new(ErrorKind::DataLoss, message));
        }
        Ok(Self { reader, metadata, users })
    }

    pub(super) fn metadata(&self) -> &ArrowReaderMetadata {
        &self.metadata
    }

    pub(super) fn memory(&self) -> usize {
        self.users.memory() + self.metadata.metadata().memory_size()
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

    pub(super) fn read_error(&self, error: ParquetError) -> Error {
        read_error(&self.reader.path, error)
    }

    pub(super) fn path(&self) -> &Path {
        &self.reader.path
    }
}

fn read_error(path: &Path, error: ParquetError) -> Error {
    match error {
        ParquetError::External(source) => match source.downcast::<object_store::Error>() {
            Ok(error) => store_error("read", path, *error),
            Err(source) => Error::new(ErrorKind::DataLoss, format!("cannot decode {path}")).with_source(source),
        },
        error => Error::new(ErrorKind::DataLoss, format!("cannot decode {path}")).with_source(error),
    }
}

/// Byte ranges of one object, as the Parquet reader asks for them.
#[derive(Clone)]
pub(super) struct Reader {
    store: Arc<dyn ObjectStore>,
    path: Path,
    bytes: u64,
}

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        self.store.get_range(&self.path, range).map_err(external).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move { self.store.get_ranges(&self.path, &ranges).await.map_err(external) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        async move {
            let bytes = self.bytes;
            let reader = ParquetMetaDataReader::new().with_prefetch_hint(Some(FOOTER_GUESS));
            Ok(Arc::new(reader.with_arrow_reader_options(options).load_and_finish(self, bytes).await?))
        }
        .boxed()
    }
}

fn external(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}
