//! The store: opens everything, owns the table definitions, hands out views, locks and flushes.

mod ids;
mod lock_file;
mod locks;
mod open;

use std::{path::PathBuf, sync::Arc};

use insula_proto::{TableId, UserNo};
use object_store::ObjectStore;

pub(crate) use crate::clock::Clock;
use crate::{
    Error, ErrorKind, FlushReport, Meta, MetaBatch, NewTable, ReadView, Result, TableDef, WriteLock, WriteSet,
    cold::{ColdTier, manifest, writer},
    flush::{Flusher, scheduler::Scheduler},
    hot::{
        self,
        committer::{Committer, FIRST_GENERATION},
        db::{Db, Family},
        record,
        tables::{Tables, record_key},
    },
    write::{self, Commit},
};
pub(crate) use ids::Ids;
pub(crate) use lock_file::LockFile;
pub(crate) use locks::Held;
use locks::Locks;

#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// RocksDB lies in `DIR/hot`.
    pub data_dir: PathBuf,
    /// `None`: the local directory `DIR/cold`, fsynced by us. `Some(url)`: `file:///…` or `memory://`.
    pub store_url: Option<String>,
    /// Target size of a Parquet file in bytes; a flush makes as few files as this allows.
    pub file_bytes: u64,
    /// Free disk space in bytes below which writes are refused.
    pub min_free_bytes: u64,
}

impl StoreConfig {
    /// The embedded default: everything below one local directory.
    pub fn new(data_dir: PathBuf) -> Self {
        Self { data_dir, store_url: None, file_bytes: 256 << 20, min_free_bytes: 64 << 20 }
    }
}

/// Bytes and rows on both tiers.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct DiskUsage {
    /// Row versions for a table; for one user, rows. Soft-deleted ones count.
    pub hot_rows: u64,
    pub hot_bytes: u64,
    pub cold_rows: u64,
    pub cold_bytes: u64,
    pub cold_files: u64,
}

pub struct Store {
    pub(crate) db: Arc<Db>,
    pub(crate) tables: Arc<Tables>,
    pub(crate) committer: Committer,
    pub(crate) cold: Arc<ColdTier>,
    pub(crate) flusher: Arc<Flusher>,
    pub(crate) ids: Arc<Ids>,
    clock: Arc<dyn Clock>,
    scheduler: Scheduler,
    meta: Meta,
    locks: Locks,
    /// Definitions change one at a time: names are checked before they are written.
    definitions: tokio::sync::Mutex<()>,
}

impl Store {
    /// Opens or creates; recovers from any crash; starts the committer and the flush scheduler.
    /// A directory that another process has open is `FailedPrecondition` and says who holds it.
    pub async fn open(config: StoreConfig) -> Result<Arc<Self>> {
        open::open(config, Arc::new(crate::clock::SystemClock)).await
    }

    /// Opaque records of the layers above, same durability as rows.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The cold tier's object store, to be registered with whoever reads the files a [`crate::ColdSlice`] names.
    pub fn objects(&self) -> Arc<dyn ObjectStore> {
        self.cold.objects()
    }

    /// In the order of their numbers.
    pub fn tables(&self) -> Vec<Arc<TableDef>> {
        self.tables.all()
    }

    /// Durable, together with `also`, when it returns.
    pub async fn create_table(&self, table: NewTable, also: MetaBatch) -> Result<Arc<TableDef>> {
        let _alone = self.definitions.lock().await;
        if self.tables.all().iter().any(|t| t.namespace == table.namespace && t.name == table.name) {
            let message = format!("table \"{}.{}\" exists already", table.namespace, table.name);
            return Err(Error::new(ErrorKind::AlreadyExists, message));
        }
        let id = self.next_table()?;
        let def = Arc::new(table.define(id, self.clock.now_micros())?);
        writer::check(&def)?;
        let mut batch = also.into_batch();
        batch.put(Family::Meta, record_key::definition(id), def.to_record());
        batch.put(Family::Meta, record_key::generation(id), record::seal(&FIRST_GENERATION.0.to_le_bytes()));
        batch.put(Family::Meta, record_key::NEXT_TABLE, record::seal(&(id.0 + 1).to_le_bytes()));
        self.committer.created(Arc::clone(&def), batch).await?;
        Ok(def)
    }

