//! Who may compute: heavy statements take a slot for as long as the server works on them, and wait in line for one.
//!
//! The next slot goes to the user who has had the least of the server's time lately, so it does not matter how many
//! connections somebody opens; a user who comes anew starts level with those who were served last, and is owed nothing
//! for having been away. No user has more than their own number of slots, so one alone never takes all of them.
//!
//! **Whoever holds a slot waits for nothing but processor, memory and disk.** A statement whose client does not read, or
//! that waits for a lock, gives its slot back, and takes its place at the head of its user's line when it goes on. So a
//! client that never reads keeps nobody waiting, and slots cannot be part of a circle of waiting. Light statements
//! ([`crate::Weight`]) need no slot.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use insula_proto::UserNo;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    Error, ErrorKind, Result,
    limits::{Limits, MOST_WAITING},
};

#[cfg(test)]
mod tests;

pub(crate) struct Admission {
    limits: Limits,
    state: Mutex<State>,
    /// Statements that found too many before them, or waited too long.
    refused: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Users who compute or wait; nobody else leaves a trace.
    lines: HashMap<UserNo, Line>,
    computing: usize,
    waiting: usize,
    /// The time that the user had had who was served last.
    clock: u64,
    next: u64,
}

/// One user's.
struct Line {
    computing: usize,
    /// Microseconds of slots, on the clock that all share.
    used: u64,
    /// Up to when they are counted.
    counted: Instant,
    waiting: VecDeque<Waiter>,
}

struct Waiter {
    id: u64,
    told: oneshot::Sender<()>,
}

/// Where in the line of their user statements stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In front of those that have not begun.
    First,
    Last,
}

impl Admission {
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: Mutex::default(), refused: AtomicU64::new(0) }
    }

    /// A slot to be had by one statement of the user.
    pub fn slot(self: &Arc<Self>, user: UserNo) -> Slot {
        Slot { admission: Arc::clone(self), user, has_begun: AtomicBool::new(false), held: AtomicBool::new(false) }
    }

    /// Statements that compute and that wait, of one user or of all.
    pub fn load(&self, of: Option<UserNo>) -> (usize, usize) {
        let state = self.state.lock();
        match of {
            None => (state.computing, state.waiting),
            Some(user) => state.lines.get(&user).map_or((0, 0), |line| (line.computing, line.waiting.len())),
        }
    }

    /// Statements that got no slot, since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn stand(self: &Arc<Self>, user: UserNo, place: Place) -> Result<Ticket> {
        let (told, hears) = oneshot::channel();
        let state = &mut *self.state.lock();
        let now = Instant::now();
        let clock = state.clock;
        let new = || Line { computing: 0, used: clock, counted: now, waiting: VecDeque::new() };
        let line = state.lines.entry(user).or_insert_with(new);
        // Those that have computed already are bounded by what lets a statement begin.
        if place == Place::Last && (line.is_full(&self.limits) || state.computing >= self.limits.concurrency) {
            let too_many = if line.waiting.len() >= self.limits.user_queue {
                Some(self.too_many_wait())
            } else if state.waiting >= MOST_WAITING {
                Some(exhausted("too many statements wait for their turn on this server; try again later"))
            } else {
                None
            };
            if let Some(error) = too_many {
                state.forget(user);
                self.refused.fetch_add(1, Ordering::Relaxed);
                return Err(error);
            }
        }
        let id = state.next;
        state.next += 1;
        match place {
            Place::First => line.waiting.push_front(Waiter { id, told }),
            Place::Last => line.waiting.push_back(Waiter { id, told }),
        }
        state.waiting += 1;
        state.dispatch(&self.limits, now);
        Ok(Ticket { admission: Arc::clone(self), user, id, hears, is_used: false })
    }

    fn leave(&self, user: UserNo) {
        let state = &mut *self.state.lock();
        let now = Instant::now();
        if let Some(line) = state.lines.get_mut(&user) {
            line.count(now);
            line.computing = line.computing.saturating_sub(1);
            state.computing = state.computing.saturating_sub(1);
        }
        state.forget(user);
        state.dispatch(&self.limits, now);
    }

    fn too_many_wait(&self) -> Error {
        let Limits { user_concurrency, user_queue, .. } = self.limits;
        exhausted(&format!(
            "{user_concurrency} of your statements run and {user_queue} wait for them; wait for some to end, or raise \
             --user-concurrency or --user-queue"
        ))
    }

    fn too_long(&self) -> Error {
        self.refused.fetch_add(1, Ordering::Relaxed);
        exhausted(&format!(
            "the statement waited {:?} for its turn behind others; wait for some to end, try again later, or raise \
             --queue-timeout or --user-concurrency",
            self.limits.patience
        ))
    }
}

