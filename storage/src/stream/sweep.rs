//! Looks through rows for what can go one by one: of a user, or of a whole table in turns, so that nobody who waits for
//! the table's turn waits for all of it.

use std::sync::Arc;

use insula_proto::{TableId, UserNo};
use tokio::sync::mpsc;

use super::{Look, Streams};
use crate::{
    Error, ErrorKind, Result, TableDef,
    hot::garbage::{self, Piece, Users},
    jobs::{JobKind, Work},
    read::ReadView,
};

/// Versions met in one turn, that of the last user apart.
const TURN_VERSIONS: u64 = 256 << 10;
/// Pieces between the thread that looks and the committer.
const PIECES: usize = 2;

/// Whose rows are looked through.
#[derive(Clone, Copy)]
enum Whose {
    /// From this one on, as many users as fit into a turn.
    From(UserNo),
    One(UserNo),
    /// The same, and all of them go.
    Erased(UserNo),
}

impl Streams {
    /// Whether rows of the user are gone that a deletion could bring back.
    pub(super) async fn overflows(&self, table: &Arc<TableDef>, user: UserNo) -> Result<bool> {
        let slice = self.view().key_slice(table, user)?;
        blocking(move || slice.hot_rows().overflows()).await
    }

    pub(super) async fn sweep_user(self: &Arc<Self>, table: TableId, user: UserNo) -> Result<Work> {
        // Before: what is written meanwhile counts for the next time.
        self.written.lock().remove(&(table, user));
        let (work, _) = self.turn(table, Whose::One(user)).await?;
        // A part of writing rather than a job: there is one for every few hundred rows of each user.
        self.flusher.jobs.counted(JobKind::Purge, work);
        Ok(work)
    }

    /// All rows of a user go, those that they see too.
    pub(crate) async fn erase(self: &Arc<Self>, table: TableId, user: UserNo) -> Result<Work> {
        Ok(self.turn(table, Whose::Erased(user)).await?.0)
    }

    /// Of all users.
    pub(super) async fn sweep(self: &Arc<Self>, table: TableId) -> Result<Work> {
        let (mut work, mut next) = (Work::default(), Some(UserNo(0)));
        while let Some(from) = next {
            let (more, rest) = self.turn(table, Whose::From(from)).await?;
            work.rows += more.rows;
            work.bytes += more.bytes;
            next = rest;
        }
        let bytes = self.flusher.tables.load(table).bytes;
        self.looked.lock().insert(table, Look { bytes, at_micros: self.flusher.clock.now_micros() });
        self.done(&*self.flusher.tables.get(table)?, work);
        Ok(work)
    }

    /// Returns what went, and the user to go on with.
    async fn turn(self: &Arc<Self>, table: TableId, whose: Whose) -> Result<(Work, Option<UserNo>)> {
        let streams = Arc::clone(self);
        detached(async move {
            let _turn = streams.flusher.turns.take(table).await?;
            let def = streams.flusher.tables.get(table)?;
            let (sender, mut pieces) = mpsc::channel(PIECES);
            let view = streams.view();
            let looker = tokio::task::spawn_blocking(move || look(&view, &def, whose, &sender));
            let erases = matches!(whose, Whose::Erased(_));
            let (mut work, mut failed) = (Work::default(), Ok(()));
            while let Some(Piece { batch, gone, versions, bytes }) = pieces.recv().await {
                failed = streams.flusher.committer.purged(table, gone, erases, batch).await;
                if failed.is_err() {
                    break;
                }
                work.rows += versions;
                work.bytes += bytes;
            }
            drop(pieces);
            let next = looker.await.unwrap_or_else(|error| Err(died(error)));
            failed?;
            Ok((work, next?))
        })
        .await
    }
}

/// The blocking half of a turn.
fn look(
    view: &Arc<ReadView>,
    table: &Arc<TableDef>,
    whose: Whose,
    out: &mpsc::Sender<Piece>,
) -> Result<Option<UserNo>> {
    let given_up = |_| Error::new(ErrorKind::Internal, "a look for expired rows was given up");
    let send = |piece| out.blocking_send(piece).map_err(given_up);
    let mut piece = Piece::default();
    let mut next = None;
    match whose {
        Whose::One(user) | Whose::Erased(user) => {
            let all = matches!(whose, Whose::Erased(_));
            garbage::collect(view.key_slice(table, user)?.hot_rows(), all, &mut piece, send)?;
        }
        Whose::From(from) => {
            let mut users = Users::new(view.snapshot(), table.id, view.live_generations(table)?)?;
            let (mut met, mut from) = (0, from);
            while let Some(user) = users.next(from)? {
                if met >= TURN_VERSIONS {
                    next = Some(user);
                    break;
                }
                met += garbage::collect(view.key_slice(table, user)?.hot_rows(), false, &mut piece, send)?;
                let Some(above) = user.0.checked_add(1) else { break };
                from = UserNo(above);
            }
        }
    }
    if piece.versions > 0 {
        send(piece)?;
    }
    Ok(next)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(died(error)))
}

/// Runs what is not given up when its caller is.
pub(super) async fn detached<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    tokio::spawn(work).await.unwrap_or_else(|error| Err(died(error)))
}

fn died(error: tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Internal, "the removal of expired rows died").with_source(error)
}
