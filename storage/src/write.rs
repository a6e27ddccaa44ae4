//! What one statement writes: rows of one user in one table, checked before they are committed.
//!
//! A [`WriteSet`] encodes rows as it gets them and keeps, for each key, what the statement makes of it in the end. That
//! a new key does not live yet can only be known at the commit (`write/check.rs`), under the user's lock.

pub(crate) mod check;
mod chunks;

use std::{hash::BuildHasher, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, RecordBatch, UInt64Array},
    util::display::array_value_to_string,
};
use hashbrown::{DefaultHashBuilder, HashTable};
use insula_proto::{Seq, UserNo};

use crate::{
    Error, ErrorKind, KeyCodec, KeyRows, Result, TableDef,
    hot::{
        chunk::CHUNK_ROWS,
        committer,
        decode::RowDecoder,
        key,
        value::{self, Encoder, Layout, Rows},
    },
    store::{Held, Ids},
};

/// Held by a statement that reads rows and writes them back: no other write of this user to this table happens between.
pub struct WriteLock {
    held: Arc<Held>,
}

impl WriteLock {
    pub(crate) fn new(held: Arc<Held>) -> Self {
        Self { held }
    }

    pub(crate) fn held(&self) -> &Arc<Held> {
        &self.held
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Commit {
    /// 0 if there was nothing to write.
    pub seq: Seq,
    pub rows: u64,
}

/// What a set makes of one key.
#[derive(Debug)]
struct Entry {
    /// Where in the buffer its stored key begins, its value begins, its value ends.
    place: [usize; 3],
    live: bool,
    /// The statement asserts that the key does not live before it.
    is_new: bool,
    /// The statement deletes, updates or moves away what lived under the key, so it counts as free.
    taken: bool,
}

/// Rows are batches of [`TableDef::schema`] (declared columns, in order, stored types). The row ids of tables without
/// a primary key come from the column `_row_id` of [`TableDef::stored_schema`] as `ids`; for inserts the store makes them.
pub struct WriteSet {
    table: Arc<TableDef>,
    user: UserNo,
    codec: Result<(KeyCodec, Layout), String>,
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// Indices into `entries`, by key. Rows that get their row id at the commit are not in it.
    index: HashTable<usize>,
    /// Seeded for each set; faster than the standard library's, which keys of a few bytes each would spend a third of an
    /// insert in.
    hasher: DefaultHashBuilder,
    /// Entries whose keys are still to be made.
    without_id: Vec<usize>,
    /// Values of the chunks that rows lie in. Until the commit their numbers are their places here.
    chunks: Vec<Vec<u8>>,
    /// How many rows make a chunk.
    chunk_rows: usize,
    affected: u64,
    /// See [`WriteSet::passed`].
    passed: Vec<usize>,
}

impl WriteSet {
    pub fn new(table: Arc<TableDef>, user: UserNo) -> Self {
        // A definition came from the store, so this cannot fail; if it does, the first row says why.
        let codec = KeyCodec::new(&table).and_then(|codec| Ok((codec, Layout::of(&table)?)));
        Self {
            table,
            user,
            codec: codec.map_err(|e| e.message().to_owned()),
            bytes: Vec::new(),
            entries: Vec::new(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            without_id: Vec::new(),
            chunks: Vec::new(),
            chunk_rows: CHUNK_ROWS,
            affected: 0,
            passed: Vec::new(),
        }
    }

    /// Another number of rows that make a chunk.
    pub(crate) fn with_chunk_rows(mut self, rows: usize) -> Self {
        self.chunk_rows = rows.max(1);
        self
    }

    /// New rows; a key that lives already, or comes twice, is `AlreadyExists` (here or at commit). NOT NULL is checked here.
    pub fn insert(&mut self, rows: &RecordBatch) -> Result<()> {
        self.check_rows(rows)?;
        if self.table.has_row_id() {
            return self.insert_without_key(rows);
        }
        let keys = self.keys(None, rows)?;
        let layout = self.layout()?;
        let encoder = self.encoder(&layout, Some(&keys), rows)?;
        for i in 0..rows.num_rows() {
            self.insert_row(keys.row(i), &encoder, i)?;
            self.affected += 1;
        }
        Ok(())
    }

    /// Rows that replace whatever lives under their key; of a key that comes twice the last one wins.
    pub fn replace(&mut self, rows: &RecordBatch) -> Result<()> {
        if self.table.has_row_id() {
            return self.insert(rows);
        }
        self.check_rows(rows)?;
        let keys = self.keys(None, rows)?;
        let layout = self.layout()?;
        let encoder = self.encoder(&layout, Some(&keys), rows)?;
        for i in 0..rows.num_rows() {
            let place = self.encode(keys.row(i), &encoder, i, false)?;
            match self.find(keys.row(i)) {
                None => {
                    self.add(keys.row(i), Entry { place, live: true, is_new: false, taken: false });
                    self.affected += 1;
                }
                Some(at) => {
                    self.affected += u64::from(!self.entries[at].live);
                    self.entries[at].place = place;
                    self.entries[at].live = true;
                }
            }
        }
        Ok(())
    }

    /// Row i of `new` replaces row i of `old`, which lives. A changed key is a delete and a checked insert.
    /// Of an old key that comes twice (a join that matches more than once) the first wins.
    pub fn update(&mut self, ids: Option<&UInt64Array>, old: &RecordBatch, new: &RecordBatch) -> Result<()> {
        self.check_types(old)?;
        self.check_rows(new)?;
        if old.num_rows() != new.num_rows() {
            return Err(Error::new(ErrorKind::Internal, "an update has not as many new rows as old ones"));
        }
        let old_keys = self.keys(ids, old)?;
        let new_keys = self.keys(ids, new)?;
        let layout = self.layout()?;
        let (old_rows, new_rows) =
            (Encoder::Apart(Rows::new(&layout, old)?), self.encoder(&layout, Some(&new_keys), new)?);
        self.passed.clear();
        for i in 0..old.num_rows() {
            let (from, to) = (old_keys.row(i), new_keys.row(i));
            let found = self.find(from);
            if found.is_some_and(|at| self.entries[at].taken) {
                self.passed.push(i);
                continue;
            }
            if from == to {
                let place = self.encode(to, &new_rows, i, false)?;
                if found.is_some() {
                    return Err(self.duplicate(place));
                }
                self.add(to, Entry { place, live: true, is_new: false, taken: true });
            } else {
                self.take(from, found, &old_rows, i)?;
                self.insert_row(to, &new_rows, i)?;
            }
            self.affected += 1;
        }
        Ok(())
    }

    /// Soft delete: the rows stay, marked. A key that comes twice counts once.
    pub fn delete(&mut self, ids: Option<&UInt64Array>, rows: &RecordBatch) -> Result<()> {
        self.check_types(rows)?;
        let keys = self.keys(ids, rows)?;
        let layout = self.layout()?;
        let encoder = self.encoder(&layout, Some(&keys), rows)?;
        self.passed.clear();
        for i in 0..rows.num_rows() {
            let found = self.find(keys.row(i));
            if found.is_some_and(|at| self.entries[at].taken) {
                self.passed.push(i);
                continue;
            }
            self.take(keys.row(i), found, &encoder, i)?;
            self.affected += 1;
        }
        Ok(())
    }

    /// Rows inserted, replaced, updated, deleted so far (an update that moves a key counts once).
    pub fn affected(&self) -> u64 {
        self.affected
    }

    /// Rows of the last update or delete that came for a key which the statement had changed already.
    pub fn passed(&self) -> &[usize] {
        &self.passed
    }

    pub(crate) fn table(&self) -> &Arc<TableDef> {
        &self.table
    }

    pub(crate) fn user(&self) -> UserNo {
        self.user
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of memory held, for the caller's memory accounting.
    pub fn memory(&self) -> usize {
        self.bytes.capacity()
            + self.entries.capacity() * size_of::<Entry>()
            + self.index.capacity() * (size_of::<usize>() + 1)
            + self.without_id.capacity() * size_of::<usize>()
            + self.chunks.iter().map(Vec::capacity).sum::<usize>()
    }

    fn insert_without_key(&mut self, rows: &RecordBatch) -> Result<()> {
        let layout = self.layout()?;
        let encoder = self.encoder(&layout, None, rows)?;
        for i in 0..rows.num_rows() {
            let place = self.encode(&[0; size_of::<u64>()], &encoder, i, false)?;
            self.without_id.push(self.entries.len());
            self.entries.push(Entry { place, live: true, is_new: false, taken: false });
        }
        self.affected += rows.num_rows() as u64;
        Ok(())
    }

    fn insert_row(&mut self, key: &[u8], rows: &Encoder<'_>, i: usize) -> Result<()> {
        let place = self.encode(key, rows, i, false)?;
        match self.find(key) {
            None => self.add(key, Entry { place, live: true, is_new: true, taken: false }),
            Some(at) if self.entries[at].live => return Err(self.duplicate(place)),
            // The statement itself freed the key.
            Some(at) => {
                self.entries[at].place = place;
                self.entries[at].live = true;
            }
        }
        Ok(())
    }

    /// Ends what lived under `key` before the statement. A row that the statement itself put there stays.
    fn take(&mut self, key: &[u8], found: Option<usize>, rows: &Encoder<'_>, i: usize) -> Result<()> {
        match found {
            Some(at) => self.entries[at].taken = true,
            None => {
                let place = self.encode(key, rows, i, true)?;
                self.add(key, Entry { place, live: false, is_new: false, taken: true });
            }
        }
        Ok(())
    }

    /// Appends the stored key and value of a row.
    fn encode(&mut self, key: &[u8], rows: &Encoder<'_>, i: usize, deleted: bool) -> Result<[usize; 3]> {
        let start = self.bytes.len();
        // The generation is filled in by the committer.
        self.bytes.extend_from_slice(&key::prefix(self.table.id, committer::FIRST_GENERATION, self.user));
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(&[0; key::SUFFIX]);
        let middle = self.bytes.len();
        rows.encode(i, deleted, &mut self.bytes)?;
        Ok([start, middle, self.bytes.len()])
    }

    fn add(&mut self, key: &[u8], entry: Entry) {
        let (bytes, entries, hasher) = (&self.bytes, &mut self.entries, &self.hasher);
        entries.push(entry);
        let entries = &*entries;
        self.index.insert_unique(hasher.hash_one(key), entries.len() - 1, |at| {
            hasher.hash_one(primary(bytes, &entries[*at]))
        });
    }

    fn find(&self, key: &[u8]) -> Option<usize> {
        let same = |at: &usize| primary(&self.bytes, &self.entries[*at]) == key;
        self.index.find(self.hasher.hash_one(key), same).copied()
    }

    fn layout(&self) -> Result<Layout> {
        self.codec.as_ref().map(|(_, layout)| layout.clone()).map_err(|e| Error::new(ErrorKind::Internal, e))
    }

    fn keys(&self, ids: Option<&UInt64Array>, rows: &RecordBatch) -> Result<KeyRows> {
        let (codec, _) = self.codec.as_ref().map_err(|e| Error::new(ErrorKind::Internal, e))?;
        if !self.table.has_row_id() {
            let columns: Vec<ArrayRef> = self.table.key.iter().map(|i| Arc::clone(rows.column(*i))).collect();
            return codec.encode(&columns);
        }
        let ids = ids.filter(|ids| ids.len() == rows.num_rows());
        let ids =
            ids.ok_or_else(|| Error::new(ErrorKind::Internal, "rows without a key came without their row ids"))?;
        codec.encode(&[Arc::new(ids.clone())])
    }

    fn check_types(&self, rows: &RecordBatch) -> Result<()> {
        let name = self.table.full_name();
        if rows.num_columns() != self.table.columns.len() {
            let message =
                format!("table \"{name}\" has {} columns, {} were given", self.table.columns.len(), rows.num_columns());
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        for (column, array) in self.table.columns.iter().zip(rows.columns()) {
            if !column.field.data_type().equals_datatype(array.data_type()) {
                let (column, data_type) = (column.field.name(), column.field.data_type());
                let message =
                    format!("column \"{column}\" of table \"{name}\" is {data_type}, {} was given", array.data_type());
                return Err(Error::new(ErrorKind::Invalid, message));
            }
        }
        Ok(())
    }

    fn check_rows(&self, rows: &RecordBatch) -> Result<()> {
        self.check_types(rows)?;
        for (column, array) in self.table.columns.iter().zip(rows.columns()) {
            if !column.field.is_nullable() && array.logical_null_count() > 0 {
                let (column, table) = (column.field.name(), self.table.full_name());
                let message = format!("null value in column \"{column}\" of table \"{table}\" violates NOT NULL");
                return Err(Error::new(ErrorKind::Invalid, message));
            }
        }
        Ok(())
    }

    /// The error for a row whose key is there already.
    fn duplicate(&self, place: [usize; 3]) -> Error {
        let key = self.key_text(place).unwrap_or_else(|_| "a key".to_owned());
        let message = format!("duplicate key {key} in table \"{}\"", self.table.full_name());
        Error::new(ErrorKind::AlreadyExists, message)
    }

    /// `(a, b)=(1, x)`, read back from the statement's own row.
    fn key_text(&self, [_, middle, end]: [usize; 3]) -> Result<String> {
        let mut row = self.bytes[middle..end].to_vec();
        value::complete(&mut row, 0);
        let mut decoder = RowDecoder::new(&self.table, &self.table.stored_key())?;
        let generation = committer::FIRST_GENERATION;
        let (table, user, key) = (self.table.id, self.user, &[0; size_of::<u64>()]);
        decoder.push(&key::Parts { table, generation, user, key, seq: Seq(0) }, &row)?;
        let batch = decoder.finish(self)?;
        let text = |column: &ArrayRef| {
            array_value_to_string(column, 0)
                .map_err(|e| Error::new(ErrorKind::Internal, "a key cannot be shown").with_source(e))
        };
        let values: Vec<String> = batch.columns().iter().map(text).collect::<Result<_>>()?;
        let names: Vec<&str> = self.table.key.iter().map(|i| self.table.columns[*i].field.name().as_str()).collect();
        Ok(format!("({})=({})", names.join(", "), values.join(", ")))
    }

    /// The rows for the committer. Rows without a key get their ids here, in the order in which they came.
    pub(crate) fn into_rows(mut self, ids: &Ids) -> committer::Rows {
        let first = if self.without_id.is_empty() { 0 } else { ids.reserve(self.without_id.len()) };
        for (id, at) in (first..).zip(std::mem::take(&mut self.without_id)) {
            let [start, ..] = self.entries[at].place;
            let start = start + key::PREFIX;
            self.bytes[start..start + size_of::<u64>()].copy_from_slice(&id.to_be_bytes());
        }
        let chunks = self.take_chunks(ids);
        committer::Rows {
            schema_version: self.table.schema_version,
            bytes: self.bytes,
            places: self.entries.into_iter().map(|entry| entry.place).collect(),
            chunks,
        }
    }
}

/// The primary key of an entry.
fn primary<'a>(bytes: &'a [u8], entry: &Entry) -> &'a [u8] {
    let [start, middle, _] = entry.place;
    &bytes[start + key::PREFIX..middle - key::SUFFIX]
}

#[cfg(test)]
mod tests;
