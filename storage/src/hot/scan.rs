//! Reading the hot tier: the newest version of each key over a table's live generations.
//!
//! A key's versions lie in few generations (one, and those that a flush is working on), newest first in each, and before
//! all of them in what a transaction has not committed yet ([`super::pending`]). [`Merge`] walks them side by side;
//! [`UserRows`] and [`Frozen`] make batches of what it finds, of one user or, for flushes alone, of all.

mod lookup;

use std::{ops::RangeInclusive, sync::Arc};

use arrow::array::RecordBatch;
use insula_proto::{Generation, UserNo};

use super::{
    bounds::{KeyBounds, KeyRange},
    chunk::{self, At, Chunks},
    db::{Cursor, Family, Snapshot},
    decode::RowDecoder,
    expiry::Expiry,
    key::{self, KeyRows, USER_AT},
    pending::{RunCursor, Runs},
    value::Header,
};
use crate::{Error, ErrorKind, Result, TableDef};
pub(crate) use lookup::{Lookup, Presence};

/// Keys that a look at the bounds seeks one by one, on the caller's thread.
const SOUGHT: usize = 64;
/// Older versions stepped over before a seek past all of them is worth its price.
const STEPS: usize = 8;
/// Bytes after which a batch is full, however few rows it has.
const BATCH_BYTES: usize = 16 << 20;

/// Versions of keys in their order, from one place.
enum Walk {
    Stored(Cursor),
    Pending(RunCursor),
}

impl Walk {
    fn item(&self) -> Option<(&[u8], &[u8])> {
        match self {
            Self::Stored(cursor) => cursor.item(),
            Self::Pending(cursor) => cursor.item(),
        }
    }

    /// Moves past all versions of one user's key.
    fn skip(&mut self, user_and_key: &[u8]) -> Result<()> {
        match self {
            Self::Stored(cursor) => skip(cursor, user_and_key),
            Self::Pending(cursor) => {
                if cursor.item().is_some_and(|(stored, _)| is_of(stored, user_and_key)) {
                    cursor.next();
                }
                Ok(())
            }
        }
    }
}

/// The newest version of each (user, key), in their order.
pub(super) struct Merge {
    /// Of equal keys and numbers, which only pending rows have, the first one's row is the newest.
    walks: Vec<Walk>,
    /// Which of them stands at the present row.
    at: Option<usize>,
    /// User and key of the present row; empty before the first.
    last: Vec<u8>,
}

impl Merge {
    /// The cursors stand at their first keys.
    fn new(walks: Vec<Walk>) -> Self {
        Self { walks, at: None, last: Vec::new() }
    }

    pub(super) fn next(&mut self) -> Result<Option<(key::Parts<'_>, &[u8])>> {
        self.advance()?;
        self.row()
    }

    /// Moves to the next row; false at the end.
    fn advance(&mut self) -> Result<bool> {
        if !self.last.is_empty() {
            for walk in &mut self.walks {
                walk.skip(&self.last)?;
            }
        }
        let items = self.walks.iter().enumerate().filter_map(|(at, walk)| Some((at, walk.item()?.0)));
        let next = items.min_by(|(_, a), (_, b)| a.get(USER_AT..).cmp(&b.get(USER_AT..)));
        self.at = next.map(|(at, _)| at);
        if let Some((_, stored)) = next {
            self.last.clear();
            self.last.extend_from_slice(key::user_and_key(stored)?);
        }
        Ok(self.at.is_some())
    }

    /// The present row; `None` at the end.
    fn row(&self) -> Result<Option<(key::Parts<'_>, &[u8])>> {
        let item = self.at.and_then(|at| self.walks.get(at)).and_then(Walk::item);
        item.map(|(stored, value)| Ok((key::split(stored)?, value))).transpose()
    }
}

/// Moves past all versions of one user's key.
fn skip(cursor: &mut Cursor, user_and_key: &[u8]) -> Result<()> {
    let is_same = |cursor: &Cursor| cursor.key().is_some_and(|stored| is_of(stored, user_and_key));
    for _ in 0..STEPS {
        if !is_same(cursor) {
            return Ok(());
        }
        cursor.next()?;
    }
    if is_same(cursor) {
        let generation = cursor.key().map(|stored| stored[..USER_AT].to_vec()).unwrap_or_default();
        cursor.seek(&[&generation, user_and_key, &[u8::MAX; key::SUFFIX]].concat())?;
        if is_same(cursor) {
            cursor.next()?;
        }
    }
    Ok(())
}

