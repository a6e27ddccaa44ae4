//! What a URL says of an object store: a directory, memory, or a bucket.

use std::{
    fmt,
    path::{Path as FsPath, PathBuf},
    sync::Arc,
    time::Duration,
};

use object_store::{
    BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    local::LocalFileSystem,
    memory::InMemory,
    path::Path,
    prefix::PrefixStore,
};

use super::{create_dir_synced, io_error, store_error};
use crate::{Error, ErrorKind, Result};

/// Of one request, answer and body included; `AWS_TIMEOUT` overrides it.
const REQUEST_TIMEOUT: &str = "30 seconds";
/// `AWS_CONNECT_TIMEOUT` overrides it.
const CONNECT_TIMEOUT: &str = "5 seconds";
/// No request is tried again when the first try is this old: a statement waits for a store that does not answer no
/// longer than this and one more request.
const RETRY_TIMEOUT: Duration = Duration::from_secs(20);
const RETRIES: usize = 8;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Place {
    Directory(PathBuf),
    Memory,
    Bucket { name: String, prefix: Path },
}

impl Place {
    /// `None`: the directory `cold` of the data directory.
    pub fn parse(url: Option<&str>, data_dir: &FsPath) -> Result<Self> {
        let Some(url) = url else { return Ok(Self::Directory(data_dir.join("cold"))) };
        let place = match url.split_once("://") {
            Some(("memory", "" | "/")) => Some(Self::Memory),
            Some(("file", path)) if path.starts_with('/') && !path.contains(['%', '?', '#']) => {
                Some(Self::Directory(path.into()))
            }
            Some(("s3", rest)) => bucket(rest),
            _ => None,
        };
        place.ok_or_else(|| {
            // The URL is not repeated: people put secrets into URLs.
            let message = "this object store is not supported; use file:///ABSOLUTE/PATH, s3://BUCKET/PREFIX or \
                           memory:// (the keys to a bucket come from AWS_ACCESS_KEY_ID and its like)";
            Error::new(ErrorKind::Invalid, message)
        })
    }

    /// The store, and the directory where it is one.
    pub fn open(&self) -> Result<(Arc<dyn ObjectStore>, Option<PathBuf>)> {
        match self {
            Self::Memory => Ok((Arc::new(InMemory::new()), None)),
            Self::Directory(root) => {
                create_dir_synced(root).map_err(|error| io_error("create directory", root, error))?;
                let root = root.canonicalize().map_err(|error| io_error("resolve directory", root, error))?;
                let store = LocalFileSystem::new_with_prefix(&root);
                let store = store.map_err(|error| store_error("open", &root, error))?;
                Ok((Arc::new(store), Some(root)))
            }
            Self::Bucket { name, prefix } => {
                let store = s3(name)?;
                Ok((
                    if prefix.is_root() { Arc::new(store) } else { Arc::new(PrefixStore::new(store, prefix.clone())) },
                    None,
                ))
            }
        }
    }
}

impl Place {
    /// Whether each object of `other` is an object of this bucket's prefix too. Directories are compared elsewhere, for
    /// they have many names.
    pub fn encloses(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Bucket { name, prefix }, Self::Bucket { name: other, prefix: inner }) => {
                name == other && inner.prefix_matches(prefix)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(root) => write!(f, "{}", root.display()),
            Self::Memory => f.write_str("memory"),
            Self::Bucket { name, prefix } => write!(f, "s3://{name}/{prefix}"),
        }
    }
}

/// `BUCKET` or `BUCKET/PREFIX`, in characters that mean nothing in a URL.
fn bucket(rest: &str) -> Option<Place> {
    let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty()
        || prefix.starts_with('/')
        || !name.chars().all(plain)
        || !prefix.chars().all(|c| plain(c) || c == '/')
    {
        return None;
    }
    let prefix = Path::parse(prefix.strip_suffix('/').unwrap_or(prefix)).ok()?;
    prefix
        .parts()
        .all(|part| !matches!(part.as_ref(), "." | ".."))
        .then(|| Place::Bucket { name: name.to_owned(), prefix })
}

/// Keys, region and endpoint come from the environment, as for every S3 program.
fn s3(bucket: &str) -> Result<impl ObjectStore> {
    let mut builder = AmazonS3Builder::from_env();
    for (key, default) in
        [(ClientConfigKey::Timeout, REQUEST_TIMEOUT), (ClientConfigKey::ConnectTimeout, CONNECT_TIMEOUT)]
    {
        // The builder cannot tell what it was given from what it takes for granted.
        let variable = format!("aws_{}", key.as_ref()).to_ascii_uppercase();
        if std::env::var_os(variable).is_none() {
            builder = builder.with_config(AmazonS3ConfigKey::Client(key), default);
        }
    }
    let backoff = BackoffConfig { max_backoff: Duration::from_secs(5), ..BackoffConfig::default() };
    let retry = RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT };
    builder.with_bucket_name(bucket).with_retry(retry).build().map_err(|error| {
        let message = format!("the settings (AWS_…) for the bucket {bucket} do not do: {error}");
        Error::new(ErrorKind::Invalid, message)
    })
}

#[cfg(test)]
mod tests;
