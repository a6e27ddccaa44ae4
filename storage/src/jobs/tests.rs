use super::*;
use crate::{TableOptions, flush::scheduler::tests::table};

const SECOND: i64 = 1_000_000;

fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable, "out of reach")
}

#[tokio::test]
async fn what_fails_is_left_alone_longer_each_time_until_it_is_done() {
    let (jobs, table) = (Jobs::default(), table(TableOptions::default()));
    let pauses: Vec<u64> =
        (0..11).map(|_| jobs.failed(JobKind::Flush, &table, 5 * SECOND, &unavailable()).as_secs()).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    assert!(jobs.pauses(JobKind::Flush, table.id) && !jobs.pauses(JobKind::Compaction, table.id));
    let [job] = &jobs.all()[..] else { panic!("one job fails") };
    assert_eq!(job.table, Some(("public".into(), "t".into())));
    let failing = Outcome::Failing { failures: 11, retry_micros: 305 * SECOND, error: "out of reach".into() };
    assert_eq!(job.outcome, failing);
    let work = Work { rows: 3, files: 1, bytes: 99 };
    jobs.done(JobKind::Flush, Some(&table), 6 * SECOND, work);
    assert!(!jobs.pauses(JobKind::Flush, table.id));
    assert_eq!(jobs.all().into_iter().map(|job| job.outcome).collect::<Vec<_>>(), [Outcome::Done(work)]);
    assert_eq!(jobs.failed(JobKind::Flush, &table, 0, &unavailable()).as_secs(), 1, "it begins anew");
}

#[tokio::test]
async fn damage_is_tried_again_seldom() {
    let (jobs, table) = (Jobs::default(), table(TableOptions::default()));
    let damage = Error::new(ErrorKind::DataLoss, "a block is damaged");
    jobs.failed(JobKind::Flush, &table, 0, &unavailable());
    let minutes: Vec<u64> = (0..8).map(|_| jobs.failed(JobKind::Flush, &table, 0, &damage).as_secs() / 60).collect();
    assert_eq!(minutes, [1, 2, 4, 8, 16, 32, 60, 60]);
    jobs.forget(table.id);
    assert!(jobs.all().is_empty() && !jobs.pauses(JobKind::Flush, table.id));
}

#[tokio::test]
async fn the_last_jobs_are_remembered_the_newest_first() {
    let (jobs, table) = (Jobs::default(), table(TableOptions::default()));
    for at in 0..=REMEMBERED as i64 {
        jobs.done(JobKind::Load, Some(&table), at, Work::default());
    }
    let times: Vec<i64> = jobs.all().iter().map(|job| job.at_micros).collect();
    assert_eq!((times.len(), times[0], times[REMEMBERED - 1]), (REMEMBERED, REMEMBERED as i64, 1));
}
