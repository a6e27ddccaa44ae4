//! Objects being written: never over one that is there.

use std::sync::Arc;

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload, WriteMultipart, path::Path};
use uuid::Uuid;

use super::store_error;
use crate::{Result, fail_points::FailPoint};

/// Bytes gathered before an upload turns into one of many parts, and the size of a part.
pub(super) const PART_BYTES: usize = 8 << 20;
/// Parts of one upload under way at a time.
const PARTS_IN_FLIGHT: usize = 4;

/// One object being written: a single PUT while it is small, parts beyond that.
///
/// The end of an upload in parts overwrites whatever is there, and takes no condition. So such an upload first creates a
/// small object under its name, which only one can.
pub(crate) struct Upload {
    store: Arc<dyn ObjectStore>,
    path: Path,
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
    parts: Option<WriteMultipart>,
    bytes: u64,
}

impl Upload {
    pub(crate) fn new(store: &Arc<dyn ObjectStore>, path: Path) -> Self {
        Self { store: Arc::clone(store), path, waiting: Vec::new(), waiting_bytes: 0, parts: None, bytes: 0 }
    }

    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.bytes += bytes.len() as u64;
        if self.parts.is_none() {
            self.waiting_bytes += bytes.len();
            self.waiting.push(bytes);
            if self.waiting_bytes < PART_BYTES {
                return Ok(());
            }
            let parts = begin_parts(&self.store, &self.path).await;
            self.parts = Some(parts.map_err(|error| store_error("create", &self.path, error))?);
        } else {
            self.waiting.push(bytes);
        }
        if let Some(parts) = &mut self.parts {
            for bytes in self.waiting.drain(..) {
                let ready = parts.wait_for_capacity(PARTS_IN_FLIGHT).await;
                ready.map_err(|error| store_error("write", &self.path, error))?;
                parts.put(bytes);
            }
        }
        Ok(())
    }

    /// Returns the object's size in bytes. It is readable now, but on a local disk not yet durable.
    pub(crate) async fn finish(self) -> Result<u64> {
        if let Err(error) = FailPoint::ObjectPut.reached() {
            self.abort().await;
            return Err(error);
        }
        let done = match self.parts {
            Some(parts) => parts.finish().await.map(drop),
            None => create(&self.store, &self.path, self.waiting.into_iter().collect()).await,
        };
        done.map_err(|error| store_error("write", &self.path, error))?;
        Ok(self.bytes)
    }

    /// Gives up what was uploaded so far.
    pub(crate) async fn abort(self) {
        let Some(parts) = self.parts else { return };
        let aborted = parts.abort().await;
        if let Err(error) = aborted.and(self.store.delete(&self.path).await) {
            tracing::warn!(path = %self.path, %error, "upload could not be aborted");
        }
    }
}

async fn begin_parts(store: &Arc<dyn ObjectStore>, path: &Path) -> object_store::Result<WriteMultipart> {
    // Unlike that of any other upload, so that nobody takes it for their own.
    let placeholder = format!("insula upload {}", Uuid::new_v4());
    create(store, path, placeholder.into()).await?;
    let upload = store.put_multipart(path).await?;
    Ok(WriteMultipart::new_with_chunk_size(upload, PART_BYTES))
}

/// Writes an object that must not be there yet. When the answer to a PUT is lost and the PUT is sent again, the object is
/// there: then it is ours if it holds what we wrote.
pub(super) async fn create(store: &Arc<dyn ObjectStore>, path: &Path, payload: PutPayload) -> object_store::Result<()> {
    match store.put_opts(path, payload.clone(), PutMode::Create.into()).await {
        Ok(_) => Ok(()),
        Err(error @ object_store::Error::AlreadyExists { .. }) => {
            let found = store.get(path).await?;
            let same =
                found.meta.size == payload.content_length() as u64 && found.bytes().await? == Bytes::from(payload);
            if same { Ok(()) } else { Err(error) }
        }
        Err(error) => Err(error),
    }
}
