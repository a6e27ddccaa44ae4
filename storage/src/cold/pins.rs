//! Keeps objects that a newer manifest no longer names until no view can see the older one.
//!
//! Time is counted in commits that replaced objects. A [`Pin`] remembers the count at its birth; objects retired at
//! count `n` are free once no pin born at `n` or before lives. This needs no list of files per view.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use object_store::path::Path;
use parking_lot::Mutex;
use tokio::sync::Notify;

#[derive(Default)]
pub(super) struct Pins {
    state: Mutex<State>,
    released: Notify,
    /// Told at the end of each pin.
    ended: Notify,
}

#[derive(Default)]
struct State {
    epoch: u64,
    /// Living pins by the epoch of their birth.
    live: BTreeMap<u64, usize>,
    retired: VecDeque<(u64, Vec<Path>)>,
}

impl State {
    fn is_free(&self, epoch: u64) -> bool {
        self.live.first_key_value().is_none_or(|(oldest, _)| *oldest > epoch)
    }
}

/// While it lives, nothing that was named by a manifest at its birth is deleted.
pub(crate) struct Pin {
    pins: Arc<Pins>,
    epoch: u64,
}

impl Pins {
    pub(super) fn pin(pins: &Arc<Self>) -> Pin {
        let mut state = pins.state.lock();
        let epoch = state.epoch;
        *state.live.entry(epoch).or_default() += 1;
        Pin { pins: Arc::clone(pins), epoch }
    }

    pub(super) fn retire(&self, objects: Vec<Path>) {
        if objects.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        let epoch = state.epoch;
        state.retired.push_back((epoch, objects));
        state.epoch += 1;
    }

    /// The retired objects that no pin protects; the caller deletes them.
    pub(super) fn take_free(&self) -> Vec<Path> {
        let mut state = self.state.lock();
        let mut free = Vec::new();
        while state.retired.front().is_some_and(|(epoch, _)| state.is_free(*epoch)) {
            free.extend(state.retired.pop_front().into_iter().flat_map(|(_, objects)| objects));
        }
        free
    }

    pub(super) async fn released(&self) {
        self.released.notified().await;
    }

    /// What was retired and not yet taken.
    pub(super) fn retired(&self) -> Vec<Path> {
        self.state.lock().retired.iter().flat_map(|(_, objects)| objects).cloned().collect()
    }

    /// Waits until all pins that live now are gone.
    pub(super) async fn drained(&self) {
        let epoch = {
            let mut state = self.state.lock();
            state.epoch += 1;
            state.epoch - 1
        };
        loop {
            let ended = self.ended.notified();
            if self.state.lock().is_free(epoch) {
                return;
            }
            ended.await;
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut state = self.pins.state.lock();
        if let Some(count) = state.live.get_mut(&self.epoch) {
            *count -= 1;
            if *count == 0 {
                state.live.remove(&self.epoch);
            }
        }
        if state.retired.front().is_some_and(|(epoch, _)| state.is_free(*epoch)) {
            self.pins.released.notify_one();
        }
        drop(state);
        self.pins.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
