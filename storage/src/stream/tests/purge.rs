//! What is removed from the disk, when, and that nobody sees a difference.

use super::*;
use crate::{Finding, cold::manifest};

#[tokio::test]
async fn generations_are_dropped_whole_when_they_have_expired() {
    let bench = Bench::new(aged(80)).await;
    let streams = &bench.store.streams;
    bench.insert(&[(1, "a"), (2, "a")]).await;
    assert_eq!(streams.retire(bench.table.id).await.unwrap(), Work::default());
    // A quarter of the time later new rows go to a generation of their own.
    bench.pass(20 * SECOND + 1);
    streams.retire(bench.table.id).await.unwrap();
    bench.insert(&[(3, "b")]).await;
    replace(&bench.store, &bench.table, ALICE, &[(1, "b")]).await;
    bench.pass(60 * SECOND);
    assert_eq!(bench.live().await, ["b", "b"]);
    let gone = streams.retire(bench.table.id).await.unwrap();
    assert_eq!(
        (gone.rows, bench.versions().await),
        (2, 2),
        "unread, and with them the old version of a row that lives"
    );
    assert_eq!(bench.live().await, ["b", "b"]);
    bench.pass(20 * SECOND + 1);
    // Nothing was written since: the last generation goes, too.
    assert_eq!(streams.retire(bench.table.id).await.unwrap().rows, 2);
    assert_eq!((bench.versions().await, bench.store.tables.hot_bytes().0), (0, 0));
    let manifest = manifest::current(&bench.store.db, bench.table.id).unwrap();
    assert!(manifest.files.is_empty());
    let bench = bench.reopen().await;
    assert_eq!(bench.versions().await, 0);
    bench.insert(&[(1, "c")]).await;
    assert_eq!(bench.live().await, ["c"]);
    let jobs = bench.store.jobs();
    assert!(jobs.is_empty(), "{jobs:?}");
    bench.store.close().await.unwrap();
}

#[tokio::test]
async fn a_users_rows_are_removed_as_they_write_and_those_of_others_stay() {
    let bench = Bench::new(capped(10)).await;
    insert(&bench.store, &bench.table, BOB, &[(1, "b"), (2, "b")]).await;
    replace(&bench.store, &bench.table, BOB, &[(1, "c")]).await;
    for id in 0..2 * FEWEST_ROWS as i64 {
        bench.insert(&[(id, "a")]).await;
        let versions = bench.versions().await;
        assert!(versions <= 3 + FEWEST_ROWS + 10, "{versions} after {id}");
    }
    assert_eq!(bench.live().await.len(), 10);
    assert_eq!(live(&bench.store, &bench.table, BOB).await, ["c", "b"]);
    assert!(bench.store.jobs().is_empty(), "that is a part of writing");
    let total = bench.store.flusher.jobs.total(JobKind::Purge);
    assert_eq!((total.done, total.work.rows), (2, 2 * FEWEST_ROWS - bench.versions().await + 3));
    bench.store.close().await.unwrap();
}

#[tokio::test]
async fn a_compaction_leaves_what_is_seen_and_nothing_else() {
    let bench = Bench::new(TableOptions { ttl: Some(Duration::from_secs(60)), ..capped(3) }).await;
    for user in [ALICE, BOB] {
        insert(&bench.store, &bench.table, user, &[(1, "a"), (2, "a"), (3, "a")]).await;
        replace(&bench.store, &bench.table, user, &[(3, "b")]).await;
        insert(&bench.store, &bench.table, user, &[(4, "c")]).await;
        delete(&bench.store, &bench.table, user, &[(4, "c")]).await;
    }
    bench.insert(&[(9, "d")]).await;
    let before = (bench.live().await, bench.all().await, live(&bench.store, &bench.table, BOB).await);
    let report = bench.store.compact(bench.table.id).await.unwrap();
    let seen = bench.all().await + notes::seen(&bench.store, &bench.store.view(), &bench.table, BOB).await.len();
    assert_eq!((bench.versions().await, report.files), (seen as u64, 0));
    assert_eq!(report.removed, 2, "the row before each deletion; the rest went with it");
    assert_eq!((bench.live().await, bench.all().await, live(&bench.store, &bench.table, BOB).await), before);
    assert_eq!(bench.store.compact(bench.table.id).await.unwrap().removed, 0);
    let bench = bench.reopen().await;
    assert_eq!((bench.live().await, bench.all().await, live(&bench.store, &bench.table, BOB).await), before);
    assert_eq!(bench.versions().await, seen as u64);
    bench.store.close().await.unwrap();
}

#[tokio::test]
async fn the_newest_version_of_a_key_goes_last() {
    let bench = Bench::new(capped(1)).await;
    bench.insert(&[(1, "a")]).await;
    delete(&bench.store, &bench.table, ALICE, &[(1, "a")]).await;
    bench.insert(&[(2, "b")]).await;
    let slice = bench.store.view().slice(&bench.table, ALICE).unwrap();
    let mut piece = crate::hot::garbage::Piece::default();
    let met = crate::hot::garbage::collect(slice.hot_rows(), false, &mut piece, |_| Ok(())).unwrap();
    let numbers: Vec<u64> = piece
        .batch
        .ops
        .iter()
        .map(|op| match op {
            crate::hot::db::Op::Delete(_, stored) => crate::hot::key::split(stored).unwrap().seq.0,
            op => panic!("{op:?}"),
        })
        .collect();
    assert_eq!((met, numbers.len()), (3, 2));
    assert!(numbers[0] < numbers[1], "an old version alone would be the newest, and live: {numbers:?}");
    drop(slice);
    bench.store.close().await.unwrap();
}

