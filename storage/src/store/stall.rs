//! Back-pressure: writers wait where the hot tier would otherwise outgrow its flushes.
//!
//! They wait before they write, a bounded time; reads are never held up. A statement that is larger than all that may
//! be hot passes as soon as there is room at all. Rows of stream tables are never flushed: they have a share of their own,
//! and whoever finds it full is refused at once.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::time::{Instant, timeout_at};

use super::Store;
use crate::{Error, ErrorKind, Result, TableDef, hot::tables::Stall};

/// Writers that had to wait, since the start.
#[derive(Default)]
pub(crate) struct Stalls {
    pub waits: AtomicU64,
    pub micros: AtomicU64,
    /// Those that waited in vain.
    pub refused: AtomicU64,
}

/// One wait; it counts however it ends.
struct Wait<'a>(&'a Stalls, Instant);

impl<'a> Wait<'a> {
    fn begin(stalls: &'a Stalls) -> Self {
        stalls.waits.fetch_add(1, Relaxed);
        Self(stalls, Instant::now())
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.0.micros.fetch_add(u64::try_from(self.1.elapsed().as_micros()).unwrap_or(u64::MAX), Relaxed);
    }
}

impl Store {
    /// Returns when a writer of the table may go on.
    pub(crate) async fn room(&self, table: &TableDef) -> Result<()> {
        let mut waiting = None;
        loop {
            // Listening before looking: what is drained in between is not missed.
            let drained = self.tables.drained.notified();
            tokio::pin!(drained);
            drained.as_mut().enable();
            let Some(stall) = self.tables.stall(table.id) else { return Ok(()) };
            if let Stall::Kept(limit) = stall {
                self.tables.kept_pressure.notify_one();
                self.stalls.refused.fetch_add(1, Relaxed);
                return Err(full(table, limit));
            }
            self.tables.pressure.notify_one();
            let until = waiting.get_or_insert_with(|| Wait::begin(&self.stalls)).1 + self.stall_timeout;
            if timeout_at(until, drained).await.is_err() {
                self.stalls.refused.fetch_add(1, Relaxed);
                return Err(self.stalled(table, stall));
            }
        }
    }

    /// Says which limit was reached, and not how much anybody has.
    fn stalled(&self, table: &TableDef, stall: Stall) -> Error {
        let (whose, limit) = match stall {
            Stall::Table(limit) => (format!("table \"{}\" has", table.full_name()), limit),
            Stall::All(limit) | Stall::Kept(limit) => ("all tables together have".to_owned(), limit),
        };
        let message = format!(
            "write stall: {whose} {limit} bytes that are not flushed yet, and no flush made room within {:?}; try again",
            self.stall_timeout
        );
        Error::new(ErrorKind::Unavailable, message)
    }
}

/// Stream rows go when their time has come and not before, so nobody waits for that.
fn full(table: &TableDef, limit: u64) -> Error {
    let message = format!(
        "stream tables together hold the {limit} bytes that they may have at most, and table \"{}\" is one of them; try \
         again when rows have expired, or let them expire sooner: ALTER TABLE … SET (ttl = …, max_rows = …)",
        table.full_name()
    );
    Error::new(ErrorKind::ResourceExhausted, message)
}

#[cfg(test)]
mod tests;
