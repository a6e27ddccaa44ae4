//! What the users should see: sorted maps.

use std::collections::BTreeMap;

/// Text with zero bytes, so that keys are escaped, and a number.
pub type Key = (String, i32);

/// Values of a row by column id. A column that is not in it has its initial value.
pub type Values = BTreeMap<u32, Option<i64>>;

#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    pub values: Values,
    pub deleted: bool,
    /// `None`: the commit was cut short, so nobody was told.
    pub seq: Option<i64>,
    pub updated: i64,
}

pub type Rows = BTreeMap<Key, Row>;

/// What a read found.
pub type Found = BTreeMap<Key, (Values, bool, i64, i64)>;

/// Soft-deleted rows whose time was up before this may be gone.
pub type Horizon = i64;

/// The first difference, in words; `None` if what was found is what should be.
pub fn difference(rows: &Rows, found: &Found, horizon: Horizon) -> Option<String> {
    for (key, row) in rows {
        let Some((values, deleted, seq, updated)) = found.get(key) else {
            if row.deleted && row.updated <= horizon {
                continue;
            }
            return Some(format!("{key:?} is lost: {row:?}"));
        };
        let same = *values == row.values
            && *deleted == row.deleted
            && row.seq.is_none_or(|told| told == *seq)
            && *updated == row.updated;
        if !same {
            let there = found.get(key);
            return Some(format!("{key:?} should be {row:?}, is {there:?}"));
        }
    }
    let foreign = found.iter().find(|(key, _)| !rows.contains_key(*key));
    foreign.map(|(key, there)| format!("{key:?} should not be there: {there:?}"))
}

/// What was found is the truth from now on: commits that nobody was told of have their numbers, and an expired row that
/// is gone must never come back.
pub fn settle(rows: &mut Rows, found: &Found) {
    rows.retain(|key, _| found.contains_key(key));
    for (key, row) in rows {
        row.seq = found.get(key).map(|(_, _, seq, _)| *seq);
    }
}
