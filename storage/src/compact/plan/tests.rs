use insula_proto::Generation;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::cold::DeletionVectorRef;

const POLICY: Policy = Policy { file_bytes: 100, expired_before: Some(50), overdue_before: Some(40), apart: false };

/// A file over users and, if they are one, over keys.
fn file(id: u128, level: u32, users: (u64, u64), keys: (u8, u8), bytes: u64) -> ColdFile {
    ColdFile {
        id: Uuid::from_u128(id),
        bytes,
        rows: 100,
        deleted_rows: 0,
        users: (UserNo(users.0), UserNo(users.1)),
        keys: (vec![keys.0], vec![keys.1]),
        seqs: (1, 2),
        level,
        schema_version: 1,
        deletion_vector: None,
        created_micros: 0,
        stamp: None,
        tail: Default::default(),
        oldest_deleted_micros: None,
    }
}

fn dead(file: ColdFile, cardinality: u64) -> ColdFile {
    ColdFile { deletion_vector: Some(DeletionVectorRef { id: Uuid::nil(), cardinality, bytes: 1 }), ..file }
}

fn manifest(files: &[ColdFile]) -> Manifest {
    Manifest { version: 1, files: files.to_vec(), flushed: Generation(1) }
}

fn ids(plan: Option<Plan>) -> Option<(Vec<u128>, u32, bool)> {
    plan.map(|plan| (plan.inputs.iter().map(|file| file.id.as_u128()).collect(), plan.level, plan.moves))
}

#[test]
fn four_files_over_one_user_are_merged_with_what_lies_below() {
    let below = [file(1, 1, (1, 5), (0, 9), 100), file(2, 1, (6, 9), (0, 9), 100), file(3, 1, (20, 30), (0, 9), 100)];
    let flushed: Vec<_> = (4..8).map(|id| file(id, 0, (3, 8), (0, 9), 100)).collect();
    let three = [&below[..], &flushed[..3]].concat();
    assert_eq!(POLICY.due(&manifest(&three)), None);
    let four = [&below[..], &flushed[..]].concat();
    assert_eq!(ids(POLICY.due(&manifest(&four))), Some((vec![1, 4, 5, 6, 7, 2], 1, false)));
    // Files of other users, as a table with `placement = 'file'` has, are no reason, and stay where they are.
    let apart: Vec<_> = (4..40).map(|id| file(id, 0, (id as u64, id as u64), (0, 9), 100)).collect();
    assert_eq!(POLICY.due(&manifest(&apart)), None);
    let one_deep: Vec<_> = apart.into_iter().chain((40..43).map(|id| file(id, 0, (9, 9), (0, 9), 100))).collect();
    assert_eq!(ids(POLICY.due(&manifest(&one_deep))).unwrap().0, [9, 40, 41, 42]);
}

#[test]
fn a_level_past_its_size_gives_its_cheapest_file() {
    let mut files: Vec<_> = (0..5).map(|i| file(10 + i, 1, (i as u64 * 10, i as u64 * 10 + 9), (0, 9), 100)).collect();
    files.push(file(1, 2, (0, 29), (0, 9), 500));
    files.push(file(2, 2, (30, 39), (0, 9), 50));
    // The last one has nothing below it, so it only changes its level.
    assert_eq!(ids(POLICY.due(&manifest(&files))), Some((vec![14], 2, true)));
    files.push(file(3, 2, (40, 49), (0, 9), 90));
    assert_eq!(ids(POLICY.due(&manifest(&files))), Some((vec![13, 2], 2, false)));
    files.remove(0);
    assert_eq!(POLICY.due(&manifest(&files)), None, "four files are level 1's size");
}

#[test]
fn files_of_one_user_overlap_by_key_only() {
    let own = [file(1, 2, (7, 7), (0, 10), 100), file(2, 2, (7, 7), (11, 20), 100)];
    let over: Vec<_> = (0..5).map(|i| file(10 + i, 1, (7, 7), (30 + i as u8, 30 + i as u8), 100)).collect();
    assert_eq!(ids(POLICY.due(&manifest(&[&own[..], &over[..]].concat()))), Some((vec![10], 2, true)));
    // Shared files reach for all files of their users.
    let shared: Vec<_> = (0..5).map(|i| file(10 + i, 1, (7 * i as u64, 7 * i as u64 + 6), (30, 31), 100)).collect();
    let plan = ids(POLICY.due(&manifest(
        &[&own[..], &shared[1..2], &shared[1..2], &shared[1..2], &shared[1..2], &shared[1..2]].concat(),
    )));
    assert_eq!(plan, Some((vec![1, 2, 11], 2, false)));
}

