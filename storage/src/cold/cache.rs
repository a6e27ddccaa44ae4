//! A byte-bounded cache of what was decoded from immutable objects, least recently used first out.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use uuid::Uuid;

pub(super) struct Cache<V> {
    inner: Mutex<Inner<V>>,
    capacity: usize,
}

struct Inner<V> {
    entries: HashMap<Uuid, Entry<V>>,
    bytes: usize,
    /// Counts uses; an entry's value at its last use orders the evictions.
    clock: u64,
}

struct Entry<V> {
    value: Arc<V>,
    bytes: usize,
    used: u64,
}

impl<V> Cache<V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { inner: Mutex::new(Inner { entries: HashMap::new(), bytes: 0, clock: 0 }), capacity }
    }

    pub(super) fn get(&self, id: &Uuid) -> Option<Arc<V>> {
        let mut inner = self.inner.lock();
        inner.clock += 1;
        let now = inner.clock;
        let entry = inner.entries.get_mut(id)?;
        entry.used = now;
        Some(Arc::clone(&entry.value))
    }

    /// A value larger than the whole cache is not kept.
    pub(super) fn insert(&self, id: Uuid, value: Arc<V>, bytes: usize) {
        if bytes > self.capacity {
            return;
        }
        let mut inner = self.inner.lock();
        inner.clock += 1;
        let used = inner.clock;
        if let Some(old) = inner.entries.insert(id, Entry { value, bytes, used }) {
            inner.bytes -= old.bytes;
        }
        inner.bytes += bytes;
        while inner.bytes > self.capacity {
            // Linear, but only when full, over files: a search costs less than keeping a list in order at every use.
            let Some(oldest) = inner.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(id, _)| *id) else {
                break;
            };
            if let Some(entry) = inner.entries.remove(&oldest) {
                inner.bytes -= entry.bytes;
            }
        }
    }
}
