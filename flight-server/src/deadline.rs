//! How long a request may take: the smaller of the statement timeout and the client's `grpc-timeout`.

use std::time::Duration;

use futures::{StreamExt, stream, stream::BoxStream};
use http::HeaderMap;
use tokio::time::Instant;
use tonic::Status;

/// tonic ends a call at its `grpc-timeout` by itself, and calls that CANCELLED: ours comes so much before.
const EARLY: Duration = Duration::from_millis(20);

/// An instant after which a request is given up; `None` is never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    pub fn new(headers: &HeaderMap, limit: Option<Duration>) -> Self {
        let asked = headers.get("grpc-timeout").and_then(|value| parse(value.to_str().ok()?)).map(early);
        let shorter = match (asked, limit) {
            (Some(asked), Some(limit)) => Some(asked.min(limit)),
            (asked, limit) => asked.or(limit),
        };
        Self(shorter.and_then(|duration| Instant::now().checked_add(duration)))
    }

    /// For those who only look at it afterwards.
    pub fn at(self) -> Option<std::time::Instant> {
        self.0.map(Instant::into_std)
    }

    /// Drops the work, and so cancels it, when its time is up.
    pub async fn run<T>(self, work: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        match self.0 {
            Some(at) => tokio::time::timeout_at(at, work).await.unwrap_or_else(|_| Err(exceeded())),
            None => work.await,
        }
    }

    /// Ready when the time is up; never, without a limit.
    pub async fn expired(self) -> Status {
        match self.0 {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
        exceeded()
    }

    /// Ends a stream with an error when its time is up; the work behind it is dropped with it.
    pub fn stream<T: Send + 'static>(
        self,
        items: BoxStream<'static, Result<T, Status>>,
    ) -> BoxStream<'static, Result<T, Status>> {
        let Some(at) = self.0 else { return items };
        // The state is emptied after the error, so that nothing follows it.
        stream::unfold(Some(items), move |items| async move {
            let mut items = items?;
            match tokio::time::timeout_at(at, items.next()).await {
                Ok(item) => item.map(|item| (item, Some(items))),
                Err(_) => Some((Err(exceeded()), None)),
            }
        })
        .boxed()
    }
}

fn exceeded() -> Status {
    Status::deadline_exceeded("the statement took longer than the statement timeout or grpc-timeout allows")
}

/// So that short ones keep most of their time.
fn early(asked: Duration) -> Duration {
    asked.saturating_sub((asked / 10).min(EARLY))
}

/// `grpc-timeout` is at most eight digits and a unit, as gRPC's protocol over HTTP/2 has it.
fn parse(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3_600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
