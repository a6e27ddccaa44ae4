//! The object store of the cold tier, and the durability that object_store's local one lacks.
//!
//! On a remote store an acknowledged PUT is durable. `LocalFileSystem` never fsyncs: neither the file nor the
//! directory whose entry names it, so a manifest could be durable while its files are gone after a power loss.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    path::{Path as FsPath, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{
    ObjectStore, ObjectStoreExt, PutMode, PutPayload, WriteMultipart, local::LocalFileSystem, memory::InMemory,
    path::Path,
};
use uuid::Uuid;

use super::layout;
use crate::{Error, ErrorKind, Result, fail_points::FailPoint};

/// Bytes gathered before an upload turns into one of many parts, and the size of a part.
const PART_BYTES: usize = 8 << 20;
/// Parts of one upload under way at a time.
const PARTS_IN_FLIGHT: usize = 4;

/// The object that says whose the store is.
const OWNER: &str = "insula-owner";

pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    /// Directory of the local store, whose files we fsync ourselves.
    root: Option<PathBuf>,
}

impl Objects {
    pub(crate) fn open(url: Option<&str>, data_dir: &FsPath) -> Result<Self> {
        let root = match url {
            None => data_dir.join("cold"),
            Some("memory://" | "memory:///") => return Ok(Self { store: Arc::new(InMemory::new()), root: None }),
            Some(url) => match url.strip_prefix("file://") {
                Some(path) if path.starts_with('/') && !path.contains(['%', '?', '#']) => PathBuf::from(path),
                _ => {
                    return Err(Error::new(
                        ErrorKind::Invalid,
                        format!("object store \"{url}\" is not supported; use file:///ABSOLUTE/PATH or memory://"),
                    ));
                }
            },
        };
        create_dir_synced(&root).map_err(|error| io_error("create directory", &root, error))?;
        let root = root.canonicalize().map_err(|error| io_error("resolve directory", &root, error))?;
        let store = LocalFileSystem::new_with_prefix(&root).map_err(|error| store_error("open", &root, error))?;
        Ok(Self { store: Arc::new(store), root: Some(root) })
    }

    /// The directory of a local store.
    pub(crate) fn root(&self) -> Option<&FsPath> {
        self.root.as_deref()
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    pub(super) async fn read(&self, path: &Path) -> Result<Bytes> {
        let read = async { self.store.get(path).await?.bytes().await };
        read.await.map_err(|error| store_error("read", path, error))
    }

    pub(crate) fn upload(&self, path: Path) -> Upload {
        Upload::new(&self.store, path)
    }

    /// Deletes an object; one that is gone already counts as deleted.
    pub(crate) async fn delete(&self, path: &Path) -> Result<()> {
        FailPoint::ObjectDelete.reached()?;
        match self.store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            // Below something that is no directory there is no object either.
            Err(error) if is_caused_by(&error, |error| error.kind() == io::ErrorKind::NotADirectory) => Ok(()),
            Err(error) => Err(store_error("delete", path, error)),
        }
    }

