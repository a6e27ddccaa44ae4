//! Session tokens: what a client sends instead of its password once it has proved itself.
//!
//! A token is 256 random bits. The server keeps only its hash, so that a copy of the server's memory or a log of its
//! tables opens nothing. It ends after a time without use, at a fixed age however busy its session is, with the password
//! that it was given for, and with the process.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use insula_proto::UserNo;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

#[cfg(test)]
mod tests;

/// Live tokens of one user; beyond it the one that nobody will miss most goes first.
const PER_USER: usize = 256;

/// Hash of a token.
pub type TokenId = [u8; 32];

struct Entry {
    user: UserNo,
    /// Of the user's password.
    era: u64,
    issued: Instant,
    used: Instant,
    /// A client that sends its password with every request gets a token each time and never presents one.
    presented: bool,
}

pub struct Tokens {
    idle_limit: Duration,
    /// `None`: however old.
    max_age: Option<Duration>,
    live: Mutex<HashMap<TokenId, Entry>>,
}

impl Tokens {
    pub fn new(idle_limit: Duration, max_age: Option<Duration>) -> Self {
        Self { idle_limit, max_age, live: Mutex::default() }
    }

    pub fn issue(&self, user: UserNo, era: u64, now: Instant) -> Result<String, getrandom::Error> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        let token = URL_SAFE_NO_PAD.encode(secret);
        let mut live = self.live.lock();
        make_room(&mut live, user);
        live.insert(token_id(&token), Entry { user, era, issued: now, used: now, presented: false });
        Ok(token)
    }

    /// The user it was issued to, the era of their password then, and its new lease of life.
    pub fn resolve(&self, token: &str, now: Instant) -> Option<(TokenId, UserNo, u64)> {
        let id = token_id(token);
        let mut live = self.live.lock();
        let entry = live.get_mut(&id)?;
        if self.is_over(entry, now) {
            return None;
        }
        entry.used = now;
        entry.presented = true;
        Some((id, entry.user, entry.era))
    }

    /// It stands for a newer password of its user.
    pub fn renew(&self, id: &TokenId, era: u64) {
        if let Some(entry) = self.live.lock().get_mut(id) {
            entry.era = era;
        }
    }

    /// It opens nothing any more. Whether it did.
    pub fn revoke(&self, id: &TokenId) -> bool {
        self.live.lock().remove(id).is_some()
    }

    /// The same, if it is this user's. Whether it was.
    pub fn revoke_of(&self, id: &TokenId, user: UserNo) -> bool {
        let mut live = self.live.lock();
        let own = live.get(id).is_some_and(|entry| entry.user == user);
        if own {
            live.remove(id);
        }
        own
    }

    /// Forgets those that have ended, and says which they were.
    pub fn sweep(&self, now: Instant) -> HashSet<TokenId> {
        let mut live = self.live.lock();
        let over: HashSet<_> = live.iter().filter(|(_, entry)| self.is_over(entry, now)).map(|(id, _)| *id).collect();
        live.retain(|id, _| !over.contains(id));
        over
    }

    fn is_over(&self, entry: &Entry, now: Instant) -> bool {
        now.duration_since(entry.used) >= self.idle_limit
            || self.max_age.is_some_and(|age| now.duration_since(entry.issued) >= age)
    }
}

/// Under what a token is known here; it says nothing about the token.
pub fn token_id(token: &str) -> TokenId {
    Sha256::digest(token.as_bytes()).into()
}

fn make_room(live: &mut HashMap<TokenId, Entry>, user: UserNo) {
    let own = || live.iter().filter(|(_, entry)| entry.user == user);
    if own().count() < PER_USER {
        return;
    }
    let least = own().min_by_key(|(_, entry)| (entry.presented, entry.used)).map(|(id, _)| *id);
    if let Some(least) = least {
        live.remove(&least);
    }
}
