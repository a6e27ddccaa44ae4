//! Decides when tables are flushed: by rows, by bytes, by the age of the oldest hot row; the fattest first.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinHandle, time::sleep};

use super::Flusher;
use crate::{ErrorKind, TableDef, TableKind, hot::tables::Load, jobs::JobKind};

/// How often ages are looked at; rows and bytes are told at once.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The running background task.
pub(crate) struct Scheduler {
    stop: watch::Sender<bool>,
    task: parking_lot::Mutex<Option<JoinHandle<()>>>,
}

impl Scheduler {
    pub(crate) fn start(flusher: Arc<Flusher>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(flusher, stopped));
        Self { stop, task: parking_lot::Mutex::new(Some(task)) }
    }

    /// Lets the flush under way end, begins no other.
    pub(crate) async fn stop(&self) {
        self.stop.send_replace(true);
        let task = self.task.lock().take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the flush scheduler died");
        }
    }
}

async fn run(flusher: Arc<Flusher>, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            // A sender that is gone means the same as a stop.
            _ = stopped.changed() => return,
            () = flusher.tables.pressure.notified() => {}
            () = flusher.cold.reclaimable() => flusher.cold.reclaim().await,
            () = sleep(LOOK_EVERY) => {}
        }
        let now = flusher.clock.now_micros();
        for table in flusher.tables.fattest_first() {
            let due = is_due(&table, flusher.tables.load(table.id), now, flusher.tables.is_crowded());
            if !due || flusher.jobs.pauses(JobKind::Flush, table.id) {
                continue;
            }
            if *stopped.borrow() {
                return;
            }
            flush(&flusher, &table).await;
        }
    }
}

async fn flush(flusher: &Arc<Flusher>, table: &TableDef) {
    let error = match flusher.flush(table.id).await {
        Ok(_) => return,
        // Dropped meanwhile.
        Err(error) if error.kind() == ErrorKind::NotFound => return flusher.jobs.forget(table.id),
        Err(error) => error,
    };
    let retry_in = flusher.jobs.failed(JobKind::Flush, table, flusher.clock.now_micros(), &error);
    let source = std::error::Error::source(&error).map(ToString::to_string);
    tracing::error!(table = %table.id, %error, source, ?retry_in, "flush failed; the rows stay in the hot tier");
}

/// `is_crowded`: the hot tier as a whole has too much; whatever has rows is then due, until it has not.
fn is_due(table: &TableDef, load: Load, now_micros: i64, is_crowded: bool) -> bool {
    let options = &table.options;
    let age = load.oldest_micros.map(|oldest| now_micros.saturating_sub(oldest));
    let age = age.and_then(|micros| u64::try_from(micros).ok()).map(Duration::from_micros);
    let old = age.zip(options.flush_interval).is_some_and(|(age, interval)| age >= interval);
    let full = load.rows >= options.flush_rows || load.bytes >= options.flush_bytes;
    table.kind != TableKind::Stream && load.rows > 0 && (full || old || is_crowded)
}

#[cfg(test)]
pub(crate) mod tests;
