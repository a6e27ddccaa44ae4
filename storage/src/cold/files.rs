//! The Parquet files that readers have met: opened once, cached, and readable by path through [`Checked`].
//!
//! The engine reads files by path, long after the manifest that named them was looked at, and perhaps after the cache
//! has let go of them. So the little that is needed to open a file again, and to check it, is remembered for as long as
//! the file exists.

use std::{collections::HashMap, fmt, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream, stream::BoxStream};
use insula_proto::TableId;
use object_store::{
    Attributes, CopyOptions, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, path::Path,
};
use parking_lot::RwLock;
use uuid::Uuid;

use super::{
    ColdFile,
    blocks::{Tail, in_store},
    layout,
    open_file::OpenFile,
};
use crate::{Error, ErrorKind, Result, cache::Cache, fail_points::FailPoint};

pub(super) struct Files {
    store: Arc<dyn ObjectStore>,
    open: Cache<Uuid, OpenFile>,
    /// Size and tail of every file that was met and still exists.
    met: RwLock<HashMap<Uuid, (u64, Tail)>>,
}

impl Files {
    pub(super) fn new(store: Arc<dyn ObjectStore>, cache_bytes: usize) -> Self {
        Self { store, open: Cache::new(cache_bytes), met: RwLock::default() }
    }

    /// A file that a manifest names.
    pub(super) async fn open(&self, table: TableId, file: &ColdFile) -> Result<Arc<OpenFile>> {
        if let Some(open) = self.open.get(&file.id) {
            return Ok(open);
        }
        FailPoint::ObjectRead.reached()?;
        self.met.write().insert(file.id, (file.bytes, file.tail));
        self.load(file.id, layout::file_path(table, file.id), file.bytes, file.tail).await
    }

    /// A file that was met before.
    pub(super) async fn get(&self, id: Uuid, path: &Path) -> Result<Arc<OpenFile>> {
        if let Some(open) = self.open.get(&id) {
            return Ok(open);
        }
        let met = self.met.read().get(&id).copied();
        let (bytes, tail) = met.ok_or_else(|| {
            Error::new(ErrorKind::Internal, format!("{path} was read before the manifest that names it"))
        })?;
        self.load(id, path.clone(), bytes, tail).await
    }

    async fn load(&self, id: Uuid, path: Path, bytes: u64, tail: Tail) -> Result<Arc<OpenFile>> {
        let open = Arc::new(OpenFile::load(&self.store, path, bytes, tail).await?);
        self.open.insert(id, Arc::clone(&open), open.memory());
        Ok(open)
    }

    /// The object is gone. What was read of it must go, too: it was used often when its rows were merged into another
    /// file, and the cache would rather keep it than let that file in.
    pub(super) fn forget(&self, path: &Path) {
        if let Some(id) = layout::file_id(path) {
            self.met.write().remove(&id);
            self.open.remove(&id);
        }
    }
}

/// The object store as the engine sees it: Parquet files that a manifest named, to be read only, every byte checked.
pub(super) struct Checked(pub(super) Arc<Files>);

impl Checked {
    async fn open(&self, path: &Path) -> object_store::Result<Arc<OpenFile>> {
        let id = layout::file_id(path)
            .ok_or_else(|| in_store(Error::new(ErrorKind::Internal, format!("{path} is no file of the cold tier"))))?;
        self.0.get(id, path).await.map_err(in_store)
    }
}

fn read_only<T>() -> object_store::Result<T> {
    let message = "the cold tier is written by storage alone".into();
    Err(object_store::Error::NotSupported { source: message })
}

impl fmt::Debug for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Checked")
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cold tier")
    }
}

#[async_trait]
impl ObjectStore for Checked {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        let open = self.open(location).await?;
        let size = open.bytes();
        let range = match &options.range {
            _ if options.head => 0..0,
            None => 0..size,
            Some(GetRange::Bounded(range)) => range.start.min(size)..range.end.min(size),
            Some(GetRange::Offset(offset)) => (*offset).min(size)..size,
            Some(GetRange::Suffix(n)) => size.saturating_sub(*n)..size,
        };
        let meta = ObjectMeta {
            location: location.clone(),
            last_modified: Default::default(),
            size,
            e_tag: None,
            version: None,
        };
        let payload = GetResultPayload::Stream(open.stream_bytes(range.clone()));
        Ok(GetResult { payload, meta, range, attributes: Attributes::new() })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> object_store::Result<Vec<Bytes>> {
        self.open(location).await?.read_bytes(ranges).await
    }

    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> object_store::Result<PutResult> {
        read_only()
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        read_only()
    }

    fn delete_stream(
        &self,
        _: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        stream::once(async { read_only() }).boxed()
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        stream::once(async { read_only() }).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> object_store::Result<ListResult> {
        read_only()
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> object_store::Result<()> {
        read_only()
    }
}

#[cfg(test)]
mod tests;
