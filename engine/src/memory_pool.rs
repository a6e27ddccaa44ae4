//! The memory pool of all statements. An operator that can spill is told to do so while there is still room for those
//! that cannot.
//!
//! A sort that spills has to merge what it holds before it can write it, and asks for the memory of that merge as an
//! operator that cannot spill: for the batches, which it then no longer holds itself, and for a copy of their keys with
//! an offset each, which of short rows is larger than the rows. Where sorts may fill a pool to its brim, as in
//! DataFusion's greedy one, that request is the one that fails: `ExternalSorterMerge` of a statement whose rows are more
//! than the pool. DataFusion's fair pool makes sorts share what is left of it, but takes nothing back from those who came
//! while there was more. So here half of the pool is never given to operators that can spill, a byte of a sort takes up
//! two of their half, and the merges under way take up what they hold of it. The merges of written runs, which take as
//! many runs as they get memory for, share a quarter of the pool: sorts of the same statement may still be spilling, and
//! operators above them need memory, too. Then the sorts of a statement find memory for all their merges.

mod sorts;

use std::fmt;

use datafusion::{
    common::resources_datafusion_err,
    error::{DataFusionError, Result},
    execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, human_readable_size},
};
use parking_lot::Mutex;

use self::sorts::Sorts;

/// The part of the pool that operators which can spill share, as a divisor.
const SPILLABLE: usize = 2;
/// The part of the pool that merges of written runs share, as a divisor.
const RUNS: usize = 4;
/// Of the consumers that a sort and its merges ask for memory as; a number follows.
const SORT: &str = "ExternalSorter[";
const MERGE: &str = "ExternalSorterMerge[";

/// What an operator does with memory that it is refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Merges what it holds and writes that to disk.
    Sort,
    /// Writes what it holds to disk.
    Spiller,
    /// Fails, and the sort whose it is.
    Merge,
    /// Fails.
    Fixed,
}

impl Kind {
    fn of(consumer: &MemoryConsumer) -> Self {
        match consumer.can_spill() {
            true if consumer.name().starts_with(SORT) => Self::Sort,
            true => Self::Spiller,
            false if consumer.name().starts_with(MERGE) => Self::Merge,
            false => Self::Fixed,
        }
    }

    /// How many bytes of what spillers share one byte takes up.
    fn weight(self) -> usize {
        match self {
            Self::Sort => 2,
            Self::Spiller | Self::Merge => 1,
            Self::Fixed => 0,
        }
    }
}

/// Memory that some consumers share.
struct Part {
    all: usize,
    sharers: usize,
    taken: usize,
}

impl Part {
    /// Whether there is `more` for one who holds so much. The first half of the part is whose it is first, so that one
    /// alone does not go to disk for the sake of others who need nothing; of the rest nobody has more than an even
    /// part. Half of an even part is theirs whatever the others have.
    fn has(&self, holds: usize, more: usize) -> bool {
        let even = self.all / self.sharers.max(1);
        let taken = self.taken.saturating_add(more);
        let own = holds.saturating_add(more);
        taken <= self.all / 2 || own <= even / 2 || taken <= self.all && own <= even
    }
}

#[derive(Debug)]
pub(crate) struct StatementPool {
    bytes: usize,
    whose: Whose,
    state: Mutex<State>,
}

/// Whose statements share a pool.
#[derive(Clone, Copy, Debug)]
enum Whose {
    All,
    User,
}

#[derive(Default, Debug)]
struct State {
    /// Operators that can spill.
    spillers: usize,
    /// Bytes that all operators hold.
    held: usize,
    /// Bytes that are taken up of what spillers share.
    taken: usize,
    sorts: Sorts,
}

impl State {
    fn grow(&mut self, consumer: &MemoryConsumer, bytes: usize) {
        let kind = Kind::of(consumer);
        self.sorts.grow(consumer, bytes);
        self.held = self.held.saturating_add(bytes);
        self.taken = self.taken.saturating_add(bytes.saturating_mul(kind.weight()));
    }

    fn shrink(&mut self, consumer: &MemoryConsumer, bytes: usize) {
        let kind = Kind::of(consumer);
        self.sorts.shrink(consumer, bytes);
        self.held = self.held.saturating_sub(bytes);
        self.taken = self.taken.saturating_sub(bytes.saturating_mul(kind.weight()));
    }
}

impl StatementPool {
    pub fn new(bytes: usize) -> Self {
        Self { bytes, whose: Whose::All, state: Mutex::default() }
    }

    /// Of one user's statements; it lies within the one of all.
    pub fn of_user(bytes: usize) -> Self {
        Self { bytes, whose: Whose::User, state: Mutex::default() }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether an operator that can spill, and holds so much, may have `more`. Whoever holds nothing may have one batch:
    /// it could not even spill without.
    fn may_spiller_grow(&self, state: &State, kind: Kind, holds: usize, more: usize) -> bool {
        let part = Part { all: self.bytes / SPILLABLE, sharers: state.spillers, taken: state.taken };
        holds == 0 || part.has(holds * kind.weight(), more.saturating_mul(kind.weight()))
    }

    /// Whether a merge of written runs that holds so much may have `more`. Whichever holds nothing may have one run.
    fn may_runs_grow(&self, state: &State, holds: usize, more: usize) -> bool {
        let part = Part { all: self.bytes / RUNS, sharers: state.sorts.count(), taken: state.sorts.runs() };
        holds == 0 || part.has(holds, more)
    }

    /// How much others leave is told of a user's own pool only.
    fn refusal(&self, consumer: &MemoryConsumer, more: usize, free: usize) -> DataFusionError {
        let [more, all, free] = [more, self.bytes, free].map(human_readable_size);
        let name = consumer.name();
        match self.whose {
            Whose::All => resources_datafusion_err!(
                "{name} needs {more} more, and all statements together may have {all}; try again when less is going on, \
                 or raise --memory-limit"
            ),
            Whose::User => resources_datafusion_err!(
                "{name} needs {more} more, and your statements together may have {all}, of which {free} are free; run \
                 fewer at a time, let them hold fewer rows, or raise --user-memory-limit"
            ),
        }
    }
}

impl MemoryPool for StatementPool {
    fn name(&self) -> &str {
        "statements"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        let mut state = self.state.lock();
        state.spillers += usize::from(consumer.can_spill());
        state.sorts.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        let mut state = self.state.lock();
        state.spillers = state.spillers.saturating_sub(usize::from(consumer.can_spill()));
        state.sorts.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.state.lock().grow(reservation.consumer(), additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.state.lock().shrink(reservation.consumer(), shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let consumer = reservation.consumer();
        let kind = Kind::of(consumer);
        let mut state = self.state.lock();
        let free = self.bytes.saturating_sub(state.held);
        let holds = reservation.size();
        let is_refused = additional > free
            || match kind {
                Kind::Sort | Kind::Spiller => !self.may_spiller_grow(&state, kind, holds, additional),
                Kind::Merge => state.sorts.reads_runs(consumer) && !self.may_runs_grow(&state, holds, additional),
                Kind::Fixed => false,
            };
        if is_refused {
            return Err(self.refusal(consumer, additional, free));
        }
        state.grow(consumer, additional);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.state.lock().held
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
