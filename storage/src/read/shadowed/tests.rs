use std::collections::BTreeSet;

use insula_proto::UserNo;

use super::*;
use crate::{Store, TableDef, TableOptions, cold::fixture, notes::*};

/// Scans of all of a user's rows; the keys of those that the last one would drop by their place, per file, oldest first.
async fn scans(store: &Arc<Store>, table: &Arc<TableDef>, user: UserNo, scans: usize) -> Option<Vec<BTreeSet<String>>> {
    let slice = store.view().slice(table, user).unwrap();
    let files = slice.cold().await.unwrap();
    let mut shadowed = None;
    for _ in 0..scans {
        shadowed = slice.shadowed(&files).await.unwrap();
    }
    let shadowed = shadowed?;
    let mut hidden = Vec::new();
    for mut file in files {
        let places = file.hidden(Some(&shadowed));
        file.ranges =
            file.whole.iter().flat_map(Clone::clone).filter(|row| places.contains(*row)).map(|r| r..r + 1).collect();
        let rows = fixture::try_rows_of(&store.cold, table, &file).await.unwrap();
        let mut seen = Seen::new();
        add(&mut seen, table, &rows, |_| false);
        hidden.push(seen.into_values().map(|(note, _)| note).collect());
    }
    Some(hidden)
}

fn set(notes: &[&str]) -> BTreeSet<String> {
    notes.iter().map(|note| (*note).to_owned()).collect()
}

#[tokio::test]
async fn what_is_shadowed_becomes_known_to_those_who_scan_often_and_is_forgotten_with_the_next_write() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let table = notes(&store, TableOptions::default()).await;
    insert(&store, &table, BOB, &[(1, "his"), (2, "his"), (3, "his")]).await;
    insert(&store, &table, ALICE, &[(1, "a"), (2, "b"), (3, "c"), (4, "d")]).await;
    store.flush(table.id).await.unwrap();
    // A deletion vector for 2 of the first file, and a second file.
    replace(&store, &table, ALICE, &[(2, "B"), (5, "e")]).await;
    store.flush(table.id).await.unwrap();
    // Hot: of the first file, of the second, and of none.
    replace(&store, &table, ALICE, &[(3, "C"), (5, "E"), (6, "f")]).await;

    assert_eq!(scans(&store, &table, ALICE, SCANS as usize).await, None);
    let known = Some(vec![set(&["b", "c"]), set(&["e"])]);
    assert_eq!(scans(&store, &table, ALICE, 1).await, known);
    assert_eq!(scans(&store, &table, ALICE, 1).await, known);
    // Nothing of hers is his, though his keys are hers.
    insert(&store, &table, BOB, &[(9, "new")]).await;
    assert_eq!(scans(&store, &table, BOB, 5).await, Some(vec![set(&[])]));
    assert_eq!(scans(&store, &table, ALICE, 1).await, known, "what others write changes nothing");

    delete(&store, &table, ALICE, &[(1, "")]).await;
    assert_eq!(scans(&store, &table, ALICE, SCANS as usize).await, None, "a new moment");
    assert_eq!(scans(&store, &table, ALICE, 1).await, Some(vec![set(&["a", "b", "c"]), set(&["e"])]));
    store.close().await.unwrap();
}

#[tokio::test]
async fn files_that_a_compaction_wrote_are_not_known() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let table = notes(&store, TableOptions::default()).await;
    for (id, note) in [(1, "a"), (2, "b")] {
        insert(&store, &table, ALICE, &[(id, note)]).await;
        store.flush(table.id).await.unwrap();
    }
    replace(&store, &table, ALICE, &[(2, "B")]).await;
    assert_eq!(scans(&store, &table, ALICE, 5).await, Some(vec![set(&[]), set(&["b"])]));
    store.compact(table.id).await.unwrap();
    assert_eq!(scans(&store, &table, ALICE, SCANS as usize).await, None);
    assert_eq!(scans(&store, &table, ALICE, 1).await, Some(vec![set(&["b"])]));
    store.close().await.unwrap();
}
