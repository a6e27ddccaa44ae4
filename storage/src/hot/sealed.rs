//! What RocksDB's files were when it last closed, for `insula check`: a byte that changed since is found wherever it is.
//!
//! RocksDB checks what it reads, but it does not read everything: padding, properties, filters, and the end of its log,
//! where it takes damage for a write that was cut short. The list lies beside RocksDB's directory, and is there only
//! while the database is closed: it is removed before RocksDB opens and written after it has closed. Without it, after a
//! crash, there is nothing to compare with, and nothing is wrong with that.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use insula_proto::storage as proto;
use prost::Message;

use super::record;
use crate::{Error, ErrorKind, Result};

/// Name of the list.
pub(crate) const NAME: &str = "hot.sealed";

/// Bytes read at a time.
const PIECE: usize = 1 << 20;

/// Size and crc32 of a file.
pub(crate) type Sum = (u64, u32);

#[derive(Clone, Copy)]
pub(crate) struct Sealed {
    pub sum: Sum,
    modified_nanos: i64,
}

/// Files of the directory by name.
pub(crate) type List = BTreeMap<String, Sealed>;

/// Where the list of a database lies, whose own directory is `hot`.
fn path(hot: &Path) -> PathBuf {
    hot.parent().unwrap_or(hot).join(NAME)
}

/// The list, if there is one.
pub(crate) fn read(hot: &Path) -> Result<Option<List>> {
    let path = path(hot);
    let sealed = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|e| {
            Error::new(ErrorKind::Unavailable, format!("cannot read {}", path.display())).with_source(e)
        })?,
    };
    let list = proto::SealedFiles::decode(record::open(&sealed, NAME)?)
        .map_err(|e| Error::new(ErrorKind::DataLoss, format!("{NAME} is malformed")).with_source(e))?;
    let sealed = |file: proto::SealedFile| {
        (file.name, Sealed { sum: (file.bytes, file.crc32), modified_nanos: file.modified_nanos })
    };
    Ok(Some(list.files.into_iter().map(sealed).collect()))
}

/// Lives while the database is open, and must be dropped after RocksDB.
pub(crate) struct Sealer {
    hot: PathBuf,
    /// As the files were when the database was closed the last time.
    before: List,
}

impl Sealer {
    /// Removes the list, durably: from here on it would be wrong.
    pub fn unseal(hot: &Path) -> Result<Self> {
        let before = read(hot).unwrap_or_else(|error| {
            tracing::warn!(%error, "the list of the closed database's files is damaged");
            None
        });
        let path = path(hot);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.and_then(|()| sync_parent(&path)).map_err(|e| {
                Error::new(ErrorKind::Unavailable, format!("cannot remove {}", path.display())).with_source(e)
            })?,
        }
        Ok(Self { hot: hot.to_owned(), before: before.unwrap_or_default() })
    }

    fn seal(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for name in names(&self.hot)? {
            let path = self.hot.join(&name);
            let modified_nanos = modified_nanos(&path)?;
            // A table file is never changed, so it need not be read again, nor may it be: damage would get a checksum.
            let known = self.before.get(&name).filter(|known| known.modified_nanos == modified_nanos);
            let (bytes, crc32) = match known.filter(|_| name.ends_with(".sst")) {
                Some(known) => known.sum,
                None => sum(&path)?,
            };
            files.push(proto::SealedFile { name, bytes, crc32, modified_nanos });
        }
        let (path, sealed) = (path(&self.hot), record::seal(&proto::SealedFiles { files }.encode_to_vec()));
        let staging = path.with_extension("new");
        let mut file = File::create(&staging)?;
        file.write_all(&sealed)?;
        file.sync_all()?;
        fs::rename(&staging, &path)?;
        sync_parent(&path)
    }
}

impl Drop for Sealer {
    fn drop(&mut self) {
        if let Err(error) = self.seal() {
            tracing::warn!(%error, "the files of the closed database could not be listed; insula check sees less");
        }
    }
}

/// The directory's files, but for RocksDB's logs for people and its lock.
pub(crate) fn names(hot: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(hot)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "LOCK" && name != "LOG" && !name.starts_with("LOG.") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

pub(crate) fn sum(path: &Path) -> io::Result<Sum> {
    let (mut file, mut bytes, mut crc) = (File::open(path)?, 0, crc32fast::Hasher::new());
    let mut piece = vec![0; PIECE];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok((bytes, crc.finalize()));
        }
        bytes += read as u64;
        crc.update(&piece[..read]);
    }
}

fn modified_nanos(path: &Path) -> io::Result<i64> {
    let since = fs::metadata(path)?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(i64::try_from(since.as_nanos()).unwrap_or_default())
}

fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(path))?.sync_all()
}
