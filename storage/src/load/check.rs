//! Are a load's keys free? The hot tier knows none of them by now; left are the load's own files and the older ones.
//!
//! Only files whose bounds meet those of another are read back: of rows in the order of their keys, none. Their keys
//! are merged, so that equal ones become neighbours, and looked up in the older files some at a time.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

use insula_proto::UserNo;

use super::{Mode, Scope, duplicate, finish::Replaced};
use crate::{
    KeyRows, Result, Store, TableDef,
    cold::{ColdFile, Manifest, find::KeyWindow, writer::groups::Bounds},
};

/// Keys looked up in the older files at a time.
const LOOKUP_KEYS: usize = 64 << 10;
/// Keys in memory during the merge, over all files.
const MERGE_KEYS: usize = 1 << 20;

pub(super) struct Check<'a> {
    pub(super) store: &'a Arc<Store>,
    pub(super) table: &'a Arc<TableDef>,
    pub(super) mode: Mode,
    pub(super) base: &'a Manifest,
    pub(super) files: &'a [(ColdFile, Bounds)],
}

/// Where a row of the load lies.
#[derive(Clone, Copy)]
struct Place {
    file: usize,
    row: u64,
}

/// The keys of one file, in their order.
struct Cursor {
    file: usize,
    /// Of the window's first key.
    row: u64,
    window: KeyWindow,
    at: usize,
}

/// Distinct keys of the load, ascending, that wait to be looked up.
#[derive(Default)]
struct Sought {
    users: Vec<UserNo>,
    keys: KeyRows,
    places: Vec<Place>,
}

impl Check<'_> {
    pub(super) async fn run(&self, scope: Scope) -> Result<Replaced> {
        let mut replaced = Replaced::default();
        if self.table.has_row_id() {
            return Ok(replaced);
        }
        let old = self.old_bounds(scope).await?;
        let meets_old: Vec<bool> =
            self.files.iter().map(|(_, bounds)| old.iter().any(|old| old.meets(bounds))).collect();
        let contended = (0..self.files.len()).filter(|at| {
            let others = self.files.iter().enumerate().filter(|(other, _)| other != at);
            meets_old[*at] || others.map(|(_, (_, bounds))| bounds).any(|other| other.meets(&self.files[*at].1))
        });
        let contended: Vec<usize> = contended.collect();
        let any_old = contended.iter().any(|at| meets_old[*at]);
        self.merge(&contended, any_old, &mut replaced).await?;
        Ok(replaced)
    }

    /// Bounds of the older files: of the one user's rows in them where the load has one user.
    async fn old_bounds(&self, scope: Scope) -> Result<Vec<Bounds>> {
        let user = match scope {
            Scope::One(user) => Some(user),
            Scope::Many => None,
        };
        let mut bounds = Vec::new();
        for file in &self.base.files {
            let spans = self.files.iter().any(|(own, _)| own.users.0 <= file.users.1 && file.users.0 <= own.users.1);
            if spans {
                bounds.extend(self.store.cold.bounds(self.table.id, file, user).await?);
            }
        }
        Ok(bounds)
    }

    async fn merge(&self, files: &[usize], any_old: bool, replaced: &mut Replaced) -> Result<()> {
        let window = (MERGE_KEYS / files.len().max(1)).clamp(1024, LOOKUP_KEYS) as u64;
        let mut cursors = Vec::new();
        let mut heap = BinaryHeap::new();
        for file in files {
            let mut cursor = Cursor { file: *file, row: 0, window: KeyWindow::default(), at: 0 };
            self.refill(&mut cursor, window).await?;
            if let Some((user, key)) = cursor.key() {
                heap.push(Reverse((user, key.to_vec(), cursors.len())));
            }
            cursors.push(cursor);
        }
        let mut sought = Sought::default();
        // Among equal keys the order is that of the files, which is that in which the rows came.
        while let Some(Reverse((user, mut key, number))) = heap.pop() {
            let cursor = &mut cursors[number];
            let place = Place { file: cursor.file, row: cursor.row + cursor.at as u64 };
            match sought.places.last().copied().filter(|_| sought.ends_with(user, &key)) {
                None => {
                    if sought.places.len() >= LOOKUP_KEYS {
                        self.look_up(&mut sought, any_old, replaced).await?;
                    }
                    sought.push(user, &key, place);
                }
                Some(_) if self.mode == Mode::Insert => return Err(self.duplicate(place).await?),
                Some(earlier) => {
                    replaced.own.entry(earlier.file).or_default().insert(earlier.row as u32);
                    sought.replace_last(place);
                }
            }
            cursor.at += 1;
            if cursor.at >= cursor.window.keys.len() {
                self.refill(cursor, window).await?;
            }
            if let Some((user, next)) = cursor.key() {
                key.clear();
                key.extend_from_slice(next);
                heap.push(Reverse((user, key, number)));
            }
        }
        self.look_up(&mut sought, any_old, replaced).await
    }

    /// Reads the cursor's next window of keys.
    async fn refill(&self, cursor: &mut Cursor, rows: u64) -> Result<()> {
        let file = &self.files[cursor.file].0;
        cursor.row += cursor.at as u64;
        cursor.at = 0;
        let end = (cursor.row + rows).min(file.rows);
        cursor.window = self.store.cold.keys(self.table, file, cursor.row..end).await?;
        Ok(())
    }

    async fn look_up(&self, sought: &mut Sought, any_old: bool, replaced: &mut Replaced) -> Result<()> {
        let Sought { users, keys, places } = std::mem::take(sought);
        if !any_old {
            return Ok(());
        }
        let pairs: Vec<(UserNo, &[u8])> = users.iter().copied().zip(keys.iter()).collect();
        for hit in self.store.cold.find_all(self.base, self.table, &pairs).await? {
            // A deleted row only gives way.
            if self.mode == Mode::Insert && !hit.deleted {
                return Err(self.duplicate(places[hit.key]).await?);
            }
            replaced.old.entry(hit.file).or_default().insert(hit.row);
        }
        Ok(())
    }

    /// The error that names the key of a row.
    async fn duplicate(&self, place: Place) -> Result<crate::Error> {
        let columns = self.store.cold.key_columns(self.table, &self.files[place.file].0, place.row).await?;
        Ok(duplicate(self.table, &columns, 0))
    }
}

impl Cursor {
    /// `None` at the end of the file.
    fn key(&self) -> Option<(UserNo, &[u8])> {
        let user = self.window.users.get(self.at)?;
        Some((*user, self.window.keys.row(self.at)))
    }
}

impl Sought {
    fn ends_with(&self, user: UserNo, key: &[u8]) -> bool {
        let last = self.keys.len().checked_sub(1);
        last.is_some_and(|last| self.users[last] == user && self.keys.row(last) == key)
    }

    fn push(&mut self, user: UserNo, key: &[u8], place: Place) {
        self.users.push(user);
        self.keys.push(key);
        self.places.push(place);
    }

    fn replace_last(&mut self, place: Place) {
        if let Some(last) = self.places.last_mut() {
            *last = place;
        }
    }
}
