//! Makes deleted rows vanish from RocksDB's files: a delete alone only hides them until some compaction, and the log,
//! the list of files and older files keep them as long.

use std::fs;

use rocksdb::{BottommostLevelCompaction, CompactOptions, WaitForCompactOptions};

use super::{Db, Family, write_error};
use crate::{Error, ErrorKind, Result};

/// Rewrites of a small family, to make RocksDB begin a new list of its files. It does when the list has grown by a
/// fifth, and each rewrite makes it grow.
const REWRITES: usize = 10_000;

impl Db {
    /// When it returns, no file of RocksDB holds a key or value that was deleted before the call, or the bounds of a
    /// file that did, unless a snapshot from before still sees it. Blocks for as long as it takes to rewrite all that
    /// is left.
    pub(crate) fn purge(&self) -> Result<()> {
        // Once nothing of a log is in memory alone, RocksDB deletes it.
        for family in Family::ALL {
            self.rocks.flush_cf(self.family(family)?).map_err(write_error)?;
        }
        for family in [Family::Manifest, Family::Hot, Family::Chunk, Family::Meta] {
            self.rewrite(family)?;
        }
        let list = self.list_of_files()?;
        for _ in 0..REWRITES {
            if self.list_of_files()? != list {
                return self.rocks.wait_for_compact(&WaitForCompactOptions::default()).map_err(write_error);
            }
            self.rewrite(Family::Meta)?;
        }
        Err(Error::new(ErrorKind::Internal, "RocksDB keeps its old list of files; restart the server and try again"))
    }

    /// Rewrites the files that hold keys from `from` up to `to`, without what was deleted of them.
    pub(crate) fn shrink(&self, family: Family, from: &[u8], to: &[u8]) -> Result<()> {
        let mut options = CompactOptions::default();
        options.set_exclusive_manual_compaction(false);
        self.rocks.compact_range_cf_opt(self.family(family)?, Some(from), Some(to), &options);
        Ok(())
    }

    fn rewrite(&self, family: Family) -> Result<()> {
        let mut options = CompactOptions::default();
        options.set_exclusive_manual_compaction(false);
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        self.rocks.compact_range_cf_opt(self.family(family)?, None::<&[u8]>, None::<&[u8]>, &options);
        Ok(())
    }

    /// Name of the file in which RocksDB lists its files, with the bounds of their keys.
    fn list_of_files(&self) -> Result<String> {
        let current = self.rocks.path().join("CURRENT");
        fs::read_to_string(&current).map_err(|e| {
            Error::new(ErrorKind::Unavailable, format!("cannot read {}", current.display())).with_source(e)
        })
    }
}
