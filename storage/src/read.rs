//! Reading: one snapshot over both tiers, one user's slice of one table.

use std::{ops::Range, sync::Arc};

use arrow::array::{BooleanArray, RecordBatch};
use insula_proto::{Generation, UserNo};
use parquet::arrow::arrow_reader::ArrowReaderMetadata;

use crate::{
    Error, ErrorKind, KeyRows, Result, TableDef,
    cold::{ColdTier, Manifest, Pin, Stamp, manifest},
    hot::{
        db::{Db, Family, Snapshot},
        scan::{UserHot, UserRows},
        tables::{Active, record_key},
    },
};

/// A RocksDB snapshot over all column families, and the manifests as of it.
pub struct ReadView {
    snapshot: Arc<Snapshot>,
    cold: Arc<ColdTier>,
    _pin: Pin,
}

impl ReadView {
    pub(crate) fn take(db: &Arc<Db>, cold: &Arc<ColdTier>) -> Arc<Self> {
        // In this order: what the snapshot's manifests name must be pinned before a flush can let go of it.
        let pin = cold.pin();
        Arc::new(Self { snapshot: db.snapshot(), cold: Arc::clone(cold), _pin: pin })
    }

    /// The rows of `user` in `table`. `Stale` if the view knows a newer definition of the table than the caller. Pins the cold files it names until it is dropped.
    pub fn slice(self: &Arc<Self>, table: &Arc<TableDef>, user: UserNo) -> Result<TableSlice> {
        let active = self.active(table)?;
        if active.schema_version > table.schema_version {
            let message = format!("table \"{}\" was altered while the statement was planned", table.full_name());
            return Err(Error::new(ErrorKind::Stale, message));
        }
        self.slice_of(table, user, active.generation)
    }

    /// The same for readers of keys alone, which mean the same under every version of the definition.
    pub(crate) fn key_slice(self: &Arc<Self>, table: &Arc<TableDef>, user: UserNo) -> Result<TableSlice> {
        self.slice_of(table, user, self.active(table)?.generation)
    }

    fn slice_of(self: &Arc<Self>, table: &Arc<TableDef>, user: UserNo, active: Generation) -> Result<TableSlice> {
        let manifest = manifest::load(&self.snapshot, table.id)?;
        let hot = UserHot {
            snapshot: Arc::clone(&self.snapshot),
            table: Arc::clone(table),
            user,
            generations: manifest.flushed.0 + 1..=active.0,
        };
        Ok(TableSlice { view: Arc::clone(self), hot, manifest })
    }

    fn active(&self, table: &TableDef) -> Result<Active> {
        let name = table.full_name();
        let record = self.snapshot.get(Family::Meta, &record_key::generation(table.id))?;
        let record = record.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no table \"{name}\"")))?;
        Active::from_record(&record)
    }
}

/// One user's rows of one table at one snapshot.
#[derive(Clone)]
pub struct TableSlice {
    view: Arc<ReadView>,
    hot: UserHot,
    manifest: Arc<Manifest>,
}

impl TableSlice {
    pub fn table(&self) -> &Arc<TableDef> {
        &self.hot.table
    }

    pub fn user(&self) -> UserNo {
        self.hot.user
    }

    /// Memcomparable bytes of the smallest and largest hot key, tombstones included; `None`: no hot rows. Two seeks a
    /// generation.
    pub fn hot_bounds(&self) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        self.hot.bounds()
    }

    /// Blocking iterator over the newest version of each hot key, in key order, in batches of up to `batch_rows` rows
    /// of the stored schema's columns `projection`. With `deleted` false, soft-deleted rows are left out.
    pub fn hot(&self, projection: &[usize], batch_rows: usize, deleted: bool) -> Result<HotScan> {
        Ok(HotScan { rows: self.hot.rows(projection, batch_rows, deleted)? })
    }

    /// All hot keys, tombstones included. Blocking.
    pub fn hot_keys(&self) -> Result<HotKeys> {
        Ok(HotKeys { keys: self.hot.keys()? })
    }

    pub(crate) fn hot_rows(&self) -> &UserHot {
        &self.hot
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub(crate) fn cold_tier(&self) -> &ColdTier {
        &self.view.cold
    }
}

pub struct HotScan {
    rows: UserRows,
}

impl Iterator for HotScan {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.rows.next_batch().transpose()
    }
}

/// The set of keys present in a user's hot rows; what it contains shadows the cold tier.
#[derive(Debug)]
pub struct HotKeys {
    /// Ascending.
    keys: KeyRows,
}

impl HotKeys {
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        let at = self.lower_bound(0, key);
        at < self.len() && self.keys.row(at) == key
    }

    /// One bit per row: true where the key is present. (Rows come sorted: a merge, not a lookup, is expected.)
    pub fn mask(&self, keys: &KeyRows) -> BooleanArray {
        let (mut at, mut last): (usize, Option<&[u8]>) = (0, None);
        let present = keys.iter().map(|key| {
            // Rows in another order are still right, only slower.
            let from = if last.is_some_and(|last| last > key) { 0 } else { at };
            at = self.lower_bound(from, key);
            last = Some(key);
            Some(at < self.len() && self.keys.row(at) == key)
        });
        present.collect()
    }

    pub fn memory(&self) -> usize {
        self.keys.memory()
    }

    /// The first index from `from` on whose key is not below `key`: steps that double, then a binary search.
    fn lower_bound(&self, from: usize, key: &[u8]) -> usize {
        let (mut low, mut step) = (from, 1);
        while low + step <= self.len() && self.keys.row(low + step - 1) < key {
            low += step;
            step *= 2;
        }
        let mut high = (low + step - 1).min(self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.keys.row(middle) < key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// One user's row ranges in one Parquet file.
#[derive(Clone, Debug)]
pub struct ColdSlice {
    /// Path in [`crate::Store::objects`].
    pub path: object_store::path::Path,
    pub file_bytes: u64,
    pub file_rows: u64,
    /// Ascending, disjoint row ranges of the user that live in no newer version.
    pub ranges: Vec<Range<u64>>,
    /// Memcomparable bytes of the user's smallest and largest key in the file.
    pub key_bounds: (Vec<u8>, Vec<u8>),
    /// The rows at both bounds are in `ranges`; else the user's smallest and largest key lie within the bounds.
    pub bounds_live: bool,
    /// False: no row of the file is soft-deleted.
    pub has_deleted: bool,
    /// Present: `_seq` and `_updated` of every row, whatever the file's own columns say.
    pub stamp: Option<Stamp>,
    /// Footer, page index and Arrow schema of the file, parsed once for all its readers. It tells of all users' rows:
    /// for pruning only, never for what a statement may show.
    pub footer: ArrowReaderMetadata,
}

impl ColdSlice {
    pub fn rows(&self) -> u64 {
        self.ranges.iter().map(|r| r.end - r.start).sum()
    }
}

#[cfg(test)]
mod tests;
