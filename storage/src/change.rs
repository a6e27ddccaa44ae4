//! A change of one table's cold tier (a flush, a compaction, a bulk load): the objects that it makes.
//!
//! Every object is named by a synced intent before it exists, and survives power loss before a manifest names it. The
//! batch that commits the new manifest ends the intent; a change that fails removes its objects first. So each object
//! in the store is named by a manifest or by an intent, whatever dies when.
//!
//! `files` brings rows into Parquet files of the change.

pub(crate) mod files;

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::Arc,
};

use object_store::path::Path;
use roaring::RoaringBitmap;
use uuid::Uuid;

use crate::{
    Error, ErrorKind, Result, TableDef,
    clock::Clock,
    cold::{
        ColdFile, ColdTier, Manifest, Upload, layout,
        manifest::{self, Intent},
        writer::Summary,
    },
    fail_points::FailPoint,
    hot::{committer::Committer, db::Batch},
};

/// Object ids put into an intent at a time; more cost another fsync.
const RESERVED: usize = 16;

pub(crate) struct Change {
    cold: Arc<ColdTier>,
    committer: Committer,
    clock: Arc<dyn Clock>,
    table: Arc<TableDef>,
    intent: Intent,
    /// Ids of the intent that are not used yet.
    reserved: VecDeque<Uuid>,
    /// Objects made so far.
    created: Vec<Path>,
    /// How many of them survive power loss already.
    persisted: usize,
}

/// A Parquet file on its way to the store.
pub(crate) struct NewFile {
    id: Uuid,
    pub(crate) upload: Upload,
}

impl Change {
    /// [`Self::intent`] must be durable before the first object is asked for.
    pub(crate) fn new(
        cold: Arc<ColdTier>,
        committer: Committer,
        clock: Arc<dyn Clock>,
        table: Arc<TableDef>,
        intent: Intent,
    ) -> Self {
        let (reserved, created) = Default::default();
        let mut change = Self { cold, committer, clock, table, intent, reserved, created, persisted: 0 };
        change.reserve();
        change
    }

    /// The definition of the files to come, where it was not known at the beginning.
    pub(crate) fn written_under(&mut self, table: &Arc<TableDef>) {
        self.table = Arc::clone(table);
    }

    pub(crate) fn intent(&self) -> &Intent {
        &self.intent
    }

    /// Makes the intent durable by itself, where no other batch carries it.
    pub(crate) async fn begin(&self) -> Result<()> {
        let mut batch = Batch::default();
        manifest::put_intent(&mut batch, &self.intent);
        self.committer.write(batch).await?;
        FailPoint::ChangeIntent.reached()
    }

    pub(crate) async fn new_file(&mut self) -> Result<NewFile> {
        let id = self.next_id().await?;
        let path = layout::file_path(self.table.id, id);
        self.created.push(path.clone());
        Ok(NewFile { id, upload: self.cold.upload(path) })
    }

    /// What a manifest says of a file all of whose bytes have been written.
    pub(crate) async fn finish_file(&self, file: NewFile, summary: &Summary, level: u32) -> Result<ColdFile> {
        let bytes = file.upload.finish().await?;
        FailPoint::ChangeFile.reached()?;
        Ok(ColdFile {
            id: file.id,
            bytes,
            rows: summary.rows,
            deleted_rows: summary.deleted_rows,
            users: summary.users,
            keys: summary.keys.clone(),
            seqs: summary.seqs,
            level,
            schema_version: self.table.schema_version,
            deletion_vector: None,
            created_micros: self.clock.now_micros(),
            stamp: None,
            tail: summary.tail,
            oldest_deleted_micros: summary.oldest_deleted_micros,
        })
    }

    /// The files of `base` after `replaced` (rows by index of file) lost their rows: with new deletion vectors, and
    /// without the files that lost their last one.
    pub(crate) async fn without_rows(
        &mut self,
        base: &Manifest,
        replaced: &BTreeMap<usize, RoaringBitmap>,
    ) -> Result<Vec<ColdFile>> {
        let mut files = Vec::with_capacity(base.files.len());
        for (number, file) in base.files.clone().into_iter().enumerate() {
            let Some(new) = replaced.get(&number).filter(|rows| !rows.is_empty()) else {
                files.push(file);
                continue;
            };
            let rows = new | &*self.cold.vector(self.table.id, &file).await?;
            if rows.len() >= file.rows {
                continue;
            }
            let id = self.next_id().await?;
            self.created.push(layout::vector_path(self.table.id, id));
            let vector = self.cold.put_vector(self.table.id, file.id, id, rows).await?;
            FailPoint::ChangeVector.reached()?;
            files.push(ColdFile { deletion_vector: Some(vector), ..file });
        }
        Ok(files)
    }

    /// Makes every new object survive power loss, before anything names it.
    pub(crate) async fn persist(&mut self) -> Result<()> {
        while let Some(path) = self.created.get(self.persisted) {
            self.cold.persist(path).await?;
            self.persisted += 1;
            FailPoint::ChangePersisted.reached()?;
        }
        Ok(())
    }

    /// Adds to the batch that commits the change what it says of the cold tier: the new manifest, the end of the intent.
    pub(crate) fn commit_into(&self, batch: &mut Batch, next: &Manifest) {
        manifest::put(batch, self.table.id, next);
        manifest::delete_intent(batch, &self.intent);
    }

    /// After the commit: lets go of what `base` named and `next` no longer does, and of what was made in vain.
    pub(crate) async fn reclaim(&self, base: &Manifest, next: &Manifest) {
        let named: HashSet<Path> = next.objects(self.table.id).into_iter().collect();
        let gone = base.objects(self.table.id).into_iter().chain(self.created.iter().cloned());
        self.cold.tell_changed();
        self.cold.retire(gone.filter(|path| !named.contains(path)).collect());
        self.cold.reclaim().await;
    }

    /// After a failure before the commit: nothing that a reader sees has changed, so the objects are removed and the
    /// intent ended.
    pub(crate) async fn abandon(&self) {
        let mut removed = true;
        for path in &self.created {
            if let Err(error) = self.cold.delete(path).await {
                tracing::warn!(%path, %error, "an object of a failed change could not be deleted; the next start will");
                removed = false;
            }
        }
        let removed = removed && FailPoint::ChangeAbandoned.reached().is_ok();
        // While an object is left, the intent stays and accounts for it.
        if removed {
            let mut batch = Batch::default();
            manifest::delete_intent(&mut batch, &self.intent);
            if let Err(error) = self.committer.write(batch).await {
                tracing::warn!(%error, "the intent of a failed change could not be ended; the next start will");
            }
        }
    }

    /// Adds ids to the intent, which must be written before they are used.
    fn reserve(&mut self) {
        let new: Vec<Uuid> = std::iter::repeat_with(Uuid::now_v7).take(RESERVED).collect();
        self.intent.objects.extend(&new);
        self.reserved.extend(new);
    }

    async fn next_id(&mut self) -> Result<Uuid> {
        if self.reserved.is_empty() {
            self.reserve();
            self.begin().await?;
        }
        self.reserved.pop_front().ok_or_else(|| Error::new(ErrorKind::Internal, "no object id was reserved"))
    }
}
