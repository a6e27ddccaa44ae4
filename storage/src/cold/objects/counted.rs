//! Counts what is asked of an object store, for those who watch a server. It changes nothing on the way.

use std::{
    fmt,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result, path::Path,
};

/// Requests by what they do, since the store was opened.
#[derive(Default)]
pub(crate) struct Requests {
    read: Counts,
    write: Counts,
    delete: Counts,
    list: Counts,
}

#[derive(Default)]
struct Counts {
    all: AtomicU64,
    failed: AtomicU64,
}

impl Counts {
    /// An object that is missing, or there already, is an answer.
    fn note<T>(&self, answer: Result<T>) -> Result<T> {
        use object_store::Error::{AlreadyExists, NotFound, NotModified, Precondition};
        self.all.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = &answer
            && !matches!(error, AlreadyExists { .. } | NotFound { .. } | NotModified { .. } | Precondition { .. })
        {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }
}

impl Requests {
    /// Name, requests, and how many of them failed.
    pub(crate) fn counts(&self) -> [(&'static str, u64, u64); 4] {
        let kinds = [("read", &self.read), ("write", &self.write), ("delete", &self.delete), ("list", &self.list)];
        kinds.map(|(name, counts)| (name, counts.all.load(Ordering::Relaxed), counts.failed.load(Ordering::Relaxed)))
    }
}

/// A store whose requests are counted. Parts of an upload are not, its beginning is.
pub(super) struct Counted {
    pub inner: Arc<dyn ObjectStore>,
    pub requests: Arc<Requests>,
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

#[async_trait]
impl ObjectStore for Counted {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.requests.write.note(self.inner.put_opts(path, payload, options).await)
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.requests.write.note(self.inner.put_multipart_opts(path, options).await)
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.requests.read.note(self.inner.get_opts(path, options).await)
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.requests.read.note(self.inner.get_ranges(path, ranges).await)
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let requests = Arc::clone(&self.requests);
        self.inner.delete_stream(paths).map(move |answer| requests.delete.note(answer)).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        // One request gives many items; those that fail end it.
        let requests = Arc::clone(&self.requests);
        requests.list.all.fetch_add(1, Ordering::Relaxed);
        let listed = self.inner.list(prefix);
        let note = move |item: &Result<ObjectMeta>| {
            if item.is_err() {
                requests.list.failed.fetch_add(1, Ordering::Relaxed);
            }
        };
        listed.inspect(note).boxed()
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.requests.list.all.fetch_add(1, Ordering::Relaxed);
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.requests.list.note(self.inner.list_with_delimiter(prefix).await)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.requests.write.note(self.inner.copy_opts(from, to, options).await)
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.requests.write.note(self.inner.rename_opts(from, to, options).await)
    }
}