impl State {
    /// Gives the slots that are free to whoever has had least.
    fn dispatch(&mut self, limits: &Limits, now: Instant) {
        while self.computing < limits.concurrency && self.waiting > 0 {
            self.lines.values_mut().for_each(|line| line.count(now));
            let may_go = |line: &&mut Line| !line.waiting.is_empty() && !line.is_full(limits);
            let next = self.lines.values_mut().filter(may_go).min_by_key(|line| (line.used, line.computing));
            let Some(line) = next else { return };
            let Some(waiter) = line.waiting.pop_front() else { return };
            self.waiting -= 1;
            // One who has stopped listening withdraws in a moment, and finds that it has a slot or is not in line.
            line.computing += 1;
            self.computing += 1;
            self.clock = self.clock.max(line.used);
            let _ = waiter.told.send(());
        }
    }

    /// A user who neither computes nor waits.
    fn forget(&mut self, user: UserNo) {
        if self.lines.get(&user).is_some_and(|line| line.computing == 0 && line.waiting.is_empty()) {
            self.lines.remove(&user);
        }
    }
}

impl Line {
    fn is_full(&self, limits: &Limits) -> bool {
        self.computing >= limits.user_concurrency
    }

    fn count(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.counted).as_micros().saturating_mul(self.computing as u128);
        self.used = self.used.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX));
        self.counted = now;
    }
}

/// A place in line; dropped, the statement has gone away.
struct Ticket {
    admission: Arc<Admission>,
    user: UserNo,
    id: u64,
    hears: oneshot::Receiver<()>,
    is_used: bool,
}

impl Ticket {
    async fn turn(mut self) {
        // The sender is in the line until it is told.
        self.is_used = (&mut self.hears).await.is_ok();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.is_used {
            return;
        }
        let was_waiting = {
            let state = &mut *self.admission.state.lock();
            let line = state.lines.get_mut(&self.user);
            let place = line.and_then(|line| {
                let place = line.waiting.iter().position(|waiter| waiter.id == self.id)?;
                line.waiting.remove(place)
            });
            state.waiting -= usize::from(place.is_some());
            state.forget(self.user);
            place.is_some()
        };
        // It has got its slot between its last look and now.
        if !was_waiting {
            self.admission.leave(self.user);
        }
    }
}

/// One statement's right to compute, held or not; dropped, it is given back.
pub struct Slot {
    admission: Arc<Admission>,
    user: UserNo,
    has_begun: AtomicBool,
    held: AtomicBool,
}

impl Slot {
    /// Takes it. The first time it is refused where too many wait already, or after too long a wait.
    pub(crate) async fn enter(&self) -> Result<()> {
        if self.has_begun.load(Ordering::Acquire) {
            self.resume().await;
            return Ok(());
        }
        let ticket = self.admission.stand(self.user, Place::Last)?;
        let turn = tokio::time::timeout(self.admission.limits.patience, ticket.turn());
        turn.await.map_err(|_| self.admission.too_long())?;
        self.has_begun.store(true, Ordering::Release);
        self.held.store(true, Ordering::Release);
        Ok(())
    }

    /// Takes it again, however long that is.
    pub async fn resume(&self) {
        if self.is_held() {
            return;
        }
        if let Ok(ticket) = self.admission.stand(self.user, Place::First) {
            ticket.turn().await;
            self.held.store(true, Ordering::Release);
        }
    }

    /// Gives it back for a while, or for good.
    pub fn rest(&self) {
        if self.held.swap(false, Ordering::AcqRel) {
            self.admission.leave(self.user);
        }
    }

    fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.rest();
    }
}

fn exhausted(message: &str) -> Error {
    Error::new(ErrorKind::ResourceExhausted, message)
}