#[test]
fn decay_and_retention_rewrite_a_file_where_it_is() {
    let files = [
        dead(file(1, 2, (1, 9), (0, 9), 100), 19),
        dead(file(2, 1, (1, 9), (0, 9), 100), 20),
        file(3, 0, (1, 1), (0, 1), 1),
    ];
    assert_eq!(ids(POLICY.due(&manifest(&files))), Some((vec![2], 1, false)));
    assert_eq!(POLICY.due(&manifest(&[files[0].clone(), files[2].clone()])), None);
    let deleted = |at| ColdFile { oldest_deleted_micros: Some(at), ..file(4, 3, (1, 9), (0, 9), 100) };
    assert_eq!(POLICY.due(&manifest(&[deleted(40)])), None, "expired, but not for long");
    assert_eq!(ids(POLICY.due(&manifest(&[deleted(39)]))), Some((vec![4], 3, false)));
}

#[test]
fn users_that_are_to_lie_apart_are_taken_apart() {
    let files = [file(1, 1, (1, 1), (0, 9), 100), file(2, 0, (2, 3), (0, 9), 100)];
    let apart = Policy { apart: true, ..POLICY };
    assert_eq!(POLICY.due(&manifest(&files)), None);
    assert_eq!(ids(apart.due(&manifest(&files))), Some((vec![2], 0, false)));
    assert_eq!(apart.due(&manifest(&files[..1])), None);
    assert_eq!(apart.whole(&manifest(&files[..1])), None);
}

#[test]
fn the_whole_is_one_run_without_dead_rows() {
    assert_eq!(POLICY.whole(&manifest(&[])), None);
    let done = [file(1, 1, (1, 5), (0, 9), 100), file(2, 1, (6, 6), (0, 4), 100), file(3, 1, (6, 6), (5, 9), 100)];
    assert_eq!(POLICY.whole(&manifest(&done)), None);
    for other in [
        file(4, 0, (7, 9), (0, 9), 1),
        file(4, 1, (6, 9), (9, 9), 1),
        dead(file(4, 1, (7, 9), (0, 9), 1), 1),
        ColdFile { oldest_deleted_micros: Some(49), ..file(4, 1, (7, 9), (0, 9), 1) },
    ] {
        let plan = POLICY.whole(&manifest(&[&done[..], &[other]].concat())).unwrap();
        assert_eq!((plan.inputs.len(), plan.level), (4, 1));
    }
    let large = [file(1, 0, (1, 9), (0, 9), 4001)];
    assert_eq!(POLICY.whole(&manifest(&large)).unwrap().level, 3, "4 files, then 40, then 400");
    // More runs than are merged at a time: the smallest first, into one more run.
    let many: Vec<_> = (1..=20).map(|i| file(i, 0, (1, 9), (0, 9), 100 - i as u64)).collect();
    let plan = POLICY.whole(&manifest(&many)).unwrap();
    assert_eq!((plan.inputs.len(), plan.level), (RUNS, 0));
    assert!(plan.inputs.iter().all(|file| file.bytes <= 95));
}

proptest! {
    #[test]
    fn runs_are_sorted_and_lose_no_file(places in prop::collection::vec((0..20u64, 0..5u64, any::<u8>(), any::<u8>()), 0..30)) {
        let files: Vec<_> = (0u128..).zip(&places)
            .map(|(id, (user, more, a, b))| file(id, 0, (*user, user + more), if *more == 0 { (*a.min(b), *a.max(b)) } else { (*a, *b) }, 1))
            .collect();
        let runs = chains(files.clone());
        prop_assert_eq!(runs.iter().map(Vec::len).sum::<usize>(), files.len());
        for run in &runs {
            for pair in run.windows(2) {
                prop_assert!((pair[0].users.1, &pair[0].keys.1) < (pair[1].users.0, &pair[1].keys.0));
            }
        }
        // Where no two files meet, one run is enough.
        let apart: Vec<_> = (0..files.len() as u64).map(|i| file(i.into(), 0, (i, i), (0, 9), 1)).collect();
        prop_assert!(chains(apart).len() <= 1);
    }
}
