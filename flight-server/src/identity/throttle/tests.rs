use super::*;

const HOME: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
const AWAY: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::BROADCAST));

fn fail(throttle: &Throttle, from: Option<IpAddr>, times: u32, now: Instant) {
    (0..times).for_each(|_| throttle.failed("ann", from, now));
}

#[test]
fn waits_double_and_have_an_end() {
    let (throttle, start) = (Throttle::default(), Instant::now());
    fail(&throttle, HOME, FREE_BY_ADDRESS, start);
    throttle.check("ann", HOME, start).unwrap();
    for wait in [1, 2, 4] {
        fail(&throttle, HOME, 1, start);
        assert!(throttle.check("ann", HOME, start + Duration::from_millis(wait * 1000 - 1)).is_err());
        throttle.check("ann", HOME, start + Duration::from_secs(wait)).unwrap();
    }
    fail(&throttle, HOME, 40, start);
    throttle.check("ann", HOME, start + LONGEST_WAIT).unwrap();
}

#[test]
fn others_do_not_wait() {
    let (throttle, now) = (Throttle::default(), Instant::now());
    fail(&throttle, HOME, FREE_BY_ADDRESS + 1, now);
    assert!(throttle.check("ann", HOME, now).is_err());
    throttle.check("bob", HOME, now).unwrap();
    throttle.check("ann", AWAY, now).unwrap();
}

#[test]
fn guesses_from_many_places_are_counted_together() {
    let (throttle, now) = (Throttle::default(), Instant::now());
    for host in 0..=FREE_BY_NAME {
        throttle.failed("ann", Some(IpAddr::from(host.to_be_bytes())), now);
    }
    assert!(throttle.check("ann", AWAY, now).is_err());
}

#[test]
fn a_right_password_clears_its_address_alone() {
    let (throttle, now) = (Throttle::default(), Instant::now());
    fail(&throttle, HOME, FREE_BY_ADDRESS + 1, now);
    throttle.succeeded("ann", AWAY);
    assert!(throttle.check("ann", HOME, now).is_err());
    throttle.succeeded("ann", HOME);
    throttle.check("ann", HOME, now).unwrap();
}

#[test]
fn failures_are_forgotten() {
    let (throttle, now) = (Throttle::default(), Instant::now());
    fail(&throttle, HOME, 30, now);
    throttle.sweep(now + FORGOTTEN);
    throttle.check("ann", HOME, now).unwrap();
}
