//! Row versions of a transaction that are not committed yet, in the form in which the hot tier's readers meet rows.
//!
//! Each statement of a transaction leaves a [`Run`]: its rows, ascending by key, each key once. Runs are immutable, so
//! a reader that began before the next statement goes on with those it has, and a savepoint is a list of them. Small
//! runs are merged as they come, so that there are few however many statements there were.

use std::{collections::HashSet, ops::Range, sync::Arc};

use insula_proto::Seq;

use super::{
    bounds::KeyRange,
    committer::{self, Chunk},
    key, value,
};
use crate::Result;

/// The number of every pending row: above all that are given out, so that it is the newest version of its key.
pub(crate) const PENDING: Seq = Seq(i64::MAX.cast_unsigned());

/// One user's pending rows in one table, newest run first.
pub(crate) type Runs = Vec<Arc<Run>>;

pub(crate) struct Run {
    /// Complete but for generation and number; the places ascend by key.
    rows: committer::Rows,
}

impl Run {
    /// The rows of one statement, all of one table and user. `updated_micros`: what they show as their commit time.
    pub fn new(mut rows: committer::Rows, updated_micros: i64) -> Self {
        for [start, middle, end] in &rows.places {
            let (stored, row) = rows.bytes[*start..*end].split_at_mut(middle - start);
            key::complete(stored, committer::FIRST_GENERATION, PENDING);
            value::complete(row, updated_micros);
        }
        let bytes = &rows.bytes;
        rows.places.sort_unstable_by(|a, b| primary(bytes, a).cmp(primary(bytes, b)));
        Self { rows }
    }

    pub fn len(&self) -> usize {
        self.rows.places.len()
    }

    pub fn memory(&self) -> usize {
        let chunks: usize = self.rows.chunks.iter().map(|chunk| chunk.value.len()).sum();
        self.rows.bytes.capacity() + self.rows.places.capacity() * size_of::<[usize; 3]>() + chunks
    }

    /// The value of a chunk.
    pub fn chunk(&self, number: u64) -> Option<&[u8]> {
        self.rows.chunks.iter().find(|chunk| chunk.number == number).map(|chunk| chunk.value.as_ref())
    }

    fn key(&self, at: usize) -> &[u8] {
        primary(&self.rows.bytes, &self.rows.places[at])
    }

    /// A stored key and its value.
    pub fn item(&self, at: usize) -> Option<(&[u8], &[u8])> {
        let [start, middle, end] = *self.rows.places.get(at)?;
        Some((&self.rows.bytes[start..middle], &self.rows.bytes[middle..end]))
    }

    pub fn find(&self, key: &[u8]) -> Option<usize> {
        self.rows.places.binary_search_by(|place| primary(&self.rows.bytes, place).cmp(key)).ok()
    }

    /// Where the keys of a range lie.
    fn within(&self, range: &KeyRange) -> Range<usize> {
        let below = |bound: &[u8]| self.rows.places.partition_point(|place| primary(&self.rows.bytes, place) < bound);
        let end = range.upper.as_ref().map_or(self.len(), |upper| below(upper));
        below(&range.lower).min(end)..end
    }

    /// The smallest and the largest key of a range.
    pub fn bounds(&self, range: &KeyRange) -> Option<(Vec<u8>, Vec<u8>)> {
        let within = self.within(range);
        (!within.is_empty()).then(|| (self.key(within.start).to_vec(), self.key(within.end - 1).to_vec()))
    }

    /// Both as one; of a key that both have, the newer one's row.
    fn merged(newer: &Self, older: &Self) -> Self {
        // Rows of two versions of a definition cannot be told apart later.
        let mut rows = committer::Rows { schema_version: newer.rows.schema_version, ..Default::default() };
        let (mut a, mut b) = (0, 0);
        while a < newer.len() || b < older.len() {
            let order = match (a < newer.len(), b < older.len()) {
                (true, true) => newer.key(a).cmp(older.key(b)),
                (true, false) => std::cmp::Ordering::Less,
                (false, _) => std::cmp::Ordering::Greater,
            };
            let item = if order.is_le() { newer.item(a) } else { older.item(b) };
            a += usize::from(order.is_le());
            b += usize::from(order.is_ge());
            if let Some((stored, row)) = item {
                let start = rows.bytes.len();
                rows.bytes.extend_from_slice(stored);
                rows.bytes.extend_from_slice(row);
                rows.places.push([start, start + stored.len(), rows.bytes.len()]);
            }
        }
        rows.chunks = in_use(&rows, [newer, older].into_iter().flat_map(|run| &run.rows.chunks));
        Self { rows }
    }
}

