//! Which files are merged next, and into which level. Knows manifests only, and reads nothing.
//!
//! The policy is leveled, with a size ratio of ten. Since a key has at most one live version in the cold tier, files may
//! be merged in any order; all that a plan has to see to is that the files of a level above 0 stay disjoint, in users
//! or, where both belong to one user alone, in keys.

use std::cmp::Reverse;

use insula_proto::UserNo;

use crate::cold::{ColdFile, Manifest};

/// Level-0 files over one user that start a merge.
const LEVEL_0_FILES: usize = 4;
/// Files that level 1 may have; each level below it ten times those of the one before.
const LEVEL_1_FILES: u64 = 4;
const RATIO: u64 = 10;
/// Sorted runs merged at a time, each with a reader of its own.
const RUNS: usize = 16;
/// A file is rewritten when so many of its rows are replaced.
const DEAD_PERCENT: u64 = 20;

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Plan {
    pub inputs: Vec<ColdFile>,
    /// Of the outputs.
    pub level: u32,
    /// The input goes to the level as it is.
    pub moves: bool,
}

pub(super) struct Policy {
    /// Target size of a file.
    pub file_bytes: u64,
    /// Rows deleted before this time have no retention left, in microseconds; `None`: they are kept for ever.
    pub expired_before: Option<i64>,
    /// A file is not rewritten for its expired rows alone before the oldest is this old: else it would be rewritten
    /// for each row that expires.
    pub overdue_before: Option<i64>,
    /// Each user's rows in files of their own: a load leaves them together.
    pub apart: bool,
}

impl Plan {
    fn merge(mut inputs: Vec<ColdFile>, level: u32) -> Self {
        inputs.sort_by(|a, b| order(a).cmp(&order(b)));
        Self { inputs, level, moves: false }
    }

    /// The same file, where it is, without the rows that can go.
    pub fn rewrite(file: &ColdFile) -> Self {
        Self::merge(vec![file.clone()], file.level)
    }
}

impl Policy {
    /// What should be done now, the most urgent first.
    pub fn due(&self, manifest: &Manifest) -> Option<Plan> {
        self.level_0(manifest).or_else(|| self.overfull(manifest)).or_else(|| self.decayed(manifest))
    }

    /// Where too many files of level 0 lie over one user: those, and what they overlap in level 1.
    fn level_0(&self, manifest: &Manifest) -> Option<Plan> {
        let files = of_level(manifest, 0);
        let user = deepest(&files, LEVEL_0_FILES)?;
        let inputs = files.into_iter().filter(|file| file.spans(user)).take(RUNS).cloned().collect();
        Some(Plan::merge(with_overlap(manifest, inputs, 1), 1))
    }

    /// A level that has outgrown its size gives a file to the next: the one that costs least there.
    fn overfull(&self, manifest: &Manifest) -> Option<Plan> {
        let deepest = manifest.files.iter().map(|file| file.level).max()?;
        let over = |level: &u32| bytes(of_level(manifest, *level)) > self.level_bytes(*level);
        let level = (1..=deepest).find(over)?;
        let next = of_level(manifest, level + 1);
        let cost = |file: &&ColdFile| {
            let hull = Hull::of(file);
            let below = bytes(next.iter().copied().filter(|other| hull.overlaps(&Hull::of(other))));
            u128::from(below) * 1000 / u128::from(file.bytes.max(1))
        };
        let file = of_level(manifest, level).into_iter().min_by_key(cost)?;
        let inputs = with_overlap(manifest, vec![file.clone()], level + 1);
        let moves = inputs.len() == 1;
        Some(Plan { moves, ..Plan::merge(inputs, level + 1) })
    }

    /// The file with the largest share of dead rows, if it has enough of them.
    fn decayed(&self, manifest: &Manifest) -> Option<Plan> {
        let share = |file: &ColdFile| dead(file) * 100 / file.rows.max(1);
        let overdue = |file: &ColdFile| is_older(file.oldest_deleted_micros, self.overdue_before);
        let mixed = |file: &ColdFile| self.apart && file.users.0 != file.users.1;
        let due = manifest.files.iter().filter(|file| share(file) >= DEAD_PERCENT || overdue(file) || mixed(file));
        due.max_by_key(|file| share(file)).map(Plan::rewrite)
    }

    /// A step towards one sorted run without a row that could go; `None`: there it is.
    pub fn whole(&self, manifest: &Manifest) -> Option<Plan> {
        let level = self.level_of(bytes(&manifest.files));
        let clean = |file: &ColdFile| {
            let mixed = self.apart && file.users.0 != file.users.1;
            dead(file) == 0 && !mixed && !is_older(file.oldest_deleted_micros, self.expired_before)
        };
        let mut runs = chains(manifest.files.clone());
        if runs.len() <= 1 && manifest.files.iter().all(|file| file.level > 0 && clean(file)) {
            return None;
        }
        if runs.len() <= RUNS {
            return Some(Plan::merge(manifest.files.clone(), level));
        }
        runs.sort_by_key(|run| Reverse(bytes(run)));
        Some(Plan::merge(runs.split_off(runs.len() - RUNS).concat(), 0))
    }

