//! Where the engine's work runs: on runtimes of its own, beside the one that speaks with the network.
//!
//! Planning and light statements have threads that heavy ones never take, and the threads of those step back wherever
//! processors are short: so a read of a key does not stand behind a join, neither in a queue of tasks nor before a
//! processor.
//!
//! A statement computes for long stretches without yielding. On the network's threads it would hold up every other
//! client's bytes, health checks, and the very timer that is to end it. Here the network side waits for an answer and
//! can stop waiting at any time; dropping the wait cancels the work at its next yield.

use std::{io, pin::pin, thread, time::Duration};

use futures::{StreamExt, stream, stream::BoxStream};
use insula_engine::{Pace, Weight};
use parking_lot::Mutex;
use thread_priority::{ThreadPriority, ThreadPriorityValue, set_current_thread_priority};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::mpsc::{self, error::TrySendError},
    task::JoinHandle,
};
use tonic::Status;

use crate::status;

#[cfg(test)]
mod tests;

/// Plans of deeply nested statements recurse.
const STACK: usize = 16 << 20;
/// Of a heavy statement's threads, on a scale from 0 to 99: nice 10. They still get all that nobody else wants.
const STEPPED_BACK: u8 = 22;
/// Messages that may wait for a slow client, each of about 2 MB.
const BUFFERED: usize = 2;

pub struct Executor {
    light: Handle,
    heavy: Handle,
    /// Of both, until it ends.
    runtimes: Mutex<Vec<Runtime>>,
}

/// How the items of a stream go to its client.
pub struct Course<T> {
    /// Of the statement behind it, if there is one.
    pub pace: Option<Pace>,
    /// Of an item, in bytes.
    pub size: fn(&T) -> usize,
    /// Bytes that the whole stream may have.
    pub most: u64,
}

impl<T> Course<T> {
    /// Counted and passed on.
    fn check(&self, item: T, sent: &mut u64) -> Result<T, Status> {
        let bytes = (self.size)(&item);
        *sent = sent.saturating_add(bytes as u64);
        if *sent > self.most {
            return Err(Status::resource_exhausted(format!(
                "the result has more than {} bytes; ask for less of it, with LIMIT or fewer columns, or raise \
                 --max-result-bytes",
                self.most
            )));
        }
        if let Some(pace) = &self.pace {
            pace.hold(bytes).map_err(status::of)?;
        }
        Ok(item)
    }
}

impl Executor {
    pub fn new() -> io::Result<Self> {
        let threads = thread::available_parallelism()?.get();
        let runtime = |name: &str, start: fn()| {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(threads).thread_name(name).thread_stack_size(STACK);
            builder.on_thread_start(start).enable_all().build()
        };
        let (light, heavy) = (runtime("insula-light", || ())?, runtime("insula-heavy", step_back)?);
        let handles = (light.handle().clone(), heavy.handle().clone());
        Ok(Self { light: handles.0, heavy: handles.1, runtimes: Mutex::new(vec![light, heavy]) })
    }

    /// Drops what still runs, at its next yield, and waits so long for it. What it holds of the store must be gone before
    /// the process is: RocksDB's statics go first, and a thread that meets them afterwards aborts.
    pub async fn end(&self, patience: Duration) {
        let runtimes = std::mem::take(&mut *self.runtimes.lock());
        let ended = tokio::task::spawn_blocking(move || {
            runtimes.into_iter().for_each(|runtime| runtime.shutdown_timeout(patience));
        });
        if ended.await.is_err() {
            tracing::error!("the threads of statements could not be ended");
        }
    }

    /// Starts work that goes on until it ends or the task is dropped.
    pub fn start<T: Send + 'static>(
        &self,
        weight: Weight,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<Task<T>, Status> {
        self.spawn(weight, work)
    }

    /// Runs work to its end, or until the returned future is dropped. A panic is this request's internal error.
    pub async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, Status> {
        self.run_as(Weight::Light, work).await
    }

    /// The same beside others of its weight.
    pub async fn run_as<T: Send + 'static>(
        &self,
        weight: Weight,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Status> {
        let mut task = self.spawn(weight, work)?;
        task.join().await
    }

