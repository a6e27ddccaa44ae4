//! Who wrote last: for each (table, user) a sequence number that is no smaller than that of their newest commit.
//!
//! The committer raises it **before** the commit can be seen, and a reader looks at it **after** taking its snapshot.
//! So a snapshot whose last number is not below it holds all the commits that it stands for, and what was decoded at
//! one such snapshot is true at every other one with the same number. A snapshot below it is older than the newest
//! commit, or that is on its way; nothing may then be remembered or recalled.
//!
//! The table has a fixed size, and its places are found by a hash. Two users who meet in one place cost each other a
//! decoding, never an answer: the number of the place is at least that of each.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::atomic::{AtomicU64, Ordering},
};

use insula_proto::{Seq, TableId, UserNo};

const PLACES: usize = 1 << 16;

pub(crate) struct LastWrites {
    /// Seeded anew at each start, so that nobody can look for a name that shares a neighbour's place.
    hasher: RandomState,
    places: Box<[AtomicU64]>,
    /// Of changes that concern everybody.
    all: AtomicU64,
}

impl Default for LastWrites {
    fn default() -> Self {
        let places = std::iter::repeat_with(AtomicU64::default).take(PLACES).collect();
        Self { hasher: RandomState::new(), places, all: AtomicU64::new(0) }
    }
}

impl LastWrites {
    fn place(&self, table: TableId, user: UserNo) -> &AtomicU64 {
        &self.places[self.hasher.hash_one((table.0, user.0)) as usize % PLACES]
    }

    /// Before the commit `seq` is written.
    pub fn begin(&self, table: TableId, user: UserNo, seq: Seq) {
        self.place(table, user).fetch_max(seq.0, Ordering::SeqCst);
    }

    /// Before rows of unknown users change without a commit of their own. `next`: the number of the next commit.
    pub fn begin_all(&self, next: Seq) {
        self.all.fetch_max(next.0, Ordering::SeqCst);
    }

    /// What stands for the user's rows in a snapshot whose last commit is `last`. `None`: it may lack some.
    pub fn at(&self, table: TableId, user: UserNo, last: Seq) -> Option<Seq> {
        let newest = self.place(table, user).load(Ordering::SeqCst).max(self.all.load(Ordering::SeqCst));
        (newest <= last.0).then_some(Seq(newest))
    }
}

#[cfg(test)]
mod tests;