/// Adds what a statement wrote.
pub(crate) fn push(runs: &mut Runs, run: Run) {
    let mut run = run;
    // As long as the next one is not much larger, so each row is copied a few times at most, and few runs are left.
    while let Some(next) = runs.first().filter(|next| next.len() / 2 <= run.len() && next.is_of(&run)) {
        run = Run::merged(&run, next);
        runs.remove(0);
    }
    runs.insert(0, Arc::new(run));
}

impl Run {
    fn is_of(&self, other: &Self) -> bool {
        self.rows.schema_version == other.rows.schema_version
    }
}

/// The distinct keys of all runs, ascending.
pub(crate) fn keys(runs: &[Arc<Run>]) -> Vec<&[u8]> {
    let mut keys: Vec<&[u8]> = runs.iter().flat_map(|run| (0..run.len()).map(|at| run.key(at))).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Whether a row of them is soft-deleted.
pub(crate) fn deletes(runs: &[Arc<Run>]) -> Result<bool> {
    let mut rows = runs.iter().flat_map(|run| (0..run.len()).filter_map(|at| run.item(at)));
    rows.try_fold(false, |any, (_, row)| Ok(any || value::Header::read(row)?.deleted))
}

/// The newest version of each key for the committer, and of which versions of the definition they are.
pub(crate) fn into_rows(runs: Runs) -> Vec<committer::Rows> {
    let mut taken: Runs = Vec::with_capacity(runs.len());
    let mut all = Vec::with_capacity(runs.len());
    for run in runs {
        let hidden = |place: &[usize; 3]| {
            let key = primary(&run.rows.bytes, place);
            taken.iter().any(|newer| newer.find(key).is_some())
        };
        let places = run.rows.places.iter().filter(|place| !hidden(place)).copied().collect();
        // Readers may hold it still; else its bytes are moved and not copied.
        taken.push(Arc::clone(&run));
        all.push((places, run));
    }
    drop(taken);
    let rows = all.into_iter().map(|(places, run)| {
        let (schema_version, chunks) = (run.rows.schema_version, run.rows.chunks.clone());
        let bytes = Arc::try_unwrap(run).map_or_else(|run| run.rows.bytes.clone(), |run| run.rows.bytes);
        let mut rows = committer::Rows { schema_version, bytes, places, chunks: Vec::new() };
        rows.chunks = in_use(&rows, &chunks);
        rows
    });
    rows.collect()
}

/// Those of `chunks` in which rows lie.
fn in_use<'a>(rows: &committer::Rows, chunks: impl IntoIterator<Item = &'a Chunk>) -> Vec<Chunk> {
    let mut chunks = chunks.into_iter().peekable();
    if chunks.peek().is_none() {
        return Vec::new();
    }
    let numbers: HashSet<u64> =
        rows.places.iter().filter_map(|[_, middle, end]| value::chunk(&rows.bytes[*middle..*end])).collect();
    chunks.filter(|chunk| numbers.contains(&chunk.number)).cloned().collect()
}

/// A position among the rows of a run that lie in a range.
pub(crate) struct RunCursor {
    run: Arc<Run>,
    within: Range<usize>,
}

impl RunCursor {
    pub fn new(run: &Arc<Run>, range: &KeyRange) -> Self {
        Self { within: run.within(range), run: Arc::clone(run) }
    }

    /// `None`: past the end.
    pub fn item(&self) -> Option<(&[u8], &[u8])> {
        if self.within.is_empty() { None } else { self.run.item(self.within.start) }
    }

    pub fn next(&mut self) {
        self.within.start = (self.within.start + 1).min(self.within.end);
    }
}

fn primary<'a>(bytes: &'a [u8], [start, middle, _]: &[usize; 3]) -> &'a [u8] {
    &bytes[start + key::PREFIX..middle - key::SUFFIX]
}

#[cfg(test)]
mod tests;
