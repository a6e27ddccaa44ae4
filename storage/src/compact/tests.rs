mod altered;

use std::{path::Path, sync::atomic::AtomicI64, time::Duration};

use arrow::{array::AsArray, datatypes::Int64Type};
use insula_proto::Seq;

use super::*;
use crate::{
    ReadView, Stamp, Store, TableDef, TableOptions,
    cold::{fixture, manifest::Manifest},
    hot::db::Batch,
    notes::*,
    table::Placement,
};

fn manifest_of(store: &Store, table: &TableDef) -> Manifest {
    manifest::current(&store.db, table.id).unwrap()
}

/// One file, level 1, no deletion vector, no other object, no intent.
fn assert_whole(store: &Store, table: &TableDef, directory: &Path) {
    let manifest = manifest_of(store, table);
    assert!(manifest.files.iter().all(|file| file.level == 1 && file.deletion_vector.is_none()), "{manifest:?}");
    assert_eq!(manifest.files.len(), 1);
    assert_no_orphans(store, table, directory);
}

fn assert_no_orphans(store: &Store, table: &TableDef, directory: &Path) {
    assert_eq!(objects(directory).len(), manifest_of(store, table).objects(table.id).len());
    assert_eq!(manifest::intents(&store.db).unwrap(), []);
}

/// Three flushes: Alice has 1 in its second version, 2 in its first, 3 deleted; Bob has 1.
async fn three_flushes(store: &Arc<Store>, table: &Arc<TableDef>) {
    insert(store, table, ALICE, &[(1, "v1"), (2, "v1"), (3, "v1")]).await;
    store.flush(table.id).await.unwrap();
    replace(store, table, ALICE, &[(1, "v2")]).await;
    insert(store, table, BOB, &[(1, "bob")]).await;
    store.flush(table.id).await.unwrap();
    delete(store, table, ALICE, &[(3, "v1")]).await;
    store.flush(table.id).await.unwrap();
}

#[tokio::test]
async fn a_table_becomes_one_sorted_run() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let table = notes(&store, TableOptions::default()).await;
    assert_eq!(store.compact(table.id).await.unwrap(), CompactReport::default(), "nothing is there yet");
    three_flushes(&store, &table).await;
    let before = seen(&store, &store.view(), &table, ALICE).await;
    let report = store.compact(table.id).await.unwrap();
    assert_eq!((report.rows, report.removed, report.files_before, report.files), (4, 2, 3, 1));
    assert_whole(&store, &table, directory.path());
    assert_eq!(seen(&store, &store.view(), &table, ALICE).await, before, "the deleted row stays in the bin");
    assert_eq!(live(&store, &table, BOB).await, ["bob"]);
    let usage = store.usage(&table, None).await.unwrap();
    assert_eq!((usage.cold_rows, usage.cold_files, usage.cold_bytes), (4, 1, report.bytes));
    assert_eq!(store.usage(&table, Some(ALICE)).await.unwrap().cold_rows, 3);
    let again = store.compact(table.id).await.unwrap();
    assert_eq!((again.rows, again.removed, again.files), (0, 0, 1), "it is one already");
    let store = reopen(store, directory.path()).await;
    assert_eq!(seen(&store, &store.view(), &table, ALICE).await, before);
    store.close().await.unwrap();
}

#[tokio::test]
async fn what_is_replaced_during_the_merge_is_marked_in_its_outputs() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let table = notes(&store, TableOptions::default()).await;
    three_flushes(&store, &table).await;
    let compactor = &store.compactor;
    let mut run = Run::begin(compactor, table.id, Want::Whole).await.unwrap().unwrap();
    run.merge().await.unwrap();
    // Bob's row was the last of its file besides Alice's v2, so that file is no longer named.
    replace(&store, &table, ALICE, &[(1, "v3")]).await;
    replace(&store, &table, BOB, &[(1, "new bob")]).await;
    assert_eq!(store.flush(table.id).await.unwrap().replaced, 2);
    run.catch_up().await.unwrap();
    delete(&store, &table, ALICE, &[(2, "v1")]).await;
    store.flush(table.id).await.unwrap();
    let (next, turn) = {
        run.persist().await.unwrap();
        let turn = store.flusher.turns.take(table.id).await.unwrap();
        run.catch_up().await.unwrap();
        (run.write_vectors().await.unwrap(), turn)
    };
    run.commit(&next).await.unwrap();
    run.reclaim(&next).await;
    drop((turn, run));
    let vectors: Vec<_> = next.files.iter().map(|file| file.deletion_vector.as_ref().map(|v| v.cardinality)).collect();
    assert_eq!(vectors, [Some(3), None, None]);
    assert_eq!(live(&store, &table, ALICE).await, ["v3"]);
    assert_eq!(live(&store, &table, BOB).await, ["new bob"]);
    assert_no_orphans(&store, &table, directory.path());
    let store = reopen(store, directory.path()).await;
    assert_eq!(live(&store, &table, ALICE).await, ["v3"]);
    store.compact(table.id).await.unwrap();
    assert_whole(&store, &table, directory.path());
    assert_eq!(live(&store, &table, ALICE).await, ["v3"]);
    store.close().await.unwrap();
}

