//! Where a backup lies, the directory in which one is taken apart or put together, and copies between them.

use std::{
    fs,
    path::{Path as FsPath, PathBuf},
    sync::Arc,
};

use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, local::LocalFileSystem, path::Path};
use uuid::Uuid;

use super::{Contents, File, MANIFEST};
use crate::{
    Error, ErrorKind, Result,
    cold::{ColdTier, Objects, Upload, create_dir_synced, store_error},
};

/// Below the data directory; emptied at each start.
const SCRATCH: &str = "scratch";

/// The object store of a backup.
pub(super) struct Place {
    url: String,
    objects: Objects,
}

impl Place {
    /// Of a backup that is to be taken: a place that no other part of the server uses.
    pub fn open(url: &str, data_dir: &FsPath, cold: &ColdTier) -> Result<Self> {
        if url.starts_with("memory:") {
            let message =
                "a backup in memory would not outlive the server; use file:///ABSOLUTE/PATH or s3://BUCKET/PREFIX";
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let ours = [data_dir.canonicalize().ok(), cold.root().map(FsPath::to_owned)];
        // Asked before the directory is made, so of what there is of it.
        let place = url.strip_prefix("file://").map(FsPath::new);
        let existing = place.and_then(|place| place.ancestors().find_map(|part| part.canonicalize().ok()));
        let inside = existing.is_some_and(|place| ours.iter().flatten().any(|ours| place.starts_with(ours)));
        if inside || cold.encloses(url) {
            let message = format!("{url} lies inside the server's own directories; use a place of its own");
            return Err(Error::new(ErrorKind::FailedPrecondition, message));
        }
        Ok(Self { url: url.to_owned(), objects: Objects::open(Some(url), data_dir)? })
    }

    /// Of a backup that should be there. Nothing is created.
    pub fn existing(url: &str, data_dir: &FsPath, cold: &ColdTier) -> Result<Self> {
        match url.strip_prefix("file://") {
            Some(path) if !FsPath::new(path).is_dir() => Err(Self::nothing_at(url)),
            _ => Self::open(url, data_dir, cold),
        }
    }

    fn nothing_at(url: &str) -> Error {
        Error::new(ErrorKind::NotFound, format!("there is no finished backup at {url}"))
    }

    /// `None`: there is no finished backup.
    pub async fn contents(&self) -> Result<Option<Contents>> {
        match self.objects.store().get(&Path::from(MANIFEST)).await {
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(store_error("read", MANIFEST, error)),
            Ok(found) => {
                let sealed = found.bytes().await.map_err(|error| store_error("read", MANIFEST, error))?;
                Contents::from_record(&sealed).map(Some)
            }
        }
    }

    pub async fn require_contents(&self) -> Result<Contents> {
        self.contents().await?.ok_or_else(|| Self::nothing_at(&self.url))
    }

    pub async fn require_vacancy(&self) -> Result<()> {
        match self.contents().await {
            Ok(None) => self.objects.require_conditional_writes().await,
            Ok(Some(_)) => {
                let message = format!("there is a backup at {} already; name another place", self.url);
                Err(Error::new(ErrorKind::AlreadyExists, message))
            }
            Err(error) => Err(error),
        }
    }

    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        self.objects.store()
    }

    /// Under an id of its own no object meets one of another backup, finished or not.
    pub async fn put(&self, id: Uuid, path: &str, from: &Arc<dyn ObjectStore>, source: &Path) -> Result<File> {
        let target = object_path(id, path);
        let (bytes, crc) = copy(from, source, self.objects.upload(target.clone()), None).await?;
        self.objects.persist(&target).await?;
        Ok(File { path: path.to_owned(), bytes, crc })
    }

    /// The end: from here on there is a backup.
    pub async fn finish(&self, contents: &Contents) -> Result<()> {
        let path = Path::from(MANIFEST);
        let mut upload = self.objects.upload(path.clone());
        upload.write(contents.to_record().into()).await?;
        upload.finish().await?;
        self.objects.persist(&path).await
    }