    /// Drives a stream, a little ahead of whoever reads it; while nobody does, its statement's slot is free for others.
    /// When `stop` is ready, the items and all that they hold are dropped, though nobody may be reading, and its status
    /// is the stream's last item.
    pub fn stream<T: Send + 'static>(
        &self,
        mut items: BoxStream<'static, Result<T, Status>>,
        stop: impl Future<Output = Status> + Send + 'static,
        course: Course<T>,
    ) -> Result<BoxStream<'static, Result<T, Status>>, Status> {
        let (sender, receiver) = mpsc::channel(BUFFERED);
        let (pace, size) = (course.pace.clone(), course.size);
        let weight = pace.as_ref().map_or(Weight::Light, Pace::weight);
        let task = self.spawn(weight, async move {
            let drive = pass_on(&mut items, &sender, &course);
            let stop = pin!(stop);
            let stopped = tokio::select! {
                biased;
                status = stop => Some(status),
                () = drive => None,
            };
            drop(items);
            course.pace.iter().for_each(Pace::rest);
            if let Some(status) = stopped {
                let _ = sender.send(Err(status)).await;
            }
        })?;
        // The end of the channel is the end of the stream only if the task says so: after a panic it would pass for one.
        let stream = stream::unfold(Some((receiver, task, pace, 0)), move |state| async move {
            let (mut receiver, task, pace, last) = state?;
            match receiver.recv().await {
                Some(item) => {
                    // The one before lay with the transport until now.
                    pace.iter().for_each(|pace| pace.let_go(last));
                    let bytes = item.as_ref().map_or(0, size);
                    Some((item, Some((receiver, task, pace, bytes))))
                }
                None => {
                    let mut task = task;
                    task.join().await.err().map(|status| (Err(status), None))
                }
            }
        });
        Ok(stream.boxed())
    }

    fn spawn<T: Send + 'static>(
        &self,
        weight: Weight,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<Task<T>, Status> {
        let runtime = match weight {
            Weight::Light => &self.light,
            Weight::Heavy => &self.heavy,
        };
        Ok(Task(runtime.spawn(work)))
    }
}

impl Drop for Executor {
    /// A runtime that waited for its threads would block the one on which it is dropped.
    fn drop(&mut self) {
        self.runtimes.get_mut().drain(..).for_each(Runtime::shutdown_background);
    }
}

/// Sends the items until they end or nobody wants them. An error is the last one.
async fn pass_on<T>(
    items: &mut BoxStream<'static, Result<T, Status>>,
    sender: &mpsc::Sender<Result<T, Status>>,
    course: &Course<T>,
) {
    let mut sent = 0;
    loop {
        if let Some(pace) = &course.pace {
            pace.resume().await;
        }
        let Some(item) = items.next().await else { return };
        let item = item.and_then(|item| course.check(item, &mut sent));
        let is_last = item.is_err();
        match sender.try_send(item) {
            Ok(()) => {}
            Err(TrySendError::Full(item)) => {
                course.pace.iter().for_each(Pace::rest);
                if sender.send(item).await.is_err() {
                    return;
                }
            }
            Err(TrySendError::Closed(_)) => return,
        }
        if is_last {
            return;
        }
    }
}

/// Lets the process's other threads go first. Where the system does not allow that, all are equal.
fn step_back() {
    let stepped = ThreadPriorityValue::try_from(STEPPED_BACK).map(ThreadPriority::Crossplatform);
    if let Ok(priority) = stepped
        && let Err(error) = set_current_thread_priority(priority)
    {
        tracing::debug!(?error, "a thread keeps its priority");
    }
}

/// Ends with whoever waits for it.
pub struct Task<T>(JoinHandle<T>);

impl<T> Task<T> {
    /// What it came to. Dropping the wait leaves the task running; once it is told, it is not to be asked again.
    pub async fn join(&mut self) -> Result<T, Status> {
        match (&mut self.0).await {
            Ok(value) => Ok(value),
            Err(error) => Err(match error.try_into_panic() {
                Ok(panic) => status::panicked(&*panic),
                Err(_) => Status::cancelled("the statement was cancelled"),
            }),
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
