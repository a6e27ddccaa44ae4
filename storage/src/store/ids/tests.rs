use std::sync::atomic::AtomicI64;

use super::*;

struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now_micros(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn ids_grow_whatever_the_clock_does() {
    let clock = Arc::new(SetClock(AtomicI64::new((EPOCH_MILLIS + 5) * 1000)));
    let ids = Ids::new(Arc::clone(&clock) as Arc<dyn Clock>, 0);
    assert_eq!(ids.reserve(3), 5 << COUNTER_BITS);
    assert_eq!(ids.reserve(1), (5 << COUNTER_BITS) + 3);
    clock.0.store(0, Ordering::Relaxed);
    assert_eq!(ids.reserve(1), (5 << COUNTER_BITS) + 4);
    clock.0.store((EPOCH_MILLIS + 9) * 1000, Ordering::Relaxed);
    assert_eq!(ids.reserve(2), 9 << COUNTER_BITS);
    assert_eq!(ids.last(), (9 << COUNTER_BITS) + 1);
    // After a restart with a clock that lost time.
    let ids = Ids::new(clock, 20 << COUNTER_BITS);
    assert_eq!(ids.reserve(1), (20 << COUNTER_BITS) + 1);
}
