//! How fast a user may write. What a user writes is owed and paid off at the rate of the setting; whoever owes no more
//! than one second's worth goes on at once, all others wait until they do. So small writes never wait, streams come to
//! the rate by waiting between their batches, and what others write does not matter.
//!
//! What is kept is one instant per user: by when everything is paid. Who owes nothing leaves no trace, and without a
//! limit nothing is kept or looked at.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use insula_proto::UserNo;
use parking_lot::Mutex;

use crate::{Error, ErrorKind, Result, limits::Limits};

#[cfg(test)]
mod tests;

/// How much may be owed without waiting.
const BURST: Duration = Duration::from_secs(1);
/// Those who owe nothing any more are forgotten when the map has grown to this, or to twice what was left the last time.
const FEW: usize = 64;

pub(crate) struct WriteRate {
    /// 0: no limit.
    bytes_per_second: u64,
    /// How long a statement waits at most for what was written before it.
    patience: Duration,
    owed: Mutex<Owed>,
    refused: AtomicU64,
}

#[derive(Default)]
struct Owed {
    until: HashMap<UserNo, Instant>,
    crowded: usize,
}

impl WriteRate {
    pub fn new(limits: &Limits) -> Self {
        let (bytes_per_second, patience) = (limits.user_ingest_rate, limits.patience);
        Self { bytes_per_second, patience, owed: Mutex::default(), refused: AtomicU64::new(0) }
    }

    pub fn is_off(&self) -> bool {
        self.bytes_per_second == 0
    }

    /// How long a statement of the user has to wait that begins to write now; refused where that is too long.
    pub fn before_writing(&self, user: UserNo, now: Instant) -> Result<Duration> {
        let wait = self.wait(user, now);
        if wait <= self.patience {
            return Ok(wait);
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        let message = format!(
            "you have written more than --user-ingest-rate allows, {} bytes a second, and could go on in {} seconds, later \
             than --queue-timeout; write less at a time, try again then, or raise --user-ingest-rate",
            self.bytes_per_second,
            wait.as_secs() + 1
        );
        Err(Error::new(ErrorKind::ResourceExhausted, message))
    }

    /// How long a user has to wait before they write more.
    pub fn wait(&self, user: UserNo, now: Instant) -> Duration {
        if self.is_off() {
            return Duration::ZERO;
        }
        let until = self.owed.lock().until.get(&user).copied();
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now).saturating_sub(BURST))
    }

    /// They have written so much.
    pub fn wrote(&self, user: UserNo, bytes: u64, now: Instant) {
        if self.is_off() || bytes == 0 {
            return;
        }
        let owed = &mut *self.owed.lock();
        if owed.until.len() >= owed.crowded.max(FEW) {
            owed.until.retain(|_, until| *until > now);
            owed.crowded = 2 * owed.until.len();
        }
        let paid = owed.until.entry(user).or_insert(now);
        *paid = (*paid).max(now) + self.time_of(bytes);
    }

    /// Statements that were refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// At most a year, so that instants can hold it.
    fn time_of(&self, bytes: u64) -> Duration {
        let seconds = bytes as f64 / self.bytes_per_second as f64;
        Duration::from_secs_f64(seconds.min(365.0 * 86_400.0))
    }
}
