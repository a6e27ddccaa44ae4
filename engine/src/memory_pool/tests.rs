mod sort;

use std::sync::Arc;

use super::*;

fn reservation(pool: &Arc<dyn MemoryPool>, can_spill: bool) -> MemoryReservation {
    named(pool, "test", can_spill)
}

fn named(pool: &Arc<dyn MemoryPool>, name: &str, can_spill: bool) -> MemoryReservation {
    MemoryConsumer::new(name).with_can_spill(can_spill).register(pool)
}

#[test]
fn operators_that_can_spill_leave_room_for_those_that_cannot() {
    let pool: Arc<dyn MemoryPool> = Arc::new(StatementPool::new(1000));
    let sort = reservation(&pool, true);
    sort.try_grow(500).unwrap();
    assert!(sort.try_grow(1).is_err(), "half is for those that cannot spill");
    let merge = reservation(&pool, false);
    merge.try_grow(500).unwrap();
    let error = merge.try_grow(1).unwrap_err().to_string();
    assert!(error.contains("test needs 1.0 B more") && error.contains("1000.0 B"), "{error}");
    assert_eq!(pool.reserved(), 1000);
    drop((sort, merge));
    assert_eq!(pool.reserved(), 0);
}

/// A sort and its merges, as DataFusion registers them.
fn sort_and_merges(pool: &Arc<dyn MemoryPool>, i: usize) -> [MemoryReservation; 2] {
    let sort = named(pool, &format!("ExternalSorter[{i}]"), true);
    [sort, named(pool, &format!("ExternalSorterMerge[{i}]"), false)]
}

#[test]
fn merges_of_runs_share_a_quarter() {
    let pool: Arc<dyn MemoryPool> = Arc::new(StatementPool::new(1000));
    let [sort, merge] = sort_and_merges(&pool, 0);
    merge.try_grow(250).unwrap();
    assert!(merge.try_grow(1).is_err());
    let [_second, runs] = sort_and_merges(&pool, 1);
    runs.try_grow(100).expect("one run");
    assert!(runs.try_grow(1).is_err(), "more than half of its part, while the other has all");
    drop((sort, merge));
    runs.try_grow(25).unwrap();
    reservation(&pool, false).try_grow(875).unwrap();
}

#[test]
fn merges_of_what_is_collected_get_all_that_is_free() {
    let pool: Arc<dyn MemoryPool> = Arc::new(StatementPool::new(1000));
    let [[sort, merge], [_, runs]] = [0, 1].map(|i| sort_and_merges(&pool, i));
    runs.try_grow(125).unwrap();
    sort.try_grow(100).unwrap();
    merge.try_grow(600).unwrap();
    sort.free();
    merge.try_grow(100).expect("it is still what was collected");
    merge.free();
    merge.try_grow(1).expect("a run");
    assert!(merge.try_grow(125).is_err(), "of written runs now");
}

#[test]
fn sorts_leave_room_for_their_merges() {
    let pool: Arc<dyn MemoryPool> = Arc::new(StatementPool::new(1000));
    let [[first, merge], [second, _]] = [0, 1].map(|i| sort_and_merges(&pool, i));
    first.try_grow(125).unwrap();
    second.try_grow(125).unwrap();
    assert!(first.try_grow(1).is_err() && second.try_grow(1).is_err(), "each byte of theirs counts twice");
    merge.try_grow(250).unwrap();
    first.free();
    merge.try_grow(250).unwrap();
    second.free();
    second.try_grow(62).unwrap();
    assert!(second.try_grow(1).is_err(), "half of its part, while a merge has all that spillers share");
    assert!(first.try_grow(30).is_ok(), "one that holds nothing could not go on without a batch");
    drop(merge);
    second.try_grow(63).unwrap();
}

#[test]
fn one_that_came_first_does_not_starve_the_others() {
    let pool: Arc<dyn MemoryPool> = Arc::new(StatementPool::new(1000));
    let [first, second] = [(); 2].map(|()| reservation(&pool, true));
    first.try_grow(250).unwrap();
    assert!(first.try_grow(1).is_err(), "more than its part, while there are two");
    second.try_grow(250).unwrap();
    assert!(second.try_grow(1).is_err());
    drop(second);
    first.try_grow(250).unwrap();
    // What nobody can spill goes first come, first served, up to the last byte.
    let joins = [(); 3].map(|()| reservation(&pool, false));
    joins[0].try_grow(499).unwrap();
    joins[1].try_grow(1).unwrap();
    assert!(joins[2].try_grow(1).is_err());
    first.shrink(1);
    joins[2].try_grow(1).unwrap();
}
