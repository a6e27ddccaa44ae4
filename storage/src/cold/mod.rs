//! The cold tier: immutable Parquet files of many users' rows, sorted by (user, key).
//!
//! `manifest` says which files a table has at one version; `user_index` (in each file) says which rows of a file are
//! a user's; `deletion_vector` says which of those a newer version has replaced. `writer` makes files, `find` looks
//! keys up in them for writers and `keyed` for readers, `rows` reads them whole for compactions, `files` and `open_file` open them, `blocks` checks what is
//! read of them, `slice` hands a user's ranges to the read side, `shadowed` finds
//! which of their rows hot ones shadow, `pins` keeps replaced objects alive while a view may
//! still read them, `objects` is the object store with the fsyncs that it lacks.

pub(crate) mod blocks;
mod check;
mod deletion_vector;
mod files;
pub(crate) mod find;
#[cfg(test)]
pub(crate) mod fixture;
pub(crate) mod fuzz;
mod keyed;
pub(crate) mod layout;
pub(crate) mod manifest;
mod objects;
mod open_file;
pub(crate) mod parquet_type;
mod pins;
pub(crate) mod rows;
mod shadowed;
mod slice;
mod user_index;
mod versions;
pub(crate) mod writer;

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use futures::stream::BoxStream;
use insula_proto::TableId;
use object_store::{ObjectMeta, ObjectStore};
use roaring::RoaringBitmap;
use tokio::sync::Notify;
use uuid::Uuid;

pub(crate) use check::Flaw;
pub use manifest::Stamp;
pub(crate) use manifest::{ColdFile, DeletionVectorRef, Manifest};
pub(crate) use objects::{Objects, Upload, create_dir_synced, store_error};
pub(crate) use pins::Pin;
pub use shadowed::Shadowed;

use crate::{Result, StoreMemory, cache::Cache, fail_points::FailPoint};
use files::{Checked, Files};
use open_file::OpenFile;
use pins::Pins;

/// The object store and what is remembered of its immutable objects.
pub(crate) struct ColdTier {
    objects: Objects,
    files: Arc<Files>,
    vectors: Cache<Uuid, RoaringBitmap>,
    blocks: Cache<keyed::Place, keyed::Block>,
    pins: Arc<Pins>,
    changed: Notify,
}

impl ColdTier {
    /// `url`: `None` for the local directory `data_dir/cold`, else `file:///…`, `s3://…` or `memory://`.
    pub(crate) fn open(url: Option<&str>, data_dir: &Path, memory: &StoreMemory) -> Result<Self> {
        Ok(Self::new(Objects::open(url, data_dir)?, memory))
    }

    pub(crate) fn new(objects: Objects, memory: &StoreMemory) -> Self {
        Self {
            files: Arc::new(Files::new(Arc::clone(objects.store()), memory.files)),
            objects,
            vectors: Cache::new(memory.vectors),
            blocks: Cache::new(memory.cold_rows),
            pins: Arc::new(Pins::default()),
            changed: Notify::new(),
        }
    }

    /// To be read only, and every byte checked.
    pub(crate) fn objects(&self) -> Arc<dyn ObjectStore> {
        Arc::new(Checked(Arc::clone(&self.files)))
    }

