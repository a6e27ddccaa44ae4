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
use insula_engine::{Description, Session};
use insula_proto::UserNo;
use parking_lot::Mutex;
use tonic::Status;

use crate::encode::wire_schema;

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
pub type Parameters = Option<Arc<Vec<RecordBatch>>>;

pub struct Statement {
    pub sql: Arc<str>,
    /// The one it was described in.
    pub session: Arc<Session>,
    pub description: Description,
    /// Schema of the rows as they are announced and sent.
    pub wire: SchemaRef,
}

impl Statement {
    pub fn new(sql: &str, session: Arc<Session>, description: Description) -> Self {
        Self { sql: sql.into(), session, wire: wire_schema(&description.schema), description }
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

pub struct Execution {
    pub bound: Bound,
    /// Held while it runs, so that a second redeemer waits for the first one's answer.
    pub run: tokio::sync::Mutex<Run>,
    issued: Instant,
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
        let id = self.next_id();
        let run = tokio::sync::Mutex::default();
        let execution = Execution { bound, run, issued: Instant::now() };
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

    /// Forgets expired tickets and abandoned handles.
    pub fn sweep(&self, now: Instant) {
        let known = &mut *self.known.lock();
        let executions = &mut known.executions;
        executions.retain(|_, execution| now.saturating_duration_since(execution.issued) < TICKET_LIFETIME);
        known.executions_of.retain(|_, own| {
            own.retain(|id| executions.contains_key(id));
            !own.is_empty()
        });
        let idle = |prepared: &Prepared| now.saturating_duration_since(*prepared.used.lock()) >= HANDLE_LIFETIME;
        let abandoned: Vec<_> = known.prepared.iter().filter(|(_, p)| idle(p)).map(|(id, _)| *id).collect();
        for id in abandoned {
            known.remove_prepared(id);
        }
    }

    fn next_id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

impl Known {
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
