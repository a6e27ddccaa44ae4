//! One transaction: its state, which one statement at a time may have, and what is known of it without that.

use std::{sync::Arc, time::Instant};

use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use insula_proto::UserNo;
use insula_storage::{ReadView, Store, WriteSet};
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use super::TransactionLimits;
use crate::{Engine, Error, ErrorKind, Result, catalog::Snapshot};

/// Savepoints of one transaction. Their numbers are part of what names them to clients, and 16 bits long.
const MOST_SAVEPOINTS: usize = 1_024;

pub struct Transaction {
    pub(super) id: u64,
    pub(super) user: UserNo,
    read_only: bool,
    limits: TransactionLimits,
    /// Held by the statement that runs.
    state: Arc<tokio::sync::Mutex<State>>,
    life: Mutex<Life>,
}

struct State {
    store: Arc<Store>,
    /// Empty once the transaction has ended.
    stored: Option<insula_storage::Transaction>,
    /// Definitions as of the snapshot.
    catalog: Option<Arc<Snapshot>>,
    /// Number and name of each; their places are those of the stored transaction's marks.
    savepoints: Vec<(u16, String)>,
    next_savepoint: u16,
    memory: MemoryReservation,
}

struct Life {
    ended: Option<(End, Instant)>,
    /// When the snapshot was taken.
    begun: Option<Instant>,
    used: Instant,
    /// Statements and streams of rows under way.
    running: usize,
}

/// How a transaction ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// As its owner asked.
    Done,
    /// Its owner asked for a commit and was told why there was none.
    Refused(Error),
    /// By the server.
    Cut(String),
}

impl Transaction {
    pub(super) fn new(
        id: u64,
        user: UserNo,
        read_only: bool,
        store: &Arc<Store>,
        pool: &Arc<dyn MemoryPool>,
        limits: TransactionLimits,
    ) -> Arc<Self> {
        let state = State {
            store: Arc::clone(store),
            stored: Some(store.transaction()),
            catalog: None,
            savepoints: Vec::new(),
            next_savepoint: 0,
            memory: MemoryConsumer::new("transaction").register(pool),
        };
        let life = Life { ended: None, begun: None, used: Instant::now(), running: 0 };
        let (state, life) = (Arc::new(tokio::sync::Mutex::new(state)), Mutex::new(life));
        Arc::new(Self { id, user, read_only, limits, state, life })
    }

    /// By which [`Engine::transaction`] finds it.
    pub fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn is_of(&self, user: UserNo) -> bool {
        self.user == user
    }

    /// Waits for the statement before.
    pub(crate) async fn turn(self: &Arc<Self>) -> Result<Turn> {
        let used = self.enter()?;
        let state = Arc::clone(&self.state).lock_owned().await;
        // It may have ended while this one waited.
        self.check_open()?;
        Ok(Turn { state, used, mark: None })
    }

    fn enter(self: &Arc<Self>) -> Result<Use> {
        self.expire(Instant::now());
        self.check_open()?;
        Ok(Use::of(self))
    }

    fn check_open(&self) -> Result<()> {
        match &self.life.lock().ended {
            None => Ok(()),
            Some((end, _)) => Err(end.error()),
        }
    }

    pub(crate) fn ended(&self) -> Option<End> {
        self.life.lock().ended.as_ref().map(|(end, _)| end.clone())
    }

    pub(super) fn is_over(&self) -> bool {
        self.life.lock().ended.is_some()
    }

    pub(super) fn ended_before(&self, then: Option<Instant>) -> bool {
        self.life.lock().ended.as_ref().is_some_and(|(_, at)| then.is_some_and(|then| *at < then))
    }

    pub(super) fn has_begun(&self) -> bool {
        self.life.lock().begun.is_some()
    }

    /// Ends it if its time is up.
    pub(super) fn expire(&self, now: Instant) {
        let why = {
            let life = self.life.lock();
            let is_past = |since: Instant, limit| now.saturating_duration_since(since) >= limit;
            let Some(begun) = life.begun else { return };
            if is_past(begun, self.limits.age) {
                format!("it was open for {:?}", self.limits.age)
            } else if life.running == 0 && is_past(life.used, self.limits.idle) {
                format!("it was idle for {:?}", self.limits.idle)
            } else {
                return;
            }
        };
        self.end(&why);
    }

    /// Ends it for the server's own reasons. What it holds goes at once, or with the statement that runs in it.
    pub(crate) fn end(&self, why: &str) {
        self.mark_ended(End::Cut(why.to_owned()));
        if let Ok(mut state) = self.state.try_lock() {
            state.clear();
        }
    }

