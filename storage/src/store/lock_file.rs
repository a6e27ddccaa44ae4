//! `LOCK` in the data directory: one server at a time, and its process id for whoever comes second.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::Path,
};

use crate::{Error, ErrorKind, Result};

/// Held for as long as it lives; the operating system lets go of it when the process dies, however it dies.
pub(crate) struct LockFile {
    _file: File,
}

impl LockFile {
    pub fn take(data_dir: &Path) -> Result<Self> {
        let path = data_dir.join("LOCK");
        let failed = |e: std::io::Error| {
            Error::new(ErrorKind::Unavailable, format!("cannot lock {}", path.display())).with_source(e)
        };
        // Not truncated before it is ours: it names the process that has it.
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(e)) => return Err(failed(e)),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => "another process".to_owned(),
                    pid => format!("process {pid}"),
                };
                let message = format!("data directory {} is in use by {holder}", data_dir.display());
                return Err(Error::new(ErrorKind::FailedPrecondition, message));
            }
        }
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        file.flush().map_err(failed)?;
        Ok(Self { _file: file })
    }
}
