//! The end of a load: keys are checked, and one synced batch makes the files a part of the table.
//!
//! Order: the lock of whoever's rows they are, so that nothing new comes under these keys; a flush, if the hot tier may
//! know some of them (a hot row or tombstone would shadow the loaded row for ever); the table's turn, so that the cold
//! tier stands still; the check of the keys; deletion vectors; the commit.

use std::{collections::BTreeMap, sync::Arc};

use insula_proto::{Seq, TableId, UserNo};
use roaring::RoaringBitmap;

use super::{Mode, Scope, check::Check};
use crate::{
    Commit, Error, ErrorKind, MetaBatch, Result, Stamp, Store, TableDef,
    change::Change,
    cold::{
        ColdFile, Manifest,
        manifest::{self, Intent},
        writer::groups::Bounds,
    },
    fail_points::FailPoint,
    hot::{
        committer::{Rows, Stamped},
        db::Batch,
    },
    jobs::{JobKind, Work},
    store::Held,
};

/// A load whose rows are all on disk, in files that nothing names yet.
pub(crate) struct Sealed {
    pub(super) store: Arc<Store>,
    pub(super) table: Arc<TableDef>,
    pub(super) scope: Scope,
    pub(super) mode: Mode,
    pub(super) change: Change,
    pub(super) files: Vec<(ColdFile, Bounds)>,
}

/// Rows that the load replaces, by index of file: of the table as it is, and of the load's own files.
#[derive(Default)]
pub(super) struct Replaced {
    pub(super) old: BTreeMap<usize, RoaringBitmap>,
    pub(super) own: BTreeMap<usize, RoaringBitmap>,
}

/// What the commit writes; only its number and time are missing.
struct Next {
    manifest: Manifest,
    /// How many of the manifest's files, the last ones, are the load's.
    own: usize,
    rows: u64,
}

impl Sealed {
    /// Into a table that is there.
    pub(super) async fn commit(mut self) -> Result<Commit> {
        if self.files.is_empty() {
            self.change.abandon().await;
            return Ok(Commit { seq: Seq(0), rows: 0 });
        }
        let mut sure = true;
        let result = self.try_commit(&mut sure).await;
        if result.is_err() && sure {
            self.change.abandon().await;
        }
        result
    }

    /// Together with its table, in the place of `replaced` or where there was none. Returns the rows.
    pub(crate) async fn create(
        mut self,
        author: Option<UserNo>,
        replaced: Option<TableId>,
        also: MetaBatch,
    ) -> Result<u64> {
        let base = Manifest::default();
        let next = match self.next(&base).await {
            Ok(next) => next,
            Err(error) => {
                self.change.abandon().await;
                return Err(error);
            }
        };
        let (rows, unnamed) = (next.rows, self.unnamed(&next.manifest));
        let stamped = stamping(self.table.id, self.change.intent().clone(), next);
        let mut sure = true;
        let created = (Rows::default(), Some(stamped));
        let result = self.store.create_with((&self.table, author), created, replaced, also, &mut sure).await;
        match result {
            Ok(()) => {
                self.store.cold.retire(unnamed);
                self.store.cold.reclaim().await;
                self.tell(rows);
                Ok(rows)
            }
            Err(error) => {
                if sure {
                    self.change.abandon().await;
                }
                Err(error)
            }
        }
    }

    /// `sure`: nothing has been committed.
    async fn try_commit(&mut self, sure: &mut bool) -> Result<Commit> {
        FailPoint::LoadSealed.reached()?;
        // Most of what is hot is flushed before anyone has to wait for it.
        self.clear_hot().await?;
        let held = match self.scope {
            Scope::One(user) => self.store.locks.take(self.table.id, user).await,
            Scope::Many => self.store.locks.take_all(self.table.id).await,
        };
        self.clear_hot().await?;
        let _turn = self.store.flusher.turns.take(self.table.id).await?;
        self.store.tables.get(self.table.id)?;
        if self.is_hot()? {
            return Err(Error::new(ErrorKind::Internal, "rows came into the hot tier under the lock of a load"));
        }
        let base = manifest::current(&self.store.db, self.table.id)?;
        let next = self.next(&base).await?;
        let (rows, manifest) = (next.rows, next.manifest.clone());
        FailPoint::LoadChecked.reached()?;
        *sure = false;
        let seq = self.write(next, held).await.inspect_err(|error| *sure = is_refusal(error))?;
        FailPoint::LoadCommitted.reached()?;
        self.store.cold.retire(self.unnamed(&manifest));
        self.change.reclaim(&base, &manifest).await;
        self.tell(rows);
        Ok(Commit { seq, rows })
    }

