use arrow::array::{Array, Int64Array, StringArray};
use insula_proto::UserNo;

use super::*;
use crate::{Store, TableOptions, notes::*};

thread_local! {
    static SHIFT: std::cell::Cell<i64> = const { std::cell::Cell::new(0) };
}

/// The rows of a block as an index would have them that is wrong by some rows.
pub(super) fn misread(rows: Range<u64>, all: u64) -> Range<u64> {
    let shifted = |row: u64| row.saturating_add_signed(SHIFT.get()).min(all);
    shifted(rows.start)..shifted(rows.end)
}

/// `(id, note)` of the rows that a fresh view finds under these keys.
async fn found(store: &Arc<Store>, table: &Arc<TableDef>, user: UserNo, ids: &[i64]) -> Vec<(i64, String)> {
    let keys = KeyCodec::new(table).unwrap().encode(&[Arc::new(Int64Array::from(ids.to_vec()))]).unwrap();
    let slice = store.view().slice(table, user).unwrap();
    let first = table.first_declared();
    let rows = slice.cold_keys(&keys, &[first + 1, first, 0], false).await.unwrap();
    let text = rows.column(1).as_any().downcast_ref::<StringArray>().unwrap();
    let owners = rows.column(2).as_primitive::<arrow::datatypes::UInt64Type>();
    assert!(owners.values().iter().all(|owner| *owner == user.0), "whose rows are these? {owners:?}");
    let ids = rows.column(0).as_primitive::<arrow::datatypes::Int64Type>();
    let mut found: Vec<_> = (0..text.len()).map(|i| (ids.value(i), text.value(i).to_owned())).collect();
    found.sort();
    found
}

fn pairs(rows: &[(i64, &str)]) -> Vec<(i64, String)> {
    rows.iter().map(|(id, note)| (*id, (*note).to_owned())).collect()
}

#[tokio::test]
async fn keys_are_found_in_all_files_of_their_user() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let table = notes(&store, TableOptions::default()).await;
    insert(&store, &table, ALICE, &[(1, "a1"), (3, "a3"), (5, "a5")]).await;
    insert(&store, &table, BOB, &[(1, "b1"), (2, "b2")]).await;
    store.flush(table.id).await.unwrap();
    insert(&store, &table, ALICE, &[(2, "a2"), (9, "a9")]).await;
    store.flush(table.id).await.unwrap();
    // The second time from memory.
    for _ in 0..2 {
        let all = found(&store, &table, ALICE, &[0, 1, 2, 4, 5, 9, 10]).await;
        assert_eq!(all, pairs(&[(1, "a1"), (2, "a2"), (5, "a5"), (9, "a9")]));
        assert_eq!(found(&store, &table, BOB, &[1, 5]).await, pairs(&[(1, "b1")]));
        assert!(found(&store, &table, UserNo(77), &[1]).await.is_empty());
        assert!(found(&store, &table, ALICE, &[]).await.is_empty());
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_remembered_block_does_not_bring_back_what_was_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let table = notes(&store, TableOptions::default()).await;
    insert(&store, &table, ALICE, &[(1, "old"), (2, "stays"), (3, "goes")]).await;
    store.flush(table.id).await.unwrap();
    let before = store.view();
    assert_eq!(found(&store, &table, ALICE, &[1, 2, 3]).await.len(), 3);
    replace(&store, &table, ALICE, &[(1, "new")]).await;
    delete(&store, &table, ALICE, &[(3, "goes")]).await;
    store.flush(table.id).await.unwrap();
    assert_eq!(found(&store, &table, ALICE, &[1, 2, 3]).await, pairs(&[(1, "new"), (2, "stays")]));
    // An older view still reads by its own deletion vectors.
    let slice = before.slice(&table, ALICE).unwrap();
    let keys = KeyCodec::new(&table).unwrap().encode(&[Arc::new(Int64Array::from(vec![1, 3]))]).unwrap();
    assert_eq!(slice.cold_keys(&keys, &[0], false).await.unwrap().num_rows(), 2);
    store.close().await.unwrap();
}

/// Wherever the rows of another lie, before or behind one's own or among them: the look-up fails, and nothing of them is
/// remembered for the next one.
#[tokio::test]
async fn a_look_up_that_meets_rows_of_others_fails() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let table = notes(&store, TableOptions::default()).await;
    for user in [ALICE, BOB, UserNo(9)] {
        let rows: Vec<_> = (0..8).map(|id| (id, "of somebody")).collect();
        insert(&store, &table, user, &rows).await;
    }
    store.flush(table.id).await.unwrap();
    let keys = KeyCodec::new(&table).unwrap().encode(&[Arc::new(Int64Array::from(vec![0, 3, 7]))]).unwrap();
    let slice = store.view().slice(&table, BOB).unwrap();
    for shift in [-8, -7, -1, 1, 3, 8] {
        SHIFT.set(shift);
        let error = slice.cold_keys(&keys, &[0], false).await.expect_err("rows of others");
        SHIFT.set(0);
        assert_eq!(error.kind(), ErrorKind::Internal, "shifted by {shift}: {error}");
        assert!(error.message().contains("not its user's"), "{error}");
    }
    assert_eq!(slice.cold_keys(&keys, &[0], false).await.unwrap().num_rows(), 3);
    store.close().await.unwrap();
}