#[tokio::test]
async fn a_flush_has_nothing_to_do_and_no_file_comes() {
    let bench = Bench::new(TableOptions { flush_rows: 1, ..capped(100) }).await;
    bench.insert(&[(1, "a"), (2, "b")]).await;
    assert_eq!(bench.store.flush(bench.table.id).await.unwrap(), crate::FlushReport::default());
    assert_eq!((bench.versions().await, bench.live().await.len()), (2, 2));
    assert!(bench.store.files(bench.table.id).unwrap().is_empty());
    let load = bench.store.load(&bench.table, crate::load::Scope::One(ALICE), crate::load::Mode::Insert).await;
    assert!(load.is_err(), "its files would never expire");
    bench.store.close().await.unwrap();
}

#[tokio::test]
async fn in_the_background_it_happens_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock(AtomicI64::new(START)));
    let config = StoreConfig { compaction: true, ..config(dir.path(), 64 << 20) };
    let store = Store::open_with_clock(config, Arc::clone(&clock) as _).await.unwrap();
    let table = stream(&store, "events", aged(60)).await;
    insert(&store, &table, ALICE, &[(1, "a")]).await;
    clock.0.fetch_add(61 * SECOND, Ordering::Relaxed);
    notes::wait_until(|| async { store.usage(&table, None).await.unwrap().hot_rows == 0 }).await;
    store.close().await.unwrap();
}

#[tokio::test]
async fn an_erased_user_has_no_rows_left_and_others_do() {
    let bench = Bench::new(capped(1000)).await;
    let rows: Vec<(i64, &str)> = (0..500).map(|id| (id, "a")).collect();
    bench.insert(&rows).await;
    let remembered = || -> usize {
        let slice = bench.store.view().slice(&bench.table, ALICE).unwrap();
        slice.hot(&[4], 100, false).unwrap().map(|rows| rows.unwrap().num_rows()).sum()
    };
    assert_eq!((remembered(), remembered()), (500, 500));
    insert(&bench.store, &bench.table, BOB, &[(1, "b")]).await;
    let report = bench.store.erase(ALICE).await.unwrap();
    assert_eq!((report.tables, report.rows, report.files), (1, 500, 0));
    assert_eq!((remembered(), bench.versions().await), (0, 1));
    assert_eq!(live(&bench.store, &bench.table, BOB).await, ["b"]);
    bench.store.close().await.unwrap();
}

#[tokio::test]
async fn a_backup_and_a_check_know_them() {
    let bench = Bench::new(TableOptions { ttl: Some(Duration::from_secs(60)), ..capped(2) }).await;
    bench.insert(&[(1, "a"), (2, "b"), (3, "c")]).await;
    bench.pass(61 * SECOND);
    bench.store.compact(bench.table.id).await.unwrap();
    bench.insert(&[(4, "d")]).await;
    let place = tempfile::tempdir().unwrap();
    let url = format!("file://{}", place.path().join("backup").display());
    bench.store.backup(&url).await.unwrap();
    bench.store.close().await.unwrap();

    let other = tempfile::tempdir().unwrap();
    let store = open(other.path(), &bench.clock).await;
    store.restore(&url).await.unwrap();
    assert_eq!(live(&store, &bench.table, ALICE).await, ["d"]);
    bench.pass(61 * SECOND);
    assert!(live(&store, &bench.table, ALICE).await.is_empty(), "its time goes on");
    store.close().await.unwrap();
    drop(store);
    let mut found: Vec<Finding> = Vec::new();
    Store::check(&config(other.path(), 64 << 20), &mut |finding| found.push(finding)).await.unwrap();
    assert!(found.is_empty(), "{found:?}");
}

#[tokio::test]
async fn a_crash_between_any_two_removals_changes_no_answer() {
    let mut bench = Bench::new(capped(2)).await;
    for id in [7, 8] {
        bench.insert(&[(id, "a")]).await;
        delete(&bench.store, &bench.table, ALICE, &[(id, "a")]).await;
        bench.store.committer.freeze(bench.table.id, |_, _| {}).await.unwrap();
    }
    // The first deletion is too old to be seen by now, and no live row is newer than what it deleted but one.
    bench.insert(&[(9, "b")]).await;
    replace(&bench.store, &bench.table, ALICE, &[(9, "c")]).await;
    let seen = async |bench: &Bench| notes::seen(&bench.store, &bench.store.view(), &bench.table, ALICE).await;
    let before = seen(&bench).await;
    let mut piece = crate::hot::garbage::Piece::default();
    let slice = bench.store.view().slice(&bench.table, ALICE).unwrap();
    crate::hot::garbage::collect(slice.hot_rows(), false, &mut piece, |_| Ok(())).unwrap();
    drop(slice);
    assert_eq!((before.len(), piece.batch.ops.len()), (2, 4));
    for op in piece.batch.ops {
        let batch = crate::hot::db::Batch { ops: vec![op] };
        bench.store.committer.purged(bench.table.id, Default::default(), false, batch).await.unwrap();
        assert_eq!(seen(&bench).await, before);
        bench = bench.reopen().await;
        assert_eq!(seen(&bench).await, before);
    }
    assert_eq!(bench.versions().await, before.len() as u64);
    bench.store.close().await.unwrap();
}
