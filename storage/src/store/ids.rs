//! Row ids and snowflakes: strictly increasing numbers that carry their time.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::clock::Clock;

/// 2024-01-01 00:00 UTC in milliseconds. Counted from here, 42 bits of milliseconds last until 2093 before the
/// number turns negative as a signed one.
const EPOCH_MILLIS: i64 = 1_704_067_200_000;
const COUNTER_BITS: u32 = 22;

pub(crate) struct Ids {
    clock: Arc<dyn Clock>,
    last: AtomicU64,
}

impl Ids {
    /// `last`: the last number that is known to have been given out.
    pub fn new(clock: Arc<dyn Clock>, last: u64) -> Self {
        Self { clock, last: AtomicU64::new(last) }
    }

    /// The first of `n` numbers in a row. A clock that stands still or goes back only makes the counter run on.
    pub fn reserve(&self, n: usize) -> u64 {
        let millis = u64::try_from(self.clock.now_micros() / 1000 - EPOCH_MILLIS).unwrap_or(0);
        let now = millis << COUNTER_BITS;
        let n = n as u64;
        let step = |last: u64| Some((last + 1).max(now) + n.saturating_sub(1));
        let before = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).unwrap_or_else(|last| last);
        (before + 1).max(now)
    }

    /// Numbers up to this one have been given out, elsewhere.
    pub fn raise(&self, last: u64) {
        self.last.fetch_max(last, Ordering::Relaxed);
    }

    pub fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
