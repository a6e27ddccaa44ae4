//! What is known of each table in memory: its definition, its active generation, and how much it has in the hot tier.
//!
//! Changed by the committer alone, after the batch that says the same is on disk. Also the keys of these records in
//! the `meta` column family.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use insula_proto::{Generation, TableId};
use parking_lot::RwLock;
use tokio::sync::Notify;

use super::{changes::Changes, last_writes::LastWrites, record};
use crate::{Error, ErrorKind, Result, TableDef, TableKind, read::state::States};

/// Keys of the `meta` column family. The first byte tells the kind; it is never reused.
pub(crate) mod record_key {
    use super::TableId;

    /// Last sequence number, id and commit time.
    pub const HIGH_WATER: &[u8] = b"h";
    /// The next table's number.
    pub const NEXT_TABLE: &[u8] = b"n";
    pub const DEFINITIONS: &[u8] = b"t";
    /// There while a restore is under way.
    pub const RESTORING: &[u8] = b"r";
    /// Opaque records of the layers above.
    pub const OPAQUE: &[u8] = b"m";

    pub fn definition(table: TableId) -> Vec<u8> {
        [DEFINITIONS, &table.0.to_be_bytes()].concat()
    }

    /// What was made of a table, version by version.
    pub fn versions(table: TableId) -> Vec<u8> {
        [b"v".as_slice(), &table.0.to_be_bytes()].concat()
    }

    pub fn version(table: TableId, number: u32) -> Vec<u8> {
        [versions(table).as_slice(), &number.to_be_bytes()].concat()
    }

    /// The active generation, and the version of the definition.
    pub fn generation(table: TableId) -> Vec<u8> {
        [b"g".as_slice(), &table.0.to_be_bytes()].concat()
    }
}

/// Where new rows of a table go, and the version of its definition; one record, since every read needs both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Active {
    pub generation: Generation,
    pub schema_version: u32,
}

impl Active {
    pub fn to_record(self) -> Vec<u8> {
        record::seal(&[self.generation.0.to_le_bytes(), self.schema_version.to_le_bytes()].concat())
    }

    pub fn from_record(sealed: &[u8]) -> Result<Self> {
        let what = "the record of a generation";
        let (numbers, rest) = record::open(sealed, what)?.as_chunks::<4>();
        match (numbers, rest) {
            ([generation, version], []) => Ok(Self {
                generation: Generation(u32::from_le_bytes(*generation)),
                schema_version: u32::from_le_bytes(*version),
            }),
            _ => Err(Error::new(ErrorKind::DataLoss, format!("{what} has a wrong length"))),
        }
    }
}

/// Row versions in the hot tier.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Load {
    pub rows: u64,
    /// Of keys and values, uncompressed.
    pub bytes: u64,
    /// Commit time of the oldest.
    pub oldest_micros: Option<i64>,
    /// Of the newest; `None`: unknown, or there are none.
    pub newest_micros: Option<i64>,
}

impl Load {
    pub fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.oldest_micros = match (self.oldest_micros, other.oldest_micros) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.newest_micros = self.newest_micros.max(other.newest_micros);
    }

    /// Takes out what is gone of it.
    fn subtract(&mut self, gone: Self) {
        self.rows = self.rows.saturating_sub(gone.rows);
        self.bytes = self.bytes.saturating_sub(gone.bytes);
    }
}

struct Entry {
    def: Arc<TableDef>,
    active: Generation,
    loads: BTreeMap<Generation, Load>,
}

impl Entry {
    fn load(&self) -> Load {
        self.loads.values().fold(Load::default(), |mut sum, load| {
            sum.add(*load);
            sum
        })
    }
}

/// A table may have this many times its `flush_bytes` in the hot tier before its writers wait.
const FLUSHES_BEHIND: u64 = 4;
/// Small tables do not wait for each of their flushes.
const ALWAYS_FREE: u64 = 64 << 20;

