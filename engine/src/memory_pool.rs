//! The memory pool of all statements. An operator that can spill is told to do so while there is still room for those
//! that cannot.
//!
//! A sort that spills has to merge what it holds before it can write it, and asks for the memory of that merge as an
//! operator that cannot spill. Where sorts may fill a pool to its brim, as in DataFusion's greedy one, that request is
//! the one that fails: `ExternalSorterMerge` of a statement whose rows are more than the pool. DataFusion's fair pool
//! makes sorts share what is left of it, but takes nothing back from those who came while there was more. So here half
//! of the pool is never given to operators that can spill, and the merges of sorts leave a quarter to what reads them.

use std::fmt;

use datafusion::{
    common::resources_datafusion_err,
    error::Result,
    execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, human_readable_size},
};
use parking_lot::Mutex;

/// The part of the pool that operators which can spill share, as a divisor.
const SPILLABLE: usize = 2;
/// The part of the pool that merges of sorted runs leave free for all else, as a divisor. They take as many runs as they
/// get memory for and can do with two, so they would leave nothing to the operators above them.
const BEHIND_MERGES: usize = 4;
/// Of the consumer that such a merge asks for memory as; a number follows.
const MERGE: &str = "ExternalSorterMerge";

#[derive(Debug)]
pub(crate) struct StatementPool {
    bytes: usize,
    state: Mutex<State>,
}

#[derive(Default, Debug)]
struct State {
    /// Operators that can spill.
    spillers: usize,
    /// Bytes that they hold.
    spillable: usize,
    /// Bytes that the others hold.
    fixed: usize,
}

impl State {
    fn held(&mut self, consumer: &MemoryConsumer) -> &mut usize {
        if consumer.can_spill() { &mut self.spillable } else { &mut self.fixed }
    }
}

impl StatementPool {
    pub fn new(bytes: usize) -> Self {
        Self { bytes, state: Mutex::default() }
    }

    /// Whether an operator that can spill may have `more`. The first half of what all of them share is whose it is
    /// first, so that one alone does not spill for the sake of others who need nothing; of the rest nobody has more
    /// than an even part, so that everybody has room to work.
    fn may_spiller_grow(&self, state: &State, holds: usize, more: usize) -> bool {
        let all = self.bytes / SPILLABLE;
        let even = all / state.spillers.max(1);
        state.spillable.saturating_add(more) <= all / 2 || holds.saturating_add(more) <= even
    }
}

impl MemoryPool for StatementPool {
    fn name(&self) -> &str {
        "statements"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.state.lock().spillers += usize::from(consumer.can_spill());
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        let mut state = self.state.lock();
        state.spillers = state.spillers.saturating_sub(usize::from(consumer.can_spill()));
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        let mut state = self.state.lock();
        let held = state.held(reservation.consumer());
        *held = held.saturating_add(additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        let mut state = self.state.lock();
        let held = state.held(reservation.consumer());
        *held = held.saturating_sub(shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let consumer = reservation.consumer();
        let mut state = self.state.lock();
        let kept = if consumer.name().starts_with(MERGE) { self.bytes / BEHIND_MERGES } else { 0 };
        let free = self.bytes.saturating_sub(state.spillable.saturating_add(state.fixed)).saturating_sub(kept);
        let refused =
            additional > free || consumer.can_spill() && !self.may_spiller_grow(&state, reservation.size(), additional);
        if refused {
            return Err(resources_datafusion_err!(
                "{} needs {} more, and all statements together may have {}, of which {} are free",
                consumer.name(),
                human_readable_size(additional),
                human_readable_size(self.bytes),
                human_readable_size(free)
            ));
        }
        *state.held(consumer) += additional;
        Ok(())
    }

    fn reserved(&self) -> usize {
        let state = self.state.lock();
        state.spillable.saturating_add(state.fixed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.bytes)
    }
}

impl fmt::Display for StatementPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), human_readable_size(self.bytes))
    }
}

#[cfg(test)]
mod tests;
