//! Which rows of a stream table are still there: one rule, which every reader of hot rows asks.
//!
//! A row is the newest version of its key. It is gone
//!
//! - once its commit lies longer ago than the table's `ttl`, by the one moment of the view;
//! - once its user has `max_rows` live rows that are newer: in the order of commits, and within one in that of keys. A
//!   soft-deleted row goes once there are so many newer rows of either kind, or they would pile up.
//!
//! What is gone stays gone, so rows are removed from the disk at any later time and no answer changes. Only a deletion
//! could bring a row back, by making room before it: what is gone is removed before one is committed ([`crate::stream`]).

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{Arc, OnceLock},
};

use insula_proto::Seq;

use super::{
    decoded::{DecodedCache, Moment},
    key,
    pending::PENDING,
    scan::UserHot,
    value::Header,
};
use crate::{Result, TableOptions};

/// When the rows of one user at one view are gone.
pub(crate) struct Expiry {
    /// Rows that were committed before are.
    cutoff_micros: i64,
    max_rows: Option<u64>,
    /// Where it is remembered which are the oldest to stay, and for which moment; `None`: nowhere.
    memory: Option<(Arc<DecodedCache>, Moment)>,
    floors: OnceLock<Floors>,
}

/// The oldest rows that stay: number, key. `None`: there are no more than may stay.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Floors {
    live: Option<(Seq, Vec<u8>)>,
    deleted: Option<(Seq, Vec<u8>)>,
}

impl Expiry {
    pub fn new(options: &TableOptions, now_micros: i64, memory: Option<(Arc<DecodedCache>, Moment)>) -> Self {
        let ttl = options.ttl.map(|ttl| i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX));
        let cutoff_micros = ttl.map_or(i64::MIN, |ttl| now_micros.saturating_sub(ttl));
        Self { cutoff_micros, max_rows: options.max_rows, memory, floors: OnceLock::new() }
    }

    fn floors(&self, hot: &UserHot, most: u64) -> Result<&Floors> {
        if let Some(floors) = self.floors.get() {
            return Ok(floors);
        }
        let committed = hot.committed();
        let known = self.memory.as_ref().and_then(|(memory, moment)| memory.floors(hot.table.id, hot.user, *moment));
        let mut floors = match known {
            Some(floors) => Floors::clone(&floors),
            None => {
                let floors = Floors::find(&committed, most)?;
                if let Some((memory, moment)) = &self.memory {
                    memory.keep_floors(hot.table.id, hot.user, *moment, &floors);
                }
                floors
            }
        };
        // What a transaction has deleted brings nothing back that was gone before it.
        if !hot.pending.is_empty() {
            floors = floors.max(Floors::find(hot, most)?);
        }
        Ok(self.floors.get_or_init(|| floors))
    }
}

impl UserHot {
    /// Whether it takes no look at all of the user's keys to say which rows are there.
    pub(crate) fn is_settled(&self) -> bool {
        let Some(expiry) = self.expiry.as_ref().filter(|expiry| expiry.max_rows.is_some()) else { return true };
        let is_remembered = || {
            let memory = expiry.memory.as_ref().filter(|_| self.pending.is_empty());
            memory.is_some_and(|(memory, moment)| memory.floors(self.table.id, self.user, *moment).is_some())
        };
        expiry.floors.get().is_some() || is_remembered()
    }

    /// Whether a row, the newest version of its key, is there.
    pub(super) fn shows(&self, row: &key::Parts<'_>, value: &[u8]) -> Result<bool> {
        let Some(expiry) = &self.expiry else { return Ok(true) };
        let header = Header::read(value)?;
        // A transaction's own rows have no time of a commit yet.
        if header.updated < expiry.cutoff_micros && row.seq != PENDING {
            return Ok(false);
        }
        match expiry.max_rows {
            Some(most) => Ok(expiry.floors(self, most)?.keep(row, header.deleted)),
            None => Ok(true),
        }
    }

    /// Whether any row is gone because there are too many.
    pub(crate) fn overflows(&self) -> Result<bool> {
        match self.expiry.as_ref().and_then(|expiry| Some((expiry, expiry.max_rows?))) {
            Some((expiry, most)) => Ok(*expiry.floors(self, most)? != Floors::default()),
            None => Ok(false),
        }
    }
}

impl Floors {
    fn find(hot: &UserHot, most: u64) -> Result<Self> {
        let (mut live, mut all) = (Newest::new(most), Newest::new(most));
        let mut rows = hot.newest_versions()?;
        let mut at = 0;
        while let Some((row, value)) = rows.next()? {
            hot.guard(&row)?;
            if !Header::read(value)?.deleted {
                live.push((row.seq, at));
            }
            all.push((row.seq, at));
            at += 1;
        }
        let (mut live, mut deleted) = (live.oldest(), all.oldest());
        let mut floors = Self::default();
        if live.is_none() && deleted.is_none() {
            return Ok(floors);
        }
        // Their keys: a second look is cheaper than to copy every key on the first.
        let (mut rows, mut at) = (hot.newest_versions()?, 0);
        while let Some((row, _)) = rows.next()? {
            let floor = |_| (row.seq, row.key.to_vec());
            floors.live = floors.live.or_else(|| live.take_if(|(_, place)| *place == at).map(floor));
            floors.deleted = floors.deleted.or_else(|| deleted.take_if(|(_, place)| *place == at).map(floor));
            at += 1;
        }
        Ok(floors)
    }

    fn keep(&self, row: &key::Parts<'_>, deleted: bool) -> bool {
        let floor = if deleted { &self.deleted } else { &self.live };
        floor.as_ref().is_none_or(|(seq, key)| (row.seq, row.key) >= (*seq, key.as_slice()))
    }

    fn max(self, other: Self) -> Self {
        Self { live: self.live.max(other.live), deleted: self.deleted.max(other.deleted) }
    }

    pub fn memory(&self) -> usize {
        let key = |floor: &Option<(Seq, Vec<u8>)>| floor.as_ref().map_or(0, |(_, key)| key.capacity());
        size_of::<Self>() + key(&self.live) + key(&self.deleted)
    }
}

/// The newest so many of the rows that are pushed, by number and place in the order of keys.
struct Newest {
    most: usize,
    rows: BinaryHeap<Reverse<(Seq, u64)>>,
    is_over: bool,
}

impl Newest {
    fn new(most: u64) -> Self {
        Self { most: usize::try_from(most).unwrap_or(usize::MAX), rows: BinaryHeap::new(), is_over: false }
    }

    fn push(&mut self, row: (Seq, u64)) {
        self.rows.push(Reverse(row));
        if self.rows.len() > self.most {
            self.rows.pop();
            self.is_over = true;
        }
    }

    /// `None`: no row was too many.
    fn oldest(&self) -> Option<(Seq, u64)> {
        self.rows.peek().filter(|_| self.is_over).map(|Reverse(row)| *row)
    }
}
