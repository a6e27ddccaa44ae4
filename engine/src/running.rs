//! The statements that run now: whose they are, since when, and the means to end them.
//!
//! A statement is entered before it is planned and leaves when its last row is taken or dropped, whichever way its
//! client goes. Until it begins to commit it can be cancelled; from then on it cannot, since whoever is told that a
//! statement was cancelled may rely on it that nothing was written.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime},
};

use futures::{StreamExt, future::BoxFuture, stream};
use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

use crate::{Error, ErrorKind, Identity, Result, Role, RowStream, Session};

#[cfg(test)]
mod tests;

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
    state: watch::Sender<State>,
}

/// What the owner of a statement, or an admin, is told of it.
#[derive(Clone, Debug)]
pub struct QueryInfo {
    pub id: String,
    pub user: Arc<str>,
    /// For its user alone: literals are contents of rows.
    pub text: Option<Arc<str>>,
    /// The same for the same text, as long as the server lives; keyed, so that nobody can try out texts.
    pub text_hash: String,
    pub began: SystemTime,
    pub elapsed_micros: u64,
    /// Rows handed out so far.
    pub rows: u64,
    pub state: &'static str,
}

/// All statements that run.
#[derive(Default)]
pub(crate) struct Queries {
    live: Mutex<HashMap<Uuid, Arc<Query>>>,
    hasher: RandomState,
}

impl Queries {
    pub fn begin(self: &Arc<Self>, user: &Identity, session: &Arc<Session>, text: &Arc<str>) -> Running {
        let query = Arc::new(Query {
            id: Uuid::new_v4(),
            user: user.clone(),
            session: Arc::downgrade(session),
            text: Arc::clone(text),
            began: SystemTime::now(),
            since: Instant::now(),
            rows: AtomicU64::new(0),
            state: watch::Sender::new(State::Running),
        });
        self.live.lock().insert(query.id, Arc::clone(&query));
        Running { registry: Arc::clone(self), query }
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

    /// For its owner and admins.
    pub fn kill(&self, user: &Identity, id: &str) -> Result<()> {
        let ended = || Error::not_found(format!("no statement \"{id}\" is running"));
        let id: Uuid = id.parse().map_err(|_| Error::invalid(format!("\"{id}\" is no id of a statement")))?;
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

    fn info(&self, query: &Query, reader: &Identity) -> QueryInfo {
        QueryInfo {
            id: query.id.to_string(),
            user: Arc::clone(&query.user.name),
            text: (query.user.no == reader.no).then(|| Arc::clone(&query.text)),
            text_hash: format!("{:016x}", self.hasher.hash_one(&query.text)),
            began: query.began,
            elapsed_micros: u64::try_from(query.since.elapsed().as_micros()).unwrap_or(u64::MAX),
            rows: query.rows.load(Ordering::Relaxed),
            state: match *query.state.borrow() {
                State::Running => "running",
                State::Committing => "committing",
                State::Cancelled => "cancelled",
            },
        }
    }
}

impl Query {
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
}

/// Cancels a statement from elsewhere; keeps nothing of it alive.
#[derive(Clone, Default)]
pub struct Cancel(Weak<Query>);

impl Cancel {
    /// Does the statement still run?
    pub fn is_alive(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// Whether it is cancelled: it is not when it has ended already, or commits.
    pub fn cancel(&self) -> bool {
        self.0.upgrade().is_some_and(|query| query.cancel())
    }
}

impl Running {
    pub fn handle(&self) -> Cancel {
        Cancel(Arc::downgrade(&self.query))
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

    /// From here on the statement is not cancelled any more, unless it is already.
    pub(crate) fn commits(&self) -> Result<()> {
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
        tokio::select! {
            biased;
            () = self.cancelled() => Err(cancelled()),
            result = work => result,
        }
    }

    /// Keeps the statement's place until its rows are through.
    pub(crate) fn watch(self, rows: RowStream) -> RowStream {
        let stop = self.cancelled();
        stream::unfold(Some((rows, stop, self)), |state| async move {
            let (mut rows, mut stop, running) = state?;
            let batch = tokio::select! {
                biased;
                () = &mut stop => return Some((Err(cancelled()), None)),
                batch = rows.next() => batch?,
            };
            if let Ok(batch) = &batch {
                running.query.rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
            }
            Some((batch, Some((rows, stop, running))))
        })
        .boxed()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.registry.live.lock().remove(&self.query.id);
    }
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the statement was cancelled")
}
