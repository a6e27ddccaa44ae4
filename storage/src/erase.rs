//! Erasing a user: every byte of their rows goes, from the hot tier, its log and the cold files, also those that the
//! user had replaced or deleted.
//!
//! Rows that are still hot are flushed, so that there is one place to take them from (those of stream tables, which are
//! never flushed, are deleted); files that hold rows of the user are rewritten without them; at last the hot tier is rewritten without what it has deleted. Each step can be repeated,
//! so an erasure that failed or was cut short by a crash is simply asked for again.

use std::sync::Arc;

use insula_proto::{TableId, UserNo};

use crate::{
    Error, ErrorKind, Result, Store, TableDef, TableKind,
    cold::ColdFile,
    fail_points::FailPoint,
    jobs::{JobKind, Work},
};

/// What an erasure did.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct EraseReport {
    /// Tables that held rows of the user.
    pub tables: u64,
    /// Row versions taken out of files, and of stream tables.
    pub rows: u64,
    /// Files rewritten, or removed where nothing else was in them.
    pub files: u64,
    /// Of those files.
    pub bytes: u64,
}

impl Store {
    /// Nothing is left of the rows of `user`, in any table, when this returns. From its start on their commits are
    /// refused, until the store is opened anew. It waits for the statements that run when it has come so far, since
    /// they may still read what goes.
    pub async fn erase(self: &Arc<Self>, user: UserNo) -> Result<EraseReport> {
        if user == UserNo::SHARED {
            return Err(Error::new(
                ErrorKind::Invalid,
                "the rows of shared tables are nobody's; drop the table instead",
            ));
        }
        self.erased.write().insert(user);
        FailPoint::EraseBegun.reached()?;
        let mut report = EraseReport::default();
        for table in self.tables().into_iter().filter(|table| table.kind != TableKind::Shared) {
            match self.erase_from(&table, user, &mut report).await {
                // Dropped meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                result => result?,
            }
            FailPoint::EraseTable.reached()?;
        }
        self.cold.wait_for_views().await;
        self.cold.reclaim().await;
        FailPoint::EraseReclaimed.reached()?;
        self.purge().await?;
        FailPoint::ErasePurged.reached()?;
        let work = Work { rows: report.rows, files: report.files, bytes: report.bytes };
        self.flusher.jobs.done(JobKind::Erase, None, self.clock.now_micros(), work);
        tracing::info!(%user, ?report, "erased a user's rows");
        Ok(report)
    }

    async fn erase_from(self: &Arc<Self>, table: &Arc<TableDef>, user: UserNo, report: &mut EraseReport) -> Result<()> {
        // Whoever has the lock may be about to commit; whoever gets it after us is refused.
        drop(self.locks.take(table.id, user).await);
        if table.kind == TableKind::Stream {
            let gone = self.streams.erase(table.id, user).await?;
            report.tables += u64::from(gone.rows > 0);
            report.rows += gone.rows;
            return Ok(());
        }
        if self.has_hot_rows(table, user).await? {
            self.flush(table.id).await?;
            FailPoint::EraseFlushed.reached()?;
        }
        let step = self.compactor.remove_user(table.id, user).await?;
        report.tables += u64::from(step.files_read > 0);
        report.rows += step.removed;
        report.files += step.files_read;
        report.bytes += step.bytes_read;
        Ok(())
    }

    async fn has_hot_rows(self: &Arc<Self>, table: &Arc<TableDef>, user: UserNo) -> Result<bool> {
        let slice = self.view().slice(table, user)?;
        let bounds = tokio::task::spawn_blocking(move || slice.hot_bounds());
        let died = |error| Error::new(ErrorKind::Internal, "a look at hot rows died").with_source(error);
        Ok(bounds.await.map_err(died)??.is_some())
    }

    /// Rewrites the hot tier without what was deleted from it.
    async fn purge(&self) -> Result<()> {
        let db = Arc::clone(&self.db);
        let purged = tokio::task::spawn_blocking(move || db.purge()).await;
        purged
            .map_err(|error| Error::new(ErrorKind::Internal, "the clean-up of the hot tier died").with_source(error))?
    }

    /// Refuses commits of users whose rows have been erased: nothing would ever take these rows away again.
    pub(crate) fn check_not_erased(&self, user: UserNo, table: TableId) -> Result<()> {
        if self.erased.read().contains(&user) { Err(erased(table)) } else { Ok(()) }
    }

    /// The same for the rows of files that a load is about to commit, under the lock of their users.
    pub(crate) async fn check_none_erased(
        &self,
        table: &TableDef,
        files: impl Iterator<Item = &ColdFile>,
    ) -> Result<()> {
        let users: Vec<UserNo> = self.erased.read().iter().copied().collect();
        for file in files {
            for user in &users {
                if self.cold.holds(table, file, *user).await? {
                    return Err(erased(table.id));
                }
            }
        }
        Ok(())
    }
}

fn erased(table: TableId) -> Error {
    let message = format!("a user whose rows are written to table {table} has been dropped");
    Error::new(ErrorKind::FailedPrecondition, message)
}

#[cfg(test)]
mod tests;