#[tokio::test]
async fn outputs_that_lose_all_their_rows_leave_no_object() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let table = notes(&store, TableOptions::default()).await;
    insert(&store, &table, ALICE, &[(1, "v1")]).await;
    store.flush(table.id).await.unwrap();
    let mut run = Run::begin(&store.compactor, table.id, Want::Whole).await.unwrap().unwrap();
    run.merge().await.unwrap();
    replace(&store, &table, ALICE, &[(1, "v2")]).await;
    store.flush(table.id).await.unwrap();
    let (next, _turn) = store.compactor.prepare_rest(&mut run, table.id).await.unwrap();
    assert_eq!(next.files.len(), 1);
    run.commit(&next).await.unwrap();
    run.reclaim(&next).await;
    assert_no_orphans(&store, &table, directory.path());
    assert_eq!(live(&store, &table, ALICE).await, ["v2"]);
    drop(_turn);
    store.close().await.unwrap();
}

/// How far a compaction gets before the crash.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
enum Reached {
    Begun,
    Merged,
    CaughtUp,
    VectorsWritten,
    Persisted,
    Committed,
}

#[tokio::test]
async fn a_crash_after_any_step_changes_no_answer_and_leaves_no_object() {
    use Reached::{Begun, CaughtUp, Committed, Merged, Persisted, VectorsWritten};
    for step in [Begun, Merged, CaughtUp, VectorsWritten, Persisted, Committed] {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path()).await;
        let table = notes(&store, TableOptions::default()).await;
        three_flushes(&store, &table).await;
        crash_after(&store, &table, step).await;
        let alice: &[&str] = if step >= CaughtUp { &["v3", "v1"] } else { &["v2", "v1"] };
        let store = reopen(store, directory.path()).await;
        assert_eq!(live(&store, &table, ALICE).await, alice, "{step:?}");
        assert_eq!(live(&store, &table, BOB).await, ["bob"], "{step:?}");
        assert_no_orphans(&store, &table, directory.path());
        store.compact(table.id).await.unwrap();
        assert_eq!(live(&store, &table, ALICE).await, alice, "{step:?}");
        assert_whole(&store, &table, directory.path());
        store.close().await.unwrap();
    }
}

async fn crash_after(store: &Arc<Store>, table: &Arc<TableDef>, step: Reached) {
    let mut run = Run::begin(&store.compactor, table.id, Want::Whole).await.unwrap().unwrap();
    if step >= Reached::Merged {
        run.merge().await.unwrap();
    }
    if step < Reached::CaughtUp {
        return;
    }
    replace(store, table, ALICE, &[(1, "v3")]).await;
    store.flush(table.id).await.unwrap();
    run.catch_up().await.unwrap();
    if step < Reached::VectorsWritten {
        return;
    }
    let next = run.write_vectors().await.unwrap();
    if step >= Reached::Persisted {
        run.persist().await.unwrap();
    }
    if step >= Reached::Committed {
        run.commit(&next).await.unwrap();
    }
}

#[tokio::test]
async fn deleted_rows_go_when_their_retention_ends_and_nothing_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock(AtomicI64::new(1_000_000_000)));
    let store = Store::open_with_clock(config(directory.path(), 64 << 20), Arc::clone(&clock) as _).await.unwrap();
    let options = TableOptions { deleted_retention: Some(Duration::from_secs(10)), ..TableOptions::default() };
    let table = notes(&store, options).await;
    three_flushes(&store, &table).await;
    let bin = |seen: Seen| seen.into_values().filter(|(_, deleted)| *deleted).count();
    let advance = |micros: i64| clock.0.fetch_add(micros, Ordering::Relaxed);
    advance(10_000_000);
    store.compact(table.id).await.unwrap();
    assert_eq!(bin(seen(&store, &store.view(), &table, ALICE).await), 1, "the last moment is still retention");
    advance(1);
    let before = store.view();
    let report = store.compact(table.id).await.unwrap();
    assert_eq!((report.rows, report.removed), (3, 1));
    assert_eq!(bin(seen(&store, &before, &table, ALICE).await), 1, "an older view still sees it");
    drop(before);
    assert_eq!(bin(seen(&store, &store.view(), &table, ALICE).await), 0);
    assert_eq!(live(&store, &table, ALICE).await, ["v2", "v1"], "no older version of the row comes back");
    insert(&store, &table, ALICE, &[(3, "again")]).await;
    store.flush(table.id).await.unwrap();
    store.compact(table.id).await.unwrap();
    assert_eq!(live(&store, &table, ALICE).await, ["v2", "v1", "again"]);
    // In the background it needs no word, but a tenth of the retention more.
    delete(&store, &table, ALICE, &[(3, "again")]).await;
    store.flush(table.id).await.unwrap();
    advance(11_000_000);
    while store.compactor.compact_due(table.id).await.unwrap() {}
    assert_eq!(bin(seen(&store, &store.view(), &table, ALICE).await), 1);
    advance(1);
    while store.compactor.compact_due(table.id).await.unwrap() {}
    assert_eq!(bin(seen(&store, &store.view(), &table, ALICE).await), 0);
    store.close().await.unwrap();
}

