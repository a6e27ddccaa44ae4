//! The store under simulation, its runtime and its clock; how they end and begin again.

use std::{
    path::Path,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::{Either, select};
use insula_storage::{Clock, ErrorKind, Store, StoreConfig, arm_fail_points, disarm_fail_points, fail_points};
use tokio::runtime::Runtime;

use super::Rng;

/// Of soft-deleted rows: seven days.
pub const RETENTION_MICROS: i64 = 7 * 24 * 3600 * 1_000_000;

/// Stands still within a step, so that a commit's time is known even if nobody was told of the commit.
struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now_micros(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

pub struct Life {
    config: StoreConfig,
    clock: Arc<SetClock>,
    /// `None` only between the end of one and the beginning of the next.
    running: Option<(Runtime, Arc<Store>)>,
    /// A fail point was armed since the store was opened.
    pub faulty: bool,
    _dir: tempfile::TempDir,
}

impl Life {
    pub fn new(rng: &mut Rng) -> Self {
        // In memory where that is to be had: a dropped process does not need the disk to lose what it had not written.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let config = StoreConfig {
            // Files of a few rows, or one for all; loads of many runs, or of one.
            file_bytes: [1 << 11, 1 << 20][rng.below(2) as usize],
            load_bytes: [200, 1 << 20][rng.below(2) as usize],
            chunk_rows: [2, 1024][rng.below(2) as usize],
            min_free_bytes: 0,
            // The schedule compacts, so that it is the seed's.
            compaction: false,
            ..StoreConfig::new(dir.path().into())
        };
        let clock = Arc::new(SetClock(AtomicI64::new(1_700_000_000_000_000)));
        let mut life = Self { config, clock, running: None, faulty: false, _dir: dir };
        life.try_open().unwrap();
        life
    }

    pub fn store(&self) -> &Arc<Store> {
        &self.running.as_ref().expect("the store is open").1
    }

    pub fn block_on<F: Future>(&self, work: F) -> F::Output {
        self.running.as_ref().expect("the store is open").0.block_on(work)
    }

    pub fn now(&self) -> i64 {
        self.clock.now_micros()
    }

    /// Rows that were soft-deleted up to here may be gone.
    pub fn horizon(&self) -> i64 {
        self.now() - RETENTION_MICROS
    }

    pub fn pass(&self, micros: i64) {
        self.clock.0.fetch_add(micros, Ordering::SeqCst);
    }

    /// Runs a step, now and then only a part of it: then `None`, and the caller crashes the store.
    pub fn run<F: Future>(&self, rng: &mut Rng, work: F) -> Option<F::Output> {
        let (yields, micros) = match rng.below(16) {
            0 => (rng.below(30), 0),
            1 => (0, rng.below(4000)),
            _ => return Some(self.block_on(work)),
        };
        self.block_on(async {
            let end = async {
                for _ in 0..yields {
                    tokio::task::yield_now().await;
                }
                tokio::time::sleep(Duration::from_micros(micros)).await;
            };
            match select(pin!(work), pin!(end)).await {
                Either::Left((done, _)) => Some(done),
                Either::Right(_) => None,
            }
        })
    }

    pub fn close(&mut self) {
        disarm_fail_points();
        let Some((runtime, store)) = self.running.take() else { return };
        // A poisoned store may say so once more.
        let closed = runtime.block_on(store.close());
        assert!(closed.is_ok() || self.faulty, "{closed:?}");
    }

    /// Drops the runtime with all its tasks wherever they are, then the store.
    pub fn kill(&mut self) {
        disarm_fail_points();
        drop(self.running.take());
    }

    /// Opens the store, now and then with a fault or a crash on the way. Returns the number of these.
    pub fn open(&mut self, rng: &mut Rng) -> u64 {
        let mut faults = 0;
        while rng.below(4) == 0 {
            let points: Vec<_> = fail_points().iter().filter(|name| name.starts_with("recover.")).collect();
            let name = points[rng.below(points.len() as u64) as usize];
            arm_fail_points(&format!("{name}={}*off->1*return", rng.below(2))).unwrap();
            match self.try_open() {
                Ok(()) => self.kill(),
                Err(_) => faults += 1,
            }
            disarm_fail_points();
        }
        self.faulty = false;
        self.try_open().unwrap();
        faults
    }

    fn try_open(&mut self) -> insula_storage::Result<()> {
        let start = Instant::now();
        loop {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
            match runtime.block_on(Store::open_with_clock(self.config.clone(), clock)) {
                Ok(store) => {
                    self.running = Some((runtime, store));
                    return Ok(());
                }
                // The threads of the store that was dropped are still letting go of the directory.
                Err(error) if error.kind() == ErrorKind::FailedPrecondition => {
                    assert!(start.elapsed() < Duration::from_secs(20), "the dropped store never let go: {error}");
                    std::thread::yield_now();
                }
                Err(error) => return Err(error),
            }
        }
    }
}
