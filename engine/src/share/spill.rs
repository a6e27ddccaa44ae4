//! Temporary files, counted for their user and for all. They are made and removed by DataFusion's own disk manager, which
//! knows no users; its limit is not used, for its error is none of the statement.

use std::{
    io,
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use datafusion::{
    error::Result,
    execution::{
        memory_pool::human_readable_size,
        spill_file::{SpillFile, SpillWriter, TempFileFactory},
    },
};
use futures::Stream;

use super::Share;
use crate::{Error, ErrorKind};

pub(super) struct Files(Arc<Share>);

impl Files {
    pub fn of(share: &Arc<Share>) -> Arc<dyn TempFileFactory> {
        Arc::new(Self(Arc::clone(share)))
    }
}

impl TempFileFactory for Files {
    fn create_temp_file(&self, description: &str) -> Result<Arc<dyn SpillFile>> {
        let file = self.0.shares.disk.create_tmp_file(description)?;
        Ok(Arc::new(File { file, counted: Arc::new(Counted { share: Arc::clone(&self.0), bytes: AtomicU64::new(0) }) }))
    }
}

struct File {
    file: Arc<dyn SpillFile>,
    counted: Arc<Counted>,
}

/// Bytes of one file, until it is gone.
struct Counted {
    share: Arc<Share>,
    bytes: AtomicU64,
}

impl Counted {
    fn add(&self, bytes: u64) -> io::Result<()> {
        let (share, all) = (&self.share, &self.share.shares);
        let add = |counter: &AtomicU64| counter.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let (own, total) = (add(&share.spilled), add(&all.spilled));
        let refused = if own > all.limits.user_spill {
            Some(("your statements", all.limits.user_spill, "--user-spill-limit"))
        } else if total > all.limits.spill {
            Some(("all statements together", all.limits.spill, "--spill-limit"))
        } else {
            None
        };
        let Some((whose, limit, setting)) = refused else {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            return Ok(());
        };
        self.forget(bytes);
        let limit = human_readable_size(usize::try_from(limit).unwrap_or(usize::MAX));
        let message = format!(
            "{whose} may have {limit} of temporary files, and the statement needs more; let it sort, group or join fewer \
             rows, or raise {setting}"
        );
        Err(io::Error::other(Error::new(ErrorKind::ResourceExhausted, message)))
    }

    fn forget(&self, bytes: u64) {
        self.share.spilled.fetch_sub(bytes, Ordering::Relaxed);
        self.share.shares.spilled.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.forget(self.bytes.load(Ordering::Relaxed));
    }
}

impl SpillFile for File {
    fn path(&self) -> Option<&Path> {
        self.file.path()
    }

    fn size(&self) -> Option<u64> {
        self.file.size()
    }

    fn read_stream(&self) -> Result<Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>> {
        self.file.read_stream()
    }

    fn open_writer(&self) -> Result<Box<dyn SpillWriter>> {
        Ok(Box::new(Writer { writer: self.file.open_writer()?, counted: Arc::clone(&self.counted) }))
    }
}

struct Writer {
    writer: Box<dyn SpillWriter>,
    counted: Arc<Counted>,
}

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.counted.add(bytes.len() as u64)?;
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl SpillWriter for Writer {
    fn finish(&mut self) -> Result<()> {
        self.writer.finish()
    }
}