    /// The first end is the one that counts.
    fn mark_ended(&self, end: End) {
        self.life.lock().ended.get_or_insert((end, Instant::now()));
    }

    fn set_ended(&self, end: End) {
        self.life.lock().ended = Some((end, Instant::now()));
    }

    pub(crate) async fn commit(self: &Arc<Self>) -> Result<()> {
        let mut turn = self.turn().await?;
        let Some(stored) = turn.state.stored.take() else { return Err(Error::internal("a transaction without rows")) };
        turn.state.clear();
        // Whoever stops waiting here does not know whether it took effect, and nobody may go on as if it had not.
        self.set_ended(End::Cut("its COMMIT was cut off; see whether it took effect".into()));
        let result = stored.commit().await.map(drop).map_err(Error::from);
        self.set_ended(match &result {
            Ok(()) => End::Done,
            Err(error) => End::Refused(error.clone()),
        });
        result
    }

    /// Returns the savepoint's number. Of several of one name, the last one counts.
    pub async fn savepoint(self: &Arc<Self>, name: &str) -> Result<u16> {
        self.turn().await?.savepoint(name)
    }

    /// Undoes all since; the savepoint stays.
    pub async fn back_to_savepoint(self: &Arc<Self>, number: u16) -> Result<()> {
        let mut turn = self.turn().await?;
        let savepoint = turn.find_savepoint(&|of, _| of == number)?;
        turn.back_to(savepoint)
    }

    /// Forgets it and those after it; what was written stays.
    pub async fn release_savepoint(self: &Arc<Self>, number: u16) -> Result<()> {
        let mut turn = self.turn().await?;
        let savepoint = turn.find_savepoint(&|of, _| of == number)?;
        turn.release(savepoint)
    }

    /// Waits for the statement that runs; whatever had become of the transaction, nothing of it is left.
    pub(crate) async fn roll_back(self: &Arc<Self>) {
        self.mark_ended(End::Done);
        self.state.lock().await.clear();
        self.set_ended(End::Done);
    }
}

impl End {
    fn error(&self) -> Error {
        let message = match self {
            Self::Done => return Error::not_found("the transaction has ended; begin a new one"),
            Self::Refused(error) => format!("the transaction was rolled back: {}", error.message()),
            Self::Cut(why) => format!("the transaction was rolled back: {why}; send ROLLBACK and begin it again"),
        };
        Error::new(ErrorKind::Aborted, message)
    }
}

impl State {
    fn clear(&mut self) {
        self.stored = None;
        self.catalog = None;
        self.savepoints.clear();
        self.memory.free();
    }
}

/// A statement or a stream of rows under way: while one is, the transaction is not idle.
pub(crate) struct Use(Arc<Transaction>);

impl Drop for Use {
    fn drop(&mut self) {
        let mut life = self.0.life.lock();
        life.running -= 1;
        life.used = Instant::now();
    }
}

/// The right to be the one statement that runs in a transaction.
pub(crate) struct Turn {
    state: OwnedMutexGuard<State>,
    used: Use,
    /// Where the transaction stood before the statement, while that is not done.
    mark: Option<usize>,
}

impl Turn {
    fn transaction(&self) -> &Arc<Transaction> {
        &self.used.0
    }

    fn stored(&mut self) -> Result<&mut insula_storage::Transaction> {
        self.state.stored.as_mut().ok_or_else(|| Error::internal("a transaction that ended is still used"))
    }

    /// What the statement reads, and the definitions that go with it.
    pub fn moment(&mut self, engine: &Engine) -> Result<Moment> {
        let view = self.stored()?.view();
        // In this order: definitions newer than the snapshot can read it, older ones cannot.
        let now = engine.catalog().snapshot();
        let catalog = match self.state.catalog.take() {
            None => now,
            Some(catalog) if Arc::ptr_eq(catalog.grants(), now.grants()) => catalog,
            // What was revoked since is revoked here too: a snapshot is one of rows.
            Some(catalog) => Arc::new(catalog.with_grants(now.grants())),
        };
        self.state.catalog = Some(Arc::clone(&catalog));
        self.transaction().life.lock().begun.get_or_insert_with(Instant::now);
        Ok(Moment { catalog, view })
    }

    /// The snapshot knew a definition that was not published yet when the transaction looked.
    pub fn renew_catalog(&mut self, engine: &Engine) {
        self.state.catalog = Some(engine.catalog().snapshot());
    }