fn is_of(stored: &[u8], user_and_key: &[u8]) -> bool {
    stored.len() >= USER_AT + key::SUFFIX && &stored[USER_AT..stored.len() - key::SUFFIX] == user_and_key
}

/// The hot rows of one user of one table at one snapshot: what all readers of them start from.
#[derive(Clone)]
pub(crate) struct UserHot {
    pub snapshot: Arc<Snapshot>,
    pub table: Arc<TableDef>,
    pub user: UserNo,
    /// The live generations, the last one being the active one.
    pub generations: RangeInclusive<u32>,
    /// What the reader's own transaction has not committed yet.
    pub pending: Runs,
    /// Of a stream table: which rows are gone.
    pub expiry: Option<Arc<Expiry>>,
}

impl UserHot {
    /// A cursor at the user's first key of the range in one generation. Whatever the range says, the user's prefix
    /// bounds it on both sides.
    pub(super) fn cursor(&self, generation: u32, range: &KeyRange, total_order: bool) -> Result<Cursor> {
        let prefix = self.prefix(generation);
        let lower = [prefix.as_slice(), &range.lower].concat();
        let upper = self.upper(&prefix, range);
        let mut cursor = self.snapshot.cursor(Family::Hot, lower.clone(), upper, total_order)?;
        cursor.seek(&lower)?;
        Ok(cursor)
    }

    /// What all of the user's keys of one generation begin with.
    fn prefix(&self, generation: u32) -> [u8; key::PREFIX] {
        #[cfg(test)]
        if let Some(user) = tests::misread::user() {
            return key::prefix(self.table.id, Generation(generation), user);
        }
        key::prefix(self.table.id, Generation(generation), self.user)
    }

    fn upper(&self, prefix: &[u8], range: &KeyRange) -> Vec<u8> {
        #[cfg(test)]
        if tests::misread::is_unbounded() {
            return key::after_prefix(&prefix[..USER_AT]);
        }
        match &range.upper {
            Some(upper) => [prefix, upper].concat(),
            None => key::after_prefix(prefix),
        }
    }

    fn merge(&self, range: &KeyRange) -> Result<Merge> {
        // RocksDB wants a lower bound that is not above the upper one.
        let live = self.generations.clone().filter(|_| !range.is_empty());
        let stored = live.map(|generation| self.cursor(generation, range, false).map(Walk::Stored));
        let pending = self.pending.iter().map(|run| Ok(Walk::Pending(RunCursor::new(run, range))));
        Ok(Merge::new(pending.chain(stored).collect::<Result<_>>()?))
    }

    /// The newest version of each key, those that are gone included.
    pub(super) fn newest_versions(&self) -> Result<Merge> {
        self.merge(&KeyRange::default())
    }

    /// Without what the reader's own transaction has not committed.
    pub(super) fn committed(&self) -> Self {
        Self { pending: Runs::default(), ..self.clone() }
    }

    fn source(&self, wanted: &KeyBounds) -> Result<Source> {
        Ok(match wanted {
            KeyBounds::All | KeyBounds::Range(_) => {
                Source::Merge { merge: self.merge(&wanted.range())?, hot: self.clone() }
            }
            KeyBounds::Keys(keys) => Source::Keys { lookup: self.lookup(), keys: Arc::clone(keys), at: 0 },
        })
    }

