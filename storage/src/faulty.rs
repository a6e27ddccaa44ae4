//! An object store that fails as stores do: a request is refused, its answer is lost after it took effect, a body breaks
//! off with an error or ends early in silence, an object is torn, nothing comes back for a long time. For tests; each
//! says which request meets which fault. It counts what it was asked for, too.

use std::{
    fmt,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt, future, stream, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart, memory::InMemory, path::Path,
};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verb {
    Put,
    /// Begin, part and end of an upload in parts.
    Parts,
    Get,
    Delete,
    List,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// An error, and no effect.
    Refused,
    /// The effect, and an error.
    LostAnswer,
    /// Half of the body, and an error: of a PUT, half of the object is there.
    Cut,
    /// Half of the body, as if that were all.
    Torn,
    /// Waits until [`Faulty::release`]; then all is well.
    Stalled,
}

impl Verb {
    /// Those that can happen to it while the store keeps what it has acknowledged.
    pub(crate) fn faults(self) -> &'static [Fault] {
        match self {
            Self::Put => &[Fault::Refused, Fault::LostAnswer, Fault::Cut],
            Self::Parts | Self::Delete => &[Fault::Refused, Fault::LostAnswer],
            Self::Get => &[Fault::Refused, Fault::Cut, Fault::Torn],
            Self::List => &[Fault::Refused, Fault::Cut],
        }
    }
}

type Script = Box<dyn FnMut(Verb, &str) -> Option<Fault> + Send>;

pub(crate) struct Faulty {
    inner: InMemory,
    script: Mutex<Option<Script>>,
    released: Semaphore,
    pub(crate) stalled: AtomicU64,
    /// Bodies of GETs, as far as they were answered.
    pub(crate) bytes_read: Arc<AtomicU64>,
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

impl Faulty {
    pub(crate) fn new() -> Arc<Self> {
        let (script, stalled, bytes_read) = Default::default();
        Arc::new(Self { inner: InMemory::new(), script, released: Semaphore::new(0), stalled, bytes_read })
    }

    /// From now on `script` says what happens to each request.
    pub(crate) fn follow(&self, script: impl FnMut(Verb, &str) -> Option<Fault> + Send + 'static) {
        *self.script.lock() = Some(Box::new(script));
    }

    pub(crate) fn heal(&self) {
        *self.script.lock() = None;
    }

    /// Lets one stalled request go on.
    pub(crate) fn release(&self) {
        self.released.add_permits(1);
    }

    /// What lies in it, without a request.
    pub(crate) async fn objects(&self) -> Vec<Path> {
        self.inner.list(None).map_ok(|meta| meta.location).try_collect().await.unwrap()
    }

    async fn meets(&self, verb: Verb, path: &str) -> Option<Fault> {
        let fault = self.script.lock().as_mut().and_then(|script| script(verb, path));
        if fault != Some(Fault::Stalled) {
            return fault;
        }
        self.stalled.fetch_add(1, Relaxed);
        self.released.acquire().await.unwrap().forget();
        None
    }
}

fn failed<T>() -> Result<T> {
    Err(Error::Generic { store: "faulty", source: "the connection was reset".into() })
}

/// What the client is told of what happened.
fn answer<T>(fault: Option<Fault>, done: Result<T>) -> Result<T> {
    match fault {
        Some(Fault::LostAnswer | Fault::Cut) => done.and_then(|_| failed()),
        _ => done,
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let fault = self.meets(Verb::Put, path.as_ref()).await;
        let payload = match fault {
            Some(Fault::Refused) => return failed(),
            Some(Fault::Cut | Fault::Torn) => {
                let bytes = Bytes::from(payload);
                bytes.slice(..bytes.len() / 2).into()
            }
            _ => payload,
        };
        answer(fault, self.inner.put_opts(path, payload, options).await)
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let fault = self.meets(Verb::Parts, path.as_ref()).await;
        if fault == Some(Fault::Refused) {
            return failed();
        }
        let inner = answer(fault, self.inner.put_multipart_opts(path, options).await)?;
        // Parts are sent without a reference to the store, so their fate is drawn when they are made.
        let fate = self.script.lock().as_mut().and_then(|script| script(Verb::Parts, path.as_ref()));
        let end = self.script.lock().as_mut().and_then(|script| script(Verb::Parts, path.as_ref()));
        Ok(Box::new(Parts { inner, part: fate, end }))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.meets(Verb::Get, path.as_ref()).await;
        if fault == Some(Fault::Refused) {
            return failed();
        }
        let mut result = self.inner.get_opts(path, options).await?;
        let whole = (result.range.end - result.range.start) as usize;
        let sent = if matches!(fault, Some(Fault::Cut | Fault::Torn)) { whole / 2 } else { whole };
        self.bytes_read.fetch_add(sent as u64, Relaxed);
        if sent < whole {
            let GetResultPayload::Stream(body) = result.payload else { return failed() };
            let bytes: Vec<Bytes> = body.try_collect().await?;
            let half = Bytes::from(bytes.concat()).slice(..sent);
            let end = (fault == Some(Fault::Cut)).then(failed::<Bytes>);
            result.payload = GetResultPayload::Stream(stream::iter([Ok(half)].into_iter().chain(end)).boxed());
        }
        Ok(result)
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let fault = self.meets(Verb::Get, path.as_ref()).await;
        if matches!(fault, Some(Fault::Refused | Fault::Cut)) {
            return failed();
        }
        let mut read = self.inner.get_ranges(path, ranges).await?;
        if fault == Some(Fault::Torn)
            && let Some(last) = read.last_mut()
        {
            *last = last.slice(..last.len() / 2);
        }
        self.bytes_read.fetch_add(read.iter().map(|bytes| bytes.len() as u64).sum(), Relaxed);
        Ok(read)
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        // The trait wants a stream that outlives the store; only single deletes are asked for, and they are at hand.
        let paths: Vec<Result<Path>> = paths.collect().now_or_never().unwrap_or_default();
        let done = paths.into_iter().map(|path| {
            let path = path?;
            let fault = self.script.lock().as_mut().and_then(|script| script(Verb::Delete, path.as_ref()));
            if fault == Some(Fault::Refused) {
                return failed();
            }
            let gone = self.inner.delete_stream(stream::once(future::ready(Ok(path))).boxed());
            let gone: Vec<Result<Path>> = gone.collect().now_or_never().unwrap_or_default();
            answer(fault, gone.into_iter().next().unwrap_or_else(failed))
        });
        stream::iter(done.collect::<Vec<_>>()).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let fault = self.script.lock().as_mut().and_then(|script| script(Verb::List, ""));
        let all = self.inner.list(prefix);
        match fault {
            Some(Fault::Refused) => stream::once(future::ready(failed())).boxed(),
            // Some of the objects, and then the connection is gone.
            Some(Fault::Cut) => all.take(1).chain(stream::once(future::ready(failed()))).boxed(),
            _ => all,
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct Parts {
    inner: Box<dyn MultipartUpload>,
    part: Option<Fault>,
    end: Option<Fault>,
}

#[async_trait]
impl MultipartUpload for Parts {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let fault = self.part.take();
        if fault == Some(Fault::Refused) {
            return future::ready(failed()).boxed();
        }
        let sent = self.inner.put_part(data);
        async move { answer(fault, sent.await) }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        if self.end == Some(Fault::Refused) {
            return failed();
        }
        answer(self.end, self.inner.complete().await)
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

#[cfg(test)]
mod tests;