    /// Everything that lies in the store, also what is not ours.
    pub(crate) fn list(&self) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.objects.store().list(None)
    }

    /// Where to read a whole object from that [`Self::meet`] has met: Parquet files are checked on the way.
    pub(crate) fn source(&self, object: &object_store::path::Path) -> Arc<dyn ObjectStore> {
        if layout::file_id(object).is_some() { self.objects() } else { Arc::clone(self.objects.store()) }
    }

    /// Checks what is read whole of the objects that a manifest names: the ends of files, and deletion vectors.
    pub(crate) async fn meet(&self, table: TableId, manifest: &Manifest) -> Result<()> {
        for file in &manifest.files {
            self.open_file(table, file).await?;
            self.vector(table, file).await?;
        }
        Ok(())
    }

    /// What was asked of the object store: name, requests, and how many of them failed.
    pub(crate) fn requests(&self) -> [(&'static str, u64, u64); 4] {
        self.objects.requests().counts()
    }

    /// The object store itself.
    #[cfg(test)]
    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        self.objects.store()
    }

    /// The directory of a local store.
    pub(crate) fn root(&self) -> Option<&Path> {
        self.objects.root()
    }

    /// Whether a place lies within the bucket and prefix of this store.
    pub(crate) fn encloses(&self, url: &str) -> bool {
        self.objects.encloses(url)
    }

    /// Must be taken **before** the RocksDB snapshot of a view, and live as long as it: what a manifest seen through
    /// that snapshot names is then not deleted. Taken after the snapshot, a flush could slip in between the two and
    /// delete the deletion vectors that the snapshot's manifest still names.
    pub(crate) fn pin(&self) -> Pin {
        Pins::pin(&self.pins)
    }

    /// Waits until a manifest has been committed since the last call.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Tells whoever waits that a manifest has been committed.
    pub(crate) fn tell_changed(&self) {
        self.changed.notify_one();
    }

    /// Hands over objects that the manifest just committed no longer names; call it after that commit.
    pub(crate) fn retire(&self, objects: Vec<object_store::path::Path>) {
        self.pins.retire(objects);
    }

    /// Retired objects that are still there for the views that may read them.
    pub(crate) fn retired(&self) -> Vec<object_store::path::Path> {
        self.pins.retired()
    }

    /// Waits until every view taken before the call is gone.
    pub(crate) async fn wait_for_views(&self) {
        self.pins.drained().await;
    }

    /// Waits until a pin that held back retired objects is gone.
    pub(crate) async fn reclaimable(&self) {
        self.pins.released().await;
    }

    /// Deletes the retired objects that no view can read any more. An object that cannot be deleted is left to the
    /// sweep of the next start: it costs space, nothing else.
    pub(crate) async fn reclaim(&self) {
        for path in self.pins.take_free() {
            if FailPoint::Reclaim.reached().is_err() {
                continue;
            }
            self.files.forget(&path);
            if let Err(error) = self.objects.delete(&path).await {
                tracing::warn!(%path, error = &error as &dyn std::error::Error, "object could not be deleted");
            }
        }
    }

    pub(crate) fn upload(&self, path: object_store::path::Path) -> Upload {
        self.objects.upload(path)
    }

    /// Makes an uploaded object survive power loss.
    pub(crate) async fn persist(&self, path: &object_store::path::Path) -> Result<()> {
        self.objects.persist(path).await
    }

    pub(crate) async fn delete(&self, path: &object_store::path::Path) -> Result<()> {
        self.objects.delete(path).await
    }

    /// Makes sure that no other database uses the object store: its sweep would delete our objects, and ours its.
    pub(crate) async fn claim(&self, owner: Uuid) -> Result<()> {
        self.objects.claim(owner).await
    }

    /// Deletes every object of ours that `named` does not hold. Only at start, before anything is written.
    pub(crate) async fn sweep(&self, named: &std::collections::HashSet<String>) -> Result<u64> {
        self.objects.sweep(named).await
    }

    /// The object that says whose the store is.
    pub(crate) const OWNER: &str = objects::OWNER;

    /// What that object says.
    pub(crate) async fn owner(&self) -> Result<Bytes> {
        self.objects.read(&object_store::path::Path::from(Self::OWNER)).await
    }

    /// The objects of ours that `named` does not hold.
    pub(crate) async fn unnamed(&self, named: &std::collections::HashSet<String>) -> Result<Vec<String>> {
        self.objects.unnamed(named).await
    }

    /// Uploads the deletion vector of `file` under `id`; not yet persisted.
    pub(crate) async fn put_vector(
        &self,
        table: TableId,
        file: Uuid,
        id: Uuid,
        rows: RoaringBitmap,
    ) -> Result<DeletionVectorRef> {
        let bytes = Bytes::from(deletion_vector::encode(file, &rows)?);
        let reference = DeletionVectorRef { id, cardinality: rows.len(), bytes: bytes.len() as u64 };
        let mut upload = self.upload(layout::vector_path(table, id));
        upload.write(bytes).await?;
        upload.finish().await?;
        self.vectors.insert(id, Arc::new(rows), reference.bytes as usize);
        Ok(reference)
    }

    /// Rows of `file` that newer versions replace.
    pub(crate) async fn vector(&self, table: TableId, file: &ColdFile) -> Result<Arc<RoaringBitmap>> {
        let Some(reference) = &file.deletion_vector else { return Ok(Arc::default()) };
        if let Some(rows) = self.vectors.get(&reference.id) {
            return Ok(rows);
        }
        let path = layout::vector_path(table, reference.id);
        let bytes = self.objects.read(&path).await?;
        let rows = Arc::new(deletion_vector::decode(&path, &bytes, file.id)?);
        self.vectors.insert(reference.id, Arc::clone(&rows), bytes.len());
        Ok(rows)
    }

    /// Footer and user index of `file`.
    async fn open_file(&self, table: TableId, file: &ColdFile) -> Result<Arc<OpenFile>> {
        self.files.open(table, file).await
    }
}