pub(crate) struct Tables {
    entries: RwLock<BTreeMap<TableId, Entry>>,
    /// Told when a table reaches `flush_rows` or `flush_bytes`, and when an empty one gets its first row.
    pub pressure: Notify,
    /// Changed before the batch is on disk.
    pub last_writes: LastWrites,
    /// Counted around the batches that change more than rows.
    pub changes: Changes,
    /// What readers remember of it.
    pub states: States,
    /// Told when a flush or a drop has made room.
    pub drained: Notify,
    /// Told when stream tables have so much that what nobody sees of it should go.
    pub kept_pressure: Notify,
    /// Of all tables.
    bytes: AtomicU64,
    /// Those of stream tables among them, which no flush takes away.
    kept: AtomicU64,
    /// What all tables together may have in the hot tier.
    most_bytes: u64,
}

/// Stream tables may have this part of what may be hot, so that the rest is always there for rows that will be flushed.
const KEPT_PART: u64 = 2;

/// Why a writer has to wait for a flush.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stall {
    /// The table has more than this many bytes.
    Table(u64),
    /// All tables together have.
    All(u64),
    /// Stream tables together have, and waiting for a flush would not help.
    Kept(u64),
}

impl Tables {
    pub fn new(most_bytes: u64) -> Self {
        Self {
            entries: RwLock::default(),
            pressure: Notify::new(),
            last_writes: LastWrites::default(),
            changes: Changes::default(),
            states: States::default(),
            drained: Notify::new(),
            kept_pressure: Notify::new(),
            bytes: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            most_bytes,
        }
    }

    /// Whether a writer of the table has to wait.
    pub fn stall(&self, table: TableId) -> Option<Stall> {
        let entries = self.entries.read();
        let entry = entries.get(&table)?;
        if entry.def.kind == TableKind::Stream {
            let limit = self.most_bytes / KEPT_PART;
            return (self.kept.load(Ordering::Relaxed) >= limit).then_some(Stall::Kept(limit));
        }
        if self.bytes.load(Ordering::Relaxed) >= self.most_bytes {
            return Some(Stall::All(self.most_bytes));
        }
        let limit = entry.def.options.flush_bytes.saturating_mul(FLUSHES_BEHIND).max(ALWAYS_FREE);
        (entry.load().bytes >= limit).then_some(Stall::Table(limit))
    }

    /// Whether so much is hot that tables have to be flushed before they are due. Writers do not wait yet.
    pub fn is_crowded(&self) -> bool {
        let kept = self.kept.load(Ordering::Relaxed);
        let flushable = self.bytes.load(Ordering::Relaxed).saturating_sub(kept);
        flushable >= self.most_bytes.saturating_sub(kept) / 2
    }

    /// The same of stream tables: whether what nobody sees of them should go before it is due.
    pub fn is_kept_crowded(&self) -> bool {
        self.kept.load(Ordering::Relaxed) >= self.most_bytes / KEPT_PART / 2
    }

    /// Those with most in the hot tier first.
    pub fn fattest_first(&self) -> Vec<Arc<TableDef>> {
        let entries = self.entries.read();
        let mut tables: Vec<_> = entries.values().map(|entry| (entry.load().bytes, Arc::clone(&entry.def))).collect();
        tables.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        tables.into_iter().map(|(_, def)| def).collect()
    }

    /// What all tables have in the hot tier, and may have.
    pub fn hot_bytes(&self) -> (u64, u64) {
        (self.bytes.load(Ordering::Relaxed), self.most_bytes)
    }

