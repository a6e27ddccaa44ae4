use crate::{TableOptions, notes::*};

#[tokio::test]
async fn each_view_sees_the_state_of_its_own_moment() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let table = notes(&store, TableOptions::default()).await;
    insert(&store, &table, ALICE, &[(1, "a")]).await;
    let mut views = vec![(store.view(), 0, 1)];
    for (id, text) in [(2, "b"), (3, "c")] {
        store.flush(table.id).await.unwrap();
        views.push((store.view(), id - 1, id - 1));
        insert(&store, &table, ALICE, &[(id, text)]).await;
        views.push((store.view(), id - 1, id));
    }
    // In turn, so that none finds what it has left itself.
    for _ in 0..2 {
        for (view, cold, all) in &views {
            let slice = view.slice(&table, ALICE).unwrap();
            let rows: u64 = slice.manifest().files.iter().map(|file| file.rows).sum();
            assert_eq!(rows, *cold as u64);
            assert_eq!(seen(&store, view, &table, ALICE).await.len(), *all as usize);
        }
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn the_newest_state_is_remembered_and_older_views_leave_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let table = notes(&store, TableOptions::default()).await;
    insert(&store, &table, ALICE, &[(1, "a")]).await;
    let old = store.view();
    store.flush(table.id).await.unwrap();
    let new = store.view();
    let first = new.state(&table).unwrap().manifest;
    assert_ne!(old.state(&table).unwrap().manifest, first);
    assert!(std::sync::Arc::ptr_eq(&first, &store.view().state(&table).unwrap().manifest), "recalled");
    insert(&store, &table, ALICE, &[(2, "b")]).await;
    assert!(std::sync::Arc::ptr_eq(&first, &store.view().state(&table).unwrap().manifest), "rows change no state");
    store.close().await.unwrap();
}