    /// The last line of defence behind the iterator bounds: a foreign row fails the query, it is never filtered out.
    pub(super) fn guard(&self, row: &key::Parts<'_>) -> Result<()> {
        if row.user == self.user && row.table == self.table.id {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Internal, "a scan of the hot tier met a row that is not its user's"))
    }

    /// Of the wanted keys that are here, the smallest and the largest. Of more than a few single keys, the bounds are
    /// those of what lies between them; rows of a stream table that are gone may still count.
    pub fn span(&self, wanted: &KeyBounds) -> Result<Option<HotSpan>> {
        match wanted {
            KeyBounds::Keys(keys) if keys.len() <= SOUGHT => self.sought(keys),
            _ => {
                let bounds = self.bounds(&wanted.range())?;
                Ok(bounds.map(|bounds| HotSpan { bounds, is_complete: false }))
            }
        }
    }

    fn sought(&self, keys: &KeyRows) -> Result<Option<HotSpan>> {
        let mut lookup = self.lookup();
        let (mut bounds, mut found): (Option<(&[u8], &[u8])>, usize) = (None, 0);
        for key in keys.iter() {
            if lookup.presence(key)? != Presence::Absent {
                bounds = Some((bounds.map_or(key, |(low, _)| low), key));
                found += 1;
            }
        }
        let span = |(low, high): (&[u8], &[u8])| HotSpan {
            bounds: (low.to_vec(), high.to_vec()),
            is_complete: found == keys.len(),
        };
        Ok(bounds.map(span))
    }

    /// The smallest and the largest key of a range.
    fn bounds(&self, range: &KeyRange) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        if range.is_empty() {
            return Ok(None);
        }
        let pending = self.pending.iter().filter_map(|run| run.bounds(range));
        let mut bounds = pending.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        for generation in self.generations.clone() {
            // Seeking backwards from the upper bound leaves the prefix, so prefix filters must not be asked.
            let mut cursor = self.cursor(generation, range, true)?;
            let Some(first) = cursor.key() else { continue };
            let first = self.primary(first)?;
            let prefix = self.prefix(generation);
            cursor.seek_back(&self.upper(&prefix, range))?;
            let last = cursor.key().map(|stored| self.primary(stored)).transpose()?.unwrap_or_else(|| first.clone());
            bounds = Some(match bounds {
                None => (first, last),
                Some((low, high)) => (low.min(first), high.max(last)),
            });
        }
        Ok(bounds)
    }

    fn primary(&self, stored: &[u8]) -> Result<Vec<u8>> {
        let parts = key::split(stored)?;
        self.guard(&parts)?;
        Ok(parts.key.to_vec())
    }

    /// The wanted keys that are here, ascending, tombstones included.
    pub fn keys(&self, wanted: &KeyBounds) -> Result<KeyRows> {
        let mut keys = KeyRows::default();
        let mut source = self.source(wanted)?;
        while let Some((row, _)) = source.next()? {
            self.guard(&row)?;
            keys.push(row.key);
        }
        Ok(keys)
    }

    /// Number of keys, and the bytes of their newest versions and of the user's chunks.
    pub fn size(&self) -> Result<(u64, u64)> {
        let (mut rows, mut bytes) = (0, 0);
        let mut source = self.source(&KeyBounds::All)?;
        while let Some((row, value)) = source.next()? {
            self.guard(&row)?;
            rows += 1;
            bytes += (key::PREFIX + row.key.len() + key::SUFFIX + value.len()) as u64;
        }
        for generation in self.generations.clone() {
            let prefix = self.prefix(generation);
            let upper = key::after_prefix(&prefix);
            let mut chunks = self.snapshot.cursor(Family::Chunk, prefix.to_vec(), upper, false)?;
            chunks.seek(&prefix)?;
            while let Some((stored, value)) = chunks.item() {
                bytes += (stored.len() + value.len()) as u64;
                chunks.next()?;
            }
        }
        Ok((rows, bytes))
    }

    pub fn rows(&self, wanted: &KeyBounds, projection: &[usize], batch_rows: usize, deleted: bool) -> Result<UserRows> {
        let decoder = RowDecoder::new(&self.table, projection)?;
        let batch_rows = batch_rows.max(1);
        Ok(UserRows { hot: self.clone(), source: Some(self.source(wanted)?), decoder, batch_rows, deleted })
    }

    pub fn lookup(&self) -> Lookup {
        Lookup::new(self.clone())
    }
}

/// A row says in which chunk of its own user it lies, and its user has been looked at ([`UserHot::guard`]).
impl Chunks for UserHot {
    fn with(&self, at: At, read: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if let Some(value) = self.pending.iter().find_map(|run| run.chunk(at.chunk)) {
            return read(value);
        }
        stored_chunk(&self.snapshot, &self.table, at, read)
    }
}

fn stored_chunk(
    snapshot: &Snapshot,
    table: &TableDef,
    at: At,
    read: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let found = snapshot.with(Family::Chunk, &at.key(table.id), read)?;
    if found { Ok(()) } else { Err(chunk::missing(at)) }
}

/// What the hot tier has of the keys that a reader wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HotSpan {
    /// Memcomparable bytes of the smallest and the largest, tombstones included.
    pub bounds: (Vec<u8>, Vec<u8>),
    /// All that are wanted are here, so the cold tier has nothing to add.
    pub is_complete: bool,
}

/// One user's rows in batches.
pub(crate) struct UserRows {
    hot: UserHot,
    /// `None`: at the end, or after an error.
    source: Option<Source>,
    decoder: RowDecoder,
    batch_rows: usize,
    deleted: bool,
}

