//! Who wrote last: for each (table, user) a sequence number that is no smaller than that of their newest commit.
//!
//! The committer raises it **before** the commit can be seen, and a reader looks at it **after** taking its snapshot.
//! So a snapshot whose last number is not below it holds all the commits that it stands for, and what was decoded at
//! one such snapshot is true at every other one with the same number. A snapshot below it is older than the newest
//! commit, or that is on its way; nothing may then be remembered or recalled.
//!
//! The generation into which they wrote is kept beside it, in the same way. Where a snapshot's manifest says that all up
//! to that generation is cold, the user has no hot rows in it, and need not be looked for.
//!
//! The table has a fixed size, and its places are found by a hash. Two users who meet in one place cost each other a
//! decoding, never an answer: the numbers of the place are at least those of each.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use insula_proto::{Generation, Seq, TableId, UserNo};

const PLACES: usize = 1 << 16;

pub(crate) struct LastWrites {
    /// Seeded anew at each start, so that nobody can look for a name that shares a neighbour's place.
    hasher: RandomState,
    places: Box<[Place]>,
    /// Of changes that concern everybody.
    all: Place,
}

#[derive(Default)]
struct Place {
    seq: AtomicU64,
    generation: AtomicU32,
}

impl Default for LastWrites {
    fn default() -> Self {
        let places = std::iter::repeat_with(Place::default).take(PLACES).collect();
        Self { hasher: RandomState::new(), places, all: Place::default() }
    }
}

impl LastWrites {
    fn place(&self, table: TableId, user: UserNo) -> &Place {
        &self.places[self.hasher.hash_one((table.0, user.0)) as usize % PLACES]
    }

    /// Before the commit `seq` is written, into that generation.
    pub fn begin(&self, table: TableId, user: UserNo, seq: Seq, generation: Generation) {
        let place = self.place(table, user);
        place.seq.fetch_max(seq.0, Ordering::SeqCst);
        place.generation.fetch_max(generation.0, Ordering::SeqCst);
    }

    /// Rows that were there before anybody could read.
    pub fn found(&self, table: TableId, user: UserNo, generation: Generation) {
        self.place(table, user).generation.fetch_max(generation.0, Ordering::SeqCst);
    }

    /// Rows of unknown users may be anywhere.
    pub fn found_unknown(&self) {
        self.all.generation.store(u32::MAX, Ordering::SeqCst);
    }

    /// Whether a snapshot taken before, by whose manifest all up to `flushed` is cold, may hold hot rows of the user.
    pub fn may_be_hot(&self, table: TableId, user: UserNo, flushed: Generation) -> bool {
        let newest = |place: &Place| place.generation.load(Ordering::SeqCst);
        newest(self.place(table, user)).max(newest(&self.all)) > flushed.0
    }

    /// Before rows of unknown users change without a commit of their own. `next`: the number of the next commit.
    pub fn begin_all(&self, next: Seq) {
        self.all.seq.fetch_max(next.0, Ordering::SeqCst);
    }

    /// What stands for the user's rows in a snapshot whose last commit is `last`. `None`: it may lack some.
    pub fn at(&self, table: TableId, user: UserNo, last: Seq) -> Option<Seq> {
        let newest = |place: &Place| place.seq.load(Ordering::SeqCst);
        let newest = newest(self.place(table, user)).max(newest(&self.all));
        (newest <= last.0).then_some(Seq(newest))
    }
}

#[cfg(test)]
mod tests;
