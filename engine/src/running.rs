//! The statements that run now: whose they are, since when, and the means to end them.
//!
//! A statement is entered before it is planned and leaves when its last row is taken or dropped, whichever way its
//! client goes. Until it begins to commit it can be cancelled; from then on it cannot, since whoever is told that a
//! statement was cancelled may rely on it that nothing was written. When it leaves, the audit gets an entry of it: what is
//! told here along the way (tables, rows, times, how it ended) is told there.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use arrow::array::{ArrayRef, RecordBatch};
use datafusion::{execution::memory_pool::MemoryReservation, physical_plan::ExecutionPlan};
use futures::{StreamExt, future::BoxFuture, stream};
use insula_proto::UserNo;
use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    Error, ErrorKind, Identity, Plan, Result, Role, RowStream, Session, Weight,
    admission::Slot,
    audit::{self, Event, Trail, Verb},
    share::{Membership, Share},
    size::{batch_bytes, columns_bytes},
};
pub use pace::Pace;

mod pace;

mod progress;

use progress::Scans;

#[cfg(test)]
mod tests;

/// So much before its time limit a statement may be given up for the sake of it.
const EARLY: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Running,
    Committing,
    Cancelled,
}

/// One statement, from its first plan to its last row.
struct Query {
    id: Uuid,
    user: Identity,
    session: Weak<Session>,
    text: Arc<str>,
    began: SystemTime,
    since: Instant,
    rows: AtomicU64,
    bytes: AtomicU64,
    verb: OnceLock<Verb>,
    tables: OnceLock<Arc<[Arc<str>]>>,
    queued_micros: AtomicU64,
    /// From the beginning until the plan was made, without the queue.
    plan_micros: OnceLock<u64>,
    result: OnceLock<&'static str>,
    /// When its time is up, where it has a limit.
    deadline: OnceLock<Instant>,
    /// It is only planned; that is told if it fails.
    is_planned_only: AtomicBool,
    /// It stands in line for a slot.
    waits: AtomicBool,
    state: watch::Sender<State>,
    /// By which its rows are found.
    scans: OnceLock<Scans>,
}

/// What the owner of a statement, or an admin, is told of it.
#[derive(Clone, Debug)]
pub struct QueryInfo {
    pub id: String,
    pub user: Arc<str>,
    /// Who runs it as that user, if it is somebody else.
    pub actor: Option<Arc<str>>,
    /// For its user alone: literals are contents of rows.
    pub text: Option<Arc<str>>,
    /// The same for the same text, as long as the server lives; keyed, so that nobody can try out texts.
    pub text_hash: String,
    pub began: SystemTime,
    pub elapsed_micros: u64,
    pub queued_micros: u64,
    /// Rows handed out so far.
    pub rows: u64,
    pub state: &'static str,
    /// That it touches, once it is planned.
    pub tables: Arc<[Arc<str>]>,
}

/// All statements that run.
pub(crate) struct Queries {
    live: Mutex<HashMap<Uuid, Arc<Query>>>,
    trail: Arc<Trail>,
}

impl Queries {
    pub fn new(trail: Arc<Trail>) -> Arc<Self> {
        Arc::new(Self { live: Mutex::default(), trail })
    }

    pub fn begin(
        self: &Arc<Self>,
        user: &Identity,
        session: &Arc<Session>,
        text: &Arc<str>,
        share: Arc<Share>,
    ) -> Running {
        let query = Arc::new(Query {
            id: Uuid::new_v4(),
            user: user.clone(),
            session: Arc::downgrade(session),
            text: Arc::clone(text),
            began: SystemTime::now(),
            since: Instant::now(),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            verb: OnceLock::new(),
            tables: OnceLock::new(),
            queued_micros: AtomicU64::new(0),
            plan_micros: OnceLock::new(),
            result: OnceLock::new(),
            deadline: OnceLock::new(),
            is_planned_only: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            state: watch::Sender::new(State::Running),
            scans: OnceLock::new(),
        });
        self.live.lock().insert(query.id, Arc::clone(&query));
        Running { registry: Arc::clone(self), query, member: share.join(), slot: None }
    }

