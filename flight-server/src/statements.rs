//! Statements that a ticket or a handle stands for. The sealed bytes ([`crate::seal`]) hold an id; all else is here.
//!
//! A *prepared* statement lives until it is closed. An *execution* is what a ticket redeems: one statement with the
//! parameters it had when the ticket was issued, and the memory of whether it ran, so that it runs once however often
//! a client redeems the ticket.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use bytes::Bytes;
use futures::future::BoxFuture;
use insula_engine::{Cancel, Description, Held, Pace, Parts, Plan, RowStream, Session};
use insula_proto::UserNo;
use parking_lot::Mutex;
use tonic::Status;

use crate::{
    encode::{Header, wire_schema},
    executor::Task,
    format::Types,
};

#[cfg(test)]
mod tests;

/// A ticket not redeemed by then is of no use any more.
pub const TICKET_LIFETIME: Duration = Duration::from_secs(600);
/// A handle not used for this long was left behind by a client that is gone.
pub const HANDLE_LIFETIME: Duration = Duration::from_secs(24 * 3_600);
/// Prepared statements of one user.
pub const PREPARED_PER_USER: usize = 4_096;
/// Tickets of one user; beyond it the oldest expires early.
const TICKETS_PER_USER: usize = 1_024;

/// Rows bound to `$1, $2, …`; `None` where nothing was bound.
pub type Parameters = Option<Arc<BoundRows>>;

pub struct BoundRows {
    pub batches: Vec<RecordBatch>,
    /// Memory of whoever bound them, where they take much: they wait for as long as the client likes.
    _held: Option<Held>,
}

impl BoundRows {
    pub fn new(batches: Vec<RecordBatch>, held: Option<Held>) -> Self {
        Self { batches, _held: held }
    }
}

pub struct Statement {
    pub plan: Arc<Plan>,
    /// The one it was described in.
    pub session: Arc<Session>,
    /// The user as whom it runs, where that is not who sent it.
    pub run_as: Option<Arc<str>>,
    pub description: Description,
    /// Schema of the rows as they are announced and sent.
    pub wire: SchemaRef,
    /// By which the schema was made.
    pub types: Types,
    pub header: Header,
}

impl Statement {
    pub fn new(
        plan: Arc<Plan>,
        session: Arc<Session>,
        run_as: Option<Arc<str>>,
        description: Description,
        types: Types,
    ) -> Self {
        let (wire, header) = (wire_schema(&description.schema, types), Header::default());
        Self { plan, session, run_as, wire, types, header, description }
    }

    /// The IPC message of the schema of its rows.
    pub fn schema_message(&self) -> Result<Bytes, Status> {
        self.header.schema(&self.wire)
    }

    /// Whether it stands for the same, in the same session, under the same schemas.
    pub fn is(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.description, &other.description);
        Arc::ptr_eq(&self.plan, &other.plan)
            && Arc::ptr_eq(&self.session, &other.session)
            && self.run_as == other.run_as
            && self.types == other.types
            && ours.parameters == theirs.parameters
            && ours.schema == theirs.schema
    }
}

/// A statement ready to run.
#[derive(Clone)]
pub struct Bound {
    /// Described anew with the types of its parameters, on which the types of its rows may depend.
    pub statement: Arc<Statement>,
    pub parameters: Parameters,
    /// In which it runs: the statement's own, or what has followed a transaction of that.
    pub session: Arc<Session>,
}

impl Bound {
    pub fn new(statement: Arc<Statement>, parameters: Parameters) -> Self {
        let session = statement.session.now();
        Self { statement, parameters, session }
    }
}

pub struct Prepared {
    /// As it was prepared.
    pub statement: Arc<Statement>,
    bound: Mutex<Bound>,
    owner: UserNo,
    used: Mutex<Instant>,
}

impl Prepared {
    pub fn bound(&self) -> Bound {
        let Bound { statement, parameters, .. } = self.bound.lock().clone();
        Bound::new(statement, parameters)
    }