#[tokio::test]
async fn without_retention_deleted_rows_stay_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock(AtomicI64::new(1)));
    let store = Store::open_with_clock(config(directory.path(), 64 << 20), Arc::clone(&clock) as _).await.unwrap();
    let table = notes(&store, TableOptions { deleted_retention: None, ..TableOptions::default() }).await;
    three_flushes(&store, &table).await;
    clock.0.store(i64::MAX / 2, Ordering::Relaxed);
    store.compact(table.id).await.unwrap();
    assert_eq!(seen(&store, &store.view(), &table, ALICE).await.len(), 3);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_view_reads_on_over_a_compaction() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let table = notes(&store, TableOptions::default()).await;
    three_flushes(&store, &table).await;
    let view: Arc<ReadView> = store.view();
    let before = seen(&store, &view, &table, ALICE).await;
    replace(&store, &table, ALICE, &[(2, "v2")]).await;
    store.flush(table.id).await.unwrap();
    store.compact(table.id).await.unwrap();
    assert_eq!(seen(&store, &view, &table, ALICE).await, before);
    assert!(objects(directory.path()).len() > 1);
    drop(view);
    wait_until(|| async { objects(directory.path()).len() == 1 }).await;
    assert_eq!(live(&store, &table, ALICE).await, ["v2", "v2"]);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_table_dropped_during_the_merge_ends_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let table = notes(&store, TableOptions::default()).await;
    three_flushes(&store, &table).await;
    let mut run = Run::begin(&store.compactor, table.id, Want::Whole).await.unwrap().unwrap();
    run.merge().await.unwrap();
    store.drop_table(table.id).await.unwrap();
    let error = store.compactor.prepare_rest(&mut run, table.id).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    run.abandon().await;
    drop(run);
    store.cold.reclaim().await;
    assert!(objects(directory.path()).is_empty());
    assert_eq!(manifest::intents(&store.db).unwrap(), []);
    store.close().await.unwrap();
}

