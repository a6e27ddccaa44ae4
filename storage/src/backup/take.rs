//! Taking a backup, while everyone works: the checkpoint is one moment of the whole database, and the objects that its
//! manifests name are pinned until they are copied.

use std::sync::Arc;

use insula_proto::TableId;
use object_store::path::Path;
use uuid::Uuid;

use super::{
    BackupReport, Contents, File,
    place::{Place, Scratch},
};
use crate::{
    Error, ErrorKind, Result, Store,
    cold::{Manifest, manifest},
    fail_points::FailPoint,
    hot::{
        db::{Db, Family},
        tables::record_key,
    },
};

/// Directories of a backup.
pub(super) const HOT: &str = "hot";
pub(super) const COLD: &str = "cold";

impl Store {
    /// Copies the database as it is at one moment of the call to `url`. A backup that is not finished, for whatever
    /// reason, is none, and the place can be used again.
    pub async fn backup(self: &Arc<Self>, url: &str) -> Result<BackupReport> {
        let place = Place::open(url, &self.data_dir, &self.cold)?;
        place.require_vacancy().await?;
        let id = Uuid::now_v7();
        let mut files = Vec::new();
        let result = self.copy_to(&place, id, &mut files).await;
        if result.is_err() {
            place.remove(id, &files).await;
        }
        result
    }

    async fn copy_to(self: &Arc<Self>, place: &Place, id: Uuid, files: &mut Vec<File>) -> Result<BackupReport> {
        // In this order: what the checkpoint's manifests name must be pinned before a flush can let go of it.
        let _pin = self.cold.pin();
        let scratch = Scratch::new(&self.data_dir)?;
        self.committer.checkpoint(scratch.path(HOT)).await?;
        FailPoint::BackupCheckpoint.reached()?;
        let created_micros = self.clock.now_micros();
        let (scratch, hot) = blocking(move || scratch.files(HOT).map(|files| (scratch, files))).await?;
        let directory = scratch.path(HOT);
        let (tables, manifests) = blocking(move || manifests(&Db::open_read_only(&directory)?)).await?;

        let from = scratch.objects()?;
        for name in hot {
            let path = format!("{HOT}/{name}");
            files.push(place.put(id, &path, &from, &Path::from(path.as_str())).await?);
            FailPoint::BackupFile.reached()?;
        }
        for (table, manifest) in manifests {
            // Damage must not spread into a backup that replaces a sound one.
            self.cold.meet(table, &manifest).await?;
            for object in manifest.objects(table) {
                files.push(place.put(id, &format!("{COLD}/{object}"), &self.cold.source(&object), &object).await?);
                FailPoint::BackupFile.reached()?;
            }
        }
        FailPoint::BackupCopied.reached()?;
        let contents = Contents { id, tables, created_micros, files: files.clone() };
        place.finish(&contents).await?;
        FailPoint::BackupFinished.reached()?;
        tracing::info!(report = ?contents.report(), "backup taken");
        Ok(contents.report())
    }
}

/// How many tables there are, and what they have in the cold tier.
fn manifests(db: &Arc<Db>) -> Result<(u32, Vec<(TableId, Manifest)>)> {
    let tables = db.scan(Family::Meta, record_key::DEFINITIONS)?.len();
    let tables = u32::try_from(tables).map_err(|_| Error::new(ErrorKind::Internal, "too many tables"))?;
    Ok((tables, manifest::all(db)?))
}

pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(Error::new(ErrorKind::Internal, "a task of a backup died").with_source(e)))
}
