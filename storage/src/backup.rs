//! Backups: the whole database at one moment, in an object store of its own, and back into an empty server.
//!
//! `take` copies a RocksDB checkpoint and the objects that the manifests in it name, and writes last what the backup
//! consists of: without that object there is no backup, whatever else lies there. `restore` makes the tables appear in
//! one batch, after everything that they need is there. `place` is where backups lie.
//!
//! ```text
//! URL/insula-backup            what there is: paths, sizes, checksums (written last, only where there is none)
//! URL/<id>/hot/…               the checkpoint
//! URL/<id>/cold/t1/….parquet   objects of the cold tier, under the paths that they have there
//! ```

mod place;
pub(crate) mod restore;
mod take;

pub(crate) use place::clear_scratch;

use insula_proto::storage as proto;
use prost::Message;
use uuid::Uuid;

use crate::{Error, ErrorKind, Result, hot::record};

/// The object that makes a backup one.
const MANIFEST: &str = "insula-backup";

/// What was copied.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct BackupReport {
    pub tables: u64,
    pub files: u64,
    pub bytes: u64,
}

/// What a backup consists of.
struct Contents {
    id: Uuid,
    tables: u32,
    created_micros: i64,
    files: Vec<File>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct File {
    /// Below the backup's own directory.
    path: String,
    bytes: u64,
    crc: u32,
}

impl Contents {
    fn report(&self) -> BackupReport {
        let bytes = self.files.iter().map(|file| file.bytes).sum();
        BackupReport { tables: self.tables.into(), files: self.files.len() as u64, bytes }
    }

    /// Files below `directory`, with the rest of their paths.
    fn below(&self, directory: &str) -> impl Iterator<Item = (&str, &File)> {
        let directory = format!("{directory}/");
        self.files.iter().filter_map(move |file| Some((file.path.strip_prefix(&directory)?, file)))
    }

    fn to_record(&self) -> Vec<u8> {
        let file = |file: &File| proto::BackupFile { path: file.path.clone(), bytes: file.bytes, crc32: file.crc };
        let backup = proto::Backup {
            id: self.id.as_bytes().to_vec(),
            created_micros: self.created_micros,
            tables: self.tables,
            files: self.files.iter().map(file).collect(),
        };
        record::seal(&backup.encode_to_vec())
    }

    fn from_record(sealed: &[u8]) -> Result<Self> {
        let what = "the list of the backup's files";
        let damaged = || Error::new(ErrorKind::DataLoss, format!("{what} cannot be read"));
        let backup = proto::Backup::decode(record::open(sealed, what)?).map_err(|e| damaged().with_source(e))?;
        let file = |file: proto::BackupFile| File { path: file.path, bytes: file.bytes, crc: file.crc32 };
        Ok(Self {
            id: Uuid::from_slice(&backup.id).map_err(|e| damaged().with_source(e))?,
            tables: backup.tables,
            created_micros: backup.created_micros,
            files: backup.files.into_iter().map(file).collect(),
        })
    }
}

#[cfg(test)]
mod tests;