    /// Lets go of the snapshot, so that the next statement takes a new one; for statements that are no part of any
    /// transaction. `what` they are.
    pub fn renew(&mut self, what: &str) -> Result<()> {
        self.check_writable(what)?;
        if self.stored()?.has_written() {
            let message = format!(
                "{what} is no part of a transaction and cannot be undone; COMMIT or ROLLBACK what this one has changed first"
            );
            return Err(Error::new(ErrorKind::FailedPrecondition, message));
        }
        let store = Arc::clone(&self.state.store);
        self.state.clear();
        self.state.stored = Some(store.transaction());
        self.transaction().life.lock().begun = None;
        Ok(())
    }

    pub fn check_writable(&self, what: &str) -> Result<()> {
        match self.transaction().read_only {
            true => Err(Error::new(ErrorKind::FailedPrecondition, format!("{what} in a read-only transaction"))),
            false => Ok(()),
        }
    }

    /// From here to [`Self::done`] all is undone if the turn ends before.
    pub fn begin(&mut self) -> Result<()> {
        self.mark = Some(self.stored()?.mark());
        Ok(())
    }

    pub fn done(&mut self) -> Result<()> {
        if let Some(mark) = self.mark.take() {
            self.stored()?.release(mark);
        }
        Ok(())
    }

    /// Bytes that the transaction may still write.
    pub fn room(&mut self) -> Result<usize> {
        let held = self.stored()?.memory();
        Ok(self.transaction().limits.bytes.saturating_sub(held))
    }

    /// Adds what the statement writes. `memory`: what was accounted for while it was gathered.
    pub async fn write(&mut self, rows: WriteSet, memory: MemoryReservation) -> Result<u64> {
        if rows.memory() > self.room()? {
            return Err(too_large());
        }
        drop(memory);
        let most = self.stored()?.memory() + rows.memory();
        self.state.memory.try_resize(most)?;
        let written = self.stored()?.write(rows).await;
        let held = self.stored()?.memory();
        self.state.memory.try_resize(held.min(most))?;
        Ok(written?)
    }

    /// Returns its number.
    pub fn savepoint(&mut self, name: &str) -> Result<u16> {
        let number = self.state.next_savepoint;
        let next = number.checked_add(1).filter(|_| self.state.savepoints.len() < MOST_SAVEPOINTS);
        self.state.next_savepoint = next.ok_or_else(|| {
            let message = "the transaction has too many savepoints; release some, or commit it";
            Error::new(ErrorKind::ResourceExhausted, message)
        })?;
        let mark = self.stored()?.mark();
        debug_assert_eq!(mark, self.state.savepoints.len());
        self.state.savepoints.push((number, name.to_owned()));
        Ok(number)
    }

    /// Of several of one name, the last one counts.
    pub fn find_savepoint(&self, which: &dyn Fn(u16, &str) -> bool) -> Result<usize> {
        let found = self.state.savepoints.iter().rposition(|(number, name)| which(*number, name));
        found.ok_or_else(|| Error::not_found("the transaction has no such savepoint; it may have been released"))
    }

    /// Undoes all since; the savepoint stays.
    pub fn back_to(&mut self, savepoint: usize) -> Result<()> {
        self.stored()?.back_to(savepoint)?;
        self.state.savepoints.truncate(savepoint + 1);
        let held = self.stored()?.memory();
        Ok(self.state.memory.try_resize(held)?)
    }

    pub fn release(&mut self, savepoint: usize) -> Result<()> {
        self.stored()?.release(savepoint);
        self.state.savepoints.truncate(savepoint);
        Ok(())
    }

    /// The statement goes on as a stream of rows, and the transaction may run the next one.
    pub fn into_use(self) -> Use {
        Use::of(self.transaction())
    }
}

impl Use {
    fn of(transaction: &Arc<Transaction>) -> Self {
        transaction.life.lock().running += 1;
        Self(Arc::clone(transaction))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(mark) = self.mark.take()
            && let Some(stored) = &mut self.state.stored
        {
            if stored.back_to(mark).is_err() {
                tracing::error!("a statement of a transaction could not be undone");
                self.used.0.end("a statement of it could not be undone");
            }
            stored.release(mark);
        }
        if self.used.0.is_over() {
            self.state.clear();
        }
    }
}

/// What a statement of a transaction reads.
#[derive(Clone)]
pub(crate) struct Moment {
    pub catalog: Arc<Snapshot>,
    pub view: Arc<ReadView>,
}

pub(crate) fn too_large() -> Error {
    let message = "the transaction holds too many rows that are not committed; commit in smaller parts, insert this much \
                   outside of a transaction, or raise --memory-limit";
    Error::new(ErrorKind::ResourceExhausted, message)
}