#[tokio::test]
async fn the_background_merges_what_flushes_leave_and_a_close_ends_it() {
    let directory = tempfile::tempdir().unwrap();
    let config = crate::StoreConfig { compaction: true, ..config(directory.path(), 64 << 20) };
    let store = Store::open(config).await.unwrap();
    let table = notes(&store, TableOptions::default()).await;
    for id in 0..4 {
        insert(&store, &table, ALICE, &[(id, "a")]).await;
        insert(&store, &table, BOB, &[(id, "b")]).await;
        store.flush(table.id).await.unwrap();
    }
    wait_until(|| async { manifest_of(&store, &table).files.len() == 1 }).await;
    assert_eq!(live(&store, &table, ALICE).await.len(), 4);
    store.close().await.unwrap();
    assert_eq!(store.compact(table.id).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_read_of_one_user_opens_a_file_of_each_level_at_most() {
    let directory = tempfile::tempdir().unwrap();
    // Files of 20 kB, and text that does not compress, so that there are three levels soon.
    let store = open_with(directory.path(), 20_000).await;
    let table = notes(&store, TableOptions::default()).await;
    let mut random = 1u64;
    let mut text = || {
        let words = (0..10).map(|_| {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1_442_695_040_888_963_407);
            format!("{:016x}", random ^ (random >> 29))
        });
        words.collect::<String>()
    };
    let mut deepest = 0;
    for round in 0..24i64 {
        for user in (1..=40).filter(|user| (user * 7 + round) % 3 == 0) {
            let rows: Vec<(i64, String)> = (0..12).map(|i| ((round * 5 + i) % 90, text())).collect();
            let rows: Vec<(i64, &str)> = rows.iter().map(|(id, note)| (*id, note.as_str())).collect();
            replace(&store, &table, UserNo(user.unsigned_abs()), &rows).await;
        }
        store.flush(table.id).await.unwrap();
        while store.compactor.compact_due(table.id).await.unwrap() {}
        let manifest = manifest_of(&store, &table);
        let level_0 = manifest.files.iter().filter(|file| file.level == 0).count();
        let levels = manifest.files.iter().map(|file| file.level).max().unwrap_or(0);
        assert!(level_0 < 8, "{level_0}");
        deepest = deepest.max(levels);
        for user in 1..=40 {
            let files = store.view().slice(&table, UserNo(user)).unwrap().cold().await.unwrap().len();
            assert!(files <= level_0 + levels as usize, "user {user}: {files} files, {level_0} and {levels} levels");
        }
    }
    assert!(deepest >= 2, "the test is about levels, and there were {deepest}");
    assert_no_orphans(&store, &table, directory.path());
    store.close().await.unwrap();
}

#[tokio::test]
async fn placement_by_file_holds_from_the_flush_on() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let table = notes(&store, TableOptions { placement: Placement::File, ..TableOptions::default() }).await;
    for round in 0..3 {
        for user in 1..=5 {
            replace(&store, &table, UserNo(user), &[(round, "x"), (9, "y")]).await;
        }
        assert_eq!(store.flush(table.id).await.unwrap().files, 5);
    }
    store.compact(table.id).await.unwrap();
    let users: Vec<_> = manifest_of(&store, &table).files.iter().map(|file| file.users).collect();
    assert_eq!(users, (1..=5).map(|user| (UserNo(user), UserNo(user))).collect::<Vec<_>>());
    assert_eq!(live(&store, &table, BOB).await, ["x", "x", "x", "y"]);
    store.close().await.unwrap();
}

#[tokio::test]
async fn loaded_rows_get_their_commits_order_and_time() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let table = notes(&store, TableOptions::default()).await;
    insert(&store, &table, ALICE, &[(1, "loaded"), (2, "loaded")]).await;
    store.flush(table.id).await.unwrap();
    let mut manifest = manifest_of(&store, &table);
    manifest.files[0].stamp = Some(Stamp { seq: Seq(4711), updated_micros: 12 });
    let mut batch = Batch::default();
    manifest::put(&mut batch, table.id, &manifest);
    store.committer.write(batch).await.unwrap();
    insert(&store, &table, ALICE, &[(3, "flushed")]).await;
    store.flush(table.id).await.unwrap();
    store.compact(table.id).await.unwrap();
    let file = manifest_of(&store, &table).files.remove(0);
    assert_eq!((file.stamp, file.seqs.1), (None, 4711));
    let slice = store.view().slice(&table, ALICE).unwrap().cold().await.unwrap().remove(0);
    let rows = fixture::rows_of(&store.cold, &table, &slice).await;
    assert_eq!(rows.column(1).as_primitive::<Int64Type>().values().to_vec(), [4711, 4711, 2]);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_flushes_and_compactions_side_by_side_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let table = notes(&store, TableOptions::default()).await;
    let writers: Vec<_> = (1..=3u64)
        .map(|user| {
            let (store, table) = (Arc::clone(&store), Arc::clone(&table));
            tokio::spawn(async move {
                for id in 0..60 {
                    insert(&store, &table, UserNo(user), &[(id, "first")]).await;
                    replace(&store, &table, UserNo(user), &[(id / 2, "second")]).await;
                }
            })
        })
        .collect();
    let compacting = {
        let (store, table) = (Arc::clone(&store), table.id);
        let going: Vec<_> = writers.iter().map(tokio::task::JoinHandle::abort_handle).collect();
        tokio::spawn(async move {
            let mut removed = 0;
            while going.iter().any(|writer| !writer.is_finished()) {
                removed += store.compact(table).await.unwrap().removed;
            }
            removed
        })
    };
    while writers.iter().any(|writer| !writer.is_finished()) {
        store.flush(table.id).await.unwrap();
        let view = store.view();
        // A row seen twice fails in here, whatever has been committed so far.
        seen(&store, &view, &table, ALICE).await;
    }
    compacting.await.unwrap();
    for user in 1..=3 {
        let expected: Vec<_> = (0..60).map(|id| if id < 30 { "second" } else { "first" }).collect();
        assert_eq!(live(&store, &table, UserNo(user)).await, expected);
    }
    store.cold.reclaim().await;
    assert_no_orphans(&store, &table, directory.path());
    store.close().await.unwrap();
}
