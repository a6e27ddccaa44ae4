//! The store: opens everything, owns the table definitions, hands out views, locks and flushes.

mod alter;
mod ids;
mod lock_file;
mod locks;
mod memory;
mod open;
mod stall;

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use insula_proto::{TableId, UserNo};
use object_store::ObjectStore;
use parking_lot::RwLock;

pub(crate) use crate::clock::Clock;
use crate::{
    CompactReport, Error, ErrorKind, FlushReport, Load, Meta, MetaBatch, NewTable, ReadView, Result, TableDef,
    TableKind, WriteLock, WriteSet,
    cold::{ColdTier, manifest, writer},
    compact::{self, Compactor},
    fail_points::FailPoint,
    flush::{Flusher, Turn, recover, scheduler::Scheduler},
    hot::{
        self,
        chunk::CHUNK_ROWS,
        committer::{Committer, FIRST_GENERATION, Rows, Stamped},
        db::{Batch, Db, Family},
        decoded::DecodedCache,
        record,
        tables::{Active, Tables, record_key},
    },
    jobs::{Job, JobKind, Work},
    load,
    stream::{self, Streams},
    write::{self, Commit},
};
pub(crate) use ids::Ids;
pub(crate) use lock_file::LockFile;
pub(crate) use locks::Held;
use locks::Locks;
pub use memory::StoreMemory;
pub(crate) use open::{load_def, load_tables};

#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// RocksDB lies in `DIR/hot`.
    pub data_dir: PathBuf,
    /// `None`: the local directory `DIR/cold`, fsynced by us. `Some(url)`: `file:///…`, `s3://BUCKET/PREFIX` or `memory://`.
    pub store_url: Option<String>,
    /// Target size of a Parquet file in bytes; a flush makes as few files as this allows.
    pub file_bytes: u64,
    /// Free disk space in bytes below which writes are refused.
    pub min_free_bytes: u64,
    /// Bytes of rows above which an insert should be a load; one holds about ten times as much.
    pub load_bytes: usize,
    /// Rows that make a chunk, and the fewest of one batch that are stored as chunks.
    pub chunk_rows: usize,
    /// Bytes that all tables together may have in the hot tier before writers wait for flushes.
    pub max_hot_bytes: u64,
    /// How long they wait before they are told that the store is unavailable.
    pub stall_timeout: Duration,
    pub memory: StoreMemory,
    /// Whether tables are compacted, and stream tables purged, by themselves; [`Store::compact`] works either way.
    pub compaction: bool,
    /// Bytes per second that compactions write at most, all together; 0: no limit.
    pub compaction_bytes_per_second: u64,
}

impl StoreConfig {
    /// The embedded default: everything below one local directory.
    pub fn new(data_dir: PathBuf) -> Self {
        let memory = StoreMemory::default();
        Self {
            data_dir,
            store_url: None,
            file_bytes: 256 << 20,
            min_free_bytes: 64 << 20,
            load_bytes: 16 << 20,
            chunk_rows: CHUNK_ROWS,
            max_hot_bytes: 4 << 30,
            stall_timeout: Duration::from_secs(30),
            memory,
            compaction: true,
            compaction_bytes_per_second: 256 << 20,
        }
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

/// So many bytes of a dropped table are taken out of the hot tier's files at once.
const HOT_BYTES: u64 = 1 << 20;

pub struct Store {
    pub(crate) db: Arc<Db>,
    pub(crate) tables: Arc<Tables>,
    pub(crate) committer: Committer,
    pub(crate) cold: Arc<ColdTier>,
    pub(crate) flusher: Arc<Flusher>,
    decoded: Arc<DecodedCache>,
    stall_timeout: Duration,
    pub(crate) stalls: stall::Stalls,
    pub(crate) ids: Arc<Ids>,
    /// See [`StoreConfig::load_bytes`].
    pub(crate) load_bytes: usize,
    chunk_rows: usize,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) compactor: Arc<Compactor>,
    pub(crate) streams: Arc<Streams>,
    scheduler: Scheduler,
    stream_scheduler: stream::scheduler::Scheduler,
    compactions: compact::scheduler::Scheduler,
    meta: Meta,
    pub(crate) locks: Locks,
    /// Users whose rows were erased since the store was opened.
    pub(crate) erased: RwLock<HashSet<UserNo>>,
    /// Definitions change one at a time: names are checked before they are written.
    pub(crate) definitions: tokio::sync::Mutex<()>,
    /// Number of the next table that is declared.
    pub(crate) next_table: AtomicU32,
    pub(crate) data_dir: PathBuf,
}

/// The first rows of a table.
pub enum Filling {
    Nothing,
    Set(WriteSet),
    Load(Load),
}

/// What the end of a table gives back.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Freed {
    /// Of the cold tier: Parquet files and deletion vectors. While a view reads them, they are there still.
    pub objects: u64,
    pub cold_bytes: u64,
    /// Keys and values, uncompressed.
    pub hot_bytes: u64,
}