    /// A user's own; for an admin everybody's.
    pub fn visible_to(&self, user: &Identity) -> Vec<QueryInfo> {
        let may_see = |query: &&Arc<Query>| query.user.no == user.no || user.role == Role::Admin;
        let live = self.live.lock();
        let mut seen: Vec<_> = live.values().filter(may_see).map(|query| self.info(query, user)).collect();
        drop(live);
        seen.sort_by(|a, b| (a.began, &a.id).cmp(&(b.began, &b.id)));
        seen
    }

    pub fn count(&self) -> usize {
        self.live.lock().len()
    }

    /// For its owner and admins.
    pub fn kill(&self, user: &Identity, id: &str) -> Result<()> {
        let ended = || Error::not_found(format!("no statement \"{id}\" is running"));
        let id: Uuid = id.parse().map_err(|_| ended())?;
        let query = self.live.lock().get(&id).cloned().ok_or_else(ended)?;
        if query.user.no != user.no && user.role != Role::Admin {
            return Err(Error::denied("the statement is another user's"));
        }
        if query.cancel() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::FailedPrecondition, "the statement is committing and cannot be cancelled any more"))
    }

    /// Ends what a session has left running.
    pub fn cancel_session(&self, session: &Arc<Session>) {
        let of_session = |query: &&Arc<Query>| query.session.upgrade().is_some_and(|own| own.is_client_of(session));
        let own: Vec<_> = self.live.lock().values().filter(of_session).cloned().collect();
        for query in own {
            query.cancel();
        }
    }

    /// Ends all that can be ended.
    pub fn cancel_all(&self) {
        let all: Vec<_> = self.live.lock().values().cloned().collect();
        for query in all {
            query.cancel();
        }
    }

    /// Ends what a user who is no more has left running.
    pub fn cancel_user(&self, user: UserNo) {
        let own: Vec<_> = self.live.lock().values().filter(|query| query.user.no == user).cloned().collect();
        for query in own {
            query.cancel();
        }
    }

    fn info(&self, query: &Query, reader: &Identity) -> QueryInfo {
        QueryInfo {
            id: query.id.to_string(),
            user: Arc::clone(&query.user.name),
            actor: query.user.actor.as_ref().map(|actor| Arc::clone(&actor.name)),
            text: (query.user.no == reader.no).then(|| Arc::clone(&query.text)),
            text_hash: format!("{:016x}", self.trail.hash(&query.text)),
            began: query.began,
            elapsed_micros: micros(query.since.elapsed()),
            queued_micros: query.queued_micros.load(Relaxed),
            rows: query.rows.load(Relaxed),
            state: match *query.state.borrow() {
                State::Running if query.waits.load(Relaxed) => "queued",
                State::Running => "running",
                State::Committing => "committing",
                State::Cancelled => "cancelled",
            },
            tables: query.tables.get().cloned().unwrap_or_default(),
        }
    }
}

impl Query {
    /// As the audit has it, now that it is over.
    fn event(&self) -> Event {
        let (total, queue) = (micros(self.since.elapsed()), self.queued_micros.load(Relaxed));
        let plan = self.plan_micros.get().copied().unwrap_or_default();
        let result = self.result.get().copied().unwrap_or_else(|| self.given_up());
        let event = Event {
            at: self.began,
            query_id: Some(self.id),
            verb: Some(self.verb.get().copied().unwrap_or(Verb::Unknown)),
            text: Some(Arc::clone(&self.text)),
            tables: self.tables.get().cloned().unwrap_or_default(),
            rows: self.rows.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            queue_micros: queue,
            plan_micros: plan,
            run_micros: total.saturating_sub(queue).saturating_sub(plan),
            result: Cow::Borrowed(result),
            ..Event::new(audit::Kind::Statement, result)
        };
        event.by(&self.user)
    }

    /// How it ended that nobody has told the end of: it was dropped when its time was up, or before. Clients that set a
    /// limit of their own keep it themselves, and are a little earlier.
    fn given_up(&self) -> &'static str {
        let is_over = |deadline: &Instant| {
            let early = (deadline.saturating_duration_since(self.since) / 10).min(EARLY);
            Instant::now() + early >= *deadline
        };
        if self.deadline.get().is_some_and(is_over) { audit::DEADLINE_EXCEEDED } else { audit::CANCELLED }
    }

    /// Whether it is cancelled now.
    fn cancel(&self) -> bool {
        self.state.send_if_modified(|state| {
            let running = *state == State::Running;
            if running {
                *state = State::Cancelled;
            }
            running
        });
        *self.state.borrow() == State::Cancelled
    }
}

