//! The speed limit of compactions: bytes written per second, all tables together.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

pub(crate) struct Pace {
    bytes_per_second: u64,
    /// When what was let through so far has had its time.
    due: Mutex<Instant>,
}

impl Pace {
    /// 0: no limit.
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, due: Mutex::new(Instant::now()) }
    }

    /// Waits until `bytes` more may be written.
    pub(super) async fn pass(&self, bytes: u64) {
        if let Some(wait) = self.book(bytes, Instant::now()) {
            sleep(wait).await;
        }
    }

    /// Who comes waits for those before; the first after a pause does not wait.
    fn book(&self, bytes: u64, now: Instant) -> Option<Duration> {
        if self.bytes_per_second == 0 {
            return None;
        }
        let mut due = self.due.lock();
        let start = (*due).max(now);
        *due = start + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        Some(start - now).filter(|wait| !wait.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_their_time_and_pauses_give_no_credit() {
        let (pace, start) = (Pace::new(1000), Instant::now());
        let second = Duration::from_secs(1);
        assert_eq!(pace.book(2000, start), None);
        assert_eq!(pace.book(500, start), Some(2 * second));
        assert_eq!(pace.book(1000, start + second), Some(second + second / 2));
        assert_eq!(pace.book(1000, start + 60 * second), None);
        assert_eq!(pace.book(1000, start + 60 * second), Some(second));
        assert_eq!(Pace::new(0).book(u64::MAX, start), None);
    }
}
