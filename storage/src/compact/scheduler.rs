//! Compacts in the background, one table at a time: after each change of a cold tier, and from time to time because
//! retention ends by itself. Now and then it also sweeps up objects that nothing names.

use std::{sync::Arc, time::Duration};

use insula_proto::TableId;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::Compactor;
use crate::{jobs::JobKind, sweep};

const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often orphans are looked for, and how old they must be.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// The running background task.
pub(crate) struct Scheduler {
    stop: watch::Sender<bool>,
    task: parking_lot::Mutex<Option<JoinHandle<()>>>,
}

impl Scheduler {
    /// `enabled`: false for a store that is compacted only when it is told to.
    pub(crate) fn start(compactor: &Arc<Compactor>, enabled: bool) -> Self {
        let (stop, stopped) = watch::channel(false);
        let task = enabled.then(|| tokio::spawn(run(Arc::clone(compactor), stopped)));
        Self { stop, task: parking_lot::Mutex::new(task) }
    }

    /// To be called with [`Compactor::close`], which makes the compaction under way give up.
    pub(crate) async fn stop(&self) {
        self.stop.send_replace(true);
        let task = self.task.lock().take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the compaction scheduler died");
        }
    }
}

async fn run(compactor: Arc<Compactor>, mut stopped: watch::Receiver<bool>) {
    let mut swept = Instant::now();
    loop {
        if swept.elapsed() >= SWEEP_EVERY {
            swept = Instant::now();
            if let Err(error) = sweep::sweep(&compactor.flusher, SWEEP_EVERY).await {
                tracing::warn!(%error, "the sweep for orphans failed; it is tried again in an hour");
            }
        }
        tokio::select! {
            // A sender that is gone means the same as a stop.
            _ = stopped.changed() => return,
            () = compactor.flusher.cold.changed() => {}
            () = sleep(LOOK_EVERY) => {}
        }
        // A step for each in turn, so that a busy table does not keep the others waiting.
        let mut any = true;
        while std::mem::take(&mut any) {
            for table in compactor.flusher.tables.all() {
                if *stopped.borrow() {
                    return;
                }
                let paused = compactor.flusher.jobs.pauses(JobKind::Compaction, table.id);
                any |= !paused && compact(&compactor, table.id).await;
            }
        }
    }
}

/// Returns whether anything was done.
async fn compact(compactor: &Arc<Compactor>, table: TableId) -> bool {
    let jobs = &compactor.flusher.jobs;
    let error = match compactor.compact_due(table).await {
        Ok(true) => return true,
        Ok(false) => {
            jobs.needless(JobKind::Compaction, table);
            return false;
        }
        Err(error) => error,
    };
    // Dropped meanwhile, or told to stop.
    let Ok(def) = compactor.require(table) else {
        jobs.forget(table);
        return false;
    };
    let retry_in = jobs.failed(JobKind::Compaction, &def, compactor.flusher.clock.now_micros(), &error);
    let source = std::error::Error::source(&error).map(ToString::to_string);
    tracing::error!(%table, %error, source, ?retry_in, "compaction failed; the files stay as they were");
    false
}
