use std::time::Duration;

use arrow::{
    array::{RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::{DataType, TimeUnit},
};
use insula_proto::UserNo;

use super::*;
use crate::{NewTable, Store, TableDef, TableKind, TableOptions, cold::manifest, notes::*};

#[tokio::test]
async fn a_flush_puts_all_users_into_one_file_and_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let table = notes(&store, TableOptions::default()).await;
    insert(&store, &table, ALICE, &[(2, "a2"), (1, "a1")]).await;
    insert(&store, &table, BOB, &[(1, "b1")]).await;
    let report = store.flush(table.id).await.unwrap();
    assert_eq!((report.rows, report.files, report.replaced), (3, 1, 0));
    assert_eq!(store.flush(table.id).await.unwrap(), FlushReport::default(), "nothing is left to flush");
    let usage = store.usage(&table, None).await.unwrap();
    assert_eq!((usage.hot_rows, usage.cold_rows, usage.cold_files), (0, 3, 1));
    assert!(store.view().slice(&table, ALICE).unwrap().hot_keys().unwrap().is_empty());
    let store = reopen(store, directory.path()).await;
    assert_eq!(live(&store, &table, ALICE).await, ["a1", "a2"]);
    assert_eq!(live(&store, &table, BOB).await, ["b1"]);
    assert!(live(&store, &table, UserNo(3)).await.is_empty());
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_tombstone_reaches_the_cold_tier() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let table = notes(&store, TableOptions::default()).await;
    insert(&store, &table, ALICE, &[(1, "a")]).await;
    store.flush(table.id).await.unwrap();
    delete(&store, &table, ALICE, &[(1, "a")]).await;
    insert(&store, &table, ALICE, &[(2, "b")]).await;
    assert_eq!(live(&store, &table, ALICE).await, ["b"]);
    assert_eq!(store.flush(table.id).await.unwrap().replaced, 1);
    let store = reopen(store, directory.path()).await;
    assert_eq!(live(&store, &table, ALICE).await, ["b"]);
    let all: Vec<_> = seen(&store, &store.view(), &table, ALICE).await.into_values().collect();
    assert_eq!(all, [("a".into(), true), ("b".into(), false)]);
    // The deleted key is free again, and its tombstone does not hide its successor.
    insert(&store, &table, ALICE, &[(1, "a again")]).await;
    store.flush(table.id).await.unwrap();
    assert_eq!(live(&store, &table, ALICE).await, ["a again", "b"]);
    store.close().await.unwrap();
}

#[tokio::test]
async fn replaced_rows_are_marked_and_empty_files_go() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let table = notes(&store, TableOptions::default()).await;
    insert(&store, &table, ALICE, &[(1, "v1"), (2, "v1"), (3, "v1")]).await;
    insert(&store, &table, BOB, &[(1, "bob")]).await;
    store.flush(table.id).await.unwrap();
    for version in ["v2", "v3"] {
        replace(&store, &table, ALICE, &[(1, version), (3, version)]).await;
        replace(&store, &table, ALICE, &[(1, version)]).await;
        let report = store.flush(table.id).await.unwrap();
        assert_eq!((report.rows, report.replaced), (2, 2), "the newest version of each key moves");
        assert_eq!(live(&store, &table, ALICE).await, [version, "v1", version]);
    }
    // The file of v2 has lost all its rows: two files and one deletion vector remain.
    let usage = store.usage(&table, None).await.unwrap();
    assert_eq!((usage.cold_rows, usage.cold_files), (4, 2));
    assert_eq!(objects(directory.path()).len(), 3);
    assert_eq!(live(&store, &table, BOB).await, ["bob"]);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_view_keeps_reading_what_flushes_replace() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let table = notes(&store, TableOptions::default()).await;
    insert(&store, &table, ALICE, &[(1, "v1"), (2, "v1")]).await;
    store.flush(table.id).await.unwrap();
    replace(&store, &table, ALICE, &[(1, "v2")]).await;
    store.flush(table.id).await.unwrap();
    let before = store.view();
    replace(&store, &table, ALICE, &[(1, "v3"), (2, "v3")]).await;
    store.flush(table.id).await.unwrap();
    let notes = |seen: Seen| seen.into_values().map(|(note, _)| note).collect::<Vec<_>>();
    assert_eq!(notes(seen(&store, &before, &table, ALICE).await), ["v2", "v1"]);
    assert_eq!(live(&store, &table, ALICE).await, ["v3", "v3"]);
    assert!(objects(directory.path()).len() > 1);
    drop(before);
    wait_until(|| async { objects(directory.path()).len() == 1 }).await;
    store.close().await.unwrap();
}

