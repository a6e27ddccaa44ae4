//! Removes in the background what has expired, one table at a time.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinHandle, time::sleep};

use super::{Look, Streams};
use crate::{ErrorKind, Result, TableDef, TableKind, hot::tables::Load, jobs::JobKind};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// However little a table has grown, it is looked through so often while it is written.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// A table that has grown by less than this is not looked through for that.
const LEAST_GROWTH: u64 = 1 << 20;

/// The running background task.
pub(crate) struct Scheduler {
    stop: watch::Sender<bool>,
    task: parking_lot::Mutex<Option<JoinHandle<()>>>,
}

impl Scheduler {
    /// `enabled`: false for a store whose tables are purged only when it is told to.
    pub(crate) fn start(streams: &Arc<Streams>, enabled: bool) -> Self {
        let (stop, stopped) = watch::channel(false);
        let task = enabled.then(|| tokio::spawn(run(Arc::clone(streams), stopped)));
        Self { stop, task: parking_lot::Mutex::new(task) }
    }

    /// Lets the purge under way end, begins no other.
    pub(crate) async fn stop(&self) {
        self.stop.send_replace(true);
        let task = self.task.lock().take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the scheduler of stream tables died");
        }
    }
}

async fn run(streams: Arc<Streams>, mut stopped: watch::Receiver<bool>) {
    loop {
        let tables = &streams.flusher.tables;
        tokio::select! {
            // A sender that is gone means the same as a stop.
            _ = stopped.changed() => return,
            () = tables.kept_pressure.notified() => {}
            () = sleep(LOOK_EVERY) => {}
        }
        let due = tables.fattest_first();
        for table in due.iter().filter(|table| table.kind == TableKind::Stream) {
            if *stopped.borrow() {
                return;
            }
            if !streams.flusher.jobs.pauses(JobKind::Purge, table.id) {
                tend(&streams, table).await;
            }
        }
    }
}

async fn tend(streams: &Arc<Streams>, table: &TableDef) {
    let error = match streams.tend(table).await {
        Ok(()) => return,
        // Dropped meanwhile.
        Err(error) if error.kind() == ErrorKind::NotFound => return streams.forget(table.id),
        Err(error) => error,
    };
    let retry_in = streams.flusher.jobs.failed(JobKind::Purge, table, streams.flusher.clock.now_micros(), &error);
    let source = std::error::Error::source(&error).map(ToString::to_string);
    tracing::error!(table = %table.id, %error, source, ?retry_in, "expired rows could not be removed; nobody sees them");
}

impl Streams {
    async fn tend(self: &Arc<Self>, table: &TableDef) -> Result<()> {
        self.retire(table.id).await?;
        let (load, now) = (self.flusher.tables.load(table.id), self.flusher.clock.now_micros());
        let last = *self.looked.lock().entry(table.id).or_insert(Look { bytes: load.bytes, at_micros: now });
        if is_due(load, last, now, self.flusher.tables.is_kept_crowded()) {
            self.sweep(table.id).await?;
        }
        Ok(())
    }
}

/// `is_crowded`: stream tables together have much of what they may have.
fn is_due(load: Load, last: Look, now_micros: i64, is_crowded: bool) -> bool {
    let growth = load.bytes.saturating_sub(last.bytes);
    let every = i64::try_from(SWEEP_EVERY.as_micros()).unwrap_or(i64::MAX);
    let doubled = growth >= last.bytes.max(LEAST_GROWTH);
    let pressed = is_crowded && growth >= (last.bytes / 8).max(LEAST_GROWTH);
    doubled || pressed || load.bytes != last.bytes && now_micros.saturating_sub(last.at_micros) >= every
}
