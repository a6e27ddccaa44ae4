//! A user's share of the server: memory within that of all statements, temporary files, and the statements themselves.
//! It is made when a user's first statement begins and goes with the last thing that it accounts for, so that a user who
//! does nothing costs nothing.

mod spill;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use datafusion::{
    error::Result as PlanResult,
    execution::{
        disk_manager::{DiskManager, DiskManagerBuilder},
        memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation},
        runtime_env::RuntimeEnv,
    },
};
use insula_proto::UserNo;
use parking_lot::Mutex;

use crate::{
    Error, ErrorKind, Result,
    limits::{Limits, MOST_STATEMENTS},
    memory_pool::StatementPool,
};

#[cfg(test)]
mod tests;

/// The shares of those who do something now.
pub(crate) struct Shares {
    limits: Limits,
    /// What all statements run with, but for memory and temporary files.
    base: Arc<RuntimeEnv>,
    all: Arc<StatementPool>,
    /// Where temporary files lie.
    disk: Arc<DiskManager>,
    spilled: AtomicU64,
    live: Mutex<HashMap<UserNo, Weak<Share>>>,
}

/// One user's. To DataFusion it is the memory pool of their statements.
pub(crate) struct Share {
    user: UserNo,
    shares: Arc<Shares>,
    own: StatementPool,
    spilled: AtomicU64,
    statements: AtomicUsize,
}

impl Shares {
    pub fn new(base: Arc<RuntimeEnv>, all: Arc<StatementPool>, limits: Limits) -> Arc<Self> {
        let disk = Arc::clone(&base.disk_manager);
        Arc::new(Self { limits, base, all, disk, spilled: AtomicU64::new(0), live: Mutex::default() })
    }

    pub fn of(self: &Arc<Self>, user: UserNo) -> Arc<Share> {
        let mut live = self.live.lock();
        if let Some(share) = live.get(&user).and_then(Weak::upgrade) {
            return share;
        }
        let share = Arc::new(Share {
            user,
            shares: Arc::clone(self),
            own: StatementPool::of_user(self.limits.user_memory.min(self.all.bytes())),
            spilled: AtomicU64::new(0),
            statements: AtomicUsize::new(0),
        });
        live.insert(user, Arc::downgrade(&share));
        share
    }

    /// Bytes that statements have reserved, and that they may; of one user or of all.
    pub fn memory(&self, of: Option<UserNo>) -> (usize, usize) {
        match of {
            None => (self.all.reserved(), self.all.bytes()),
            Some(user) => {
                let share = self.live.lock().get(&user).and_then(Weak::upgrade);
                let reserved = share.map_or(0, |share| share.own.reserved());
                (reserved, self.limits.user_memory.min(self.all.bytes()))
            }
        }
    }

    /// Bytes of temporary files, of one user or of all.
    pub fn spilled(&self, of: Option<UserNo>) -> u64 {
        match of {
            None => self.spilled.load(Ordering::Relaxed),
            Some(user) => {
                let share = self.live.lock().get(&user).and_then(Weak::upgrade);
                share.map_or(0, |share| share.spilled.load(Ordering::Relaxed))
            }
        }
    }

    /// Users who have a share.
    #[cfg(test)]
    fn users(&self) -> usize {
        self.live.lock().len()
    }
}

impl Share {
    /// What a statement's operators run with.
    pub fn runtime(self: &Arc<Self>) -> Result<Arc<RuntimeEnv>> {
        let fan_in = self.shares.disk.max_spill_merge_fan_in();
        let mut disk = DiskManagerBuilder::default().with_temp_file_factory(spill::Files::of(self));
        disk.set_max_spill_merge_fan_in(fan_in);
        let disk_manager = Arc::new(disk.build()?);
        let memory_pool = Arc::clone(self) as Arc<dyn MemoryPool>;
        Ok(Arc::new(RuntimeEnv { memory_pool, disk_manager, ..self.shares.base.as_ref().clone() }))
    }

    /// Bytes of the user's, for as long as the reservation lives; refused where the user has no more.
    pub fn hold(self: &Arc<Self>, what: &str, bytes: usize) -> Result<MemoryReservation> {
        let pool: Arc<dyn MemoryPool> = Arc::clone(self) as _;
        let held = MemoryConsumer::new(what).register(&pool);
        held.try_grow(bytes)?;
        Ok(held)
    }

    /// Counts one statement more, as long as the membership lives.
    pub fn join(self: Arc<Self>) -> Membership {
        self.statements.fetch_add(1, Ordering::Relaxed);
        Membership(self)
    }
}

/// One statement's part in its user's share.
pub(crate) struct Membership(Arc<Share>);

impl Membership {
    pub fn share(&self) -> &Arc<Share> {
        &self.0
    }

    /// Refuses the statement if its user has too many.
    pub fn check(&self) -> Result<()> {
        if self.0.statements.load(Ordering::Relaxed) <= MOST_STATEMENTS {
            return Ok(());
        }
        let message =
            format!("{MOST_STATEMENTS} of your statements are under way; read the results of some, or close them");
        Err(Error::new(ErrorKind::ResourceExhausted, message))
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.0.statements.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut live = self.shares.live.lock();
        // The user may have come again meanwhile.
        if live.get(&self.user).is_some_and(|share| std::ptr::eq(share.as_ptr(), self)) {
            live.remove(&self.user);
        }
        if live.is_empty() {
            live.shrink_to(64);
        }
    }
}

/// What a user may have is asked for first: it is what they can do something about.
impl MemoryPool for Share {
    fn name(&self) -> &str {
        "statements of a user"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.own.register(consumer);
        self.shares.all.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.own.unregister(consumer);
        self.shares.all.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.own.grow(reservation, additional);
        self.shares.all.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.own.shrink(reservation, shrink);
        self.shares.all.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> PlanResult<()> {
        self.own.try_grow(reservation, additional)?;
        let granted = self.shares.all.try_grow(reservation, additional);
        if granted.is_err() {
            self.own.shrink(reservation, additional);
        }
        granted
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.own.memory_limit()
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share").field("user", &self.user).field("own", &self.own).finish_non_exhaustive()
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.own)
    }
}
