use super::*;

const ANN: UserNo = UserNo(7);
const BOB: UserNo = UserNo(8);
const SECOND: Duration = Duration::from_secs(1);

fn rate(bytes_per_second: u64) -> WriteRate {
    WriteRate::new(&Limits { user_ingest_rate: bytes_per_second, patience: 30 * SECOND, ..Limits::default() })
}

#[test]
fn what_a_second_allows_is_written_without_waiting() {
    let (rate, now) = (rate(1_000), Instant::now());
    rate.wrote(ANN, 600, now);
    rate.wrote(ANN, 400, now);
    assert_eq!(rate.before_writing(ANN, now).unwrap(), Duration::ZERO);
    // And again once it is paid, for as long as anybody likes.
    for second in 1..100 {
        rate.wrote(ANN, 1_000, now + second * SECOND);
        assert_eq!(rate.wait(ANN, now + second * SECOND), Duration::ZERO);
    }
}

#[test]
fn who_writes_more_waits_until_one_seconds_worth_is_owed() {
    let (rate, now) = (rate(1_000), Instant::now());
    rate.wrote(ANN, 5_000, now);
    assert_eq!(rate.wait(ANN, now), 4 * SECOND);
    assert_eq!(rate.wait(ANN, now + SECOND), 3 * SECOND);
    assert_eq!(rate.wait(ANN, now + 4 * SECOND), Duration::ZERO);
    // A stream that waits between its batches comes to the rate.
    let (mut at, mut sent) = (now + 5 * SECOND, 0);
    while at < now + 105 * SECOND {
        rate.wrote(ANN, 300, at);
        sent += 300;
        at += rate.wait(ANN, at).max(Duration::from_millis(1));
    }
    assert!((100_000..=102_000).contains(&sent), "{sent} bytes in 100 seconds");
}

#[test]
fn one_user_owes_nothing_for_another() {
    let (rate, now) = (rate(1_000), Instant::now());
    rate.wrote(ANN, 1_000_000, now);
    assert_eq!(rate.wait(BOB, now), Duration::ZERO);
    assert_eq!(rate.before_writing(BOB, now).unwrap(), Duration::ZERO);
}

#[test]
fn a_statement_does_not_wait_longer_than_the_queue_allows() {
    let (rate, now) = (rate(1_000), Instant::now());
    rate.wrote(ANN, 31_000, now);
    assert_eq!(rate.before_writing(ANN, now).unwrap(), 30 * SECOND);
    rate.wrote(ANN, 1_000, now);
    let error = rate.before_writing(ANN, now).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(error.message().contains("--user-ingest-rate"), "{error}");
    assert_eq!(rate.refused(), 1);
    assert_eq!(rate.before_writing(ANN, now + SECOND).unwrap(), 30 * SECOND);
}

#[test]
fn without_a_limit_nothing_is_kept() {
    let (rate, now) = (rate(0), Instant::now());
    rate.wrote(ANN, u64::MAX, now);
    assert_eq!(rate.before_writing(ANN, now).unwrap(), Duration::ZERO);
    assert!(rate.owed.lock().until.is_empty());
}

#[test]
fn who_owes_nothing_is_forgotten() {
    let (rate, now) = (rate(1_000), Instant::now());
    for user in 0..10_000 {
        rate.wrote(UserNo(user), 100, now + u32::try_from(user).unwrap() * SECOND);
    }
    assert!(rate.owed.lock().until.len() <= FEW);
    // However much it is, it is an instant.
    rate.wrote(ANN, u64::MAX, now);
    rate.wrote(ANN, u64::MAX, now);
    assert!(rate.wait(ANN, now) > 300 * 86_400 * SECOND);
}
