//! One Parquet file, checked whole: its bytes, its rows against the user index and the manifest, its deletion vector, and
//! that none of its live keys is live in a later file.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{Int64Type, UInt64Type},
};
use futures::TryStreamExt;
use insula_proto::UserNo;
use object_store::{ObjectStoreExt, path::Path};
use roaring::RoaringBitmap;

use super::{
    ColdFile, ColdTier, Manifest, layout,
    open_file::{OpenFile, PIECE},
    user_index::{BLOCK_ROWS, Entry},
};
use crate::{Error, KeyCodec, KeyRows, Result, TableDef, table::conform};

/// What is wrong with an object.
pub(crate) struct Flaw {
    pub place: String,
    pub offset: Option<u64>,
    pub what: String,
}

/// The first thing that is wrong with the rows of a file; one is enough to know that the file cannot be trusted.
type Verdict = std::result::Result<(), String>;

impl ColdTier {
    /// Checks the file at `number` of the manifest. Returns how many rows were looked at.
    pub(crate) async fn check_file(
        &self,
        table: &Arc<TableDef>,
        manifest: &Manifest,
        number: usize,
        flaws: &mut Vec<Flaw>,
    ) -> u64 {
        let file = &manifest.files[number];
        let place = layout::file_path(table.id, file.id).to_string();
        let flaw = |what: String| Flaw { place: place.clone(), offset: None, what };
        let open = match self.open_file(table.id, file).await {
            Ok(open) => open,
            Err(error) => {
                flaws.push(flaw(text(&error)));
                return 0;
            }
        };
        if let Err(error) = self.check_bytes(&open, flaws).await {
            flaws.push(flaw(text(&error)));
        }
        let replaced = self.check_vector(table, file, flaws).await;
        if flaws.is_empty() {
            let later = Manifest { files: manifest.files[number + 1..].to_vec(), ..Manifest::default() };
            let rows = Rows::new(table, file, &open, &replaced);
            match rows.check(self, &later).await {
                Ok(Ok(())) => {}
                Ok(Err(what)) => flaws.push(flaw(what)),
                Err(error) => flaws.push(flaw(text(&error))),
            }
        }
        file.rows
    }

    /// Every block of the body, and that nothing follows the footer.
    async fn check_bytes(&self, open: &OpenFile, flaws: &mut Vec<Flaw>) -> Result<()> {
        let (store, path) = (self.objects.store(), open.path());
        let failed = |error| super::store_error("read", path, error);
        let size = store.head(path).await.map_err(failed)?.size;
        let mut flaw = |offset, what: String| flaws.push(Flaw { place: path.to_string(), offset, what });
        if size != open.bytes() {
            flaw(None, format!("it has {size} bytes instead of {}", open.bytes()));
        }
        let body = open.blocks().body();
        for start in (0..body).step_by(PIECE as usize) {
            let piece = start..(start + PIECE).min(body);
            let bytes = store.get_range(path, piece.clone()).await.map_err(failed)?;
            for offset in open.blocks().damaged(start, &bytes) {
                flaw(Some(offset), "the block there fails its checksum".to_owned());
            }
        }
        Ok(())
    }

    async fn check_vector(&self, table: &TableDef, file: &ColdFile, flaws: &mut Vec<Flaw>) -> Arc<RoaringBitmap> {
        let Some(reference) = &file.deletion_vector else { return Arc::default() };
        let path: Path = layout::vector_path(table.id, reference.id);
        let mut flaw = |what: String| flaws.push(Flaw { place: path.to_string(), offset: None, what });
        let rows = match self.vector(table.id, file).await {
            Ok(rows) => rows,
            Err(error) => {
                flaw(text(&error));
                return Arc::default();
            }
        };
        if rows.len() != reference.cardinality {
            flaw(format!("it hides {} rows, the manifest says {}", rows.len(), reference.cardinality));
        }
        if rows.max().is_some_and(|row| u64::from(row) >= file.rows) {
            flaw("it hides rows that the file does not have".to_owned());
        }
        rows
    }
}

/// The rows of a file as they pass by, in order.
struct Rows<'a> {
    table: &'a Arc<TableDef>,
    file: &'a ColdFile,
    open: &'a OpenFile,
    replaced: &'a RoaringBitmap,
    /// Entries of the user index that were begun.
    users: usize,
    /// Number of the next row, in the file.
    row: u64,
    last_key: Vec<u8>,
    /// Soft-deleted rows of the present user, and of all.
    deleted: (u64, u64),
}

impl<'a> Rows<'a> {
    fn new(table: &'a Arc<TableDef>, file: &'a ColdFile, open: &'a OpenFile, replaced: &'a RoaringBitmap) -> Self {
        Self { table, file, open, replaced, users: 0, row: 0, last_key: Vec::new(), deleted: (0, 0) }
    }

