//! The engine's sessions, found again from request to request: by bearer token, else by user and connection.
//!
//! A client never names a session; it only proves who it is, and the session follows from that. So nobody can use, or
//! make the server open, a session of somebody else.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use insula_engine::{Identity, Session};
use insula_proto::UserNo;
use parking_lot::Mutex;

use crate::identity::tokens::TokenId;

/// Idle sessions beyond this number are closed, the longest idle first. A session is a few strings.
const CAPACITY: usize = 65_536;

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
    session: Arc<Session>,
    /// For people, who compare times with a clock.
    began: SystemTime,
    used: Instant,
}

/// What the admin service tells of a session.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    pub user: UserNo,
    pub by_token: bool,
    pub began: SystemTime,
    pub idle: Duration,
}

pub struct Sessions {
    idle_limit: Duration,
    open: Mutex<HashMap<Key, Entry>>,
}

impl Sessions {
    pub fn new(idle_limit: Duration) -> Self {
        Self { idle_limit, open: Mutex::default() }
    }

    /// The session, and whether it is new. `schema`: of one-part names, until the client sets another; it matters to a
    /// session that is new.
    pub fn resolve(&self, key: Key, user: &Identity, schema: Option<&str>) -> (Arc<Session>, bool) {
        let now = Instant::now();
        let mut open = self.open.lock();
        if open.len() >= CAPACITY && !open.contains_key(&key) {
            make_room(&mut open);
        }
        let new = || Entry { session: Arc::new(opened(user, schema)), began: SystemTime::now(), used: now };
        let before = open.len();
        let entry = open.entry(key).or_insert_with(new);
        entry.used = now;
        let session = Arc::clone(&entry.session);
        (session, open.len() > before)
    }

    /// Whether a client's session is open.
    pub fn knows(&self, key: &Key) -> bool {
        self.open.lock().contains_key(key)
    }

    /// The next request of this client starts from the defaults.
    pub fn close(&self, key: &Key) {
        let closed = self.open.lock().remove(key);
        closed.into_iter().for_each(|entry| entry.session.close());
    }

    pub fn count(&self) -> usize {
        self.open.lock().len()
    }

    /// Of one user, or of all, in the order in which they began.
    pub fn list(&self, of: Option<UserNo>) -> Vec<SessionInfo> {
        let open = self.open.lock();
        let wanted = open.iter().filter(|(key, _)| of.is_none_or(|user| key.user == user));
        let mut list: Vec<_> = wanted
            .map(|(key, entry)| SessionInfo {
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
            open.extract_if(|_, entry| entry.used.elapsed() >= limit).map(|(_, entry)| entry).collect()
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

/// Drops the longest idle eighth, so that a full table is not searched again for every newcomer.
fn make_room(open: &mut HashMap<Key, Entry>) {
    let mut by_age: Vec<_> = open.iter().map(|(key, entry)| (entry.used, *key)).collect();
    by_age.sort_unstable_by_key(|(used, _)| *used);
    for (_, key) in by_age.into_iter().take(CAPACITY / 8) {
        open.remove(&key).into_iter().for_each(|entry| entry.session.close());
    }
}
