//! Restoring a backup into a store that never had a table: everything the tables need is brought first, and one batch
//! makes them appear. Until that batch a marker says that whatever lies in the hot tier belongs to nobody.

use std::sync::{Arc, atomic::Ordering};

use insula_proto::TableId;
use object_store::path::Path;
use tokio::sync::mpsc;

use super::{
    BackupReport, Contents,
    place::{Place, Scratch, copy, object_path},
    take::{COLD, HOT, blocking},
};
use crate::{
    Error, ErrorKind, Result, Store,
    cold::{Upload, manifest},
    fail_points::FailPoint,
    hot::{
        committer::{Committer, HighWater},
        db::{Batch, Db, Family},
        key, record,
        tables::{Tables, record_key},
    },
    load::is_refusal,
    store::load_tables,
};

/// Bytes of hot rows written at a time.
const BATCH_BYTES: usize = 4 << 20;
/// Batches on their way from the reader to the writer.
const AHEAD: usize = 2;

impl Store {
    /// Brings back what a backup holds, all or nothing. The store must never have had a table, and the layers above
    /// must read their records anew after it.
    pub async fn restore(self: &Arc<Self>, url: &str) -> Result<BackupReport> {
        let _alone = self.definitions.lock().await;
        if self.next_table.load(Ordering::Relaxed) != 1 || !self.tables.all().is_empty() {
            let message =
                "this server has, or had, tables; RESTORE DATABASE takes a server with a fresh data directory";
            return Err(Error::new(ErrorKind::FailedPrecondition, message));
        }
        let place = Place::existing(url, &self.data_dir, &self.cold)?;
        let contents = place.require_contents().await?;
        let scratch = Scratch::new(&self.data_dir)?;
        let db = fetch_checkpoint(&place, &contents, &scratch).await?;
        check_complete(&db, &contents)?;
        FailPoint::RestoreFetched.reached()?;

        let mut batch = Batch::default();
        batch.put(Family::Meta, record_key::RESTORING, []);
        self.committer.write_guarded(batch).await?;
        let mut sure = true;
        let brought = match self.bring(&place, &contents, &db).await {
            Ok(end) => self.end_restore(end, &mut sure).await,
            Err(error) => Err(error),
        };
        match &brought {
            Ok(()) => {}
            Err(_) if sure => self.undo(&contents).await,
            // What was brought may be a table's from the next start on, so its number must not be given out.
            Err(_) => self.next_table.store(u32::MAX, Ordering::Relaxed),
        }
        brought?;
        FailPoint::RestoreCommitted.reached()?;
        tracing::info!(report = ?contents.report(), "backup restored");
        Ok(contents.report())
    }

    /// Everything but the batch that makes the tables appear.
    async fn bring(self: &Arc<Self>, place: &Place, contents: &Contents, db: &Arc<Db>) -> Result<End> {
        FailPoint::RestoreMarked.reached()?;
        for (path, file) in contents.below(COLD) {
            let (source, target) = (object_path(contents.id, &file.path), Path::from(path));
            copy(place.store(), &source, self.cold.upload(target.clone()), Some(file)).await?;
            self.cold.persist(&target).await?;
            FailPoint::RestoreObject.reached()?;
        }
        bring_rows(db, &self.committer).await?;
        FailPoint::RestoreRows.reached()?;

        let source = Arc::clone(db);
        // Adopted by this store's tables, whose limit holds.
        let load = move || Ok((definitions(&source)?, load_tables(&source, u64::MAX)?));
        let (batch, tables) = blocking(load).await?;
        let high_water = HighWater::load(db)?;
        let next_table = match db.get(Family::Meta, record_key::NEXT_TABLE)? {
            Some(sealed) => Some(record::number(&sealed, "the next table's number")?),
            None => None,
        };
        Ok(End { batch, tables, high_water, next_table })
    }

    /// `sure` is left true if nothing has been committed. Otherwise nobody knows whether the batch is on disk: the
    /// store is poisoned, and the next start decides, so what the batch names must stay.
    async fn end_restore(&self, end: End, sure: &mut bool) -> Result<()> {
        *sure = false;
        let restored = self.committer.restored(end.batch, end.high_water, end.tables).await;
        restored.inspect_err(|error| *sure = is_refusal(error))?;
        if let Some(next) = end.next_table {
            self.next_table.store(next, Ordering::Relaxed);
        }
        Ok(())
    }