    pub(crate) async fn persist(&self, path: &Path) -> Result<()> {
        FailPoint::ObjectSync.reached()?;
        let Some(root) = &self.root else { return Ok(()) };
        let file = root.join(path.as_ref());
        let root = root.clone();
        blocking(move || {
            sync(&file).map_err(|error| io_error("fsync", &file, error))?;
            // The object's directory may be new: its own entry must last as well.
            let parents = file.ancestors().skip(1).take_while(|parent| parent.starts_with(&root));
            for parent in parents {
                sync(parent).map_err(|error| io_error("fsync", parent, error))?;
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn claim(&self, owner: Uuid) -> Result<()> {
        let path = Path::from(OWNER);
        let ours = owner.to_string();
        match self.store.put_opts(&path, ours.clone().into(), PutMode::Create.into()).await {
            Ok(_) => return self.persist(&path).await,
            Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(store_error("create", &path, error)),
        }
        let found = self.read(&path).await?;
        if found == ours.as_bytes() {
            return Ok(());
        }
        // A power loss right after its creation can leave the object empty; then nobody has written anything yet.
        if found.is_empty() {
            let put = self.store.put(&path, ours.into()).await;
            put.map_err(|error| store_error("write", &path, error))?;
            return self.persist(&path).await;
        }
        let place = self.root.as_ref().map_or_else(|| "memory".to_owned(), |root| root.display().to_string());
        let message = format!("the object store at {place} holds another database's files; use a place of its own");
        Err(Error::new(ErrorKind::FailedPrecondition, message))
    }

    /// Relative paths of the objects of ours that `named` does not hold.
    pub(super) async fn unnamed(&self, named: &HashSet<String>) -> Result<Vec<String>> {
        let listed = match &self.root {
            Some(root) => local_objects(root).map_err(|error| io_error("list", root, error))?,
            None => {
                let listed = self.store.list(None).map_ok(|meta| meta.location.to_string()).try_collect().await;
                listed.map_err(|error| store_error("list", "the store", error))?
            }
        };
        Ok(listed.into_iter().filter(|path| layout::is_ours(path) && !named.contains(path)).collect())
    }

    pub(super) async fn sweep(&self, named: &HashSet<String>) -> Result<u64> {
        let orphans = self.unnamed(named).await?;
        for path in &orphans {
            FailPoint::RecoverObject.reached()?;
            match &self.root {
                // Not through object_store, which knows no staging files.
                Some(root) => {
                    let path = root.join(path);
                    fs::remove_file(&path).map_err(|error| io_error("delete", &path, error))?;
                }
                None => self.delete(&Path::from(path.as_str())).await?,
            }
        }
        Ok(orphans.len() as u64)
    }
}

/// Relative paths of all files one directory below `root`; object_store's own listing would hide staging files.
fn local_objects(root: &FsPath) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for directory in fs::read_dir(root)? {
        let directory = directory?;
        if !directory.file_type()?.is_dir() {
            continue;
        }
        for file in fs::read_dir(directory.path())? {
            let (directory, file) = (directory.file_name(), file?.file_name());
            if let (Some(directory), Some(file)) = (directory.to_str(), file.to_str()) {
                found.push(format!("{directory}/{file}"));
            }
        }
    }
    Ok(found)
}

/// One object being written: a single PUT while it is small, parts beyond that.
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
            let upload = self.store.put_multipart(&self.path).await;
            let upload = upload.map_err(|error| store_error("create", &self.path, error))?;
            self.parts = Some(WriteMultipart::new_with_chunk_size(upload, PART_BYTES));
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
            None => {
                let payload: PutPayload = self.waiting.into_iter().collect();
                self.store.put_opts(&self.path, payload, PutMode::Create.into()).await.map(drop)
            }
        };
        done.map_err(|error| store_error("write", &self.path, error))?;
        Ok(self.bytes)
    }

    /// Gives up what was uploaded so far.
    pub(crate) async fn abort(self) {
        if let Some(parts) = self.parts
            && let Err(error) = parts.abort().await
        {
            tracing::warn!(path = %self.path, %error, "upload could not be aborted");
        }
    }
}

/// Creates a directory and its missing parents, each durable in the directory above it.
pub(crate) fn create_dir_synced(path: &FsPath) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(FsPath::new("."));
    create_dir_synced(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync(parent)
}

fn sync(path: &FsPath) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Runs file system work where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::new(ErrorKind::Internal, "a task of the cold tier died").with_source(error)),
    }
}

fn io_error(verb: &str, path: &FsPath, error: io::Error) -> Error {
    let kind = if is_full(&error) { ErrorKind::ResourceExhausted } else { ErrorKind::Unavailable };
    Error::new(kind, format!("cannot {verb} {}", path.display())).with_source(error)
}

/// An object that should be there and is not is lost data; everything else may pass. An error of ours that only went
/// through object_store's interface comes out as it went in.
pub(crate) fn store_error(verb: &str, path: impl std::fmt::Debug, error: object_store::Error) -> Error {
    let error = match error {
        object_store::Error::Generic { store, source } => match source.downcast::<Error>() {
            Ok(ours) => return *ours,
            Err(source) => object_store::Error::Generic { store, source },
        },
        error => error,
    };
    let kind = match &error {
        object_store::Error::NotFound { .. } => ErrorKind::DataLoss,
        error if is_caused_by(error, is_full) => ErrorKind::ResourceExhausted,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("cannot {verb} {path:?} in the cold tier")).with_source(error)
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn is_caused_by(error: &object_store::Error, what: impl Fn(&io::Error) -> bool) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(&what) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests;
