//! The engine's sessions, found again from request to request: by bearer token, else by user and connection.
//!
//! A client never names a session; it only proves who it is, and the session follows from that. So nobody can use, or
//! make the server open, a session of somebody else.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use insula_engine::{Identity, Session};
use insula_proto::UserNo;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::identity::tokens::TokenId;

/// Sessions of all users; beyond it the user who has most loses those that are idle longest. One is a few strings.
const CAPACITY: usize = 65_536;
/// The part of a user's sessions that goes at a time, so that a full table is not searched again for every newcomer.
const CLOSED_AT_ONCE: usize = 8;

/// By what a client is known again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Origin {
    Token(TokenId),
    Connection(Option<SocketAddr>),
}

/// The user is part of the key, since one connection or token (`x-insula-run-as`) may speak for several.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    pub user: UserNo,
    pub origin: Origin,
}

struct Entry {
    /// By which it is ended.
    id: Uuid,
    session: Arc<Session>,
    /// For people, who compare times with a clock.
    began: SystemTime,
    used: Instant,
}

/// What the admin service tells of a session.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    pub id: Uuid,
    pub user: UserNo,
    pub by_token: bool,
    pub began: SystemTime,
    pub idle: Duration,
}

pub struct Sessions {
    idle_limit: Duration,
    /// Of one user.
    most: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    sessions: HashMap<Key, Entry>,
    /// How many each user has.
    counts: HashMap<UserNo, usize>,
}

impl Sessions {
    /// `most`: sessions of one user.
    pub fn new(idle_limit: Duration, most: usize) -> Self {
        Self { idle_limit, most, open: Mutex::default() }
    }

    /// The session, and whether it is new. `schema`: of one-part names, until the client sets another; it matters to a
    /// session that is new.
    pub fn resolve(&self, key: Key, user: &Identity, schema: Option<&str>) -> (Arc<Session>, bool) {
        let now = Instant::now();
        let mut open = self.open.lock();
        if let Some(entry) = open.sessions.get_mut(&key) {
            entry.used = now;
            return (Arc::clone(&entry.session), false);
        }
        let closed = open.make_room(user.no, self.most);
        let session = Arc::new(opened(user, schema));
        let entry = Entry { id: Uuid::new_v4(), session: Arc::clone(&session), began: SystemTime::now(), used: now };
        open.sessions.insert(key, entry);
        *open.counts.entry(user.no).or_default() += 1;
        drop(open);
        closed.iter().for_each(|entry| entry.session.close());
        (session, true)
    }

    /// Whether a client's session is open.
    pub fn knows(&self, key: &Key) -> bool {
        self.open.lock().sessions.contains_key(key)
    }

    /// The client of an open session.
    pub fn find(&self, id: Uuid) -> Option<Key> {
        self.open.lock().sessions.iter().find(|(_, entry)| entry.id == id).map(|(key, _)| *key)
    }

    /// The client whose session this is.
    pub fn key_of(&self, session: &Session) -> Option<Key> {
        let open = self.open.lock();
        open.sessions.iter().find(|(_, entry)| entry.session.is_client_of(session)).map(|(key, _)| *key)
    }

    /// The next request of this client starts from the defaults. What there was.
    pub fn close(&self, key: &Key) -> Option<Arc<Session>> {
        let closed = self.open.lock().remove(key)?.session;
        closed.close();
        Some(closed)
    }

    /// The same of all clients that are known by these tokens.
    pub fn close_of(&self, tokens: &HashSet<TokenId>) -> Vec<Arc<Session>> {
        if tokens.is_empty() {
            return Vec::new();
        }
        let closed: Vec<_> = {
            let mut open = self.open.lock();
            let is_by_token = |key: &&Key| matches!(key.origin, Origin::Token(token) if tokens.contains(&token));
            let keys: Vec<Key> = open.sessions.keys().filter(is_by_token).copied().collect();
            keys.iter().filter_map(|key| open.remove(key)).map(|entry| entry.session).collect()
        };
        closed.iter().for_each(|session| session.close());
        closed
    }

    pub fn count(&self) -> usize {
        self.open.lock().sessions.len()
    }

    /// Of one user, or of all, in the order in which they began.
    pub fn list(&self, of: Option<UserNo>) -> Vec<SessionInfo> {
        let open = self.open.lock();
        let wanted = open.sessions.iter().filter(|(key, _)| of.is_none_or(|user| key.user == user));
        let mut list: Vec<_> = wanted
            .map(|(key, entry)| SessionInfo {
                id: entry.id,
                user: key.user,
                by_token: matches!(key.origin, Origin::Token(_)),
                began: entry.began,
                idle: entry.used.elapsed(),
            })
            .collect();
        drop(open);
        list.sort_by_key(|session| session.began);
        list
    }

    pub fn sweep(&self) {
        let limit = self.idle_limit;
        let idle: Vec<Entry> = {
            let mut open = self.open.lock();
            let idle = open.sessions.iter().filter(|(_, entry)| entry.used.elapsed() >= limit);
            let idle: Vec<Key> = idle.map(|(key, _)| *key).collect();
            idle.iter().filter_map(|key| open.remove(key)).collect()
        };
        idle.iter().for_each(|entry| entry.session.close());
    }
}

fn opened(user: &Identity, schema: Option<&str>) -> Session {
    let session = Session::new(user);
    if let Some(schema) = schema {
        // Any name can be set; whether it exists has been looked at.
        let _ = session.set("schema", schema);
    }
    session
}

impl Open {
    fn remove(&mut self, key: &Key) -> Option<Entry> {
        let entry = self.sessions.remove(key)?;
        if let Some(count) = self.counts.get_mut(&key.user) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&key.user);
            }
        }
        Some(entry)
    }

    /// For one session more of a user. Whoever has too many loses their own that are idle longest, and never another's;
    /// only where all users together have too many, whoever has most does.
    fn make_room(&mut self, user: UserNo, most: usize) -> Vec<Entry> {
        let count = self.counts.get(&user).copied().unwrap_or_default();
        let loser = if count >= most {
            user
        } else if self.sessions.len() >= CAPACITY {
            let fattest = self.counts.iter().max_by_key(|(_, count)| **count);
            fattest.map_or(user, |(user, _)| *user)
        } else {
            return Vec::new();
        };
        let own = self.sessions.iter().filter(|(key, _)| key.user == loser);
        // Those in a transaction go last: something would be lost with them.
        let mut own: Vec<_> = own.map(|(key, entry)| (entry.session.in_transaction(), entry.used, *key)).collect();
        own.sort_unstable_by_key(|(in_transaction, used, _)| (*in_transaction, *used));
        let some = (own.len() / CLOSED_AT_ONCE).max(1);
        own.iter().take(some).filter_map(|(_, _, key)| self.remove(key)).collect()
    }
}

#[cfg(test)]
mod tests;
