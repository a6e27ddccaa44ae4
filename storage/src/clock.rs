//! The only source of time in this crate, so that tests can set it ([`crate::Store::open_with_clock`]).

use std::time::{SystemTime, UNIX_EPOCH};

pub trait Clock: Send + Sync {
    /// Microseconds since 1970 in UTC. May stand still or go back; who needs an order keeps one.
    fn now_micros(&self) -> i64;
}

/// The computer's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_micros(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }
}
