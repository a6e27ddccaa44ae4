//! Stream tables: the removal of what nobody sees of them any more.
//!
//! Their rows stay in the hot tier and are never flushed. Which of them are there is decided when they are read
//! ([`crate::hot::expiry`]); here the disk follows, in two ways. A table with a `ttl` moves on to a new generation a few
//! times in that time, and a generation whose newest row has expired is dropped whole, unread, as a flush drops those
//! that it has written (`retire`). What goes one by one, rows of which a user has too many and versions that newer ones
//! replaced, is looked for (`sweep`): of one user when they have written as much again as they may keep, of all when
//! the table has doubled, and once an hour. `scheduler` decides when.
//!
//! Nothing that is removed was visible, with one condition: a deletion, or a looser option, must not make visible what
//! was gone before it. So both remove first, and only then are committed. Whoever removes has the table's turn, so that
//! it happens by the options of one definition, and that what is gone is counted once.

mod retire;
pub(crate) mod scheduler;
mod sweep;

use std::{collections::HashMap, sync::Arc};

use insula_proto::{TableId, UserNo};
use parking_lot::Mutex;

use crate::{
    Result, Store, TableDef, TableKind, TableOptions,
    flush::Flusher,
    hot::decoded::DecodedCache,
    jobs::{JobKind, Work},
    read::ReadView,
};

/// Users of whom it is remembered what they have written.
const WRITERS: usize = 64 << 10;
/// Rows that are written before a user's are looked through, however few may stay.
const FEWEST_ROWS: u64 = 256;

pub(crate) struct Streams {
    flusher: Arc<Flusher>,
    decoded: Arc<DecodedCache>,
    /// Rows written by each user since theirs were looked through, in tables with `max_rows`. If it grows too long it is
    /// forgotten; the next look at the whole table finds what is due then.
    written: Mutex<HashMap<(TableId, UserNo), u64>>,
    looked: Mutex<HashMap<TableId, Look>>,
}

/// The last look through all of a table.
#[derive(Clone, Copy)]
struct Look {
    /// What was left, or there when the store was opened.
    bytes: u64,
    at_micros: i64,
}

impl Streams {
    pub(crate) fn new(flusher: Arc<Flusher>, decoded: Arc<DecodedCache>) -> Self {
        Self { flusher, decoded, written: Mutex::default(), looked: Mutex::default() }
    }

    fn view(&self) -> Arc<ReadView> {
        let Flusher { db, cold, tables, clock, .. } = &*self.flusher;
        ReadView::take(db, cold, tables, &self.decoded, &**clock)
    }

    /// Before so many rows of a user are committed, under the lock of the user or the table. `deletes`: rows that are there
    /// go by it.
    pub(crate) async fn make_way(
        self: &Arc<Self>,
        table: &Arc<TableDef>,
        user: UserNo,
        rows: u64,
        deletes: bool,
    ) -> Result<()> {
        let Some(most) = table.options.max_rows else { return Ok(()) };
        let is_due = {
            let mut written = self.written.lock();
            if written.len() >= WRITERS {
                written.clear();
            }
            let written = written.entry((table.id, user)).or_default();
            *written = written.saturating_add(rows);
            *written >= most.max(FEWEST_ROWS)
        };
        if is_due || deletes && self.overflows(table, user).await? {
            self.sweep_user(table.id, user).await?;
        }
        Ok(())
    }

    /// Removes all that nobody sees; returns it.
    pub(crate) async fn purge(self: &Arc<Self>, table: TableId) -> Result<Work> {
        let mut work = self.retire(table).await?;
        let swept = self.sweep(table).await?;
        work.rows += swept.rows;
        work.bytes += swept.bytes;
        Ok(work)
    }

    fn done(&self, table: &TableDef, work: Work) {
        if work.rows > 0 {
            tracing::info!(table = %table.id, ?work, "removed rows of a stream table that had expired");
            self.flusher.jobs.done(JobKind::Purge, Some(table), self.flusher.clock.now_micros(), work);
        } else {
            self.flusher.jobs.needless(JobKind::Purge, table.id);
        }
    }

    /// The table is gone.
    pub(crate) fn forget(&self, table: TableId) {
        self.looked.lock().remove(&table);
        self.written.lock().retain(|(of, _), _| *of != table);
    }
}

impl Store {
    /// The largest statement, in bytes of its rows, that a stream table takes: its commit is one batch of hot rows.
    pub fn stream_bytes(&self) -> usize {
        self.load_bytes.saturating_mul(4)
    }

    /// Before a definition is changed. Where a row may stay for longer than before, none of those that are gone may come
    /// back; nobody writes until the result is dropped.
    pub(crate) async fn before_options(
        self: &Arc<Self>,
        old: &Arc<TableDef>,
        new: &TableOptions,
    ) -> Result<Option<Arc<crate::store::Held>>> {
        let looser = |old: Option<u128>, new: Option<u128>| old.is_some_and(|old| new.is_none_or(|new| new > old));
        let micros = |options: &TableOptions| options.ttl.map(|ttl| ttl.as_micros());
        let rows = |options: &TableOptions| options.max_rows.map(u128::from);
        let is_looser = looser(micros(&old.options), micros(new)) || looser(rows(&old.options), rows(new));
        if old.kind != TableKind::Stream || !is_looser {
            return Ok(None);
        }
        let held = self.locks.take_all(old.id).await;
        self.streams.purge(old.id).await?;
        Ok(Some(held))
    }
}

#[cfg(test)]
mod tests;