    fn tell(&self, rows: u64) {
        let bytes = self.files.iter().map(|(file, _)| file.bytes).sum();
        let work = Work { rows, files: self.files.len() as u64, bytes };
        self.store.flusher.jobs.done(JobKind::Load, Some(&self.table), self.store.clock.now_micros(), work);
        tracing::info!(table = %self.table.id, rows, files = self.files.len(), "loaded");
    }

    async fn write(&self, next: Next, held: Arc<Held>) -> Result<Seq> {
        let stamped = stamping(self.table.id, self.change.intent().clone(), next);
        self.store.committer.load(&self.table, stamped, Box::new(held)).await
    }

    /// Checks the keys on top of `base` and makes what is to be committed, all of its objects durable.
    async fn next(&mut self, base: &Manifest) -> Result<Next> {
        self.store.check_none_erased(&self.table, self.files.iter().map(|(file, _)| file)).await?;
        let check = Check { store: &self.store, table: &self.table, mode: self.mode, base, files: &self.files };
        let replaced = check.run(self.scope).await?;
        let mut files = self.change.without_rows(base, &replaced.old).await?;
        let own = Manifest { files: self.files.iter().map(|(file, _)| file.clone()).collect(), ..Default::default() };
        let own = self.change.without_rows(&own, &replaced.own).await?;
        self.change.persist().await?;
        let replaced: u64 = replaced.own.values().map(RoaringBitmap::len).sum();
        let rows = self.files.iter().map(|(file, _)| file.rows).sum::<u64>() - replaced;
        let count = own.len();
        files.extend(own);
        let manifest = Manifest { version: base.version + 1, files, flushed: base.flushed };
        Ok(Next { manifest, own: count, rows })
    }

    /// Flushes the table if the hot tier may know a key of the load.
    async fn clear_hot(&self) -> Result<()> {
        if self.is_hot()? {
            self.store.flush(self.table.id).await?;
        }
        Ok(())
    }

    /// Whether the hot tier may know a key of the load.
    fn is_hot(&self) -> Result<bool> {
        if self.table.has_row_id() || self.store.tables.load(self.table.id).rows == 0 {
            return Ok(false);
        }
        let Scope::One(user) = self.scope else { return Ok(true) };
        let Some((first, last)) = self.store.view().key_slice(&self.table, user)?.hot_bounds()? else {
            return Ok(false);
        };
        let hot = Bounds { first: (user, first), last: (user, last) };
        Ok(self.files.iter().any(|(_, bounds)| bounds.meets(&hot)))
    }

    /// Objects of the load that its manifest does not name: files all of whose rows it replaced itself.
    fn unnamed(&self, next: &Manifest) -> Vec<object_store::path::Path> {
        let own = Manifest { files: self.files.iter().map(|(file, _)| file.clone()).collect(), ..Default::default() };
        let named = next.objects(self.table.id);
        own.objects(self.table.id).into_iter().filter(|path| !named.contains(path)).collect()
    }
}

/// Completes the manifest at the moment of its commit.
fn stamping(table: TableId, intent: Intent, next: Next) -> Stamped {
    Box::new(move |stamp: Stamp, batch: &mut Batch| {
        let Next { mut manifest, own, .. } = next;
        let first = manifest.files.len() - own;
        for file in &mut manifest.files[first..] {
            file.stamp = Some(stamp);
            file.seqs = (stamp.seq.0, stamp.seq.0);
        }
        manifest::put(batch, table, &manifest);
        manifest::delete_intent(batch, &intent);
    })
}

/// Whether the committer said no before it wrote. After a write that failed nobody knows what is on disk: then the files
/// stay, and the next start decides.
pub(crate) fn is_refusal(error: &Error) -> bool {
    error.kind() != ErrorKind::Unavailable
}