    /// After a failure before the last batch.
    async fn undo(&self, contents: &Contents) {
        for (path, _) in contents.below(COLD) {
            if let Err(error) = self.cold.delete(&Path::from(path)).await {
                tracing::warn!(%error, "an object of a failed restore could not be removed; the next start will");
            }
        }
        if let Err(error) = self.committer.write(nothing_restored()).await {
            // The rows that are left are nobody's, and the numbers of their tables must not be given out.
            self.next_table.store(u32::MAX, Ordering::Relaxed);
            tracing::error!(%error, "a failed restore could not be undone; restart the server before you use it");
        }
    }
}

/// The end of a restore.
struct End {
    batch: Batch,
    tables: Tables,
    high_water: HighWater,
    next_table: Option<u32>,
}

/// The checkpoint of a backup, verified and opened.
async fn fetch_checkpoint(place: &Place, contents: &Contents, scratch: &Scratch) -> Result<Arc<Db>> {
    let target = scratch.objects()?;
    for (_, file) in contents.below(HOT) {
        let upload = Upload::new(&target, Path::from(file.path.as_str()));
        copy(place.store(), &object_path(contents.id, &file.path), upload, Some(file)).await?;
    }
    let directory = scratch.path(HOT);
    blocking(move || Db::open_read_only(&directory)).await
}

/// Every object that a manifest names must be part of the backup.
fn check_complete(db: &Arc<Db>, contents: &Contents) -> Result<()> {
    let there: std::collections::HashSet<&str> = contents.below(COLD).map(|(path, _)| path).collect();
    for (table, manifest) in manifest::all(db)? {
        for object in manifest.objects(table) {
            if !there.contains(object.as_ref()) {
                return Err(Error::new(ErrorKind::DataLoss, format!("{object} is missing in the backup")));
            }
        }
    }
    Ok(())
}

/// Copies the hot rows in bounded batches. Nobody sees them: there is no table yet that they belong to.
async fn bring_rows(db: &Arc<Db>, committer: &Committer) -> Result<()> {
    let (sender, mut batches) = mpsc::channel(AHEAD);
    let db = Arc::clone(db);
    let reader = tokio::task::spawn_blocking(move || {
        let (mut batch, mut bytes) = (Batch::default(), 0);
        for family in [Family::Hot, Family::Chunk].into_iter().filter(|family| db.has(*family)) {
            let mut cursor = db.snapshot().cursor(family, Vec::new(), key::after_prefix(&[]), true)?;
            cursor.seek(&[])?;
            while let Some((key, value)) = cursor.item() {
                batch.put(family, key, value);
                bytes += key.len() + value.len();
                if bytes >= BATCH_BYTES {
                    bytes = 0;
                    if sender.blocking_send(std::mem::take(&mut batch)).is_err() {
                        return Ok(()); // The writer hit an error of its own.
                    }
                }
                cursor.next()?;
            }
        }
        drop(sender.blocking_send(batch));
        Ok(())
    });
    while let Some(batch) = batches.recv().await {
        committer.write_guarded(batch).await?;
    }
    reader.await.unwrap_or_else(|e| Err(Error::new(ErrorKind::Internal, "a task of a restore died").with_source(e)))
}

/// All that is not a row: definitions, users, manifests. The changes that were under way have ended with their server,
/// and the object store stays whose it is.
fn definitions(db: &Arc<Db>) -> Result<Batch> {
    let mut batch = Batch::default();
    batch.delete_range(Family::Meta, record_key::OPAQUE, key::after_prefix(record_key::OPAQUE));
    for (key, value) in db.scan(Family::Meta, &[])? {
        if key != record_key::HIGH_WATER && key != record_key::RESTORING {
            batch.put(Family::Meta, key, value);
        }
    }
    for (table, found) in manifest::all(db)? {
        manifest::put(&mut batch, table, &found);
    }
    batch.delete(Family::Meta, record_key::RESTORING);
    Ok(batch)
}

fn nothing_restored() -> Batch {
    let mut batch = Batch::default();
    let last = TableId(u32::MAX).0.to_be_bytes();
    batch.delete_range(Family::Hot, Vec::new(), last);
    batch.delete_range(Family::Chunk, Vec::new(), last);
    batch.delete(Family::Meta, record_key::RESTORING);
    batch
}

/// At start: ends a restore that a crash has cut short. Its objects are swept, for no manifest names them.
pub(crate) async fn recover(db: &Db, committer: &Committer) -> Result<()> {
    if db.get(Family::Meta, record_key::RESTORING)?.is_none() {
        return Ok(());
    }
    tracing::warn!("a restore was cut short; nothing of it is left");
    committer.write(nothing_restored()).await
}
