//! One flush, step by step. Each step is a function, so that a crash can be put between any two of them.
//!
//! `begin` (intent, freeze) → `write_files` → `write_vectors` → `persist` → `commit` → `reclaim`. Up to `commit`
//! nothing that a reader sees has changed; after it, nothing is left to lose.

use std::{collections::BTreeMap, collections::VecDeque, sync::Arc};

use insula_proto::{Generation, UserNo};
use object_store::path::Path;
use roaring::RoaringBitmap;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    FlushReport, Flusher,
    encode::{self, Keys, Piece},
};
use crate::{
    Error, ErrorKind, Result, TableDef,
    cold::{
        ColdFile, Manifest, Upload, layout,
        manifest::{self, Intent},
        writer::Summary,
    },
    hot::{self, db::Batch},
};

/// Object ids put into an intent at a time; more cost another fsync.
const RESERVED: usize = 16;
/// Pieces between the encoding thread and the uploads.
const PIECES: usize = 4;

pub(super) struct Run {
    flusher: Arc<Flusher>,
    table: Arc<TableDef>,
    /// What the flush builds on. Nobody else changes it: the flush has the table's turn.
    base: Manifest,
    pub(super) frozen: Generation,
    intent: Intent,
    /// Ids of the intent that are not used yet.
    reserved: VecDeque<Uuid>,
    /// Objects made so far.
    created: Vec<Path>,
    files: Vec<ColdFile>,
    /// Rows of the base's files (by index) that the frozen rows replace.
    replaced: BTreeMap<usize, RoaringBitmap>,
    rows: u64,
}

impl Run {
    /// Says durably which objects may come to be, and moves new writes to the next generation.
    pub(super) async fn begin(flusher: &Arc<Flusher>, table: &Arc<TableDef>) -> Result<Self> {
        let base = manifest::current(&flusher.db, table.id)?;
        let mut run = Self {
            flusher: Arc::clone(flusher),
            table: Arc::clone(table),
            base,
            frozen: Generation::default(),
            intent: Intent { table: table.id, generation: Generation::default(), objects: Vec::new() },
            reserved: VecDeque::new(),
            created: Vec::new(),
            files: Vec::new(),
            replaced: BTreeMap::new(),
            rows: 0,
        };
        run.reserve();
        let intent = run.intent.clone();
        let freeze = flusher.committer.freeze(table.id, move |generation, batch: &mut Batch| {
            manifest::put_intent(batch, &Intent { generation, ..intent });
        });
        run.frozen = freeze.await?;
        run.intent.generation = run.frozen;
        Ok(run)
    }

    /// Streams the frozen rows into Parquet files, and their keys through the older files.
    pub(super) async fn write_files(&mut self) -> Result<()> {
        let (sender, mut pieces) = mpsc::channel(PIECES);
        let snapshot = self.flusher.db.snapshot();
        let generations = Generation(self.base.flushed.0 + 1)..=self.frozen;
        let (table, file_bytes) = (Arc::clone(&self.table), self.flusher.file_bytes);
        let wants_keys = !self.base.files.is_empty();
        let encoder = tokio::task::spawn_blocking(move || {
            let rows = hot::frozen(&snapshot, &table, generations)?;
            encode::encode(&table, rows, file_bytes, wants_keys, &sender)
        });
        let mut upload = None;
        let taken = self.take_pieces(&mut pieces, &mut upload).await;
        // Without a receiver the encoder stops at its next piece.
        drop(pieces);
        let encoded = encoder.await.unwrap_or_else(|error| {
            Err(Error::new(ErrorKind::Internal, "the flush's encoder died").with_source(error))
        });
        if let Some((_, upload)) = upload {
            upload.abort().await;
        }
        taken?;
        self.rows = encoded?;
        Ok(())
    }

    async fn take_pieces(
        &mut self,
        pieces: &mut mpsc::Receiver<Piece>,
        upload: &mut Option<(Uuid, Upload)>,
    ) -> Result<()> {
        while let Some(piece) = pieces.recv().await {
            match piece {
                Piece::Bytes(bytes) => {
                    if upload.is_none() {
                        let id = self.next_id().await?;
                        let path = layout::file_path(self.table.id, id);
                        self.created.push(path.clone());
                        *upload = Some((id, self.flusher.cold.upload(path)));
                    }
                    if let Some((_, upload)) = upload {
                        upload.write(bytes).await?;
                    }
                }
                Piece::End(summary) => {
                    let (id, upload) =
                        upload.take().ok_or_else(|| Error::new(ErrorKind::Internal, "a file without bytes"))?;
                    let bytes = upload.finish().await?;
                    self.files.push(self.file(id, bytes, &summary));
                }
                Piece::Keys(keys) => self.find_replaced(&keys).await?,
            }
        }
        Ok(())
    }