    async fn check(mut self, cold: &ColdTier, later: &Manifest) -> Result<Verdict> {
        if self.open.users.rows() != self.file.rows {
            return Ok(Err(format!("it has {} rows, the manifest says {}", self.open.users.rows(), self.file.rows)));
        }
        let (codec, schema) = (KeyCodec::new(self.table)?, self.table.stored_schema());
        let whole: Range<u64> = 0..self.file.rows;
        let mut batches = self.open.read(&self.open.columns(), &[whole])?;
        while let Some(batch) = batches.try_next().await.map_err(|error| self.open.read_error(error))? {
            let rows = conform(self.table, &batch, &schema)?;
            let key: Vec<_> = self.table.stored_key().into_iter().map(|i| Arc::clone(rows.column(i))).collect();
            let keys = codec.encode(&key)?;
            let first = self.row;
            if let Err(what) = self.batch(&rows, &keys)? {
                return Ok(Err(what));
            }
            if let Err(what) = self.live_once(cold, later, &rows, &keys, first).await? {
                return Ok(Err(what));
            }
        }
        Ok(self.end())
    }

    fn batch(&mut self, rows: &RecordBatch, keys: &KeyRows) -> Result<Verdict> {
        let (users, seqs) = (rows.column(0).as_primitive::<UInt64Type>(), rows.column(1).as_primitive::<Int64Type>());
        let deleted = rows.column(3).as_boolean();
        for i in 0..rows.num_rows() {
            let row = self.row;
            if self.users == 0 || self.entry()?.1.rows.end == row {
                if self.users > 0 && self.deleted.0 != self.entry()?.1.deleted {
                    return Ok(Err(format!("the user index miscounts the deleted rows before row {row}")));
                }
                self.users += 1;
                self.deleted.0 = 0;
                self.last_key.clear();
            }
            let (user, entry) = self.entry()?;
            if users.value(i) != user.0 {
                return Ok(Err(format!("row {row} belongs to another user than the user index says")));
            }
            let key = keys.row(i);
            if row > entry.rows.start && self.last_key.as_slice() >= key {
                return Ok(Err(format!("row {row} is out of order")));
            }
            let at = row - entry.rows.start;
            let first_of_block = at.is_multiple_of(BLOCK_ROWS).then(|| entry.blocks.get((at / BLOCK_ROWS) as usize));
            let is_last = row + 1 == entry.rows.end;
            if first_of_block.is_some_and(|first| first.copied() != Some(key)) || is_last && entry.last != key {
                return Ok(Err(format!("the user index has another key for row {row}")));
            }
            let seq = seqs.value(i).cast_unsigned();
            if self.file.stamp.is_none() && !(self.file.seqs.0..=self.file.seqs.1).contains(&seq) {
                return Ok(Err(format!("row {row} is of another time than the manifest says")));
            }
            self.deleted.0 += u64::from(deleted.value(i));
            self.deleted.1 += u64::from(deleted.value(i));
            self.last_key.clear();
            self.last_key.extend_from_slice(key);
            self.row += 1;
        }
        Ok(Ok(()))
    }

    /// The entry of the user index that was begun last.
    fn entry(&self) -> Result<(UserNo, Entry<'a>)> {
        self.open.users.nth(self.users.saturating_sub(1))
    }

    /// No key may be live in two files.
    async fn live_once(
        &self,
        cold: &ColdTier,
        later: &Manifest,
        rows: &RecordBatch,
        keys: &KeyRows,
        first: u64,
    ) -> Result<Verdict> {
        let users = rows.column(0).as_primitive::<UInt64Type>();
        let row = |i: usize| first + i as u64;
        let is_live = |i: &usize| u32::try_from(row(*i)).is_ok_and(|row| !self.replaced.contains(row));
        let live: Vec<usize> = (0..rows.num_rows()).filter(is_live).collect();
        let sought: Vec<_> = live.iter().map(|i| (UserNo(users.value(*i)), keys.row(*i))).collect();
        // Damage of the later file is told when its turn comes.
        let hits = cold.find_all(later, self.table, &sought).await.unwrap_or_default();
        Ok(match hits.first() {
            None => Ok(()),
            Some(hit) => {
                let other = later.files[hit.file].id;
                Err(format!("the key of row {} is live in {other} too, as row {}", row(live[hit.key]), hit.row))
            }
        })
    }

    fn end(&self) -> Verdict {
        if self.row != self.file.rows || self.users != self.open.users.len() {
            return Err(format!("it ends after {} rows of {}", self.row, self.file.rows));
        }
        if self.deleted.1 != self.file.deleted_rows {
            return Err(format!(
                "{} of its rows are deleted, the manifest says {}",
                self.deleted.1, self.file.deleted_rows
            ));
        }
        let bounds = |at: usize| self.open.users.nth(at).map(|(user, _)| user).ok();
        let users = (bounds(0), bounds(self.users.saturating_sub(1)));
        if users != (Some(self.file.users.0), Some(self.file.users.1)) {
            return Err("its users are not those that the manifest says".to_owned());
        }
        Ok(())
    }
}

fn text(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{}: {source}", error.message()),
        None => error.message().to_owned(),
    }
}

#[cfg(test)]
mod tests;
