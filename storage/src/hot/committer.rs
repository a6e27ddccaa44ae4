//! The only writer of the database: one thread that makes everything durable, in one order.
//!
//! It takes what is waiting, up to [`GROUP_BYTES`], into one `WriteBatch` and syncs it once. It never waits for
//! company: while one group syncs, the next gathers by itself, so one client pays one fsync and sixteen share it.
//! It gives each statement its sequence number and commit time, and its table's active generation; order is by
//! sequence number, never by clock. Definitions, freezes and manifests go through the same thread, so that no row can
//! land in a generation that a flush has already read.
//!
//! After a failed write or sync nobody knows what is on disk (the kernel may have dropped the dirty pages), so the
//! store is poisoned: it refuses every later write until it is opened anew and the log is read back.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use insula_proto::{Generation, Seq, TableId};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{
    db::{Batch, Db, Family},
    key, record,
    tables::{Load, Tables, record_key},
    value,
};
use crate::{Durability, Error, ErrorKind, Result, TableDef, clock::Clock, store::Ids};

const GROUP_BYTES: usize = 4 << 20;
/// How often the log is synced for tables with periodic durability.
const SYNC_EVERY: Duration = Duration::from_millis(200);

/// Encoded rows of one statement; generation, sequence number, commit time and checksum are still missing.
#[derive(Default, Debug)]
pub(crate) struct Rows {
    pub bytes: Vec<u8>,
    /// Of each row, where its key begins, its value begins, its value ends.
    pub places: Vec<[usize; 3]>,
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
        let Some(sealed) = db.get(Family::Meta, record_key::HIGH_WATER)? else { return Ok(Self::default()) };
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
    Created(Arc<TableDef>),
    Dropped(TableId),
    Flushed(TableId, Generation),
}

enum Work {
    Rows { table: TableId, durability: Durability, rows: Rows, held: Box<dyn Send> },
    Freeze { table: TableId, also: Also },
    Batch { batch: Batch, after: After, frees_space: bool },
    Stop,
}

