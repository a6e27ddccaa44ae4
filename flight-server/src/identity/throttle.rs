//! Slows down who guesses passwords. Whether a name is a user's makes no difference to what is counted or answered.
//!
//! Failures are counted for a name from one address, and, with more patience, for a name from anywhere: so one guesser
//! cannot lock others out of their account at once, and many guessers together do not get far.
//!
//! Passwords that are being looked at count as failures until it is known: however many come at once, no more are looked
//! at than may fail, and the others wait for the outcome.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tonic::Status;

#[cfg(test)]
mod tests;

const FREE_BY_ADDRESS: u32 = 8;
const FREE_BY_NAME: u32 = 64;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// After so long without a failure a name begins anew.
const FORGOTTEN: Duration = Duration::from_secs(900);
/// Longest wait for the outcome of other attempts.
const OUTCOME: Duration = Duration::from_secs(10);
/// Names are counted by their hash, and no more than so many at a time.
const MOST: usize = 100_000;

type Place = [u8; 32];

struct Failures {
    count: u32,
    /// Attempts whose outcome is not known yet.
    pending: u32,
    free: u32,
    last: Instant,
}

impl Failures {
    /// Until when nobody may try.
    fn until(&self) -> Instant {
        self.last + wait(self.count, self.free)
    }

    /// As many fail together as might have failed one after another.
    fn is_full(&self) -> bool {
        self.pending >= (self.free + 1).saturating_sub(self.count).max(1)
    }
}

#[derive(Default)]
pub struct Throttle {
    failed: Mutex<HashMap<Place, Failures>>,
    outcome: Notify,
}

/// A password that is being looked at. Dropped without an outcome, nothing was learnt of it, and nothing is counted.
#[must_use]
pub struct Attempt<'a> {
    throttle: &'a Throttle,
    places: [(Place, u32); 2],
}

impl Throttle {
    /// Refused while the name has to wait; the password is not looked at then.
    pub async fn begin(&self, name: &str, from: Option<IpAddr>) -> Result<Attempt<'_>, Status> {
        let attempt = async {
            loop {
                let outcome = self.outcome.notified();
                if let Some(attempt) = self.try_begin(name, from, Instant::now())? {
                    return Ok(attempt);
                }
                outcome.await;
            }
        };
        let many = |_| Status::resource_exhausted("too many logins with this name are being checked; try again");
        tokio::time::timeout(OUTCOME, attempt).await.map_err(many)?
    }

    /// `None`: others must have their outcome first.
    fn try_begin(&self, name: &str, from: Option<IpAddr>, now: Instant) -> Result<Option<Attempt<'_>>, Status> {
        let places = places(name, from);
        let mut failed = self.failed.lock();
        let known = || places.iter().filter_map(|(place, _)| failed.get(place));
        let waits = known().filter_map(|failures| failures.until().checked_duration_since(now));
        if let Some(wait) = waits.max().filter(|wait| !wait.is_zero()) {
            return Err(Status::unauthenticated(format!(
                "too many failed logins for this name; try again in {} s",
                wait.as_secs() + 1
            )));
        }
        if known().any(Failures::is_full) {
            return Ok(None);
        }
        if failed.len() + places.len() > MOST {
            make_room(&mut failed, &places, now);
        }
        let new = places.iter().filter(|(place, _)| !failed.contains_key(place)).count();
        if failed.len() + new > MOST {
            return Err(Status::resource_exhausted("too many names have failed to log in lately; try again later"));
        }
        for (place, free) in places {
            failed.entry(place).or_insert(Failures { count: 0, pending: 0, free, last: now }).pending += 1;
        }
        Ok(Some(Attempt { throttle: self, places }))
    }

    pub fn sweep(&self, now: Instant) {
        let kept = |failures: &Failures| failures.pending > 0 || now.duration_since(failures.last) < FORGOTTEN;
        self.failed.lock().retain(|_, failures| kept(failures));
    }
}

impl Attempt<'_> {
    pub fn failed(self, now: Instant) {
        let mut failed = self.throttle.failed.lock();
        for (place, _) in &self.places {
            if let Some(failures) = failed.get_mut(place) {
                failures.count = failures.count.saturating_add(1);
                failures.last = now;
            }
        }
    }

    /// A right password from an address clears that address alone.
    pub fn succeeded(self) {
        let [(place, _), _] = &self.places;
        if let Some(failures) = self.throttle.failed.lock().get_mut(place) {
            failures.count = 0;
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut failed = self.throttle.failed.lock();
        for (place, _) in &self.places {
            if let Some(failures) = failed.get_mut(place) {
                failures.pending = failures.pending.saturating_sub(1);
                if failures.pending == 0 && failures.count == 0 {
                    failed.remove(place);
                }
            }
        }
        drop(failed);
        self.throttle.outcome.notify_waiters();
    }
}

/// Drops half of what may be dropped, the fewest failures first: never a name that waits, or is being looked at, so that
/// nobody ends a wait by making others fail.
fn make_room(failed: &mut HashMap<Place, Failures>, wanted: &[(Place, u32)], now: Instant) {
    let droppable = |place: &Place, failures: &Failures| {
        failures.pending == 0 && failures.until() <= now && !wanted.iter().any(|(wanted, _)| wanted == place)
    };
    let mut counts: Vec<_> =
        failed.iter().filter(|(p, f)| droppable(p, f)).map(|(p, f)| (f.count, f.last, *p)).collect();
    counts.sort_unstable();
    for (.., place) in &counts[..counts.len().div_ceil(2)] {
        failed.remove(place);
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