    /// Numbers are never reused, or a dropped table's rows could come back under a new name.
    fn next_table(&self) -> Result<TableId> {
        match self.db.get(Family::Meta, record_key::NEXT_TABLE)? {
            None => Ok(TableId(1)),
            Some(sealed) => record::number(&sealed, "the next table's number").map(TableId),
        }
    }

    /// Removes definition, hot rows, manifest, then the objects.
    pub async fn drop_table(&self, table: TableId, also: MetaBatch) -> Result<()> {
        let _alone = self.definitions.lock().await;
        let turn = self.flusher.turns.take(table).await?;
        self.tables.get(table)?;
        let objects = manifest::current(&self.db, table)?.objects(table);
        let mut batch = also.into_batch();
        batch.delete(Family::Meta, record_key::definition(table));
        batch.delete(Family::Meta, record_key::generation(table));
        hot::delete_table(&mut batch, table);
        manifest::delete(&mut batch, table);
        self.committer.dropped(table, batch).await?;
        drop(turn);
        // Views that still read the table hold its objects back.
        self.cold.retire(objects);
        self.cold.reclaim().await;
        Ok(())
    }

    /// One snapshot over all tables and both tiers.
    pub fn view(self: &Arc<Self>) -> Arc<ReadView> {
        ReadView::take(&self.db, &self.cold)
    }

    /// Waits for the user's other writers of this table. Held while a statement reads what it is about to change.
    pub async fn lock(self: &Arc<Self>, table: &Arc<TableDef>, user: UserNo) -> WriteLock {
        WriteLock::new(self.locks.take(table.id, user).await)
    }

    /// All or nothing. When it returns `Ok` under `Durability::Sync`, the rows are on disk.
    ///
    /// A caller that stops waiting does not stop the commit, and the lock stays taken until it has ended.
    pub async fn commit(self: &Arc<Self>, lock: &WriteLock, rows: WriteSet) -> Result<Commit> {
        write::check::commit(self, lock, rows).await
    }

    /// Waits until all rows committed before the call are in Parquet.
    pub async fn flush(self: &Arc<Self>, table: TableId) -> Result<FlushReport> {
        self.flusher.flush(table).await
    }

    pub async fn usage(self: &Arc<Self>, table: &Arc<TableDef>, user: Option<UserNo>) -> Result<DiskUsage> {
        let slice = self.view().slice(table, user.unwrap_or(UserNo::SHARED))?;
        let cold = self.cold.usage(slice.manifest(), table.id, user).await?;
        let (hot_rows, hot_bytes) = match user {
            None => {
                let load = self.tables.load(table.id);
                (load.rows, load.bytes)
            }
            Some(_) => tokio::task::spawn_blocking(move || slice.hot_rows().size())
                .await
                .map_err(|e| Error::new(ErrorKind::Internal, "a count of hot rows died").with_source(e))??,
        };
        let (cold_rows, cold_bytes, cold_files) = (cold.rows, cold.bytes, cold.files);
        Ok(DiskUsage { hot_rows, hot_bytes, cold_rows, cold_bytes, cold_files })
    }

    /// Strictly increasing, time-ordered 64-bit numbers (42 bits of milliseconds, 22 of counter), also across restarts.
    pub fn next_ids(&self, n: usize) -> Vec<u64> {
        let first = self.ids.reserve(n);
        (first..).take(n).collect()
    }

    /// Lets running flushes end, syncs the log, closes.
    pub async fn close(&self) -> Result<()> {
        self.scheduler.stop().await;
        self.flusher.turns.close().await;
        self.committer.stop().await
    }
}

#[cfg(test)]
mod tests;
