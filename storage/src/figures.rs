//! What those who watch a server are told of the store: counters since its start, and what there is now. Counts are of
//! all users' rows, so the layers above show them to administrators and to their monitoring only.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use insula_proto::{TableId, UserNo};

use crate::{ColdSlice, JobKind, JobTotal, Result, Store, TableDef, cold::manifest};

#[derive(Clone, Default, Debug)]
pub struct Figures {
    pub tables: u64,
    /// Of keys and values in the hot tier, uncompressed.
    pub hot_bytes: u64,
    /// Beyond it writers wait.
    pub hot_bytes_limit: u64,
    pub jobs: Vec<(JobKind, JobTotal)>,
    /// Background work that fails now.
    pub jobs_failing: u64,
    /// Writers that had to wait for a flush, how long all together, and how many in vain.
    pub stalls: u64,
    pub stall_micros: u64,
    pub stalls_refused: u64,
    /// Of the object store: name, requests, failures.
    pub requests: Vec<(&'static str, u64, u64)>,
    /// RocksDB's own numbers, by short name.
    pub rocksdb: Vec<(&'static str, u64)>,
}

/// RocksDB's names; the short ones; whether the families share the thing.
const PROPERTIES: [(&str, &str, bool); 12] = [
    ("rocksdb.cur-size-all-mem-tables", "memtable_bytes", false),
    ("rocksdb.num-immutable-mem-table", "immutable_memtables", false),
    ("rocksdb.total-sst-files-size", "file_bytes", false),
    ("rocksdb.live-sst-files-size", "live_file_bytes", false),
    ("rocksdb.estimate-num-keys", "estimated_keys", false),
    ("rocksdb.estimate-pending-compaction-bytes", "pending_compaction_bytes", false),
    ("rocksdb.estimate-table-readers-mem", "table_reader_bytes", false),
    ("rocksdb.num-running-compactions", "running_compactions", true),
    ("rocksdb.num-running-flushes", "running_flushes", true),
    ("rocksdb.num-snapshots", "snapshots", true),
    ("rocksdb.block-cache-usage", "block_cache_bytes", true),
    ("rocksdb.is-write-stopped", "write_stopped", true),
];

/// One Parquet file of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileInfo {
    /// In the object store.
    pub path: String,
    pub bytes: u64,
    pub rows: u64,
    /// Rows whose `_deleted` is true.
    pub deleted_rows: u64,
    /// Rows that have newer versions elsewhere.
    pub replaced_rows: u64,
    pub level: u32,
    pub schema_version: u32,
    pub created_micros: i64,
}

impl Store {
    pub fn figures(&self) -> Figures {
        let (hot_bytes, hot_bytes_limit) = self.tables.hot_bytes();
        let property = |(name, short, shared): (&str, &'static str, bool)| {
            let value = if shared { self.db.shared_property(name) } else { self.db.property(name) };
            value.map(|value| (short, value))
        };
        Figures {
            tables: self.tables.all().len() as u64,
            hot_bytes,
            hot_bytes_limit,
            jobs: JobKind::ALL.into_iter().map(|kind| (kind, self.flusher.jobs.total(kind))).collect(),
            jobs_failing: self.flusher.jobs.failing() as u64,
            stalls: self.stalls.waits.load(Relaxed),
            stall_micros: self.stalls.micros.load(Relaxed),
            stalls_refused: self.stalls.refused.load(Relaxed),
            requests: self.cold.requests().to_vec(),
            rocksdb: PROPERTIES.into_iter().filter_map(property).collect(),
        }
    }

    /// The files of a table as they are now.
    pub fn files(&self, table: TableId) -> Result<Vec<FileInfo>> {
        let manifest = manifest::current(&self.db, table)?;
        let info = |file: &crate::cold::ColdFile| FileInfo {
            path: crate::cold::layout::file_path(table, file.id).to_string(),
            bytes: file.bytes,
            rows: file.rows,
            deleted_rows: file.deleted_rows,
            replaced_rows: file.deletion_vector.as_ref().map_or(0, |vector| vector.cardinality),
            level: file.level,
            schema_version: file.schema_version,
            created_micros: file.created_micros,
        };
        Ok(manifest.files.iter().map(info).collect())
    }

    /// Rows of a user in each file of a table that has any.
    pub async fn rows_by_file(self: &Arc<Self>, table: &Arc<TableDef>, user: UserNo) -> Result<Vec<u64>> {
        let slices = self.view().key_slice(table, user)?.cold().await?;
        Ok(slices.iter().map(ColdSlice::rows).collect())
    }
}

#[cfg(test)]
mod tests;
