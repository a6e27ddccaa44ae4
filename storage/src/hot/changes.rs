//! Counts the commits that change more than rows: generations, definitions, manifests. They are rare, and every read asks
//! for what they have left; so that is remembered by the count (`crate::read::state`).
//!
//! The committer counts **before** such a commit can be seen, and again after. A reader whose snapshot lies between two
//! looks at the same even count has a snapshot of that state and no other.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Default)]
pub(crate) struct Changes(AtomicU64);

impl Changes {
    pub fn begin(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    pub fn end(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// The state there is now; `None`: one is about to follow it.
    pub fn state(&self) -> Option<u64> {
        let count = self.0.load(Ordering::SeqCst);
        count.is_multiple_of(2).then_some(count)
    }
}