    fn came(&self, kind: TableKind, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if kind == TableKind::Stream {
            self.kept.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn went(&self, kind: TableKind, bytes: u64) {
        if kind == TableKind::Stream {
            self.kept.fetch_sub(bytes, Ordering::Relaxed);
        }
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.drained.notify_waiters();
    }

    pub fn def(&self, table: TableId) -> Option<Arc<TableDef>> {
        self.entries.read().get(&table).map(|entry| Arc::clone(&entry.def))
    }

    /// As [`Self::def`], for callers that need it to be there.
    pub fn get(&self, table: TableId) -> Result<Arc<TableDef>> {
        self.def(table).ok_or_else(|| Error::new(ErrorKind::NotFound, "no such table; it may have been dropped"))
    }

    pub fn all(&self) -> Vec<Arc<TableDef>> {
        self.entries.read().values().map(|entry| Arc::clone(&entry.def)).collect()
    }

    /// What the table has in the hot tier, frozen generations included.
    pub fn load(&self, table: TableId) -> Load {
        self.entries.read().get(&table).map(Entry::load).unwrap_or_default()
    }

    pub(super) fn actives(&self) -> BTreeMap<TableId, Active> {
        let active = |entry: &Entry| Active { generation: entry.active, schema_version: entry.def.schema_version };
        self.entries.read().iter().map(|(table, entry)| (*table, active(entry))).collect()
    }

    pub fn insert(&self, def: Arc<TableDef>, active: Generation, loads: BTreeMap<Generation, Load>) {
        self.came(def.kind, bytes_of(&loads));
        self.entries.write().insert(def.id, Entry { def, active, loads });
    }

    /// Takes over what another, just loaded, knows.
    pub(super) fn adopt(&self, other: Self) {
        self.bytes.fetch_add(other.bytes.into_inner(), Ordering::Relaxed);
        self.kept.fetch_add(other.kept.into_inner(), Ordering::Relaxed);
        self.last_writes.found_unknown();
        self.entries.write().extend(other.entries.into_inner());
        self.pressure.notify_one();
    }

    pub(super) fn remove(&self, table: TableId) {
        if let Some(removed) = self.entries.write().remove(&table) {
            self.went(removed.def.kind, bytes_of(&removed.loads));
        }
    }

    /// New options may make a flush due.
    pub(super) fn altered(&self, def: Arc<TableDef>) {
        if let Some(entry) = self.entries.write().get_mut(&def.id) {
            entry.def = def;
        }
        self.pressure.notify_one();
    }

    pub(super) fn froze(&self, table: TableId, active: Generation) {
        if let Some(entry) = self.entries.write().get_mut(&table) {
            entry.active = active;
        }
    }

    pub(super) fn flushed(&self, table: TableId, up_to: Generation) {
        if let Some(entry) = self.entries.write().get_mut(&table) {
            let gone = entry.loads.extract_if(..=up_to, |_, _| true).collect();
            self.went(entry.def.kind, bytes_of(&gone));
        }
    }

    pub(super) fn purged(&self, table: TableId, gone: BTreeMap<Generation, Load>) {
        if let Some(entry) = self.entries.write().get_mut(&table) {
            let before = entry.load().bytes;
            for (generation, gone) in gone {
                entry.loads.entry(generation).or_default().subtract(gone);
            }
            entry.loads.retain(|_, load| load.rows > 0);
            self.went(entry.def.kind, before.saturating_sub(entry.load().bytes));
        }
    }

    /// The active generation of a table, and what each has.
    pub fn generations(&self, table: TableId) -> Option<(Generation, BTreeMap<Generation, Load>)> {
        self.entries.read().get(&table).map(|entry| (entry.active, entry.loads.clone()))
    }

    pub(super) fn wrote(&self, table: TableId, generation: Generation, more: Load) {
        let mut entries = self.entries.write();
        let Some(entry) = entries.get_mut(&table) else { return };
        let before = entry.load();
        self.came(entry.def.kind, more.bytes);
        entry.loads.entry(generation).or_default().add(more);
        let after = entry.load();
        let options = &entry.def.options;
        let reached = |before: u64, after: u64, limit: u64| before < limit && after >= limit;
        if before.rows == 0
            || reached(before.rows, after.rows, options.flush_rows)
            || reached(before.bytes, after.bytes, options.flush_bytes)
            || self.is_crowded()
        {
            self.pressure.notify_one();
        }
    }
}

fn bytes_of(loads: &BTreeMap<Generation, Load>) -> u64 {
    loads.values().map(|load| load.bytes).sum()
}
