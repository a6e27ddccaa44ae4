//! Who may write: one lock for each (table, user) that is being written, and none for the others.
//!
//! Exact, not striped: two users never wait for each other by a clash of hashes, so nobody can stall a neighbour. A
//! user's lock includes a share of its table, all of which a load of many users takes at once. The table comes before
//! the user, and a statement takes one lock of a table, so nobody waits in a circle.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use insula_proto::{TableId, UserNo};
use parking_lot::Mutex;
use tokio::sync::{OwnedMutexGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

#[derive(Default)]
pub(crate) struct Locks {
    tables: Queues<TableId, RwLock<()>>,
    users: Queues<(TableId, UserNo), tokio::sync::Mutex<()>>,
}

/// The locks that someone has or waits for.
struct Queues<K, L> {
    entries: Arc<Mutex<HashMap<K, Arc<L>>>>,
}

/// A place in the queue of one lock. The last one to leave removes the entry.
struct Place<K: Eq + Hash, L> {
    entries: Arc<Mutex<HashMap<K, Arc<L>>>>,
    key: K,
    lock: Option<Arc<L>>,
}

/// A lock that is ours. Shared by the statement and its commit, so that a caller that stops waiting for its commit does
/// not let the next writer look before the rows are there.
pub(crate) struct Held {
    // Fields are dropped in this order: each lock is free before its place is given up.
    _user: Option<OwnedMutexGuard<()>>,
    user: Option<Place<(TableId, UserNo), tokio::sync::Mutex<()>>>,
    _share: Option<OwnedRwLockReadGuard<()>>,
    _whole: Option<OwnedRwLockWriteGuard<()>>,
    table: Place<TableId, RwLock<()>>,
}

impl Locks {
    /// Waits for the user's other writers of the table, and for a load of many users.
    pub async fn take(&self, table: TableId, user: UserNo) -> Arc<Held> {
        let (table_lock, table_place) = self.tables.enter(table);
        let share = table_lock.read_owned().await;
        let (user_lock, user_place) = self.users.enter((table, user));
        let guard = user_lock.lock_owned().await;
        let (user, share) = (Some(user_place), Some(share));
        Arc::new(Held { _user: Some(guard), user, _share: share, _whole: None, table: table_place })
    }

    /// Waits for all writers of the table; those that come later wait for us.
    pub async fn take_all(&self, table: TableId) -> Arc<Held> {
        let (lock, place) = self.tables.enter(table);
        let whole = Some(lock.write_owned().await);
        Arc::new(Held { _user: None, user: None, _share: None, _whole: whole, table: place })
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.tables.entries.lock().len() + self.users.entries.lock().len()
    }
}

impl<K, L> Default for Queues<K, L> {
    fn default() -> Self {
        Self { entries: Arc::default() }
    }
}

impl<K: Copy + Eq + Hash, L: Default> Queues<K, L> {
    fn enter(&self, key: K) -> (Arc<L>, Place<K, L>) {
        let lock = Arc::clone(self.entries.lock().entry(key).or_default());
        (Arc::clone(&lock), Place { entries: Arc::clone(&self.entries), key, lock: Some(lock) })
    }
}

impl Held {
    pub fn covers(&self, table: TableId, user: UserNo) -> bool {
        self.table.key == table && self.user.as_ref().is_none_or(|place| place.key == (table, user))
    }
}

impl<K: Eq + Hash, L> Drop for Place<K, L> {
    fn drop(&mut self) {
        let mut entries = self.entries.lock();
        drop(self.lock.take());
        // Places are taken under the same lock, so nobody can be between finding the entry and holding it.
        if entries.get(&self.key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            entries.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests;