impl UserRows {
    /// A few seeks are all there is to do.
    pub fn is_quick(&self) -> bool {
        matches!(&self.source, Some(Source::Keys { keys, .. }) if keys.len() <= SOUGHT)
    }

    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let Some(mut source) = self.source.take() else { return Ok(None) };
        while let Some((row, value)) = source.next()? {
            self.hot.guard(&row)?;
            let header = Header::read(value)?;
            if header.deleted && !self.deleted {
                continue;
            }
            self.decoder.push_checked(&row, &header)?;
            if self.decoder.len() >= self.batch_rows || self.decoder.holds(BATCH_BYTES) {
                let batch = self.decoder.finish(&self.hot)?;
                self.source = Some(source);
                return Ok(Some(batch));
            }
        }
        if self.decoder.len() == 0 { Ok(None) } else { self.decoder.finish(&self.hot).map(Some) }
    }
}

/// The newest versions of a user's keys that are there, ascending: of those in a range, or of single ones.
enum Source {
    Merge { merge: Merge, hot: UserHot },
    Keys { lookup: Lookup, keys: Arc<KeyRows>, at: usize },
}

impl Source {
    fn next(&mut self) -> Result<Option<(key::Parts<'_>, &[u8])>> {
        match self {
            Self::Merge { merge, hot } => {
                while merge.advance()? {
                    if let Some((row, value)) = merge.row()?
                        && hot.shows(&row, value)?
                    {
                        break;
                    }
                }
                merge.row()
            }
            Self::Keys { lookup, keys, at } => {
                while *at < keys.len() {
                    *at += 1;
                    if let Some(place) = lookup.find(keys.row(*at - 1))? {
                        return lookup.row(place);
                    }
                }
                Ok(None)
            }
        }
    }
}

/// The rows that a flush moves: frozen generations of one table, all users, ascending by user and key.
pub(crate) struct Frozen {
    merge: Merge,
    decoder: RowDecoder,
    chunks: StoredChunks,
}

/// The chunks of a table's rows, whoever owns them: for flushes, and for the check of a whole database.
pub(crate) struct StoredChunks {
    pub snapshot: Arc<Snapshot>,
    pub table: Arc<TableDef>,
}

impl Chunks for StoredChunks {
    fn with(&self, at: At, read: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        stored_chunk(&self.snapshot, &self.table, at, read)
    }
}

/// Some of them: all columns of [`TableDef::stored_schema`], with each row's user and key.
pub(crate) struct FrozenBatch {
    pub rows: RecordBatch,
    users: Vec<UserNo>,
    keys: KeyRows,
}

/// The only read that crosses users; flushes alone may call it.
pub(crate) fn frozen(
    snapshot: &Arc<Snapshot>,
    table: &Arc<TableDef>,
    generations: RangeInclusive<Generation>,
) -> Result<Frozen> {
    let mut walks = Vec::new();
    for generation in generations.start().0..=generations.end().0 {
        let (lower, upper) = key::one_generation(table.id, Generation(generation));
        let mut cursor = snapshot.cursor(Family::Hot, lower.clone(), upper, true)?;
        cursor.seek(&lower)?;
        walks.push(Walk::Stored(cursor));
    }
    let projection: Vec<usize> = (0..table.stored_schema().fields().len()).collect();
    let chunks = StoredChunks { snapshot: Arc::clone(snapshot), table: Arc::clone(table) };
    Ok(Frozen { merge: Merge::new(walks), decoder: RowDecoder::new(table, &projection)?, chunks })
}

impl Frozen {
    /// Up to `max_rows` more; `None` at the end.
    pub fn next_batch(&mut self, max_rows: usize) -> Result<Option<FrozenBatch>> {
        let (mut users, mut keys) = (Vec::new(), KeyRows::default());
        while users.len() < max_rows && !self.decoder.holds(BATCH_BYTES) {
            let Some((row, value)) = self.merge.next()? else { break };
            self.decoder.push(&row, value)?;
            users.push(row.user);
            keys.push(row.key);
        }
        if users.is_empty() {
            return Ok(None);
        }
        Ok(Some(FrozenBatch { rows: self.decoder.finish(&self.chunks)?, users, keys }))
    }
}

impl FrozenBatch {
    pub fn users(&self) -> impl Iterator<Item = UserNo> {
        self.users.iter().copied()
    }

    pub fn keys(&self) -> &KeyRows {
        &self.keys
    }
}

#[cfg(test)]
mod tests;