    /// Removes what a backup that failed has left, as far as that can be done. Its end comes first: the answer to that
    /// write may have been lost, and a backup that looks finished must have all its files.
    pub async fn remove(&self, id: Uuid, files: &[File]) {
        let finished = match self.contents().await {
            Ok(contents) => contents.is_some_and(|contents| contents.id == id),
            Err(error) => return tracing::warn!(%error, "an unfinished backup could not be removed"),
        };
        if finished && let Err(error) = self.objects.delete(&Path::from(MANIFEST)).await {
            return tracing::warn!(%error, "a backup whose end was in doubt is finished, and stays");
        }
        for file in files {
            if let Err(error) = self.objects.delete(&object_path(id, &file.path)).await {
                tracing::warn!(%error, "a file of an unfinished backup could not be removed");
            }
        }
    }
}

pub(super) fn object_path(id: Uuid, path: &str) -> Path {
    Path::from(format!("{id}/{path}"))
}

/// Copies one object as a stream. Where `expected` is not what came, nothing is left and the object is damaged.
pub(super) async fn copy(
    from: &Arc<dyn ObjectStore>,
    source: &Path,
    mut to: Upload,
    expected: Option<&File>,
) -> Result<(u64, u32)> {
    let written = pour(from, source, &mut to).await;
    let checked = written.and_then(|found| match expected {
        Some(file) if (file.bytes, file.crc) != found => {
            Err(Error::new(ErrorKind::DataLoss, format!("{} of the backup fails its checksum", file.path)))
        }
        _ => Ok(found),
    });
    match checked {
        Ok(found) => to.finish().await.map(|_| found),
        Err(error) => {
            to.abort().await;
            Err(error)
        }
    }
}

/// Bytes and checksum of what went from one to the other.
async fn pour(from: &Arc<dyn ObjectStore>, source: &Path, to: &mut Upload) -> Result<(u64, u32)> {
    let (mut bytes, mut crc) = (0, crc32fast::Hasher::new());
    let pieces = from.get(source).await.map_err(|error| store_error("read", source, error))?;
    let mut pieces = pieces.into_stream();
    while let Some(piece) = pieces.try_next().await.map_err(|error| store_error("read", source, error))? {
        bytes += piece.len() as u64;
        crc.update(&piece);
        to.write(piece).await?;
    }
    Ok((bytes, crc.finalize()))
}

/// A directory that goes when the value goes; what a crash leaves of it is removed at the next start.
pub(super) struct Scratch {
    root: PathBuf,
}

impl Scratch {
    pub fn new(data_dir: &FsPath) -> Result<Self> {
        let root = data_dir.join(SCRATCH).join(Uuid::now_v7().to_string());
        create_dir_synced(&root).map_err(|error| io_error("create", &root, error))?;
        Ok(Self { root })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn objects(&self) -> Result<Arc<dyn ObjectStore>> {
        let store = LocalFileSystem::new_with_prefix(&self.root);
        Ok(Arc::new(store.map_err(|error| store_error("open", &self.root, error))?))
    }

    /// Names of the files of a directory, but for the logs for people.
    pub fn files(&self, name: &str) -> Result<Vec<String>> {
        let directory = self.path(name);
        let failed = |error| io_error("list", &directory, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            if !name.starts_with("LOG") && name != "LOCK" {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.root) {
            tracing::warn!(%error, "a scratch directory could not be removed; the next start will");
        }
    }
}

/// Removes what a crash has left of scratch directories. Only at start.
pub(crate) fn clear_scratch(data_dir: &FsPath) -> Result<()> {
    let root = data_dir.join(SCRATCH);
    match fs::remove_dir_all(&root) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_error("remove", &root, error)),
        _ => Ok(()),
    }
}

fn io_error(verb: &str, path: &FsPath, error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::ResourceExhausted,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("cannot {verb} {}", path.display())).with_source(error)
}
