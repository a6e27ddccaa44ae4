//! Compaction: rewrites files of the cold tier, so that a read touches few of them and rows that nobody can see go.
//!
//! Level 0 are the files of flushes and loads, each over all users; the files of a level above are disjoint in (user,
//! key). `plan` chooses files, `merge` is the blocking merge of them, `run` the commit protocol, `pace` the speed limit,
//! `scheduler` the background.
//!
//! A merge does not hold the table's turn, since no flush may wait for gigabytes. It works on the files of one manifest;
//! at its commit it looks up what newer versions have replaced in its inputs meanwhile, and marks it in its outputs.

mod merge;
mod pace;
mod plan;
mod run;
pub(crate) mod scheduler;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use insula_proto::{TableId, UserNo};

use crate::{
    Error, ErrorKind, Result, TableDef,
    change::Change,
    cold::manifest::{self, ChangeKind, Intent, Manifest},
    fail_points::FailPoint,
    flush::{Flusher, Turn, Turns},
    jobs::{JobKind, Work},
};
pub(crate) use pace::Pace;
use run::Run;

/// What a compaction of a table did.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct CompactReport {
    /// Rows written anew; one that was merged in two steps counts twice.
    pub rows: u64,
    /// Rows that went: replaced ones, and deleted ones past their retention.
    pub removed: u64,
    pub files_before: u64,
    pub files: u64,
    pub bytes_before: u64,
    pub bytes: u64,
}

/// Why a table is compacted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Want {
    /// What the policy asks for, one step.
    Due,
    /// One sorted run of everything, one step towards it.
    Whole,
    /// One of the files that hold rows of this user, without them.
    Without(UserNo),
}

/// What one step did.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Step {
    /// That the outputs are of.
    pub(crate) level: u32,
    pub(crate) rows: u64,
    pub(crate) removed: u64,
    pub(crate) files_read: u64,
    pub(crate) bytes_read: u64,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// Compacts tables, one compaction per table at a time.
pub(crate) struct Compactor {
    flusher: Arc<Flusher>,
    /// Who may compact a table. The turn to commit is another one, which flushes take too.
    turns: Turns,
    stopping: AtomicBool,
    pace: Arc<Pace>,
}

impl Compactor {
    pub(crate) fn new(flusher: Arc<Flusher>, pace: Pace) -> Self {
        Self { flusher, turns: Turns::default(), stopping: AtomicBool::new(false), pace: Arc::new(pace) }
    }

    /// Merges all files of `table` into one sorted run. It runs on when the caller goes away.
    pub(crate) async fn compact(self: &Arc<Self>, table: TableId) -> Result<CompactReport> {
        let compactor = Arc::clone(self);
        detached(async move {
            let _alone = compactor.turns.take(table).await?;
            let before = compactor.size(table)?;
            let mut report = CompactReport { files_before: before.0, bytes_before: before.1, ..Default::default() };
            while let Some(step) = compactor.step(table, Want::Whole).await? {
                report.rows += step.rows;
                report.removed += step.removed;
                // That was all of it. What flushes have brought meanwhile would never end.
                if step.level > 0 {
                    break;
                }
            }
            (report.files, report.bytes) = compactor.size(table)?;
            tracing::info!(%table, ?report, "compacted");
            Ok(report)
        })
        .await
    }

    /// One step of what the policy asks for, unless somebody else compacts the table. Returns whether there was one.
    async fn compact_due(self: &Arc<Self>, table: TableId) -> Result<bool> {
        let Some(_alone) = self.turns.try_take(table) else { return Ok(false) };
        let step = self.step(table, Want::Due).await?;
        if let Some(step) = &step {
            tracing::info!(%table, ?step, "compacted");
        }
        Ok(step.is_some())
    }

    /// Rewrites the files of `table` that hold rows of `user`, without those rows.
    pub(crate) async fn remove_user(self: &Arc<Self>, table: TableId, user: UserNo) -> Result<Step> {
        let compactor = Arc::clone(self);
        detached(async move {
            let _alone = compactor.turns.take(table).await?;
            let mut sum = Step::default();
            while let Some(step) = compactor.step(table, Want::Without(user)).await? {
                sum.add(step);
            }
            Ok(sum)
        })
        .await
    }

    /// One merge, with its commit. The caller has the table's turn to compact.
    async fn step(self: &Arc<Self>, table: TableId, want: Want) -> Result<Option<Step>> {
        let Some(mut run) = Run::begin(self, table, want).await? else { return Ok(None) };
        let result = self.prepare(&mut run, table).await;
        let (next, _turn) = match result {
            Ok(ready) => ready,
            Err(error) => {
                run.abandon().await;
                return Err(error);
            }
        };
        // If this fails, nobody knows whether the batch is on disk: nothing is removed, the next start decides.
        run.commit(&next).await?;
        FailPoint::CompactCommitted.reached()?;
        run.reclaim(&next).await;
        FailPoint::CompactReclaimed.reached()?;
        let step = run.report();
        let work = Work { rows: step.rows, files: step.files, bytes: step.bytes };
        self.flusher.jobs.done(JobKind::Compaction, Some(run.table()), self.flusher.clock.now_micros(), work);
        Ok(Some(step))
    }

    /// The steps that a failure can still undo.
    async fn prepare(&self, run: &mut Run, table: TableId) -> Result<(Manifest, Turn)> {
        run.merge().await?;
        FailPoint::CompactMerged.reached()?;
        self.prepare_rest(run, table).await
    }

    /// The steps behind the merge, which end with the table's turn.
    async fn prepare_rest(&self, run: &mut Run, table: TableId) -> Result<(Manifest, Turn)> {
        run.persist().await?;
        // What was replaced during the merge is looked up before anybody has to wait; what comes meanwhile is little.
        run.catch_up().await?;
        let turn = self.flusher.turns.take(table).await?;
        run.catch_up().await?;
        FailPoint::CompactCaughtUp.reached()?;
        let next = run.write_vectors().await?;
        FailPoint::CompactVectors.reached()?;
        run.persist().await?;
        FailPoint::CompactPersisted.reached()?;
        Ok((next, turn))
    }

    /// Gives up the merges under way, and lets no other begin.
    pub(crate) async fn close(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.turns.close().await;
    }

    /// Fails once it makes no sense to go on.
    fn check(&self, table: TableId) -> Result<()> {
        self.require(table).map(drop)
    }

    /// The table, unless it makes no sense to go on.
    fn require(&self, table: TableId) -> Result<Arc<TableDef>> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Unavailable, "the store is closing"));
        }
        self.flusher.tables.get(table)
    }

    fn change(&self, table: &Arc<TableDef>) -> Change {
        self.flusher.change(table, Intent::new(table.id, ChangeKind::Compaction))
    }

    /// Files of the table, and their bytes.
    fn size(&self, table: TableId) -> Result<(u64, u64)> {
        let files = manifest::current(&self.flusher.db, table)?.files;
        Ok((files.len() as u64, files.iter().map(|file| file.bytes).sum()))
    }
}

impl Step {
    fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.removed += other.removed;
        self.files_read += other.files_read;
        self.bytes_read += other.bytes_read;
        self.files += other.files;
        self.bytes += other.bytes;
    }
}

/// Runs work that is not given up when its caller is.
async fn detached<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    tokio::spawn(work).await.unwrap_or_else(|error| {
        let message = "a compaction died; the files that it read are still in place";
        Err(Error::new(ErrorKind::Internal, message).with_source(error))
    })
}

#[cfg(test)]
mod tests;
