//! Slows down who guesses passwords. Whether a name is a user's makes no difference to what is counted or answered.
//!
//! Failures are counted for a name from one address, and, with more patience, for a name from anywhere: so one guesser
//! cannot lock others out of their account at once, and many guessers together do not get far.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tonic::Status;

#[cfg(test)]
mod tests;

const FREE_BY_ADDRESS: u32 = 8;
const FREE_BY_NAME: u32 = 64;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// After so long without a failure a name begins anew.
const FORGOTTEN: Duration = Duration::from_secs(900);
/// Names are counted by their hash, and no more than so many at a time.
const MOST: usize = 100_000;

type Place = [u8; 32];

struct Failures {
    count: u32,
    last: Instant,
}

#[derive(Default)]
pub struct Throttle {
    failed: Mutex<HashMap<Place, Failures>>,
}

impl Throttle {
    /// Refused while the name has to wait; the password is not looked at then.
    pub fn check(&self, name: &str, from: Option<IpAddr>, now: Instant) -> Result<(), Status> {
        let failed = self.failed.lock();
        let waits = places(name, from).into_iter().filter_map(|(place, free)| {
            let failures = failed.get(&place)?;
            (failures.last + wait(failures.count, free)).checked_duration_since(now)
        });
        match waits.max().filter(|wait| !wait.is_zero()) {
            Some(wait) => Err(Status::unauthenticated(format!(
                "too many failed logins for this name; try again in {} s",
                wait.as_secs() + 1
            ))),
            None => Ok(()),
        }
    }

    pub fn failed(&self, name: &str, from: Option<IpAddr>, now: Instant) {
        let mut failed = self.failed.lock();
        if failed.len() >= MOST {
            failed.retain(|_, failures| now.duration_since(failures.last) < FIRST_WAIT);
        }
        for (place, _) in places(name, from) {
            let failures = failed.entry(place).or_insert(Failures { count: 0, last: now });
            failures.count = failures.count.saturating_add(1);
            failures.last = now;
        }
    }

    /// A right password from an address clears that address alone.
    pub fn succeeded(&self, name: &str, from: Option<IpAddr>) {
        let [(place, _), _] = places(name, from);
        self.failed.lock().remove(&place);
    }

    pub fn sweep(&self, now: Instant) {
        self.failed.lock().retain(|_, failures| now.duration_since(failures.last) < FORGOTTEN);
    }
}

/// Where a failure is counted, and how many are free there.
fn places(name: &str, from: Option<IpAddr>) -> [(Place, u32); 2] {
    let place = |from: &str| Sha256::new().chain_update(from).chain_update([0]).chain_update(name).finalize().into();
    let address = from.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string());
    [(place(&address), FREE_BY_ADDRESS), (place(""), FREE_BY_NAME)]
}

/// Doubles with each failure beyond the free ones.
fn wait(count: u32, free: u32) -> Duration {
    match count.checked_sub(free) {
        None | Some(0) => Duration::ZERO,
        Some(beyond) => FIRST_WAIT.saturating_mul(1 << (beyond - 1).min(20)).min(LONGEST_WAIT),
    }
}
