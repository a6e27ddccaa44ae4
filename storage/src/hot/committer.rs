//! The only writer of the database: one thread that makes everything durable, in one order.
//!
//! It takes what is waiting, up to a few megabytes, into one `WriteBatch` and syncs it once. It never waits for
//! company: while one group syncs, the next gathers by itself, so one client pays one fsync and sixteen share it.
//! It gives each statement its sequence number and commit time, and its table's active generation; order is by
//! sequence number, never by clock. Definitions, freezes and manifests go through the same thread, so that no row can
//! land in a generation that a flush has already read.
//!
//! After a failed write or sync nobody knows what is on disk (the kernel may have dropped the dirty pages), so the
//! store is poisoned: it refuses every later write until it is opened anew and the log is read back.

mod thread;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    thread::JoinHandle,
};

use bytes::Bytes;
use insula_proto::{Generation, Seq, TableId};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{
    db::{Batch, Db, Family},
    record,
    tables::{Load, Tables, record_key},
};
use crate::{Durability, Error, ErrorKind, Result, Stamp, TableDef, clock::Clock, store::Ids};
use thread::Thread;

/// Encoded rows of one statement; generation, sequence number, commit time and checksum are still missing.
#[derive(Default, Debug)]
pub(crate) struct Rows {
    /// Of the definition under which they were encoded.
    pub schema_version: u32,
    pub bytes: Vec<u8>,
    /// Of each row, where its key begins, its value begins, its value ends.
    pub places: Vec<[usize; 3]>,
    /// Those in which rows of them lie.
    pub chunks: Vec<Chunk>,
}

/// The number and the value of a chunk.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub number: u64,
    pub value: Bytes,
}

/// The last numbers given out, as the database knows them.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct HighWater {
    pub seq: u64,
    pub id: u64,
    pub micros: i64,
}

impl HighWater {
    pub fn load(db: &Db) -> Result<Self> {
        Self::read(|key| db.get(Family::Meta, key))
    }

    /// `get`: looks a key of the `meta` family up.
    pub fn read(get: impl FnOnce(&[u8]) -> Result<Option<Vec<u8>>>) -> Result<Self> {
        let Some(sealed) = get(record_key::HIGH_WATER)? else { return Ok(Self::default()) };
        let what = "the high-water record";
        let payload: [u8; 24] = record::open(&sealed, what)?
            .try_into()
            .map_err(|_| Error::new(ErrorKind::DataLoss, format!("{what} has a wrong length")))?;
        let number = |i: usize| payload[i..i + 8].iter().rev().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
        Ok(Self { seq: number(0), id: number(8), micros: number(16).cast_signed() })
    }

    fn record(self) -> Vec<u8> {
        record::seal(&[self.seq.to_le_bytes(), self.id.to_le_bytes(), self.micros.to_le_bytes()].concat())
    }
}

/// What a batch changes in memory once it is on disk.
enum After {
    Nothing,
    Dropped(TableId),
    Altered(Arc<TableDef>),
    Restored(Tables),
    Flushed(TableId, Generation),
    /// Row versions are gone, so much of each generation.
    Purged(TableId, BTreeMap<Generation, Load>, bool),
}

enum Work {
    /// Of one commit, whatever its tables.
    Rows {
        rows: Vec<(TableId, Rows)>,
        durability: Durability,
        held: Box<dyn Send>,
    },
    /// A manifest of files that were written before their commit.
    Load {
        table: TableId,
        schema_version: u32,
        stamped: Stamped,
        held: Box<dyn Send>,
    },
    Freeze {
        table: TableId,
        also: Also,
    },
    /// A new table with its first rows, in the place of another or not.
    Create {
        def: Arc<TableDef>,
        rows: Rows,
        stamped: Option<Stamped>,
        replaced: Option<TableId>,
        batch: Batch,
    },
    Alter {
        def: Arc<TableDef>,
        /// Why the new definition does not fit rows of the old one, where it does not.
        needs_empty: Option<Error>,
        /// Rows that were encoded under a definition before are refused from now on.
        outdates_writes: bool,
        batch: Batch,
    },
    /// The end of a restore.
    Restored {
        batch: Batch,
        high_water: HighWater,
        tables: Tables,
    },
    /// A copy of the database as it is between two groups.
    Checkpoint(PathBuf),
    Batch {
        batch: Batch,
        after: After,
        frees_space: bool,
    },
    Stop,
}

