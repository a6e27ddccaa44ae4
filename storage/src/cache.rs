//! A byte-bounded cache of what was decoded. What is used often stays; what is looked at once does not push it out.

use std::{hash::Hash, sync::Arc};

/// The maps of the cache itself cost about this much an entry.
const ENTRY_BYTES: usize = 200;

/// Values and the bytes that each is accounted for.
pub(crate) struct Cache<K, V> {
    entries: moka::sync::Cache<K, (Arc<V>, u32)>,
}

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    pub fn new(capacity: usize) -> Self {
        let entries = moka::sync::Cache::builder()
            .max_capacity(capacity as u64)
            .weigher(|_: &K, (_, bytes): &(Arc<V>, u32)| *bytes)
            .build();
        Self { entries }
    }

    pub fn get(&self, key: &K) -> Option<Arc<V>> {
        self.entries.get(key).map(|(value, _)| value)
    }

    /// A value larger than the whole cache is not kept.
    pub fn insert(&self, key: K, value: Arc<V>, bytes: usize) {
        let bytes = u32::try_from(bytes.saturating_add(ENTRY_BYTES)).unwrap_or(u32::MAX);
        self.entries.insert(key, (value, bytes));
    }

    pub fn remove(&self, key: &K) {
        self.entries.invalidate(key);
    }
}

#[cfg(test)]
impl<K: Hash + Eq + Send + Sync + 'static, V: Send + Sync + 'static> Cache<K, V> {
    /// Bytes held, once the cache has settled.
    pub fn bytes(&self) -> u64 {
        self.entries.run_pending_tasks();
        self.entries.weighted_size()
    }
}

#[cfg(test)]
mod tests;