    pub fn bind(&self, bound: Bound) {
        *self.bound.lock() = bound;
    }
}

/// How far a statement that must run once has come.
#[derive(Default)]
pub enum Run {
    #[default]
    Pending,
    /// Begun; stays so if the client went away before the end.
    Begun,
    /// What it returned: statements with an effect return a row or two, or none.
    Done(Vec<RecordBatch>),
    Failed(Status),
}

/// A query that PollFlightInfo has started, and nobody has fetched yet.
#[derive(Default)]
pub enum Started {
    #[default]
    No,
    /// Until its first rows are there.
    Running(Task<Result<Ran, Status>>),
    Ready(Ran),
    Failed(Status),
}

/// Rows of a query that has been started.
pub struct Ran {
    pub rows: RowStream,
    /// Ready when the query is cancelled.
    pub stop: BoxFuture<'static, ()>,
    pub pace: Pace,
}

pub struct Execution {
    pub bound: Bound,
    /// It is one part of the rows of a query that came as several endpoints.
    pub part: Option<(Arc<Parts>, usize)>,
    /// Held while it runs, so that a second redeemer waits for the first one's answer.
    pub run: tokio::sync::Mutex<Run>,
    pub started: tokio::sync::Mutex<Started>,
    /// What runs for it now.
    running: Mutex<Running>,
    expires: Mutex<Instant>,
}

#[derive(Default)]
struct Running {
    cancels: Vec<Cancel>,
    cancelled: bool,
}

impl Running {
    fn check(&self) -> Result<(), Status> {
        if self.cancelled { Err(Status::cancelled("the statement was cancelled")) } else { Ok(()) }
    }
}

impl Execution {
    fn new(bound: Bound, part: Option<(Arc<Parts>, usize)>) -> Self {
        let expires = Mutex::new(Instant::now() + TICKET_LIFETIME);
        Self { bound, part, run: Default::default(), started: Default::default(), running: Mutex::default(), expires }
    }

    /// Refused once it is cancelled.
    pub fn check(&self) -> Result<(), Status> {
        self.running.lock().check()
    }

    /// Enters a statement that runs for it; refused once it is cancelled.
    pub fn enter(&self, cancel: Cancel) -> Result<(), Status> {
        let mut running = self.running.lock();
        running.check()?;
        running.cancels.retain(Cancel::is_alive);
        running.cancels.push(cancel);
        Ok(())
    }

    /// Whether nothing runs for it any more, and nothing will: not when it has taken effect, or commits.
    pub fn cancel(&self) -> bool {
        // Whoever holds the lock runs it now.
        if self.run.try_lock().is_ok_and(|run| !matches!(*run, Run::Pending)) {
            return false;
        }
        let mut running = self.running.lock();
        running.cancels.retain(Cancel::is_alive);
        let all = running.cancels.iter().filter(|cancel| !cancel.cancel()).count() == 0;
        running.cancelled |= all;
        // Rows that nobody has fetched hold memory; who waits for them holds the lock, and hears of it.
        if let (true, Ok(mut started)) = (all, self.started.try_lock()) {
            *started = Started::No;
        }
        all
    }

    /// How far it has come, where that is known.
    pub fn progress(&self) -> Option<f64> {
        self.running.lock().cancels.last().and_then(Cancel::progress)
    }

    /// From now on.
    pub fn renew(&self) {
        *self.expires.lock() = Instant::now() + TICKET_LIFETIME;
    }
}

#[derive(Default)]
pub struct Statements {
    next: AtomicU64,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    prepared: HashMap<u64, Arc<Prepared>>,
    prepared_of: HashMap<UserNo, usize>,
    executions: HashMap<u64, Arc<Execution>>,
    /// Oldest first.
    executions_of: HashMap<UserNo, VecDeque<u64>>,
}

