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
use object_store::{ObjectStore, ObjectStoreExt, PutMode, path::Path};
use uuid::Uuid;

use super::layout;
use crate::{Error, ErrorKind, Result, fail_points::FailPoint};
use counted::{Counted, Requests};
use place::Place;
pub(crate) use upload::Upload;

/// The object that says whose the store is.
pub(super) const OWNER: &str = "insula-owner";
/// An object that is there for a moment of each start.
const PROBE: &str = "insula-probe";

pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    requests: Arc<Requests>,
    place: Place,
    /// Directory of the local store, whose files we fsync ourselves.
    root: Option<PathBuf>,
}

impl Objects {
    pub(crate) fn open(url: Option<&str>, data_dir: &FsPath) -> Result<Self> {
        let place = Place::parse(url, data_dir)?;
        let (store, root) = place.open()?;
        Ok(Self { root, ..Self::counted(store, place) })
    }

    /// A store that is durable by itself.
    pub(crate) fn over(store: Arc<dyn ObjectStore>) -> Self {
        Self::counted(store, Place::Memory)
    }

    fn counted(inner: Arc<dyn ObjectStore>, place: Place) -> Self {
        let requests = Arc::<Requests>::default();
        let store = Arc::new(Counted { inner, requests: Arc::clone(&requests) });
        Self { store, requests, place, root: None }
    }

    pub(crate) fn requests(&self) -> &Requests {
        &self.requests
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

    /// Makes the store this database's own, or finds that it is.
    pub(super) async fn claim(&self, owner: Uuid) -> Result<()> {
        self.require_conditional_writes().await?;
        let path = Path::from(OWNER);
        let ours = owner.to_string();
        match upload::create(&self.store, &path, ours.clone().into()).await {
            Ok(()) => return self.persist(&path).await,
            Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(self.unusable("create", &path, error)),
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
        let message =
            format!("the object store at {} holds another database's files; use a place of its own", self.place);
        Err(Error::new(ErrorKind::FailedPrecondition, message))
    }

    /// Two servers at one place find each other because only one of them can create an object. A store that lets both
    /// must not be used.
    pub(crate) async fn require_conditional_writes(&self) -> Result<()> {
        if self.root.is_some() {
            return Ok(());
        }
        let path = Path::from(PROBE);
        let put = || self.store.put_opts(&path, PROBE.into(), PutMode::Create.into());
        // A probe that is there already, of a start that was cut short, answers the question too.
        let verdict = match put().await {
            Ok(_) => put().await,
            refused => refused,
        };
        let message = match verdict {
            Err(object_store::Error::AlreadyExists { .. }) => return self.delete(&path).await,
            Ok(_) => "it overwrites an object although If-None-Match forbids it",
            Err(object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }) => {
                "it knows no If-None-Match"
            }
            Err(error) => return Err(self.unusable("create", &path, error)),
        };
        self.delete(&path).await?;
        let message =
            format!("the object store at {} cannot be used: {message}; use one with conditional writes", self.place);
        Err(Error::new(ErrorKind::FailedPrecondition, message))
    }

    /// An error at start, of which the operator may read all.
    fn unusable(&self, verb: &str, path: &Path, error: object_store::Error) -> Error {
        let message = format!("cannot use the object store at {}: {error}", self.place);
        Error::new(store_error(verb, path, error).kind(), message)
    }

    /// Whether all of the other's objects would lie among ours.
    pub(crate) fn encloses(&self, url: &str) -> bool {
        Place::parse(Some(url), FsPath::new("")).is_ok_and(|other| self.place.encloses(&other))
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

    /// Deletes the objects of ours that `named` does not hold; how many there were.
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

mod counted;
mod place;
#[cfg(test)]
mod tests;
mod upload;
