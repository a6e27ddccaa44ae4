//! One flush, step by step. Each step is a function, so that a crash can be put between any two of them.
//!
//! `begin` (intent, freeze) → `write_files` → `write_vectors` → `persist` → `commit` → `reclaim`. Up to `commit`
//! nothing that a reader sees has changed; after it, nothing is left to lose.

use std::{collections::BTreeMap, sync::Arc};

use insula_proto::{Generation, UserNo};
use roaring::RoaringBitmap;
use tokio::sync::mpsc;

use super::{
    FlushReport, Flusher,
    encode::{self, Keys, Piece},
};
use crate::{
    Error, ErrorKind, Result, TableDef,
    change::{Change, files::Uploads},
    cold::{
        ColdFile, Manifest,
        manifest::{self, ChangeKind, Intent},
    },
    hot::{self, db::Batch},
};

/// Pieces between the encoding thread and the uploads.
const PIECES: usize = 4;

pub(super) struct Run {
    flusher: Arc<Flusher>,
    table: Arc<TableDef>,
    /// What the flush builds on. Nobody else changes it: the flush has the table's turn.
    base: Manifest,
    pub(super) frozen: Generation,
    change: Change,
    files: Vec<ColdFile>,
    /// Rows of the base's files (by index) that the frozen rows replace.
    replaced: BTreeMap<usize, RoaringBitmap>,
    rows: u64,
}

impl Run {
    /// Says durably which objects may come to be, and moves new writes to the next generation.
    pub(super) async fn begin(flusher: &Arc<Flusher>, table: &Arc<TableDef>) -> Result<Self> {
        let base = manifest::current(&flusher.db, table.id)?;
        let mut change = flusher.change(table, Intent::new(table.id, ChangeKind::Flush));
        let intent = change.intent().clone();
        let freeze = flusher.committer.freeze(table.id, move |_, batch: &mut Batch| {
            manifest::put_intent(batch, &intent);
        });
        let frozen = freeze.await?;
        // Asked for after the freeze: no frozen row is of a later version than this.
        let table = flusher.tables.get(table.id)?;
        change.written_under(&table);
        let flusher = Arc::clone(flusher);
        let (files, replaced) = Default::default();
        Ok(Self { flusher, table, base, frozen, change, files, replaced, rows: 0 })
    }

    /// Streams the frozen rows into Parquet files, and their keys through the older files.
    pub(super) async fn write_files(&mut self) -> Result<()> {
        let (sender, mut pieces) = mpsc::channel(PIECES);
        let snapshot = self.flusher.db.snapshot();
        let generations = Generation(self.base.flushed.0 + 1)..=self.frozen;
        let table = Arc::clone(&self.table);
        let sizes = self.flusher.sizes;
        let wants_keys = !self.base.files.is_empty();
        let encoder = tokio::task::spawn_blocking(move || {
            let rows = hot::frozen(&snapshot, &table, generations)?;
            encode::encode(&table, rows, sizes, wants_keys, &sender)
        });
        let mut uploads = Uploads::new(0);
        let taken = self.take_pieces(&mut pieces, &mut uploads).await;
        // Without a receiver the encoder stops at its next piece.
        drop(pieces);
        let encoded = encoder.await.unwrap_or_else(|error| {
            Err(Error::new(ErrorKind::Internal, "the flush's encoder died").with_source(error))
        });
        uploads.end().await;
        taken?;
        self.rows = encoded?;
        self.files = uploads.files;
        Ok(())
    }

    async fn take_pieces(&mut self, pieces: &mut mpsc::Receiver<Piece>, uploads: &mut Uploads) -> Result<()> {
        while let Some(piece) = pieces.recv().await {
            match piece {
                Piece::File(piece) => uploads.take(&mut self.change, piece).await?,
                Piece::Keys(keys) => self.find_replaced(&keys).await?,
            }
        }
        Ok(())
    }

    async fn find_replaced(&mut self, keys: &Keys) -> Result<()> {
        let sought: Vec<(UserNo, &[u8])> = keys.iter().collect();
        for hit in self.flusher.cold.find_all(&self.base, &self.table, &sought).await? {
            self.replaced.entry(hit.file).or_default().insert(hit.row);
        }
        Ok(())
    }

    /// Writes new deletion vectors for the older files that lost rows.
    pub(super) async fn write_vectors(&mut self) -> Result<Manifest> {
        let mut files = self.change.without_rows(&self.base, &self.replaced).await?;
        files.append(&mut self.files.clone());
        Ok(Manifest { version: self.base.version + 1, files, flushed: self.frozen })
    }

    pub(super) async fn persist(&mut self) -> Result<()> {
        self.change.persist().await
    }

    /// The one moment at which the rows move: new manifest, frozen generations gone, intent ended, in one synced batch.
    pub(super) async fn commit(&self, next: &Manifest) -> Result<()> {
        let mut batch = Batch::default();
        self.change.commit_into(&mut batch, next);
        hot::delete_generations(&mut batch, self.table.id, next.flushed);
        self.flusher.committer.flushed(self.table.id, next.flushed, batch).await
    }

    /// Lets go of what the new manifest no longer names.
    pub(super) async fn reclaim(&self, next: &Manifest) {
        self.change.reclaim(&self.base, next).await;
    }

    /// After a failure before `commit`: the rows are still hot.
    pub(super) async fn abandon(&self) {
        self.change.abandon().await;
    }

    pub(super) fn report(&self) -> FlushReport {
        FlushReport {
            rows: self.rows,
            files: self.files.len() as u64,
            bytes: self.files.iter().map(|file| file.bytes).sum(),
            replaced: self.replaced.values().map(RoaringBitmap::len).sum(),
        }
    }
}
