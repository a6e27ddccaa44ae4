//! Reads files for DataFusion with the footers that storage has parsed already: opening a file for a scan costs no read.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use datafusion::{
    common::internal_datafusion_err,
    datasource::{listing::PartitionedFile, physical_plan::ParquetFileReaderFactory},
    error::Result,
    physical_plan::metrics::ExecutionPlanMetricsSet,
};
use futures::{FutureExt, TryFutureExt, future::BoxFuture};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use parquet::{
    arrow::{arrow_reader::ArrowReaderOptions, async_reader::AsyncFileReader},
    errors::ParquetError,
    file::metadata::ParquetMetaData,
};

/// Attached to each file of a scan.
pub(super) struct Footer(pub Arc<ParquetMetaData>);

/// Metrics of bytes are not kept: they count pages, which many users share.
#[derive(Debug)]
pub(super) struct Readers {
    store: Arc<dyn ObjectStore>,
}

impl Readers {
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store }
    }
}

impl ParquetFileReaderFactory for Readers {
    fn create_reader(
        &self,
        _partition: usize,
        file: PartitionedFile,
        _footer_bytes: Option<usize>,
        _metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let footer = file.extension::<Footer>().ok_or_else(|| internal_datafusion_err!("a file without its footer"))?;
        let footer = Arc::clone(&footer.0);
        Ok(Box::new(Reader { store: Arc::clone(&self.store), path: file.object_meta.location, footer }))
    }
}

struct Reader {
    store: Arc<dyn ObjectStore>,
    path: Path,
    footer: Arc<ParquetMetaData>,
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
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        futures::future::ready(Ok(Arc::clone(&self.footer))).boxed()
    }
}

fn external(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}
