//! One compaction, step by step. Each step is a function, so that a crash can be put between any two of them.
//!
//! `begin` (plan, intent) → `merge` → `persist` → `catch_up` → the table's turn → `catch_up` → `write_vectors` →
//! `persist` → `commit` → `reclaim`. Up to `commit` nothing that a reader sees has changed.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use insula_proto::{TableId, UserNo};
use roaring::RoaringBitmap;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    Compactor, Step, Want,
    merge::{self, Job, Source},
    plan::{self, Plan, Policy},
};
use crate::{
    Error, ErrorKind, KeyCodec, Result, TableDef,
    change::{
        Change,
        files::{Piece, Uploads},
    },
    cold::{
        ColdFile, Manifest, Pin, manifest,
        rows::{self, Pick},
    },
    hot::db::Batch,
    table::Placement,
};

/// Pieces between the merging thread and the uploads.
const PIECES: usize = 1;
/// A file is rewritten for expired rows alone when its oldest has outlived its retention by this part of it.
const OVERDUE: i64 = 10;

pub(super) struct Run {
    compactor: Arc<Compactor>,
    table: Arc<TableDef>,
    plan: Plan,
    /// Rows of each input (in the plan's order) that are known to be replaced, and are not in the outputs or marked.
    seen: Vec<Arc<RoaringBitmap>>,
    expired_before: Option<i64>,
    without: Option<UserNo>,
    change: Change,
    /// What the commit builds on; newest manifest seen.
    base: Manifest,
    /// The outputs.
    files: Vec<ColdFile>,
    /// Rows of the outputs (by index) that were replaced after they were read.
    replaced: BTreeMap<usize, RoaringBitmap>,
    rows: u64,
    /// The inputs stay readable, whatever becomes of them meanwhile.
    pin: Option<Pin>,
}

impl Run {
    /// Plans, and says durably which objects may come to be. `None`: there is nothing to do.
    pub(super) async fn begin(compactor: &Arc<Compactor>, table: TableId, want: Want) -> Result<Option<Self>> {
        compactor.check(table)?;
        let flusher = &compactor.flusher;
        // Before the manifest is read: what it names must be pinned before a flush can let go of it.
        let pin = flusher.cold.pin();
        let base = manifest::current(&flusher.db, table)?;
        // Asked for after the manifest: no file in it is of a later version than this.
        let table = flusher.tables.get(table)?;
        let policy = policy(&table, flusher.sizes.file, flusher.clock.now_micros());
        let plan = match want {
            Want::Due => policy.due(&base),
            Want::Whole => policy.whole(&base),
            Want::Without(user) => holder(compactor, &table, &base, user).await?,
        };
        let Some(plan) = plan else { return Ok(None) };
        let mut seen = Vec::with_capacity(plan.inputs.len());
        for file in &plan.inputs {
            seen.push(flusher.cold.vector(table.id, file).await?);
        }
        let change = compactor.change(&table);
        change.begin().await?;
        let without = if let Want::Without(user) = want { Some(user) } else { None };
        let (files, replaced) = Default::default();
        Ok(Some(Self {
            compactor: Arc::clone(compactor),
            table,
            plan,
            seen,
            expired_before: policy.expired_before,
            without,
            change,
            base,
            files,
            replaced,
            rows: 0,
            pin: Some(pin),
        }))
    }

    /// Writes the outputs.
    pub(super) async fn merge(&mut self) -> Result<()> {
        if self.plan.moves {
            return Ok(());
        }
        let (sender, mut pieces) = mpsc::channel(PIECES);
        let job = self.job();
        let merging = tokio::task::spawn_blocking(move || merge::merge(job, &sender));
        let mut uploads = Uploads::new(self.plan.level);
        let taken = self.take_pieces(&mut pieces, &mut uploads).await;
        // Without a receiver the merge stops at its next piece.
        drop(pieces);
        let merged = merging.await.unwrap_or_else(|error| {
            Err(Error::new(ErrorKind::Internal, "the compaction's merge died").with_source(error))
        });
        uploads.end().await;
        taken?;
        self.rows = merged?;
        self.files = uploads.files;
        Ok(())
    }

    fn job(&self) -> Job {
        let replaced = |file: &ColdFile| {
            let place = self.plan.inputs.iter().position(|input| input.id == file.id);
            place.map(|place| Arc::clone(&self.seen[place])).unwrap_or_default()
        };
        let source = |file: ColdFile| Source { replaced: replaced(&file), file };
        let runs = plan::chains(self.plan.inputs.clone()).into_iter();
        let (compactor, table) = (Arc::clone(&self.compactor), self.table.id);
        Job {
            table: Arc::clone(&self.table),
            cold: Arc::clone(&compactor.flusher.cold),
            runs: runs.map(|run| run.into_iter().map(source).collect()).collect(),
            sizes: compactor.flusher.sizes,
            expired_before: self.expired_before,
            without: self.without,
            check: Box::new(move || compactor.check(table)),
        }
    }

    async fn take_pieces(&mut self, pieces: &mut mpsc::Receiver<Piece>, uploads: &mut Uploads) -> Result<()> {
        while let Some(piece) = pieces.recv().await {
            if let Piece::Bytes(bytes) = &piece {
                self.compactor.pace.pass(bytes.len() as u64).await;
            }
            uploads.take(&mut self.change, piece).await?;
        }
        Ok(())
    }

