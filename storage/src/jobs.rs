//! What the store has done in the background and for statements, and what it tries in vain: the last jobs that ended,
//! and for each table the flush or compaction that fails, with the time at which it is tried again.
//!
//! It is kept in memory, for people who ask what happened; nothing is decided by it but when to try again. It knows
//! counts over all users' rows, so the layers above show it to administrators only.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use insula_proto::TableId;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{Error, ErrorKind, TableDef};

/// Ended jobs that are remembered.
const REMEMBERED: usize = 256;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum JobKind {
    Flush,
    Compaction,
    Load,
    /// The end of a table; rows are not counted.
    Drop,
    /// Of one user, in all tables.
    Erase,
    /// What nobody sees any more of a stream table.
    Purge,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Job {
    pub kind: JobKind,
    /// Namespace and name, as they were; `None`: of no table alone.
    pub table: Option<(String, String)>,
    /// When it ended, or failed last. Microseconds since 1970.
    pub at_micros: i64,
    pub outcome: Outcome,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    Done(Work),
    /// It is tried again; until then everything is as it was before the first try.
    Failing {
        failures: u32,
        retry_micros: i64,
        error: String,
    },
}

/// Of a flush, compaction or load: what was written; of a drop or an erasure: what was given back or taken out.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Work {
    pub rows: u64,
    pub files: u64,
    pub bytes: u64,
}

impl Work {
    fn add(&mut self, other: Self) {
        self.rows = self.rows.saturating_add(other.rows);
        self.files = self.files.saturating_add(other.files);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

impl JobKind {
    pub const ALL: [Self; 6] = [Self::Flush, Self::Compaction, Self::Load, Self::Drop, Self::Erase, Self::Purge];

    pub fn name(self) -> &'static str {
        match self {
            Self::Flush => "flush",
            Self::Compaction => "compaction",
            Self::Load => "load",
            Self::Drop => "drop",
            Self::Erase => "erase",
            Self::Purge => "purge",
        }
    }
}

#[derive(Default)]
pub(crate) struct Jobs(Mutex<State>);

#[derive(Default)]
struct State {
    ended: VecDeque<Job>,
    failing: BTreeMap<(TableId, JobKind), Failing>,
    totals: BTreeMap<JobKind, Total>,
}

/// All jobs of one kind since the start.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Total {
    pub done: u64,
    pub failed: u64,
    pub work: Work,
}

struct Failing {
    job: Job,
    until: Instant,
    pause: Duration,
}

impl Jobs {
    /// Whatever failed of this kind and table before is mended.
    pub(crate) fn done(&self, kind: JobKind, table: Option<&TableDef>, at_micros: i64, work: Work) {
        let mut state = self.0.lock();
        if let Some(table) = table {
            state.failing.remove(&(table.id, kind));
        }
        if state.ended.len() == REMEMBERED {
            state.ended.pop_front();
        }
        let total = state.totals.entry(kind).or_default();
        total.done += 1;
        total.work.add(work);
        state.ended.push_back(Job { kind, table: table.map(name), at_micros, outcome: Outcome::Done(work) });
    }

    /// What was done beside other things, and is not worth a place among the last jobs.
    pub(crate) fn counted(&self, kind: JobKind, work: Work) {
        let mut state = self.0.lock();
        let total = state.totals.entry(kind).or_default();
        total.done += 1;
        total.work.add(work);
    }

    /// Background work of the table failed; returns how long it is left alone, longer each time.
    pub(crate) fn failed(&self, kind: JobKind, table: &TableDef, at_micros: i64, error: &Error) -> Duration {
        let mut state = self.0.lock();
        let before = state.failing.get(&(table.id, kind));
        let (first, longest) = pauses(error.kind());
        let pause = before.map_or(first, |before| (before.pause * 2).clamp(first, longest));
        let failures = match before.map(|before| &before.job.outcome) {
            Some(Outcome::Failing { failures, .. }) => failures.saturating_add(1),
            _ => 1,
        };
        let retry_micros = at_micros.saturating_add(i64::try_from(pause.as_micros()).unwrap_or(i64::MAX));
        state.totals.entry(kind).or_default().failed += 1;
        let outcome = Outcome::Failing { failures, retry_micros, error: error.message().to_owned() };
        let job = Job { kind, table: Some(name(table)), at_micros, outcome };
        state.failing.insert((table.id, kind), Failing { job, until: Instant::now() + pause, pause });
        pause
    }

    /// Whether background work of this kind leaves the table alone for now.
    pub(crate) fn pauses(&self, kind: JobKind, table: TableId) -> bool {
        self.0.lock().failing.get(&(table, kind)).is_some_and(|failing| failing.until > Instant::now())
    }

    /// Nothing of the kind is to be done for the table any more.
    pub(crate) fn needless(&self, kind: JobKind, table: TableId) {
        self.0.lock().failing.remove(&(table, kind));
    }

    /// The table is gone.
    pub(crate) fn forget(&self, table: TableId) {
        self.0.lock().failing.retain(|(of, _), _| *of != table);
    }

    pub(crate) fn total(&self, kind: JobKind) -> Total {
        self.0.lock().totals.get(&kind).copied().unwrap_or_default()
    }

    /// Kinds and tables of what fails now.
    pub(crate) fn failing(&self) -> usize {
        self.0.lock().failing.len()
    }

    /// What fails, then what has ended, the newest first.
    pub(crate) fn all(&self) -> Vec<Job> {
        let state = self.0.lock();
        let failing = state.failing.values().map(|failing| &failing.job);
        failing.chain(state.ended.iter().rev()).cloned().collect()
    }
}

/// The first pause and the longest. Damage does not mend by itself, and each try reads everything before it again.
fn pauses(error: ErrorKind) -> (Duration, Duration) {
    match error {
        ErrorKind::DataLoss => (Duration::from_secs(60), Duration::from_secs(3600)),
        _ => (Duration::from_secs(1), Duration::from_secs(300)),
    }
}

fn name(table: &TableDef) -> (String, String) {
    (table.namespace.clone(), table.name.clone())
}

#[cfg(test)]
mod tests;