/// A running statement's place in the registry; dropped, the statement has ended.
pub struct Running {
    registry: Arc<Queries>,
    query: Arc<Query>,
    member: Membership,
    /// `None`: it needs none.
    slot: Option<Arc<Slot>>,
}

/// Cancels a statement from elsewhere; keeps nothing of it alive.
#[derive(Clone, Default)]
pub struct Cancel(Weak<Query>);

impl Cancel {
    /// Does the statement still run?
    pub fn is_alive(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// How far it has come, from 0 to 1, where that is known.
    pub fn progress(&self) -> Option<f64> {
        self.0.upgrade()?.scans.get()?.progress()
    }

    /// Whether it is cancelled: it is not when it has ended already, or commits.
    pub fn cancel(&self) -> bool {
        self.0.upgrade().is_some_and(|query| query.cancel())
    }
}

impl Running {
    /// From now on it computes only while it holds the slot.
    pub(crate) fn needs(&mut self, slot: Slot) {
        self.slot = Some(Arc::new(slot));
    }

    pub fn weight(&self) -> Weight {
        if self.slot.is_some() { Weight::Heavy } else { Weight::Light }
    }

    /// For whoever hands on its rows.
    pub fn pace(&self) -> Pace {
        Pace::new(self.slot.clone(), self.share())
    }

    pub(crate) fn share(&self) -> &Arc<Share> {
        self.member.share()
    }

    /// Memory of its user, for as long as the reservation lives.
    pub(crate) fn hold(&self, what: &str, bytes: usize) -> Result<MemoryReservation> {
        self.share().hold(what, bytes)
    }

    /// It has nothing to compute for a while.
    pub(crate) fn rest(&self) {
        self.slot.iter().for_each(|slot| slot.rest());
    }

    /// From here on it computes: it waits for its slot, if it needs one. Nothing that others wait for may be held then,
    /// but the lock of its own user's rows.
    pub async fn enter(&self) -> Result<()> {
        self.member.check()?;
        match &self.slot {
            Some(slot) => self.queues(slot.enter()).await,
            None => Ok(()),
        }
    }

    /// It has nothing to compute until then, and leaves its slot to others.
    pub(crate) async fn stands_still(&self, until: impl Future<Output = ()>) {
        self.rest();
        self.queues(until).await;
    }

    /// Time in which it waits for its turn, whatever gives it that.
    async fn queues<T>(&self, turn: impl Future<Output = T>) -> T {
        let since = Instant::now();
        self.query.waits.store(true, Relaxed);
        let came = turn.await;
        self.query.waits.store(false, Relaxed);
        self.queued(since.elapsed());
        came
    }

    /// Whoever runs it gives it up then.
    pub fn ends_by(&self, deadline: Option<Instant>) {
        if let Some(deadline) = deadline {
            self.query.deadline.set(deadline).ok();
        }
    }

    pub fn handle(&self) -> Cancel {
        Cancel(Arc::downgrade(&self.query))
    }

    /// What it does.
    pub(crate) fn does(&self, verb: Verb) {
        self.query.verb.set(verb).ok();
    }

    /// It is only planned, to be described; the audit gets an entry if that fails.
    pub(crate) fn is_planned_only(&self) {
        self.query.is_planned_only.store(true, Relaxed);
    }

    /// The tables that it reads, writes or defines.
    pub(crate) fn touches(&self, tables: &Arc<[Arc<str>]>) {
        self.query.tables.set(Arc::clone(tables)).ok();
    }

    /// It has waited so long for its turn.
    pub(crate) fn queued(&self, waited: Duration) {
        self.query.queued_micros.fetch_add(micros(waited), Relaxed);
    }

    /// Its plan is made.
    pub(crate) fn planned(&self) {
        let query = &self.query;
        let plan = micros(query.since.elapsed()).saturating_sub(query.queued_micros.load(Relaxed));
        query.plan_micros.set(plan).ok();
    }