#[tokio::test]
async fn composite_keys_and_row_ids_are_flushed_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let columns = || {
        vec![
            column("note", DataType::Utf8, true),
            column("at", time.clone(), false),
            column("place", DataType::Utf8, false),
        ]
    };
    for (name, key) in [("keyed", vec![2, 1]), ("bag", vec![])] {
        let (namespace, options) = ("public".into(), TableOptions::default());
        let table = NewTable {
            namespace,
            name: name.into(),
            kind: TableKind::User,
            columns: columns(),
            key,
            checks: Vec::new(),
            options,
        };
        let table = store.create_table(table).await.unwrap();
        let rows = |rows: &[(&str, i64, &str)]| {
            RecordBatch::try_new(
                table.schema(),
                vec![
                    Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0))),
                    Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.1))),
                    Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.2))),
                ],
            )
            .unwrap()
        };
        let first = rows(&[("c", 1, "b"), ("a", -1, "a"), ("b", 5, "a")]);
        write(&store, &table, ALICE, |set| set.insert(&first).unwrap()).await;
        store.flush(table.id).await.unwrap();
        write(&store, &table, ALICE, |set| set.insert(&rows(&[("d", 0, "ba")])).unwrap()).await;
        store.flush(table.id).await.unwrap();
        let expected = if table.has_row_id() { ["c", "a", "b", "d"] } else { ["a", "b", "c", "d"] };
        assert_eq!(live(&store, &table, ALICE).await, expected, "{name}");
        assert_eq!(store.usage(&table, Some(ALICE)).await.unwrap().cold_rows, 4);
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_small_file_size_makes_more_files_and_the_same_answers() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), 100_000).await;
    let table = notes(&store, TableOptions::default()).await;
    let text: Vec<String> =
        (0..60_000).map(|i| format!("{:x}", (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    for user in [ALICE, BOB] {
        let rows: Vec<(i64, &str)> = (0..).zip(text.iter().map(String::as_str)).collect();
        insert(&store, &table, user, &rows).await;
    }
    let report = store.flush(table.id).await.unwrap();
    assert!(report.rows == 120_000 && report.files > 2, "{report:?}");
    assert_eq!(live(&store, &table, ALICE).await, text);
    replace(&store, &table, BOB, &[(59_999, "new"), (0, "new")]).await;
    assert_eq!(store.flush(table.id).await.unwrap().replaced, 2);
    let bob = live(&store, &table, BOB).await;
    assert_eq!((bob.len(), bob[0].as_str(), bob[59_999].as_str()), (60_000, "new", "new"));
    store.close().await.unwrap();
}

/// How far a flush gets before the crash.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
enum Step {
    Begun,
    FilesWritten,
    VectorsWritten,
    Persisted,
    Committed,
}

#[tokio::test]
async fn a_crash_after_any_step_loses_and_doubles_nothing() {
    for step in [Step::Begun, Step::FilesWritten, Step::VectorsWritten, Step::Persisted, Step::Committed] {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path()).await;
        let table = notes(&store, TableOptions::default()).await;
        insert(&store, &table, ALICE, &[(1, "v1"), (2, "v1"), (3, "v1")]).await;
        store.flush(table.id).await.unwrap();
        replace(&store, &table, ALICE, &[(1, "v2")]).await;
        delete(&store, &table, ALICE, &[(3, "v1")]).await;
        crash_after(&store, &table, step).await;
        // Writes between the freeze and the crash go to the next generation.
        if step < Step::Committed {
            insert(&store, &table, ALICE, &[(4, "late")]).await;
        }
        let store = reopen(store, directory.path()).await;
        let expected: &[&str] = if step < Step::Committed { &["v2", "v1", "late"] } else { &["v2", "v1"] };
        assert_eq!(live(&store, &table, ALICE).await, expected, "{step:?}");
        let flusher = &store.flusher;
        assert!(manifest::intents(&flusher.db).unwrap().is_empty(), "{step:?}");
        let named = manifest::current(&flusher.db, table.id).unwrap().objects(table.id).len();
        assert_eq!(objects(directory.path()).len(), named, "{step:?}: no orphan is left");
        store.flush(table.id).await.unwrap();
        assert_eq!(live(&store, &table, ALICE).await, expected, "{step:?}");
        store.close().await.unwrap();
    }
}

async fn crash_after(store: &Arc<Store>, table: &Arc<TableDef>, step: Step) {
    let mut run = Run::begin(&store.flusher, table).await.unwrap();
    if step >= Step::FilesWritten {
        run.write_files().await.unwrap();
    }
    if step < Step::VectorsWritten {
        return;
    }
    let next = run.write_vectors().await.unwrap();
    if step >= Step::Persisted {
        run.persist().await.unwrap();
    }
    if step >= Step::Committed {
        run.commit(&next).await.unwrap();
    }
}

#[tokio::test]
async fn nothing_is_committed_that_could_not_be_made_to_last() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let table = notes(&store, TableOptions::default()).await;
    insert(&store, &table, ALICE, &[(1, "v1"), (2, "v1")]).await;
    store.flush(table.id).await.unwrap();
    replace(&store, &table, ALICE, &[(1, "v2")]).await;
    // Of the new file and the new deletion vector, each has to be synced: one that is gone cannot be.
    for ending in [".parquet", ".dv"] {
        let before = objects(directory.path());
        let mut run = Run::begin(&store.flusher, &table).await.unwrap();
        run.write_files().await.unwrap();
        run.write_vectors().await.unwrap();
        let new = objects(directory.path()).into_iter().filter(|name| !before.contains(name));
        let lost: Vec<String> = new.filter(|name| name.ends_with(ending)).collect();
        assert_eq!(lost.len(), 1, "{ending}");
        let table_directory = directory.path().join("cold").join(format!("t{}", table.id));
        std::fs::remove_file(table_directory.join(&lost[0])).unwrap();
        assert!(run.persist().await.is_err(), "{ending} was not synced");
        run.abandon().await;
    }
    assert_eq!(store.flush(table.id).await.unwrap().rows, 1);
    assert_eq!(live(&store, &table, ALICE).await, ["v2", "v1"]);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_failed_flush_leaves_the_rows_hot_and_can_be_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let table = notes(&store, TableOptions::default()).await;
    insert(&store, &table, ALICE, &[(1, "a")]).await;
    // A file where the table's directory should be makes every upload fail.
    let block = directory.path().join("cold").join(format!("t{}", table.id));
    std::fs::write(&block, "in the way").unwrap();
    let error = store.flush(table.id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(manifest::intents(&store.flusher.db).unwrap().is_empty());
    insert(&store, &table, ALICE, &[(2, "b")]).await;
    assert_eq!(live(&store, &table, ALICE).await, ["a", "b"]);
    std::fs::remove_file(&block).unwrap();
    assert_eq!(store.flush(table.id).await.unwrap().rows, 2, "both generations move");
    assert_eq!(live(&store, &table, ALICE).await, ["a", "b"]);
    store.close().await.unwrap();
}

#[tokio::test]
async fn the_scheduler_flushes_by_rows_and_by_age() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let by_rows = TableOptions { flush_rows: 3, ..TableOptions::default() };
    let table = notes(&store, by_rows).await;
    insert(&store, &table, ALICE, &[(1, "a"), (2, "b")]).await;
    insert(&store, &table, BOB, &[(1, "c")]).await;
    wait_until(|| async { store.usage(&table, None).await.unwrap().cold_rows == 3 }).await;
    store.drop_table(table.id).await.unwrap();
    assert!(objects(directory.path()).is_empty(), "a dropped table leaves no object");
    let by_age = TableOptions { flush_interval: Some(Duration::from_millis(50)), ..TableOptions::default() };
    let table = notes(&store, by_age).await;
    insert(&store, &table, ALICE, &[(1, "a")]).await;
    wait_until(|| async { store.usage(&table, None).await.unwrap().cold_rows == 1 }).await;
    store.close().await.unwrap();
}

#[tokio::test]
async fn flushes_and_writers_side_by_side_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let table = notes(&store, TableOptions::default()).await;
    let writers: Vec<_> = (1..=4u64)
        .map(|user| {
            let (store, table) = (Arc::clone(&store), Arc::clone(&table));
            tokio::spawn(async move {
                for id in 0..50 {
                    insert(&store, &table, UserNo(user), &[(id, "first")]).await;
                    if id % 3 == 0 {
                        replace(&store, &table, UserNo(user), &[(id, "second")]).await;
                    }
                }
            })
        })
        .collect();
    while writers.iter().any(|writer| !writer.is_finished()) {
        store.flush(table.id).await.unwrap();
    }
    for user in 1..=4 {
        let notes = live(&store, &table, UserNo(user)).await;
        let expected: Vec<_> = (0..50).map(|id| if id % 3 == 0 { "second" } else { "first" }).collect();
        assert_eq!(notes, expected);
    }
    store.close().await.unwrap();
}