    pub(super) async fn persist(&mut self) -> Result<()> {
        self.change.persist().await
    }

    /// Finds in the outputs what has been replaced in the inputs since it was read. With the table's turn, nothing
    /// comes after it.
    pub(super) async fn catch_up(&mut self) -> Result<()> {
        let flusher = Arc::clone(&self.compactor.flusher);
        self.compactor.check(self.table.id)?;
        self.base = manifest::current(&flusher.db, self.table.id)?;
        if self.plan.moves {
            return Ok(());
        }
        for place in 0..self.plan.inputs.len() {
            let input = self.plan.inputs[place].clone();
            let replaced = match self.base.files.iter().find(|file| file.id == input.id) {
                Some(file) => flusher.cold.vector(self.table.id, file).await?,
                // A file that lost its last row is no longer named. Nobody else takes files away.
                None => Arc::new((0..u32::try_from(input.rows).unwrap_or(u32::MAX)).collect()),
            };
            let fresh = &*replaced - &*self.seen[place];
            if !fresh.is_empty() {
                self.mark(&input, fresh).await?;
            }
            self.seen[place] = replaced;
        }
        Ok(())
    }

    /// Marks in the outputs rows of an input.
    async fn mark(&mut self, input: &ColdFile, fresh: RoaringBitmap) -> Result<()> {
        let cold = Arc::clone(&self.compactor.flusher.cold);
        let outputs = self.outputs();
        let codec = KeyCodec::new(&self.table)?;
        let columns = rows::key_columns(&self.table);
        let mut reader = cold.rows(&self.table, input, columns, Pick::Only(fresh)).await?;
        while let Some(batch) = reader.next().await? {
            let (users, keys) = rows::users_and_keys(&self.table, &codec, &batch)?;
            let sought: Vec<(UserNo, &[u8])> = users.into_iter().zip(keys.iter()).collect();
            for hit in cold.find_all(&outputs, &self.table, &sought).await? {
                self.replaced.entry(hit.file).or_default().insert(hit.row);
            }
        }
        Ok(())
    }

    fn outputs(&self) -> Manifest {
        Manifest { files: self.files.clone(), ..Manifest::default() }
    }

    /// Writes the deletion vectors of the outputs. Returns the manifest to commit.
    pub(super) async fn write_vectors(&mut self) -> Result<Manifest> {
        let inputs: HashSet<Uuid> = self.plan.inputs.iter().map(|file| file.id).collect();
        let (taken, mut files): (Vec<_>, Vec<_>) =
            self.base.files.iter().cloned().partition(|file| inputs.contains(&file.id));
        if self.plan.moves {
            files.extend(taken.into_iter().map(|file| ColdFile { level: self.plan.level, ..file }));
        } else {
            files.extend(self.change.without_rows(&self.outputs(), &self.replaced).await?);
        }
        plan::sort(&mut files);
        Ok(Manifest { version: self.base.version + 1, files, flushed: self.base.flushed })
    }

    /// The one moment at which the files change places: new manifest, intent ended, in one synced batch.
    pub(super) async fn commit(&self, next: &Manifest) -> Result<()> {
        let mut batch = Batch::default();
        self.change.commit_into(&mut batch, next);
        self.compactor.flusher.committer.write(batch).await
    }

    /// Lets go of what the new manifest no longer names.
    pub(super) async fn reclaim(&mut self, next: &Manifest) {
        self.pin = None;
        self.change.reclaim(&self.base, next).await;
    }

    /// After a failure before `commit`.
    pub(super) async fn abandon(&self) {
        self.change.abandon().await;
    }

    pub(super) fn table(&self) -> &TableDef {
        &self.table
    }

    pub(super) fn report(&self) -> Step {
        let bytes = |files: &[ColdFile]| files.iter().map(|file| file.bytes).sum();
        let before: u64 = self.plan.inputs.iter().map(|file| file.rows).sum();
        Step {
            level: self.plan.level,
            rows: self.rows,
            removed: if self.plan.moves { 0 } else { before.saturating_sub(self.rows) },
            files_read: self.plan.inputs.len() as u64,
            bytes_read: bytes(&self.plan.inputs),
            files: self.files.len() as u64,
            bytes: bytes(&self.files),
        }
    }
}

fn policy(table: &TableDef, file_bytes: u64, now_micros: i64) -> Policy {
    let retention = table.options.deleted_retention.map(|time| i64::try_from(time.as_micros()).unwrap_or(i64::MAX));
    let expired_before = retention.map(|retention| now_micros.saturating_sub(retention));
    let overdue = |retention: i64| now_micros.saturating_sub(retention).saturating_sub(retention / OVERDUE);
    let apart = table.options.placement == Placement::File;
    Policy { file_bytes, expired_before, overdue_before: retention.map(overdue), apart }
}

/// A file that holds rows of `user`, to be rewritten without them.
async fn holder(compactor: &Compactor, table: &TableDef, manifest: &Manifest, user: UserNo) -> Result<Option<Plan>> {
    for file in &manifest.files {
        if compactor.flusher.cold.holds(table, file, user).await? {
            return Ok(Some(Plan::rewrite(file)));
        }
    }
    Ok(None)
}