impl Statements {
    pub fn prepare(&self, owner: UserNo, statement: Statement) -> Result<u64, Status> {
        let id = self.next_id();
        let mut known = self.known.lock();
        let count = known.prepared_of.entry(owner).or_default();
        if *count >= PREPARED_PER_USER {
            return Err(Status::resource_exhausted(format!(
                "{PREPARED_PER_USER} prepared statements are open; close some with ClosePreparedStatement"
            )));
        }
        *count += 1;
        let (statement, used) = (Arc::new(statement), Mutex::new(Instant::now()));
        let bound = Mutex::new(Bound::new(Arc::clone(&statement), None));
        known.prepared.insert(id, Arc::new(Prepared { statement, bound, owner, used }));
        Ok(id)
    }

    pub fn prepared(&self, id: u64) -> Result<Arc<Prepared>, Status> {
        let found = self.known.lock().prepared.get(&id).map(Arc::clone);
        let prepared = found.ok_or_else(|| Status::not_found("the prepared statement is closed; prepare it again"))?;
        *prepared.used.lock() = Instant::now();
        Ok(prepared)
    }

    pub fn close(&self, id: u64) -> Result<(), Status> {
        let removed = self.known.lock().remove_prepared(id);
        removed.then_some(()).ok_or_else(|| Status::not_found("the prepared statement is closed already"))
    }

    pub fn issue(&self, owner: UserNo, bound: Bound) -> u64 {
        self.issue_part(owner, bound, None)
    }

    pub fn issue_part(&self, owner: UserNo, bound: Bound, part: Option<(Arc<Parts>, usize)>) -> u64 {
        let id = self.next_id();
        let execution = Execution::new(bound, part);
        let mut known = self.known.lock();
        known.executions.insert(id, Arc::new(execution));
        let own = known.executions_of.entry(owner).or_default();
        own.push_back(id);
        let oldest = if own.len() > TICKETS_PER_USER { own.pop_front() } else { None };
        if let Some(oldest) = oldest {
            known.executions.remove(&oldest);
        }
        id
    }

    pub fn execution(&self, id: u64) -> Result<Arc<Execution>, Status> {
        let found = self.known.lock().executions.get(&id).map(Arc::clone);
        found.ok_or_else(|| Status::not_found("this ticket has expired; ask for a new one"))
    }

    /// Prepared statements, and tickets.
    pub fn counts(&self) -> (usize, usize) {
        let known = self.known.lock();
        (known.prepared.len(), known.executions.len())
    }

    /// Forgets expired tickets and abandoned handles.
    pub fn sweep(&self, now: Instant) {
        let known = &mut *self.known.lock();
        known.executions.retain(|_, execution| now < *execution.expires.lock());
        known.forget_lost_tickets();
        let idle = |prepared: &Prepared| now.saturating_duration_since(*prepared.used.lock()) >= HANDLE_LIFETIME;
        let abandoned: Vec<_> = known.prepared.iter().filter(|(_, p)| idle(p)).map(|(id, _)| *id).collect();
        for id in abandoned {
            known.remove_prepared(id);
        }
    }

    /// Ends what a session has left: its handles and its tickets.
    pub fn close_session(&self, session: &Arc<Session>) {
        let known = &mut *self.known.lock();
        known.executions.retain(|_, execution| !execution.bound.statement.session.is_client_of(session));
        known.forget_lost_tickets();
        let own = known.prepared.iter().filter(|(_, p)| p.statement.session.is_client_of(session));
        for id in own.map(|(id, _)| *id).collect::<Vec<_>>() {
            known.remove_prepared(id);
        }
    }

    fn next_id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

impl Known {
    fn forget_lost_tickets(&mut self) {
        let executions = &self.executions;
        self.executions_of.retain(|_, own| {
            own.retain(|id| executions.contains_key(id));
            !own.is_empty()
        });
    }

    fn remove_prepared(&mut self, id: u64) -> bool {
        let Some(prepared) = self.prepared.remove(&id) else { return false };
        if let Some(count) = self.prepared_of.get_mut(&prepared.owner) {
            *count -= 1;
            if *count == 0 {
                self.prepared_of.remove(&prepared.owner);
            }
        }
        true
    }
}