    fn file(&self, id: Uuid, bytes: u64, summary: &Summary) -> ColdFile {
        ColdFile {
            id,
            bytes,
            rows: summary.rows,
            deleted_rows: summary.deleted_rows,
            users: summary.users,
            seqs: summary.seqs,
            level: 0,
            schema_version: self.table.schema_version,
            deletion_vector: None,
            created_micros: self.flusher.clock.now_micros(),
        }
    }

    async fn find_replaced(&mut self, keys: &Keys) -> Result<()> {
        let sought: Vec<(UserNo, &[u8])> = keys.iter().collect();
        for hit in self.flusher.cold.find_all(&self.base, &self.table, &sought).await? {
            self.replaced.entry(hit.file).or_default().insert(hit.row);
        }
        Ok(())
    }

    /// Writes new deletion vectors for the older files that lost rows. A file that lost its last row is dropped whole.
    pub(super) async fn write_vectors(&mut self) -> Result<Manifest> {
        let mut files = Vec::with_capacity(self.base.files.len() + self.files.len());
        for (number, file) in self.base.files.clone().into_iter().enumerate() {
            let Some(new) = self.replaced.get(&number) else {
                files.push(file);
                continue;
            };
            let rows = new | &*self.flusher.cold.vector(self.table.id, &file).await?;
            if rows.len() >= file.rows {
                continue;
            }
            let id = self.next_id().await?;
            self.created.push(layout::vector_path(self.table.id, id));
            let vector = self.flusher.cold.put_vector(self.table.id, file.id, id, rows).await?;
            files.push(ColdFile { deletion_vector: Some(vector), ..file });
        }
        files.append(&mut self.files.clone());
        Ok(Manifest { version: self.base.version + 1, files, flushed: self.frozen })
    }

    /// Makes every new object survive power loss, before anything names it.
    pub(super) async fn persist(&self) -> Result<()> {
        for path in &self.created {
            self.flusher.cold.persist(path).await?;
        }
        Ok(())
    }

    /// The one moment at which the rows move: new manifest, frozen generations gone, intent ended, in one synced batch.
    pub(super) async fn commit(&self, next: &Manifest) -> Result<()> {
        let mut batch = Batch::default();
        manifest::put(&mut batch, self.table.id, next);
        hot::delete_generations(&mut batch, self.table.id, next.flushed);
        manifest::delete_intent(&mut batch, self.table.id);
        self.flusher.committer.flushed(self.table.id, next.flushed, batch).await
    }

    /// Lets go of what the new manifest no longer names.
    pub(super) async fn reclaim(&self, next: &Manifest) {
        let named = next.objects(self.table.id);
        let mut gone = self.base.objects(self.table.id);
        gone.retain(|path| !named.contains(path));
        self.flusher.cold.retire(gone);
        self.flusher.cold.reclaim().await;
    }

    /// After a failure before `commit`: the rows are still hot, so the objects are removed and the intent ended.
    pub(super) async fn abandon(&self) {
        let mut removed = true;
        for path in &self.created {
            if let Err(error) = self.flusher.cold.delete(path).await {
                tracing::warn!(%path, %error, "an object of a failed flush could not be deleted; the next start will");
                removed = false;
            }
        }
        // While an object is left, the intent stays and accounts for it.
        if removed {
            let mut batch = Batch::default();
            manifest::delete_intent(&mut batch, self.table.id);
            if let Err(error) = self.flusher.committer.write(batch).await {
                tracing::warn!(%error, "the intent of a failed flush could not be ended; the next start will");
            }
        }
    }

    pub(super) fn report(&self) -> FlushReport {
        FlushReport {
            rows: self.rows,
            files: self.files.len() as u64,
            bytes: self.files.iter().map(|file| file.bytes).sum(),
            replaced: self.replaced.values().map(RoaringBitmap::len).sum(),
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
            let mut batch = Batch::default();
            manifest::put_intent(&mut batch, &self.intent);
            self.flusher.committer.write(batch).await?;
        }
        self.reserved.pop_front().ok_or_else(|| Error::new(ErrorKind::Internal, "no object id was reserved"))
    }
}
