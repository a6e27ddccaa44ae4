//! What one user may have at a time, and what all have together. The server's settings say it; nothing here is per user,
//! so that nobody can learn of another user's limits, and no user needs an entry before they come.

use std::time::Duration;

/// Statements of one user that are planned, wait, run, or have rows to be read.
pub(crate) const MOST_STATEMENTS: usize = 4_096;
/// Statements that wait, of all users. Each holds its request and little more.
pub(crate) const MOST_WAITING: usize = 16_384;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of memory that one user's statements may take of those of all statements.
    pub user_memory: usize,
    /// Bytes of temporary files of one user's statements.
    pub user_spill: u64,
    /// Bytes of temporary files of all.
    pub spill: u64,
    /// Heavy statements of one user that compute at a time.
    pub user_concurrency: usize,
    /// Heavy statements of all users that compute at a time.
    pub concurrency: usize,
    /// Heavy statements of one user that may wait for the others.
    pub user_queue: usize,
    /// How long each of them waits at most.
    pub patience: Duration,
    /// Bytes of rows that one user may write a second; 0: no limit.
    pub user_ingest_rate: u64,
}

impl Default for Limits {
    /// Hardly any: for engines that have one user.
    fn default() -> Self {
        Self {
            user_memory: usize::MAX,
            user_spill: u64::MAX,
            spill: u64::MAX,
            user_concurrency: 64,
            concurrency: 64,
            user_queue: 1_024,
            patience: Duration::from_secs(60),
            user_ingest_rate: 0,
        }
    }
}
