//! How a statement goes along with its client: while the client does not take rows, the statement holds no slot, and the
//! rows that wait for it count as memory of its user.

use std::sync::Arc;

use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};

use crate::{Result, Weight, admission::Slot, share::Share};

/// Goes with the rows of a statement. Clones are the same statement's.
#[derive(Clone)]
pub struct Pace {
    slot: Option<Arc<Slot>>,
    waiting: Arc<MemoryReservation>,
}

impl Pace {
    pub(super) fn new(slot: Option<Arc<Slot>>, share: &Arc<Share>) -> Self {
        let pool: Arc<dyn MemoryPool> = Arc::clone(share) as _;
        Self { slot, waiting: Arc::new(MemoryConsumer::new("rows on their way to the client").register(&pool)) }
    }

    /// Of the statement.
    pub fn weight(&self) -> Weight {
        if self.slot.is_some() { Weight::Heavy } else { Weight::Light }
    }

    /// The client has to do something before there is anything to compute.
    pub fn rest(&self) {
        self.slot.iter().for_each(|slot| slot.rest());
    }

    /// It has.
    pub async fn resume(&self) {
        if let Some(slot) = &self.slot {
            slot.resume().await;
        }
    }

    /// Bytes that the client has not taken yet; refused where the user's memory is used up.
    pub fn hold(&self, bytes: usize) -> Result<()> {
        Ok(self.waiting.try_grow(bytes)?)
    }

    /// Bytes that it has taken.
    pub fn let_go(&self, bytes: usize) {
        // What was not counted cannot be given back.
        self.waiting.shrink(bytes.min(self.waiting.size()));
    }
}
