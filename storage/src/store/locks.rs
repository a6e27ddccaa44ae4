//! One lock for each (table, user) that is being written, and none for the others.
//!
//! Exact, not striped: two users never wait for each other by a clash of hashes, so nobody can stall a neighbour.

use std::{collections::HashMap, sync::Arc};

use insula_proto::{TableId, UserNo};
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

type Key = (TableId, UserNo);
type Entries = Mutex<HashMap<Key, Arc<tokio::sync::Mutex<()>>>>;

#[derive(Default)]
pub(crate) struct Locks {
    entries: Arc<Entries>,
}

/// A place in the queue of one lock. The last one to leave removes the entry.
struct Place {
    entries: Arc<Entries>,
    key: Key,
    mutex: Option<Arc<tokio::sync::Mutex<()>>>,
}

/// A lock that is ours. Shared by the statement and its commit, so that a caller that stops waiting for its commit does
/// not let the next writer look before the rows are there.
pub(crate) struct Held {
    // Dropped in this order: the lock is free before its place is given up.
    _guard: OwnedMutexGuard<()>,
    place: Place,
}

impl Locks {
    pub async fn take(&self, table: TableId, user: UserNo) -> Arc<Held> {
        let key = (table, user);
        let mutex = Arc::clone(self.entries.lock().entry(key).or_default());
        let place = Place { entries: Arc::clone(&self.entries), key, mutex: Some(Arc::clone(&mutex)) };
        Arc::new(Held { _guard: mutex.lock_owned().await, place })
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.entries.lock().len()
    }
}

impl Held {
    pub fn covers(&self, table: TableId, user: UserNo) -> bool {
        self.place.key == (table, user)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut entries = self.entries.lock();
        drop(self.mutex.take());
        // Places are taken under the same lock, so nobody can be between finding the entry and holding it.
        if entries.get(&self.key).is_some_and(|mutex| Arc::strong_count(mutex) == 1) {
            entries.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests;
