//! Decoded hot rows and keys, remembered between statements: a second read of an unchanged hot tier decodes nothing.
//!
//! An entry belongs to one user of one table; what it holds is true for one [`Moment`] of theirs only, so a newer one
//! replaces it and nothing stale piles up. Few rows are not remembered: decoding them costs less than the place of
//! something larger.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arrow::array::RecordBatch;
use insula_proto::{Seq, TableId, UserNo};

use super::expiry::Floors;
use crate::{HotKeys, cache::Cache, cold::Shadowed};

/// Rows from which on an entry is worth its place.
pub(crate) const FEWEST_ROWS: usize = 256;
/// An entry may take up this part of the cache.
const LARGEST_PART: usize = 2;

/// What a user's hot rows of a table depend on: with the same of all three, they are the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Moment {
    /// The first and the last live generation.
    pub generations: (u32, u32),
    /// See [`super::last_writes`].
    pub seq: Seq,
    pub schema_version: u32,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Place {
    table: TableId,
    user: UserNo,
    what: What,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum What {
    Keys,
    /// The oldest rows of a stream table that are not too many.
    Floors,
    /// Of the cold rows, those that the keys shadow.
    Shadowed,
    Rows {
        /// Of the stored schema.
        projection: Vec<usize>,
        batch_rows: usize,
        /// Soft-deleted rows too.
        deleted: bool,
    },
}

enum Content {
    Keys(Arc<HotKeys>),
    Floors(Arc<Floors>),
    /// Not known yet; so many cold rows have been compared with the keys.
    Compared(AtomicU64),
    Shadowed(Arc<Shadowed>),
    Rows(Arc<[RecordBatch]>),
}

pub(crate) struct DecodedCache {
    entries: Cache<Place, (Moment, Content)>,
    /// Bytes of the largest entry.
    largest: usize,
}

impl DecodedCache {
    pub fn new(capacity: usize) -> Self {
        Self { entries: Cache::new(capacity), largest: capacity / LARGEST_PART }
    }

    /// Bytes beyond which nothing is remembered.
    pub fn largest(&self) -> usize {
        self.largest
    }

    pub fn keys(&self, table: TableId, user: UserNo, moment: Moment) -> Option<Arc<HotKeys>> {
        match &self.entries.get(&Place { table, user, what: What::Keys })?.as_ref() {
            (of, Content::Keys(keys)) if *of == moment => Some(Arc::clone(keys)),
            _ => None,
        }
    }

    pub fn floors(&self, table: TableId, user: UserNo, moment: Moment) -> Option<Arc<Floors>> {
        match &self.entries.get(&Place { table, user, what: What::Floors })?.as_ref() {
            (of, Content::Floors(floors)) if *of == moment => Some(Arc::clone(floors)),
            _ => None,
        }
    }

    /// Finding them costs a look at all keys, however little there is to remember of it.
    pub fn keep_floors(&self, table: TableId, user: UserNo, moment: Moment, floors: &Floors) {
        let place = Place { table, user, what: What::Floors };
        self.keep(place, moment, Content::Floors(Arc::new(floors.clone())), floors.memory());
    }

    pub fn rows(&self, table: TableId, user: UserNo, what: &What, moment: Moment) -> Option<Arc<[RecordBatch]>> {
        match &self.entries.get(&Place { table, user, what: what.clone() })?.as_ref() {
            (of, Content::Rows(rows)) if *of == moment => Some(Arc::clone(rows)),
            _ => None,
        }
    }

    pub fn shadowed(&self, table: TableId, user: UserNo, moment: Moment) -> Option<Arc<Shadowed>> {
        match &self.entries.get(&Place { table, user, what: What::Shadowed })?.as_ref() {
            (of, Content::Shadowed(rows)) if *of == moment => Some(Arc::clone(rows)),
            _ => None,
        }
    }

    /// Counts cold rows that are compared with the keys; how many it is by now.
    pub fn compared(&self, table: TableId, user: UserNo, moment: Moment, rows: u64) -> u64 {
        let place = Place { table, user, what: What::Shadowed };
        if let Some((of, Content::Compared(compared))) = self.entries.get(&place).as_deref()
            && *of == moment
        {
            return compared.fetch_add(rows, Ordering::Relaxed).saturating_add(rows);
        }
        self.keep(place, moment, Content::Compared(rows.into()), size_of::<Content>());
        rows
    }

    pub fn keep_shadowed(&self, table: TableId, user: UserNo, moment: Moment, rows: &Arc<Shadowed>) {
        if rows.memory() <= self.largest {
            let place = Place { table, user, what: What::Shadowed };
            self.keep(place, moment, Content::Shadowed(Arc::clone(rows)), rows.memory());
        }
    }

    pub fn keep_keys(&self, table: TableId, user: UserNo, moment: Moment, keys: &Arc<HotKeys>) {
        if keys.len() >= FEWEST_ROWS && keys.memory() <= self.largest {
            self.keep(Place { table, user, what: What::Keys }, moment, Content::Keys(Arc::clone(keys)), keys.memory());
        }
    }

    pub fn keep_rows(
        &self,
        table: TableId,
        user: UserNo,
        what: What,
        moment: Moment,
        rows: Vec<RecordBatch>,
        bytes: usize,
    ) {
        if rows.iter().map(RecordBatch::num_rows).sum::<usize>() >= FEWEST_ROWS && bytes <= self.largest {
            self.keep(Place { table, user, what }, moment, Content::Rows(rows.into()), bytes);
        }
    }

    fn keep(&self, place: Place, moment: Moment, content: Content, bytes: usize) {
        // A statement that has read an old view for long must not put it in the place of a newer one.
        let is_newer = |of: &Moment| (of.seq, of.generations.1) > (moment.seq, moment.generations.1);
        if !self.entries.get(&place).is_some_and(|entry| is_newer(&entry.0)) {
            self.entries.insert(place, Arc::new((moment, content)), bytes);
        }
    }
}
