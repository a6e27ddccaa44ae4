//! Where the engine's work runs: a runtime of its own, beside the one that speaks with the network.
//!
//! A statement computes for long stretches without yielding. On the network's threads it would hold up every other
//! client's bytes, health checks, and the very timer that is to end it. Here the network side waits for an answer and
//! can stop waiting at any time; dropping the wait cancels the work at its next yield.

use std::{io, pin::pin, thread};

use futures::{StreamExt, stream, stream::BoxStream};
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
    task::JoinHandle,
};
use tonic::Status;

use crate::status;

#[cfg(test)]
mod tests;

/// Plans of deeply nested statements recurse.
const STACK: usize = 8 << 20;
/// Messages that may wait for a slow client, each of about 2 MB.
const BUFFERED: usize = 2;

pub struct Executor {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl Executor {
    pub fn new() -> io::Result<Self> {
        let threads = thread::available_parallelism()?.get();
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(threads).thread_name("insula-engine").thread_stack_size(STACK).enable_all();
        Ok(Self { runtime: Some(builder.build()?) })
    }

    /// Starts work that goes on until it ends or the task is dropped.
    pub fn start<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<Task<T>, Status> {
        self.spawn(work)
    }

    /// Runs work to its end, or until the returned future is dropped. A panic is this request's internal error.
    pub async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, Status> {
        let mut task = self.spawn(work)?;
        task.join().await
    }

    /// Drives a stream, a little ahead of whoever reads it. When `stop` is ready, the items and all that they hold are
    /// dropped, though nobody may be reading, and its status is the stream's last item.
    pub fn stream<T: Send + 'static>(
        &self,
        mut items: BoxStream<'static, Result<T, Status>>,
        stop: impl Future<Output = Status> + Send + 'static,
    ) -> Result<BoxStream<'static, Result<T, Status>>, Status> {
        let (sender, receiver) = mpsc::channel(BUFFERED);
        let task = self.spawn(async move {
            let drive = async {
                while let Some(item) = items.next().await {
                    if sender.send(item).await.is_err() {
                        break;
                    }
                }
            };
            let stop = pin!(stop);
            let stopped = tokio::select! {
                biased;
                status = stop => Some(status),
                () = drive => None,
            };
            drop(items);
            if let Some(status) = stopped {
                let _ = sender.send(Err(status)).await;
            }
        })?;
        // The end of the channel is the end of the stream only if the task says so: after a panic it would pass for one.
        let stream = stream::unfold(Some((receiver, task)), |state| async move {
            let (mut receiver, task) = state?;
            match receiver.recv().await {
                Some(item) => Some((item, Some((receiver, task)))),
                None => {
                    let mut task = task;
                    task.join().await.err().map(|status| (Err(status), None))
                }
            }
        });
        Ok(stream.boxed())
    }

    fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<Task<T>, Status> {
        let runtime = self.runtime.as_ref().ok_or_else(|| Status::unavailable("the server is shutting down"))?;
        Ok(Task(runtime.spawn(work)))
    }
}

impl Drop for Executor {
    /// A runtime that waited for its threads would block the one on which it is dropped.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
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
