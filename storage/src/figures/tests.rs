use super::*;
use crate::{TableOptions, notes::*};

#[tokio::test]
async fn what_is_done_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let table = notes(&store, TableOptions::default()).await;
    insert(&store, &table, ALICE, &[(1, "a"), (2, "b")]).await;
    let before = store.figures();
    assert!(before.hot_bytes > 0 && before.hot_bytes < before.hot_bytes_limit, "{before:?}");
    assert_eq!((before.tables, before.stalls, before.jobs_failing), (1, 0, 0));
    store.flush(table.id).await.unwrap();
    let after = store.figures();
    assert_eq!(after.hot_bytes, 0);
    let total = |figures: &Figures, of| figures.jobs.iter().find(|(kind, _)| *kind == of).unwrap().1;
    assert_eq!(total(&before, JobKind::Flush), JobTotal::default());
    let flushes = total(&after, JobKind::Flush);
    assert_eq!((flushes.done, flushes.failed, flushes.work.rows, flushes.work.files), (1, 0, 2, 1));
    let written = |figures: &Figures| figures.requests.iter().find(|(name, ..)| *name == "write").unwrap().1;
    assert!(written(&after) > written(&before), "{after:?}");
    assert!(after.rocksdb.iter().any(|(name, value)| *name == "block_cache_bytes" && *value > 0), "{after:?}");
    store.close().await.unwrap();
}

#[tokio::test]
async fn files_are_listed_and_a_users_share_is_their_rows() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let table = notes(&store, TableOptions::default()).await;
    insert(&store, &table, ALICE, &[(1, "a"), (2, "b")]).await;
    insert(&store, &table, BOB, &[(1, "x")]).await;
    store.flush(table.id).await.unwrap();
    let [file] = &store.files(table.id).unwrap()[..] else { panic!("one file") };
    assert_eq!((file.rows, file.replaced_rows, file.level), (3, 0, 0));
    assert_eq!(store.rows_by_file(&table, ALICE).await.unwrap(), [2]);
    assert_eq!(store.rows_by_file(&table, UserNo(99)).await.unwrap(), [0; 0]);
    store.close().await.unwrap();
}

/// Bytes by share of a file's rows would tell how large the rows of its other users are.
#[tokio::test]
async fn a_users_bytes_do_not_depend_on_the_neighbours_rows() {
    let mut seen = Vec::new();
    for neighbour in ["x".to_owned(), "x".repeat(100_000)] {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path()).await;
        let table = notes(&store, TableOptions::default()).await;
        insert(&store, &table, ALICE, &[(1, "a"), (2, "b")]).await;
        insert(&store, &table, BOB, &[(1, neighbour.as_str())]).await;
        store.flush(table.id).await.unwrap();
        seen.push(store.usage(&table, Some(ALICE)).await.unwrap());
        store.close().await.unwrap();
    }
    assert!(seen[0].cold_bytes > 0);
    assert_eq!(seen[0], seen[1]);
}