    fn level_bytes(&self, level: u32) -> u64 {
        let files = RATIO.saturating_pow(level.saturating_sub(1)).saturating_mul(LEVEL_1_FILES);
        files.saturating_mul(self.file_bytes)
    }

    /// The first level that so much fits into.
    fn level_of(&self, bytes: u64) -> u32 {
        (1..u32::MAX).find(|level| bytes <= self.level_bytes(*level)).unwrap_or(u32::MAX)
    }
}

/// The files as sorted runs, as few as there can be: within one, each file lies behind the one before.
pub(super) fn chains(mut files: Vec<ColdFile>) -> Vec<Vec<ColdFile>> {
    files.sort_by(|a, b| order(a).cmp(&order(b)));
    let mut runs: Vec<Vec<ColdFile>> = Vec::new();
    for file in files {
        let ends_before = |run: &&mut Vec<ColdFile>| {
            run.last().is_some_and(|last| (last.users.1, &last.keys.1) < (file.users.0, &file.keys.0))
        };
        match runs.iter_mut().find(ends_before) {
            Some(run) => run.push(file),
            None => runs.push(vec![file]),
        }
    }
    runs
}

/// The order of a manifest's files.
pub(super) fn sort(files: &mut [ColdFile]) {
    files.sort_by(|a, b| {
        let by_level = b.level.cmp(&a.level);
        let within = || if a.level == 0 { a.id.cmp(&b.id) } else { order(a).cmp(&order(b)) };
        by_level.then_with(within)
    });
}

/// Where a file's rows begin.
fn order(file: &ColdFile) -> (UserNo, &[u8]) {
    (file.users.0, &file.keys.0)
}

/// What the files of a level may not share: users, or the keys of one user where the files are theirs alone.
#[derive(Clone)]
struct Hull {
    users: (UserNo, UserNo),
    keys: Option<(Vec<u8>, Vec<u8>)>,
}

impl Hull {
    fn of(file: &ColdFile) -> Self {
        Self { users: file.users, keys: (file.users.0 == file.users.1).then(|| file.keys.clone()) }
    }

    fn overlaps(&self, other: &Self) -> bool {
        let meet = self.users.0 <= other.users.1 && other.users.0 <= self.users.1;
        meet && match (&self.keys, &other.keys) {
            (Some(a), Some(b)) => a.0 <= b.1 && b.0 <= a.1,
            _ => true,
        }
    }

    fn join(self, other: Self) -> Self {
        let users = (self.users.0.min(other.users.0), self.users.1.max(other.users.1));
        let keys = match (self.keys, other.keys) {
            (Some(a), Some(b)) if users.0 == users.1 => Some((a.0.min(b.0), a.1.max(b.1))),
            _ => None,
        };
        Self { users, keys }
    }
}

/// `files` and those of `level` that their outputs could overlap. An output may span a gap between its inputs, so what
/// counts is the hull of them all.
fn with_overlap(manifest: &Manifest, mut files: Vec<ColdFile>, level: u32) -> Vec<ColdFile> {
    let mut others: Vec<&ColdFile> = of_level(manifest, level);
    others.retain(|other| files.iter().all(|file| file.id != other.id));
    loop {
        let Some(hull) = files.iter().map(Hull::of).reduce(Hull::join) else { return files };
        let (overlapping, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(|file| hull.overlaps(&Hull::of(file)));
        if overlapping.is_empty() {
            return files;
        }
        files.extend(overlapping.into_iter().cloned());
        others = rest;
    }
}

/// A user over whom at least `depth` files lie, more than over any other.
fn deepest(files: &[&ColdFile], depth: usize) -> Option<UserNo> {
    let mut starts: Vec<UserNo> = files.iter().map(|file| file.users.0).collect();
    let mut ends: Vec<UserNo> = files.iter().map(|file| file.users.1).collect();
    starts.sort_unstable();
    ends.sort_unstable();
    let over = |(begun, user): (usize, &UserNo)| (begun + 1 - ends.partition_point(|end| end < user), *user);
    let (most, user) = starts.iter().enumerate().map(over).max_by_key(|(over, _)| *over)?;
    (most >= depth).then_some(user)
}

fn of_level(manifest: &Manifest, level: u32) -> Vec<&ColdFile> {
    manifest.files.iter().filter(|file| file.level == level).collect()
}

fn bytes<'a>(files: impl IntoIterator<Item = &'a ColdFile>) -> u64 {
    files.into_iter().map(|file| file.bytes).sum()
}

fn dead(file: &ColdFile) -> u64 {
    file.deletion_vector.as_ref().map_or(0, |vector| vector.cardinality)
}

fn is_older(oldest: Option<i64>, than: Option<i64>) -> bool {
    oldest.zip(than).is_some_and(|(oldest, than)| oldest < than)
}

#[cfg(test)]
mod tests;