/// Adds to the batch that freezes the generation it is given.
type Also = Box<dyn FnOnce(Generation, &mut Batch) + Send>;

/// Adds to the batch what is known only with the number and time of the commit.
pub(crate) type Stamped = Box<dyn FnOnce(Stamp, &mut Batch) + Send>;

/// What the requester learns.
#[derive(Clone, Copy)]
enum Done {
    Rows(Seq),
    Frozen(Generation),
    Batch,
}

struct Request {
    work: Work,
    reply: oneshot::Sender<Result<Done>>,
}

/// Handle to the thread.
#[derive(Clone)]
pub(crate) struct Committer {
    // Dropped before the thread is waited for: without senders it ends.
    requests: Sender<Request>,
    thread: Arc<Joined>,
}

/// The thread, waited for by whoever lets go of the last handle: it closes RocksDB, which must not happen while the
/// process is already ending.
struct Joined(Mutex<Option<JoinHandle<()>>>);

impl Drop for Joined {
    fn drop(&mut self) {
        // The last handle can be held by a request, and so be dropped on the thread itself.
        if let Some(thread) =
            self.0.get_mut().take().filter(|thread| thread.thread().id() != std::thread::current().id())
            && thread.join().is_err()
        {
            tracing::error!("the committer thread died");
        }
    }
}

/// What the thread works with; tests put faults here.
pub(crate) struct Parts {
    pub db: Arc<Db>,
    pub tables: Arc<Tables>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<Ids>,
    /// Bytes free on the disk of the hot tier, and how many must stay so.
    pub free_bytes: Box<dyn Fn() -> Result<u64> + Send>,
    pub min_free_bytes: u64,
    /// The write itself: the batch, and whether to sync.
    pub write: Box<dyn Fn(&Db, rocksdb::WriteBatch, bool) -> Result<()> + Send>,
}

impl Committer {
    pub fn start(parts: Parts) -> Result<Self> {
        let (requests, receiver) = channel();
        let thread = Thread::new(parts)?;
        let handle = std::thread::Builder::new()
            .name("committer".into())
            .spawn(move || thread.run(&receiver))
            .map_err(|e| Error::new(ErrorKind::Internal, "cannot start the committer thread").with_source(e))?;
        Ok(Self { requests, thread: Arc::new(Joined(Mutex::new(Some(handle)))) })
    }

    async fn request(&self, work: Work) -> Result<Done> {
        let closed = || Error::new(ErrorKind::Unavailable, "the store is closed");
        let (reply, done) = oneshot::channel();
        self.requests.send(Request { work, reply }).map_err(|_| closed())?;
        done.await.map_err(|_| closed())?
    }

    /// `held` is kept until the rows are written or refused, even if the caller stops waiting.
    pub async fn rows(&self, table: TableId, durability: Durability, rows: Rows, held: Box<dyn Send>) -> Result<Seq> {
        self.rows_of_all(vec![(table, rows)], durability, held).await
    }

    /// The same for rows of several tables, all of them or none.
    pub async fn rows_of_all(
        &self,
        rows: Vec<(TableId, Rows)>,
        durability: Durability,
        held: Box<dyn Send>,
    ) -> Result<Seq> {
        match self.request(Work::Rows { rows, durability, held }).await? {
            Done::Rows(seq) => Ok(seq),
            _ => Err(confused()),
        }
    }

    /// Commits the files of a load. `held` as for [`Self::rows`].
    pub async fn load(&self, table: &TableDef, stamped: Stamped, held: Box<dyn Send>) -> Result<Seq> {
        let (table, schema_version) = (table.id, table.schema_version);
        match self.request(Work::Load { table, schema_version, stamped, held }).await? {
            Done::Rows(seq) => Ok(seq),
            _ => Err(confused()),
        }
    }

