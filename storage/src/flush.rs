//! Flush: moves a table's hot rows to the cold tier.
//!
//! `run` is the commit protocol, `encode` its blocking half, `scheduler` decides when, `recover` cleans up after a
//! crash in the middle of one.

mod encode;
pub(crate) mod recover;
mod run;
pub(crate) mod scheduler;

use std::{collections::HashMap, sync::Arc};

use insula_proto::TableId;
use parking_lot::Mutex;
use tokio::sync::{OwnedMutexGuard, RwLock};

use crate::{
    Error, ErrorKind, Result, TableDef, TableKind,
    change::{Change, files::Sizes},
    clock::Clock,
    cold::{ColdTier, Manifest, manifest::Intent},
    fail_points::FailPoint,
    hot::{committer::Committer, db::Db, tables::Tables},
    jobs::{JobKind, Jobs, Work},
};
use run::Run;

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct FlushReport {
    /// Row versions moved to the cold tier (the newest of each key).
    pub rows: u64,
    pub files: u64,
    pub bytes: u64,
    /// Older cold rows marked in deletion vectors.
    pub replaced: u64,
}

/// Flushes tables, one flush per table at a time.
pub(crate) struct Flusher {
    pub(crate) db: Arc<Db>,
    pub(crate) cold: Arc<ColdTier>,
    pub(crate) committer: Committer,
    pub(crate) tables: Arc<Tables>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) sizes: Sizes,
    pub(crate) turns: Turns,
    pub(crate) jobs: Jobs,
}

/// Who may change the cold tier of a table, and whether anyone still may.
#[derive(Default)]
pub(crate) struct Turns {
    tables: Mutex<HashMap<TableId, Arc<tokio::sync::Mutex<()>>>>,
    /// Held for reading by whoever has a turn; true once closed.
    closed: Arc<RwLock<bool>>,
}

/// While it lives, nobody else changes the table's cold tier.
pub(crate) struct Turn {
    _table: OwnedMutexGuard<()>,
    _open: tokio::sync::OwnedRwLockReadGuard<bool>,
}

impl Turns {
    /// Waits for the table's turn. A table is dropped under its turn, so that no flush commits a manifest after it.
    pub(crate) async fn take(&self, table: TableId) -> Result<Turn> {
        let open = Arc::clone(&self.closed).read_owned().await;
        if *open {
            return Err(Error::new(ErrorKind::Unavailable, "the store is closing"));
        }
        Ok(Turn { _table: self.mutex(table).lock_owned().await, _open: open })
    }

    /// The table's turn, if nobody has it and nobody closes.
    pub(crate) fn try_take(&self, table: TableId) -> Option<Turn> {
        let open = Arc::clone(&self.closed).try_read_owned().ok().filter(|closed| !**closed)?;
        Some(Turn { _table: self.mutex(table).try_lock_owned().ok()?, _open: open })
    }

    fn mutex(&self, table: TableId) -> Arc<tokio::sync::Mutex<()>> {
        let mut tables = self.tables.lock();
        tables.retain(|_, mutex| Arc::strong_count(mutex) > 1);
        Arc::clone(tables.entry(table).or_default())
    }

    /// Waits until every turn under way has ended, and lets no other begin.
    pub(crate) async fn close(&self) {
        *self.closed.write().await = true;
    }
}

impl Flusher {
    pub(crate) fn change(&self, table: &Arc<TableDef>, intent: Intent) -> Change {
        let (cold, committer, clock) = (Arc::clone(&self.cold), self.committer.clone(), Arc::clone(&self.clock));
        Change::new(cold, committer, clock, Arc::clone(table), intent)
    }

    /// Moves to the cold tier all rows of `table` that were committed before the call. The flush runs on when the
    /// caller goes away: half of one is worth nothing.
    pub(crate) async fn flush(self: &Arc<Self>, table: TableId) -> Result<FlushReport> {
        let flusher = Arc::clone(self);
        let flush = tokio::spawn(async move { flusher.flush_now(table).await });
        flush.await.unwrap_or_else(|error| {
            Err(Error::new(ErrorKind::Internal, "a flush died; its rows are still in the hot tier").with_source(error))
        })
    }

    async fn flush_now(self: &Arc<Self>, table: TableId) -> Result<FlushReport> {
        let _turn = self.turns.take(table).await?;
        let table = self.tables.get(table)?;
        // The rows of a stream stay where they are until they expire.
        if table.kind == TableKind::Stream || self.tables.load(table.id).rows == 0 {
            self.jobs.needless(JobKind::Flush, table.id);
            return Ok(FlushReport::default());
        }
        let mut run = Run::begin(self, &table).await?;
        match Self::prepare(&mut run).await {
            Ok(next) => {
                // If this fails, nobody knows whether the batch is on disk: nothing is removed, the next start decides.
                run.commit(&next).await?;
                FailPoint::FlushCommitted.reached()?;
                run.reclaim(&next).await;
                FailPoint::FlushReclaimed.reached()?;
                let report = run.report();
                let work = Work { rows: report.rows, files: report.files, bytes: report.bytes };
                self.jobs.done(JobKind::Flush, Some(&table), self.clock.now_micros(), work);
                tracing::info!(table = %table.id, generation = %run.frozen, ?report, "flushed");
                Ok(report)
            }
            Err(error) => {
                run.abandon().await;
                Err(error)
            }
        }
    }

    /// The steps that a failure can still undo.
    async fn prepare(run: &mut Run) -> Result<Manifest> {
        FailPoint::FlushFrozen.reached()?;
        run.write_files().await?;
        FailPoint::FlushFiles.reached()?;
        let next = run.write_vectors().await?;
        FailPoint::FlushVectors.reached()?;
        run.persist().await?;
        FailPoint::FlushPersisted.reached()?;
        Ok(next)
    }
}

#[cfg(test)]
mod tests;