/// Adds to the batch that freezes the generation it is given.
type Also = Box<dyn FnOnce(Generation, &mut Batch) + Send>;

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
    requests: Sender<Request>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
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
        let thread = Thread {
            last: HighWater::load(&parts.db)?,
            active: parts.tables.actives(),
            parts,
            poison: None,
            unsynced: false,
        };
        let handle = std::thread::Builder::new()
            .name("committer".into())
            .spawn(move || thread.run(&receiver))
            .map_err(|e| Error::new(ErrorKind::Internal, "cannot start the committer thread").with_source(e))?;
        Ok(Self { requests, thread: Arc::new(Mutex::new(Some(handle))) })
    }

    async fn request(&self, work: Work) -> Result<Done> {
        let closed = || Error::new(ErrorKind::Unavailable, "the store is closed");
        let (reply, done) = oneshot::channel();
        self.requests.send(Request { work, reply }).map_err(|_| closed())?;
        done.await.map_err(|_| closed())?
    }

    /// `held` is kept until the rows are written or refused, even if the caller stops waiting.
    pub async fn rows(&self, table: TableId, durability: Durability, rows: Rows, held: Box<dyn Send>) -> Result<Seq> {
        match self.request(Work::Rows { table, durability, rows, held }).await? {
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

    pub async fn created(&self, def: Arc<TableDef>, batch: Batch) -> Result<()> {
        self.batch(batch, After::Created(def), false).await
    }

    pub async fn dropped(&self, table: TableId, batch: Batch) -> Result<()> {
        self.batch(batch, After::Dropped(table), true).await
    }

    async fn batch(&self, batch: Batch, after: After, frees_space: bool) -> Result<()> {
        self.request(Work::Batch { batch, after, frees_space }).await.map(|_| ())
    }

    /// Syncs the log and ends the thread.
    pub async fn stop(&self) -> Result<()> {
        let Some(thread) = self.thread.lock().take() else { return Ok(()) };
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

struct Thread {
    parts: Parts,
    last: HighWater,
    active: BTreeMap<TableId, Generation>,
    /// Why the store is poisoned.
    poison: Option<String>,
    /// Whether the log has writes that no sync covers.
    unsynced: bool,
}

/// One group on its way to disk.
#[derive(Default)]
struct Group {
    batch: rocksdb::WriteBatch,
    sync: bool,
    replies: Vec<(oneshot::Sender<Result<Done>>, Done, Effect)>,
}

enum Effect {
    Wrote(TableId, Generation, Load, #[allow(dead_code, reason = "held until it is dropped")] Box<dyn Send>),
    Froze(TableId, Generation),
    After(After),
}

impl Thread {
    fn run(mut self, requests: &Receiver<Request>) {
        loop {
            let first = if self.unsynced {
                requests.recv_timeout(SYNC_EVERY)
            } else {
                requests.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match first {
                Ok(first) => {
                    if let Some(stop) = self.group(first, requests) {
                        // Whoever waits for the end learns whether the last writes are on disk.
                        let result = if self.unsynced { self.sync() } else { Ok(()) };
                        drop(self);
                        let _ = stop.send(result.map(|()| Done::Batch));
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => drop(self.sync()),
                Err(RecvTimeoutError::Disconnected) => {
                    return if self.unsynced {
                        drop(self.sync())
                    };
                }
            }
        }
    }

    /// Writes `first` and what waits behind it; returns the sender of a request to stop.
    fn group(&mut self, first: Request, requests: &Receiver<Request>) -> Option<oneshot::Sender<Result<Done>>> {
        let mut group = Group::default();
        let mut free = None;
        let mut next = Some(first);
        let mut stop = None;
        while let Some(request) = next {
            if matches!(request.work, Work::Stop) {
                stop = Some(request.reply);
                break;
            }
            self.admit(request, &mut group, &mut free);
            next = if group.batch.size_in_bytes() < GROUP_BYTES { requests.try_recv().ok() } else { None };
        }
        self.commit(group);
        stop
    }

    /// Adds a request to the group, or refuses it. `free`: whether there is space, once it has been asked.
    fn admit(&mut self, request: Request, group: &mut Group, free: &mut Option<bool>) {
        let Request { work, reply } = request;
        if let Some(cause) = &self.poison {
            let _ = reply.send(Err(poisoned(cause)));
            return;
        }
        let frees_space = matches!(work, Work::Freeze { .. } | Work::Batch { frees_space: true, .. });
        if !frees_space && !*free.get_or_insert_with(|| self.has_space()) {
            let _ = reply.send(Err(self.disk_full()));
            return;
        }
        match self.add(work, group) {
            Ok((done, effect)) => group.replies.push((reply, done, effect)),
            Err(e) => drop(reply.send(Err(e))),
        }
    }

    fn add(&mut self, work: Work, group: &mut Group) -> Result<(Done, Effect)> {
        match work {
            Work::Rows { table, durability, rows, held } => {
                let generation = self.active(table)?;
                let (seq, load) = self.add_rows(generation, rows, group)?;
                group.sync |= durability == Durability::Sync;
                Ok((Done::Rows(seq), Effect::Wrote(table, generation, load, held)))
            }
            Work::Freeze { table, also } => {
                let generation = self.active(table)?;
                let next = Generation(generation.0 + 1);
                let mut batch = Batch::default();
                also(generation, &mut batch);
                batch.put(Family::Meta, record_key::generation(table), record::seal(&next.0.to_le_bytes()));
                batch.write_into(&self.parts.db, &mut group.batch)?;
                self.active.insert(table, next);
                group.sync = true;
                Ok((Done::Frozen(generation), Effect::Froze(table, next)))
            }
            Work::Batch { batch, after, .. } => {
                batch.write_into(&self.parts.db, &mut group.batch)?;
                match &after {
                    After::Created(def) => drop(self.active.insert(def.id, FIRST_GENERATION)),
                    After::Dropped(table) => drop(self.active.remove(table)),
                    _ => {}
                }
                group.sync = true;
                Ok((Done::Batch, Effect::After(after)))
            }
            Work::Stop => Err(confused()),
        }
    }

    fn active(&self, table: TableId) -> Result<Generation> {
        let gone = || Error::new(ErrorKind::NotFound, "the table was dropped meanwhile");
        self.active.get(&table).copied().ok_or_else(gone)
    }

    fn add_rows(&mut self, generation: Generation, mut rows: Rows, group: &mut Group) -> Result<(Seq, Load)> {
        let seq = Seq(self.last.seq + 1);
        let micros = self.parts.clock.now_micros().max(self.last.micros);
        let mut load = Load { rows: 0, bytes: 0, oldest_micros: Some(micros) };
        for [start, middle, end] in rows.places {
            let (stored, row) = rows.bytes[start..end].split_at_mut(middle - start);
            key::complete(stored, generation, seq);
            value::complete(row, micros);
            self.parts.db.put_row(&mut group.batch, stored, row)?;
            load.rows += 1;
            load.bytes += (end - start) as u64;
        }
        (self.last.seq, self.last.micros) = (seq.0, micros);
        Ok((seq, load))
    }

    fn commit(&mut self, mut group: Group) {
        if group.replies.is_empty() {
            return;
        }
        self.last.id = self.parts.ids.last();
        let mut high_water = Batch::default();
        high_water.put(Family::Meta, record_key::HIGH_WATER, self.last.record());
        let result = high_water
            .write_into(&self.parts.db, &mut group.batch)
            .and_then(|()| (self.parts.write)(&self.parts.db, group.batch, group.sync));
        match result {
            Ok(()) => {
                // A synced write syncs all of the log before it.
                self.unsynced = !group.sync;
                for (reply, done, effect) in group.replies {
                    self.apply(effect);
                    let _ = reply.send(Ok(done));
                }
            }
            Err(e) => {
                self.set_poison(&e);
                for (reply, ..) in group.replies {
                    let _ = reply.send(Err(poisoned(e.message())));
                }
            }
        }
    }

    fn apply(&self, effect: Effect) {
        let tables = &self.parts.tables;
        match effect {
            Effect::Wrote(table, generation, load, _held) => tables.wrote(table, generation, load),
            Effect::Froze(table, active) => tables.froze(table, active),
            Effect::After(After::Nothing) => {}
            Effect::After(After::Created(def)) => tables.insert(def, FIRST_GENERATION, BTreeMap::new()),
            Effect::After(After::Dropped(table)) => tables.remove(table),
            Effect::After(After::Flushed(table, up_to)) => tables.flushed(table, up_to),
        }
    }

    fn sync(&mut self) -> Result<()> {
        self.unsynced = false;
        let result = self.parts.db.sync();
        if let Err(e) = &result {
            self.set_poison(e);
        }
        result
    }

    fn set_poison(&mut self, e: &Error) {
        tracing::error!("the store refuses writes from now on: {}", e.message());
        self.poison = Some(e.message().to_owned());
    }

    fn has_space(&self) -> bool {
        match (self.parts.free_bytes)() {
            Ok(free) => free >= self.parts.min_free_bytes,
            Err(e) => {
                // A full disk still fails the write itself; not knowing must not stop a healthy one.
                tracing::warn!("cannot tell how much disk space is free: {}", e.message());
                true
            }
        }
    }

    fn disk_full(&self) -> Error {
        let message = format!(
            "less than {} bytes are free on the disk of the data directory; free some space and try again",
            self.parts.min_free_bytes
        );
        Error::new(ErrorKind::ResourceExhausted, message)
    }
}

fn poisoned(cause: &str) -> Error {
    let message = format!("the store refuses writes since one failed ({cause}); restart the server");
    Error::new(ErrorKind::Unavailable, message)
}

#[cfg(test)]
mod tests;