    /// Rows that it has stored or changed.
    pub(crate) fn changed(&self, rows: u64) {
        self.query.rows.store(rows, Relaxed);
    }

    /// Rows that it takes in.
    pub(crate) fn took(&self, batch: &RecordBatch) {
        self.query.bytes.fetch_add(batch_bytes(batch), Relaxed);
    }

    /// How it ended; the first who says so is right.
    pub(crate) fn ended<T>(&self, result: &Result<T>) {
        let result = result.as_ref().map_or_else(|error| audit::result(error.kind()), |_| audit::OK);
        self.query.result.set(result).ok();
    }

    /// It has done what it should.
    pub(crate) fn succeeded(&self) {
        self.ended(&Ok(()));
    }

    /// The plan by which it finds its rows; of several, the first.
    pub(crate) fn follow(&self, plan: &Arc<dyn ExecutionPlan>) {
        self.query.scans.get_or_init(|| Scans::of(plan));
    }

    /// Ready when the statement is cancelled, and never otherwise.
    pub fn cancelled(&self) -> BoxFuture<'static, ()> {
        let mut state = self.query.state.subscribe();
        Box::pin(async move {
            // The sender goes when the statement has ended; then there is nothing to cancel.
            if state.wait_for(|state| *state == State::Cancelled).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }

    /// From here on the statement is not cancelled any more, unless it is already. It has nothing left to compute.
    pub(crate) fn commits(&self) -> Result<()> {
        self.rest();
        self.query.state.send_if_modified(|state| {
            let running = *state == State::Running;
            if running {
                *state = State::Committing;
            }
            running
        });
        match *self.query.state.borrow() {
            State::Cancelled => Err(cancelled()),
            State::Running | State::Committing => Ok(()),
        }
    }

    /// Runs work of this statement until it ends or is cancelled. Give it boxed: planning makes large futures, and
    /// each function that takes one by value would hold it twice.
    pub(crate) async fn guard<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let result = tokio::select! {
            biased;
            () = self.cancelled() => Err(cancelled()),
            result = work => result,
        };
        if result.is_err() {
            self.ended(&result);
        }
        result
    }

    /// Keeps the statement's place until its rows are through.
    pub(crate) fn watch(self, rows: RowStream) -> RowStream {
        let stop = self.cancelled();
        stream::unfold(Some((rows, stop, self)), |state| async move {
            let (mut rows, mut stop, running) = state?;
            let batch = tokio::select! {
                biased;
                () = &mut stop => {
                    running.ended::<()>(&Err(cancelled()));
                    return Some((Err(cancelled()), None));
                }
                batch = rows.next() => batch,
            };
            let Some(batch) = batch else {
                running.succeeded();
                return None;
            };
            match &batch {
                Ok(batch) => {
                    running.query.rows.fetch_add(batch.num_rows() as u64, Relaxed);
                    running.took(batch);
                }
                failed => running.ended(failed),
            }
            Some((batch, Some((rows, stop, running))))
        })
        .boxed()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.registry.live.lock().remove(&self.query.id);
        let is_fine = self.query.result.get() == Some(&audit::OK);
        if !(is_fine && self.query.is_planned_only.load(Relaxed)) {
            self.registry.trail.note(self.query.event());
        }
    }
}

/// The entry of a statement that had no place, since it was over at once.
pub(crate) fn of_row(
    user: &Identity,
    plan: &Plan,
    tables: Arc<[Arc<str>]>,
    row: &Result<Vec<ArrayRef>>,
    began: Instant,
) -> Event {
    let took = began.elapsed();
    let result = row.as_ref().map_or_else(|error| audit::result(error.kind()), |_| audit::OK);
    let event = Event {
        at: SystemTime::now() - took,
        verb: Some(plan.verb),
        text: Some(Arc::clone(plan.shown_text())),
        tables,
        rows: row.as_ref().map_or(0, |row| row.first().map_or(0, |column| column.len() as u64)),
        bytes: row.as_ref().map_or(0, |row| columns_bytes(row)),
        run_micros: micros(took),
        ..Event::new(audit::Kind::Statement, result)
    };
    event.by(user)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the statement was cancelled")
}
