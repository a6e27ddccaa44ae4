use std::io::Write;

use datafusion::execution::runtime_env::RuntimeEnvBuilder;

use super::*;

fn shares(limits: Limits) -> Arc<Shares> {
    let base = RuntimeEnvBuilder::new().build_arc().unwrap();
    Shares::new(base, Arc::new(StatementPool::new(1_000)), limits)
}

fn reservation(share: &Arc<Share>) -> MemoryReservation {
    let pool: Arc<dyn MemoryPool> = Arc::clone(share) as _;
    MemoryConsumer::new("test").register(&pool)
}

#[test]
fn one_user_leaves_memory_to_others_and_is_told_of_their_own_alone() {
    let shares = shares(Limits { user_memory: 600, ..Limits::default() });
    let (mine, theirs) = (shares.of(UserNo(2)), shares.of(UserNo(3)));
    let (a, b) = (reservation(&mine), reservation(&theirs));
    a.try_grow(600).unwrap();
    let error = reservation(&shares.of(UserNo(2))).try_grow(1).unwrap_err().to_string();
    assert!(error.contains("your statements") && error.contains("--user-memory-limit"), "{error}");
    b.try_grow(400).unwrap();
    let error = b.try_grow(1).unwrap_err().to_string();
    assert!(error.contains("--memory-limit") && !error.contains("free"), "{error}");
    assert_eq!(shares.memory(Some(UserNo(3))), (400, 600), "what is refused is not counted");
    assert_eq!(shares.memory(None), (1_000, 1_000));
}

#[test]
fn a_user_who_does_nothing_costs_nothing() {
    let shares = shares(Limits::default());
    let member = shares.of(UserNo(2)).join();
    let reservation = reservation(member.share());
    drop(member);
    assert_eq!(shares.users(), 1, "what it accounts for keeps it");
    drop(reservation);
    assert_eq!(shares.users(), 0);
}

#[test]
fn statements_of_a_user_are_counted() {
    let shares = shares(Limits::default());
    let share = shares.of(UserNo(2));
    let members: Vec<_> = (0..=MOST_STATEMENTS).map(|_| Arc::clone(&share).join()).collect();
    let error = members[0].check().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    shares.of(UserNo(3)).join().check().unwrap();
    drop(members);
    share.join().check().unwrap();
}

#[test]
fn temporary_files_count_until_they_are_gone() {
    let shares = shares(Limits { user_spill: 100, spill: 150, ..Limits::default() });
    let file = |user| {
        let runtime = shares.of(UserNo(user)).runtime().unwrap();
        let file = runtime.disk_manager.create_tmp_file("test").unwrap();
        (file.open_writer().unwrap(), file)
    };
    let (mut first, kept) = file(2);
    first.write_all(&[0; 100]).unwrap();
    let error = crate::Error::from(datafusion::error::DataFusionError::IoError(first.write_all(&[0]).unwrap_err()));
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(error.message().contains("--user-spill-limit"), "{error}");
    let (mut second, _kept) = file(3);
    second.write_all(&[0; 50]).unwrap();
    let error = second.write_all(&[0]).unwrap_err().to_string();
    assert!(error.contains("--spill-limit"), "{error}");
    assert_eq!((shares.spilled(Some(UserNo(2))), shares.spilled(None)), (100, 150));
    drop((first, kept));
    assert_eq!((shares.spilled(Some(UserNo(2))), shares.spilled(None)), (0, 50));
    second.write_all(&[0; 50]).unwrap();
}
