//! What one user may have, as the settings say it.

use std::{fmt, thread};

use bytesize::ByteSize;
use insula_engine::Limits;

use super::{Error, Settings};
use crate::memory::Shares;

/// Less would not do for a single sort.
const SMALLEST_MEMORY: ByteSize = ByteSize::mib(8);
/// Sessions that one client may need at least, with a few transactions.
const FEWEST_SESSIONS: usize = 16;

/// Two for each processor: one computes while the other waits for the disk.
pub(super) fn user_concurrency() -> usize {
    (2 * thread::available_parallelism().map_or(1, usize::from)).max(4)
}

impl Settings {
    /// `memory`: bytes of all statements together.
    pub fn limits(&self, memory: usize) -> Limits {
        let user_memory = match self.user_memory_limit {
            Some(limit) => usize::try_from(limit.as_u64()).unwrap_or(usize::MAX).min(memory),
            // The last quarter is always there for somebody else.
            None => memory / 4 * 3,
        };
        Limits {
            user_memory,
            user_spill: self.user_spill_limit.as_u64(),
            spill: self.spill_limit.as_u64(),
            user_concurrency: self.user_concurrency,
            concurrency: self.all_concurrency(),
            user_queue: self.user_queue,
            patience: self.queue_timeout,
            user_ingest_rate: self.user_ingest_rate.as_u64(),
        }
    }

    /// Of limits that rest on others where they are not given.
    pub(super) fn in_effect(&self, name: &str) -> Option<String> {
        match name {
            "user_memory_limit" => {
                let memory = self.limits(Shares::of(self.memory_limit).statements).user_memory;
                Some(ByteSize(memory as u64).to_string())
            }
            "concurrency" => Some(self.all_concurrency().to_string()),
            _ => None,
        }
    }

    /// Bytes that a result may have.
    pub fn result_limit(&self) -> u64 {
        match self.max_result_bytes.as_u64() {
            0 => u64::MAX,
            bytes => bytes,
        }
    }

    fn all_concurrency(&self) -> usize {
        self.concurrency.unwrap_or(2 * self.user_concurrency)
    }

    pub(super) fn check_limits(&self) -> Result<(), Error> {
        if let Some(limit) = self.user_memory_limit.filter(|limit| *limit < SMALLEST_MEMORY) {
            return Err(Error(format!("user_memory_limit: {limit} is too little; give at least {SMALLEST_MEMORY}")));
        }
        if self.user_concurrency == 0 || self.all_concurrency() == 0 {
            return Err(Error("user_concurrency and concurrency: nothing could run; give at least 1".into()));
        }
        if self.queue_timeout.is_zero() {
            return Err(Error(
                "queue_timeout: give a time above 0, such as 30s; user_queue = 0 lets nobody wait".into(),
            ));
        }
        if self.user_sessions < FEWEST_SESSIONS {
            return Err(Error(format!("user_sessions: give at least {FEWEST_SESSIONS}")));
        }
        Ok(())
    }

    pub(super) fn write_limits(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.user_memory_limit {
            Some(limit) => write!(f, "user_memory_limit={limit} ")?,
            None => write!(f, "user_memory_limit=3/4 ")?,
        }
        write!(f, "user_concurrency={} concurrency={} ", self.user_concurrency, self.all_concurrency())?;
        let timeout = humantime::format_duration(self.queue_timeout);
        write!(f, "user_queue={} queue_timeout={timeout} ", self.user_queue)?;
        write!(f, "max_result_bytes={} ", self.max_result_bytes)?;
        write!(f, "user_spill_limit={} spill_limit={} ", self.user_spill_limit, self.spill_limit)?;
        write!(f, "user_sessions={} user_ingest_rate={} ", self.user_sessions, self.user_ingest_rate)
    }
}
