use super::*;

const HOME: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
const AWAY: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::BROADCAST));

/// Whatever the waits are.
fn fail(throttle: &Throttle, from: Option<IpAddr>, times: u32, now: Instant) {
    for _ in 0..times {
        let later = throttle.failed.lock().values().map(Failures::until).max().unwrap_or(now);
        throttle.try_begin("ann", from, later).unwrap().unwrap().failed(now);
    }
}

fn check(throttle: &Throttle, name: &str, from: Option<IpAddr>, now: Instant) -> Result<(), Status> {
    throttle.try_begin(name, from, now).map(|attempt| drop(attempt.unwrap()))
}

#[test]
fn waits_double_and_have_an_end() {
    let (throttle, start) = (Throttle::default(), Instant::now());
    fail(&throttle, HOME, FREE_BY_ADDRESS, start);
    check(&throttle, "ann", HOME, start).unwrap();
    for wait in [1, 2, 4] {
        fail(&throttle, HOME, 1, start);
        assert!(check(&throttle, "ann", HOME, start + Duration::from_millis(wait * 1000 - 1)).is_err());
        check(&throttle, "ann", HOME, start + Duration::from_secs(wait)).unwrap();
    }
    fail(&throttle, HOME, 40, start);
    check(&throttle, "ann", HOME, start + LONGEST_WAIT).unwrap();
}

#[test]
fn others_do_not_wait() {
    let (throttle, now) = (Throttle::default(), Instant::now());
    fail(&throttle, HOME, FREE_BY_ADDRESS + 1, now);
    assert!(check(&throttle, "ann", HOME, now).is_err());
    check(&throttle, "bob", HOME, now).unwrap();
    check(&throttle, "ann", AWAY, now).unwrap();
}

#[test]
fn guesses_from_many_places_are_counted_together() {
    let (throttle, now) = (Throttle::default(), Instant::now());
    for host in 0..=FREE_BY_NAME {
        fail(&throttle, Some(IpAddr::from(host.to_be_bytes())), 1, now);
    }
    assert!(check(&throttle, "ann", AWAY, now).is_err());
}

#[test]
fn a_right_password_clears_its_address_alone() {
    let (throttle, now) = (Throttle::default(), Instant::now());
    fail(&throttle, HOME, FREE_BY_ADDRESS + 1, now);
    throttle.try_begin("ann", AWAY, now).unwrap().unwrap().succeeded();
    assert!(check(&throttle, "ann", HOME, now).is_err());
    let later = now + FIRST_WAIT;
    throttle.try_begin("ann", HOME, later).unwrap().unwrap().succeeded();
    check(&throttle, "ann", HOME, now).unwrap();
}

#[test]
fn failures_are_forgotten() {
    let (throttle, now) = (Throttle::default(), Instant::now());
    fail(&throttle, HOME, 30, now);
    throttle.sweep(now + FORGOTTEN);
    check(&throttle, "ann", HOME, now).unwrap();
}

#[test]
fn no_more_are_looked_at_together_than_may_fail() {
    let (throttle, now) = (Throttle::default(), Instant::now());
    let begin = || throttle.try_begin("ann", HOME, now);
    let looked_at: Vec<_> = (0..80).filter_map(|_| begin().unwrap()).collect();
    assert_eq!(looked_at.len(), FREE_BY_ADDRESS as usize + 1);
    assert!(throttle.try_begin("bob", HOME, now).unwrap().is_some());
    looked_at.into_iter().for_each(|attempt| attempt.failed(now));
    assert!(begin().is_err());
    // After its wait it is one at a time.
    let later = now + FIRST_WAIT;
    let one = throttle.try_begin("ann", HOME, later).unwrap();
    assert!(one.is_some() && throttle.try_begin("ann", HOME, later).unwrap().is_none());
}

/// A pool that opens its connections at once has its passwords looked at one after another, and is not refused.
#[tokio::test]
async fn many_who_know_the_password_come_in_together() {
    let throttle = Throttle::default();
    let login = || async {
        let attempt = throttle.begin("ann", HOME).await.unwrap();
        tokio::task::yield_now().await;
        attempt.succeeded();
    };
    futures::future::join_all((0..200).map(|_| login())).await;
    assert!(throttle.failed.lock().is_empty());
}

#[test]
fn who_gives_up_is_not_counted() {
    let (throttle, now) = (Throttle::default(), Instant::now());
    (0..100).for_each(|_| check(&throttle, "ann", HOME, now).unwrap());
    assert!(throttle.failed.lock().is_empty());
}

#[test]
fn nobody_ends_a_wait_by_failing_with_other_names() {
    let (throttle, now) = (Throttle::default(), Instant::now());
    fail(&throttle, HOME, 30, now);
    for other in 0..MOST {
        throttle.try_begin(&other.to_string(), HOME, now).unwrap().unwrap().failed(now);
        assert!(throttle.failed.lock().len() <= MOST);
    }
    assert!(check(&throttle, "ann", HOME, now + FIRST_WAIT).is_err());
}