    /// Moves the table to its next generation, together with what `also` adds; returns the one that gets no more rows.
    pub async fn freeze(
        &self,
        table: TableId,
        also: impl FnOnce(Generation, &mut Batch) + Send + 'static,
    ) -> Result<Generation> {
        match self.request(Work::Freeze { table, also: Box::new(also) }).await? {
            Done::Frozen(generation) => Ok(generation),
            _ => Err(confused()),
        }
    }

    /// Durable when it returns. Goes through on a full disk: for what gives space back.
    pub async fn write(&self, batch: Batch) -> Result<()> {
        self.batch(batch, After::Nothing, true).await
    }

    /// The same, refused on a full disk.
    pub async fn write_guarded(&self, batch: Batch) -> Result<()> {
        self.batch(batch, After::Nothing, false).await
    }

    /// The batch that commits a manifest holding all generations up to `up_to`.
    pub async fn flushed(&self, table: TableId, up_to: Generation, batch: Batch) -> Result<()> {
        self.batch(batch, After::Flushed(table, up_to), true).await
    }

    /// The batch that takes row versions out of the hot tier, so much of each generation. `seen`: they were visible, so what
    /// is remembered of them is true no longer.
    pub async fn purged(
        &self,
        table: TableId,
        gone: BTreeMap<Generation, Load>,
        seen: bool,
        batch: Batch,
    ) -> Result<()> {
        self.batch(batch, After::Purged(table, gone, seen), true).await
    }

    /// Definition, first rows, and the end of the table that it replaces: all of it or nothing.
    pub async fn create(
        &self,
        def: Arc<TableDef>,
        (rows, stamped): (Rows, Option<Stamped>),
        replaced: Option<TableId>,
        batch: Batch,
    ) -> Result<()> {
        self.request(Work::Create { def, rows, stamped, replaced, batch }).await.map(|_| ())
    }

    /// The definition of the next version of a table, together with what `batch` says. With `needs_empty`, a table that
    /// holds rows is left as it is, and that is the error.
    pub async fn alter(
        &self,
        def: Arc<TableDef>,
        needs_empty: Option<Error>,
        outdates_writes: bool,
        batch: Batch,
    ) -> Result<()> {
        self.request(Work::Alter { def, needs_empty, outdates_writes, batch }).await.map(|_| ())
    }

    /// Everything but the rows of a restored database, and what is known of it. Numbers go on from its last ones.
    pub async fn restored(&self, batch: Batch, high_water: HighWater, tables: Tables) -> Result<()> {
        self.request(Work::Restored { batch, high_water, tables }).await.map(|_| ())
    }

    /// Copies the database into a directory that is not there yet. Writes wait until it is done.
    pub async fn checkpoint(&self, directory: PathBuf) -> Result<()> {
        self.request(Work::Checkpoint(directory)).await.map(|_| ())
    }

    pub async fn dropped(&self, table: TableId, batch: Batch) -> Result<()> {
        self.batch(batch, After::Dropped(table), true).await
    }

    async fn batch(&self, batch: Batch, after: After, frees_space: bool) -> Result<()> {
        self.request(Work::Batch { batch, after, frees_space }).await.map(|_| ())
    }

    /// Syncs the log and ends the thread.
    pub async fn stop(&self) -> Result<()> {
        let Some(thread) = self.thread.0.lock().take() else { return Ok(()) };
        let result = self.request(Work::Stop).await.map(|_| ());
        // The thread ends right after its reply; joining makes sure that it has let go of the database.
        if thread.join().is_err() {
            return Err(Error::new(ErrorKind::Internal, "the committer thread panicked"));
        }
        result
    }
}

fn confused() -> Error {
    Error::new(ErrorKind::Internal, "the committer answered another question")
}

/// The number of the first generation of a table.
pub(crate) const FIRST_GENERATION: Generation = Generation(1);

#[cfg(test)]
mod tests;
