//! What each sort and its merges hold. A sort asks for memory as two consumers: one for the rows that it collects, which
//! can spill, and one for its merges, which cannot. The merges are of two sorts: of what it collected, to write that to
//! disk or to return it, and of the runs that it wrote. The first must be granted, or the sort fails; the second takes as
//! many runs at once as it gets memory for, and does with two.

use std::{cell::Cell, collections::HashMap};

use datafusion::execution::memory_pool::MemoryConsumer;

use super::Kind;

thread_local! {
    /// The sort that this thread registered last: a sort registers its merges right after itself.
    static REGISTERED: Cell<Option<usize>> = const { Cell::new(None) };
}

#[derive(Default, Debug)]
pub(super) struct Sorts {
    /// By the number of their merges' consumer.
    sorts: HashMap<usize, Sort>,
    /// The number of the merges' consumer by that of the sort's own.
    merges: HashMap<usize, usize>,
    /// Bytes that merges of written runs hold.
    runs: usize,
}

#[derive(Default, Debug)]
struct Sort {
    consumer: Option<usize>,
    collected: usize,
    merging: usize,
    /// What is merged are written runs: the merge began when nothing was collected.
    reads_runs: bool,
}

impl Sorts {
    pub fn register(&mut self, consumer: &MemoryConsumer) {
        match Kind::of(consumer) {
            Kind::Sort => REGISTERED.set(Some(consumer.id())),
            Kind::Merge => {
                let sort = REGISTERED.get();
                self.sorts.insert(consumer.id(), Sort { consumer: sort, ..Sort::default() });
                self.merges.extend(sort.map(|sort| (sort, consumer.id())));
            }
            Kind::Spiller | Kind::Fixed => {}
        }
    }

    /// The merges of a sort outlive it.
    pub fn unregister(&mut self, consumer: &MemoryConsumer) {
        if let Some(sort) = self.sorts.remove(&consumer.id()) {
            self.runs = self.runs.saturating_sub(if sort.reads_runs { sort.merging } else { 0 });
            if let Some(own) = sort.consumer {
                self.merges.remove(&own);
            }
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.sorts.len()
    }

    /// Bytes that merges of written runs hold.
    pub fn runs(&self) -> usize {
        self.runs
    }

    /// Whether a merge that asks for memory reads written runs.
    pub fn reads_runs(&self, merge: &MemoryConsumer) -> bool {
        self.sorts.get(&merge.id()).is_none_or(|sort| sort.reads_runs_next())
    }

    pub fn grow(&mut self, consumer: &MemoryConsumer, bytes: usize) {
        if let Some(sort) = self.sorts.get_mut(&consumer.id()) {
            sort.reads_runs = sort.reads_runs_next();
            sort.merging = sort.merging.saturating_add(bytes);
            self.runs = self.runs.saturating_add(if sort.reads_runs { bytes } else { 0 });
        } else if let Some(sort) = self.collecting(consumer) {
            sort.collected = sort.collected.saturating_add(bytes);
        }
    }

    pub fn shrink(&mut self, consumer: &MemoryConsumer, bytes: usize) {
        if let Some(sort) = self.sorts.get_mut(&consumer.id()) {
            sort.merging = sort.merging.saturating_sub(bytes);
            self.runs = self.runs.saturating_sub(if sort.reads_runs { bytes } else { 0 });
        } else if let Some(sort) = self.collecting(consumer) {
            sort.collected = sort.collected.saturating_sub(bytes);
        }
    }

    fn collecting(&mut self, consumer: &MemoryConsumer) -> Option<&mut Sort> {
        self.sorts.get_mut(self.merges.get(&consumer.id())?)
    }
}

impl Sort {
    /// A merge keeps to what it began as: the last of what was collected is released before the merge is over.
    fn reads_runs_next(&self) -> bool {
        if self.merging == 0 { self.collected == 0 } else { self.reads_runs }
    }
}