/// The end of a table: what has to go once the batch that says so is on disk.
struct Removal {
    _turn: Turn,
    table: Arc<TableDef>,
    objects: Vec<object_store::path::Path>,
    freed: Freed,
}

impl Store {
    /// Opens or creates; recovers from any crash; starts the committer and the flush scheduler.
    /// A directory that another process has open is `FailedPrecondition` and says who holds it.
    pub async fn open(config: StoreConfig) -> Result<Arc<Self>> {
        Self::open_with_clock(config, Arc::new(crate::SystemClock)).await
    }

    /// The same with a clock that tests set.
    #[doc(hidden)]
    pub async fn open_with_clock(config: StoreConfig, clock: Arc<dyn Clock>) -> Result<Arc<Self>> {
        open::open(config, clock, None).await
    }

    /// The same over an object store of the caller's, in the place of the configured one: for tests.
    #[cfg(test)]
    pub(crate) async fn open_over(config: StoreConfig, objects: Arc<dyn ObjectStore>) -> Result<Arc<Self>> {
        open::open(config, Arc::new(crate::SystemClock), Some(objects)).await
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

    /// The definition of a table that is not there yet, so that its first rows can be gathered. Nobody sees it before
    /// [`Self::create_filled`] returns, and nothing is left of it if that is never called.
    pub fn declare_table(&self, table: NewTable) -> Result<Arc<TableDef>> {
        // Numbers are never reused, or a dropped table's rows could come back under a new name.
        let id = TableId(self.next_table.fetch_add(1, Ordering::Relaxed));
        let def = Arc::new(table.define(id, self.clock.now_micros())?);
        writer::check(&def)?;
        Ok(def)
    }

    /// Durable when it returns.
    pub async fn create_table(&self, table: NewTable) -> Result<Arc<TableDef>> {
        let def = self.declare_table(table)?;
        self.create_with((&def, None), (Rows::default(), None), None, MetaBatch::default(), &mut true).await?;
        Ok(def)
    }

    /// Makes a declared table and its first rows appear, in the place of `replaced` or where there was none, and records of
    /// the layers above with them: all of it, durably, or nothing. Returns the number of rows.
    pub async fn create_filled(
        &self,
        def: &Arc<TableDef>,
        author: Option<UserNo>,
        filling: Filling,
        replaced: Option<TableId>,
        also: MetaBatch,
    ) -> Result<u64> {
        let (affected, rows) = match filling {
            Filling::Nothing => (0, Rows::default()),
            Filling::Set(rows) => (rows.affected(), rows.into_rows(&self.ids)),
            Filling::Load(load) => return load.create(author, replaced, also).await,
        };
        self.create_with((def, author), (rows, None), replaced, also, &mut true).await?;
        Ok(affected)
    }

    /// `stamped`: adds the manifest of files that hold the first rows. `sure` is left true if nothing has been committed.
    pub(crate) async fn create_with(
        &self,
        (def, author): (&Arc<TableDef>, Option<UserNo>),
        (rows, stamped): (Rows, Option<Stamped>),
        replaced: Option<TableId>,
        also: MetaBatch,
        sure: &mut bool,
    ) -> Result<()> {
        let _alone = self.definitions.lock().await;
        let same_name = |t: &Arc<TableDef>| t.namespace == def.namespace && t.name == def.name;
        if self.tables.all().iter().any(|t| same_name(t) && Some(t.id) != replaced) {
            let message = format!("table \"{}\" exists already", def.full_name());
            return Err(Error::new(ErrorKind::AlreadyExists, message));
        }
        let mut batch = also.into_batch();
        alter::put_version(&mut batch, def, "CREATE TABLE".into(), author, def.created_micros)?;
        let active = Active { generation: FIRST_GENERATION, schema_version: def.schema_version };
        batch.put(Family::Meta, record_key::generation(def.id), active.to_record());
        let next = self.next_table.load(Ordering::Relaxed);
        batch.put(Family::Meta, record_key::NEXT_TABLE, record::seal(&next.to_le_bytes()));
        let removal = match replaced {
            Some(table) => Some(self.removal(table, &mut batch).await?),
            None => None,
        };
        FailPoint::TableDeclared.reached()?;
        *sure = false;
        let created = self.committer.create(Arc::clone(def), (rows, stamped), replaced, batch).await;
        created.inspect_err(|error| *sure = load::is_refusal(error))?;
        FailPoint::TableCreated.reached()?;
        if let Some(removal) = removal {
            self.removed(removal).await?;
        }
        Ok(())
    }

    /// Removes definition, hot rows, manifest, then the objects. Returns what that gave back.
    pub async fn drop_table(&self, table: TableId) -> Result<Freed> {
        self.drop_table_with(table, MetaBatch::default()).await
    }

    /// The same, and changes to records of the layers above in the same moment.
    pub async fn drop_table_with(&self, table: TableId, also: MetaBatch) -> Result<Freed> {
        let _alone = self.definitions.lock().await;
        let mut batch = also.into_batch();
        let removal = self.removal(table, &mut batch).await?;
        self.committer.dropped(table, batch).await?;
        self.removed(removal).await
    }

    /// Adds to the batch what ends the table. No flush of it runs until the result is dropped.
    async fn removal(&self, table: TableId, batch: &mut Batch) -> Result<Removal> {
        let turn = self.flusher.turns.take(table).await?;
        let def = self.tables.get(table)?;
        let manifest = manifest::current(&self.db, table)?;
        let objects = manifest.objects(table);
        let freed = Freed {
            objects: objects.len() as u64,
            cold_bytes: manifest.bytes(),
            hot_bytes: self.tables.load(table).bytes,
        };
        batch.delete(Family::Meta, record_key::definition(table));
        batch.delete(Family::Meta, record_key::generation(table));
        let versions = record_key::versions(table);
        batch.delete_range(Family::Meta, versions.clone(), hot::key::after_prefix(&versions));
        hot::delete_table(batch, table);
        manifest::delete(batch, table);
        Ok(Removal { _turn: turn, table: def, objects, freed })
    }

    /// After the batch of a removal is on disk. Views that still read the table hold its objects back.
    async fn removed(&self, removal: Removal) -> Result<Freed> {
        FailPoint::TableRemoved.reached()?;
        let Removal { table: def, objects, freed, .. } = removal;
        let table = def.id;
        self.cold.retire(objects);
        self.cold.reclaim().await;
        if freed.hot_bytes >= HOT_BYTES {
            let db = Arc::clone(&self.db);
            // The rows are gone already; RocksDB would give back their bytes by itself some day.
            let shrunk = tokio::task::spawn_blocking(move || hot::shrink_table(&db, table)).await;
            if !matches!(shrunk, Ok(Ok(()))) {
                tracing::warn!(%table, "the bytes of a dropped table's fresh rows could not be given back at once");
            }
        }
        let work = Work { rows: 0, files: freed.objects, bytes: freed.cold_bytes + freed.hot_bytes };
        self.flusher.jobs.forget(table);
        self.streams.forget(table);
        self.flusher.jobs.done(JobKind::Drop, Some(&def), self.clock.now_micros(), work);
        tracing::info!(%table, ?freed, "dropped a table");
        Ok(freed)
    }

    /// One snapshot over all tables and both tiers.
    pub fn view(self: &Arc<Self>) -> Arc<ReadView> {
        ReadView::take(&self.db, &self.cold, &self.tables, &self.decoded, &*self.clock)
    }

    /// Waits for the user's other writers of this table. Held while a statement reads what it is about to change.
    pub async fn lock(self: &Arc<Self>, table: &Arc<TableDef>, user: UserNo) -> WriteLock {
        WriteLock::new(self.locks.take(table.id, user).await)
    }

    /// The same for the rows of many users at once: waits for all writers of the table.
    pub async fn lock_all(self: &Arc<Self>, table: &Arc<TableDef>) -> WriteLock {
        WriteLock::new(self.locks.take_all(table.id).await)
    }

    /// One commit for the rows of many users in one table, a set for each, under [`Self::lock_all`].
    pub async fn commit_many(self: &Arc<Self>, lock: &WriteLock, sets: Vec<WriteSet>) -> Result<Commit> {
        write::check::commit_many(self, lock, sets).await
    }

    /// All or nothing. When it returns `Ok` under `Durability::Sync`, the rows are on disk.
    ///
    /// A caller that stops waiting does not stop the commit, and the lock stays taken until it has ended.
    pub async fn commit(self: &Arc<Self>, lock: &WriteLock, rows: WriteSet) -> Result<Commit> {
        write::check::commit(self, lock, rows).await
    }

    /// What one statement writes to one user's rows of a table.
    pub fn write_set(&self, table: &Arc<TableDef>, user: UserNo) -> WriteSet {
        WriteSet::new(Arc::clone(table), user).with_chunk_rows(self.chunk_rows)
    }

    /// Bytes of rows above which an insert should be a load.
    pub fn load_bytes(&self) -> usize {
        self.load_bytes
    }

    /// Begins an insert that is too large for the hot tier. `table` may be a declared one that is not there yet.
    pub async fn load(self: &Arc<Self>, table: &Arc<TableDef>, scope: load::Scope, mode: load::Mode) -> Result<Load> {
        if table.kind == TableKind::Stream {
            return Err(Error::new(ErrorKind::Internal, "a stream table takes no load: its rows are never in files"));
        }
        Load::begin(self, table, scope, mode).await
    }

    /// Waits until all rows committed before the call are in Parquet.
    pub async fn flush(self: &Arc<Self>, table: TableId) -> Result<FlushReport> {
        self.flusher.flush(table).await
    }

    /// Merges all cold rows of the table into one sorted run, and drops those that nobody can see any more. Of a stream
    /// table, all rows of which are hot, the latter alone.
    pub async fn compact(&self, table: TableId) -> Result<CompactReport> {
        if self.tables.get(table)?.kind == TableKind::Stream {
            let removed = self.streams.purge(table).await?.rows;
            return Ok(CompactReport { removed, ..CompactReport::default() });
        }
        self.compactor.compact(table).await
    }

    pub async fn usage(self: &Arc<Self>, table: &Arc<TableDef>, user: Option<UserNo>) -> Result<DiskUsage> {
        let slice = self.view().key_slice(table, user.unwrap_or(UserNo::SHARED))?;
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

    /// What fails in the background, and what was done of late, the newest first. Its counts are of all users.
    pub fn jobs(&self) -> Vec<Job> {
        self.flusher.jobs.all()
    }

    /// Objects in the cold tier that no manifest names. There are none once nothing is under way and no view is held.
    #[doc(hidden)]
    pub async fn orphans(&self) -> Result<Vec<String>> {
        self.cold.unnamed(&recover::named(&self.db)?).await
    }

    /// Lets running flushes end, gives up running compactions, syncs the log, closes.
    pub async fn close(&self) -> Result<()> {
        tokio::join!(self.scheduler.stop(), self.stream_scheduler.stop());
        // Before the turns are: a compaction that is about to commit still takes one.
        tokio::join!(self.compactor.close(), self.compactions.stop());
        self.flusher.turns.close().await;
        self.committer.stop().await
    }
}

#[cfg(test)]
mod tests;
