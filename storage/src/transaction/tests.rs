mod model;

use arrow::{
    array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Int64Type},
};
use tempfile::TempDir;

use super::*;
use crate::{
    Alteration, KeyBounds, KeyCodec, NewTable, StoreConfig, TableKind, TableOptions,
    load::{Mode, Owners, Scope},
    notes::{self, ALICE, BOB, SetClock, batch, config, seen},
};

struct Bench {
    store: Arc<Store>,
    table: Arc<TableDef>,
    dir: TempDir,
}

impl Bench {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = notes::open(dir.path()).await;
        let table = notes::notes(&store, TableOptions::default()).await;
        Self { store, table, dir }
    }
}

/// Another table of the same columns.
async fn second(store: &Arc<Store>, options: TableOptions) -> Arc<TableDef> {
    let table = NewTable {
        namespace: "public".into(),
        name: "second".into(),
        kind: TableKind::User,
        columns: vec![notes::column("note", DataType::Utf8, true), notes::column("id", DataType::Int64, false)],
        key: vec![1],
        checks: Vec::new(),
        options,
    };
    store.create_table(table).await.unwrap()
}

impl Bench {
    /// Commits by itself.
    async fn replace(&self, rows: &[(i64, &str)]) {
        notes::replace(&self.store, &self.table, ALICE, rows).await;
    }

    async fn live(&self) -> Vec<String> {
        notes::live(&self.store, &self.table, ALICE).await
    }

    /// What the transaction sees of Alice's rows.
    async fn within(&self, transaction: &mut Transaction) -> Vec<String> {
        let seen = seen(&self.store, &transaction.view(), &self.table, ALICE).await;
        seen.into_values().filter(|(_, deleted)| !deleted).map(|(note, _)| note).collect()
    }
}

async fn change(transaction: &mut Transaction, table: &Arc<TableDef>, fill: impl FnOnce(&mut WriteSet)) -> Result<u64> {
    let mut set = WriteSet::new(Arc::clone(table), ALICE);
    fill(&mut set);
    transaction.write(set).await
}

async fn insert(transaction: &mut Transaction, table: &Arc<TableDef>, rows: &[(i64, &str)]) -> Result<u64> {
    change(transaction, table, |set| set.insert(&batch(table, rows)).unwrap()).await
}

async fn replace(transaction: &mut Transaction, table: &Arc<TableDef>, rows: &[(i64, &str)]) {
    change(transaction, table, |set| set.replace(&batch(table, rows)).unwrap()).await.unwrap();
}

fn kind<T>(result: Result<T>) -> ErrorKind {
    result.map(|_| ()).unwrap_err().kind()
}

#[tokio::test]
async fn what_is_written_is_seen_within_and_nowhere_else_until_the_commit() {
    let bench = Bench::new().await;
    bench.replace(&[(1, "one"), (2, "two")]).await;
    bench.store.flush(bench.table.id).await.unwrap();
    bench.replace(&[(3, "three")]).await;
    let mut transaction = bench.store.transaction();
    insert(&mut transaction, &bench.table, &[(4, "four")]).await.unwrap();
    replace(&mut transaction, &bench.table, &[(1, "uno"), (3, "tre")]).await;
    change(&mut transaction, &bench.table, |set| set.delete(None, &batch(&bench.table, &[(2, "two")])).unwrap())
        .await
        .unwrap();
    assert_eq!(bench.within(&mut transaction).await, ["uno", "tre", "four"]);
    assert_eq!(bench.live().await, ["one", "two", "three"]);
    // What others commit meanwhile is not seen, what they flush is no news.
    bench.replace(&[(9, "nine")]).await;
    bench.store.flush(bench.table.id).await.unwrap();
    assert_eq!(bench.within(&mut transaction).await, ["uno", "tre", "four"]);
    assert_eq!(transaction.commit().await.unwrap().rows, 4);
    assert_eq!(bench.live().await, ["uno", "tre", "four", "nine"]);
}

#[tokio::test]
async fn a_transaction_that_is_dropped_leaves_nothing() {
    let bench = Bench::new().await;
    let mut transaction = bench.store.transaction();
    assert!(!transaction.has_begun());
    insert(&mut transaction, &bench.table, &[(1, "one")]).await.unwrap();
    assert!(transaction.has_begun() && transaction.has_written() && transaction.memory() > 0);
    drop(transaction);
    let store = notes::reopen(bench.store, bench.dir.path()).await;
    assert!(notes::live(&store, &bench.table, ALICE).await.is_empty());
}

#[tokio::test]
async fn another_users_rows_are_not_in_its_views() {
    let bench = Bench::new().await;
    let mut transaction = bench.store.transaction();
    insert(&mut transaction, &bench.table, &[(1, "hers")]).await.unwrap();
    assert!(seen(&bench.store, &transaction.view(), &bench.table, BOB).await.is_empty());
}

#[tokio::test]
async fn keys_and_bounds_know_of_what_is_pending() {
    let bench = Bench::new().await;
    bench.replace(&[(5, "five"), (6, "six")]).await;
    let mut transaction = bench.store.transaction();
    replace(&mut transaction, &bench.table, &[(2, "two"), (5, "cinque"), (8, "eight")]).await;
    let slice = transaction.view().slice(&bench.table, ALICE).unwrap();
    let codec = KeyCodec::new(&bench.table).unwrap();
    let keys = |ids: &[i64]| codec.encode(&[Arc::new(Int64Array::from(ids.to_vec()))]).unwrap();
    let ends = keys(&[2, 8]);
    assert_eq!(slice.hot_bounds().unwrap(), Some((ends.row(0).to_vec(), ends.row(1).to_vec())));
    let wanted = KeyBounds::keys(&keys(&[2, 5, 6]));
    let span = slice.hot_span(&wanted).unwrap().unwrap();
    assert!(span.is_complete);
    let rows: Vec<_> = slice.hot_within(&wanted, &[4], 10, true).unwrap().map(|batch| batch.unwrap()).collect();
    let notes: Vec<_> = rows[0].column(0).as_string::<i32>().iter().flatten().collect();
    assert_eq!(notes, ["two", "cinque", "six"]);
    assert_eq!(slice.hot_keys().unwrap().len(), 4);
    // Nothing of it is remembered for others.
    assert_eq!(bench.store.view().slice(&bench.table, ALICE).unwrap().hot_keys().unwrap().len(), 2);
}

#[tokio::test]
async fn a_key_that_lives_in_its_view_is_a_duplicate_at_the_statement() {
    let bench = Bench::new().await;
    bench.replace(&[(1, "one")]).await;
    bench.store.flush(bench.table.id).await.unwrap();
    let mut transaction = bench.store.transaction();
    assert_eq!(
        kind(insert(&mut transaction, &bench.table, &[(7, "seven"), (1, "uno")]).await),
        ErrorKind::AlreadyExists
    );
    // Nothing of that statement is there, and the transaction goes on.
    assert_eq!(bench.within(&mut transaction).await, ["one"]);
    insert(&mut transaction, &bench.table, &[(2, "two")]).await.unwrap();
    assert_eq!(kind(insert(&mut transaction, &bench.table, &[(2, "due")]).await), ErrorKind::AlreadyExists);
    change(&mut transaction, &bench.table, |set| set.delete(None, &batch(&bench.table, &[(1, "one")])).unwrap())
        .await
        .unwrap();
    insert(&mut transaction, &bench.table, &[(1, "again")]).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(bench.live().await, ["again", "two"]);
}

#[tokio::test]
async fn the_first_committer_wins() {
    let bench = Bench::new().await;
    bench.replace(&[(1, "one"), (2, "two")]).await;
    let (mut first, mut second, mut third) =
        (bench.store.transaction(), bench.store.transaction(), bench.store.transaction());
    replace(&mut first, &bench.table, &[(1, "first")]).await;
    replace(&mut second, &bench.table, &[(1, "second"), (2, "second")]).await;
    replace(&mut third, &bench.table, &[(2, "third")]).await;
    first.commit().await.unwrap();
    assert_eq!(kind(second.commit().await), ErrorKind::Conflict);
    third.commit().await.unwrap();
    assert_eq!(bench.live().await, ["first", "third"]);
    // A new key that two bring is a conflict too.
    let (mut first, mut second) = (bench.store.transaction(), bench.store.transaction());
    insert(&mut first, &bench.table, &[(3, "first")]).await.unwrap();
    insert(&mut second, &bench.table, &[(3, "second")]).await.unwrap();
    second.commit().await.unwrap();
    assert_eq!(kind(first.commit().await), ErrorKind::Conflict);
}

#[tokio::test]
async fn a_conflict_is_found_wherever_the_newer_row_has_gone() {
    enum Move {
        Flush,
        Compact,
        Load,
        CompactLoad,
    }
    for moved in [Move::Flush, Move::Compact, Move::Load, Move::CompactLoad] {
        let bench = Bench::new().await;
        bench.replace(&[(1, "one"), (2, "two"), (3, "three")]).await;
        let (mut late, mut other) = (bench.store.transaction(), bench.store.transaction());
        replace(&mut late, &bench.table, &[(1, "late")]).await;
        replace(&mut other, &bench.table, &[(2, "other")]).await;
        match moved {
            Move::Load | Move::CompactLoad => {
                let scope = Scope::One(ALICE);
                let mut load = bench.store.load(&bench.table, scope, Mode::Replace).await.unwrap();
                load.push(batch(&bench.table, &[(1, "newer"), (3, "newer")]), Owners::One(ALICE)).await.unwrap();
                load.finish().await.unwrap();
            }
            _ => bench.replace(&[(1, "newer"), (3, "newer")]).await,
        }
        bench.store.flush(bench.table.id).await.unwrap();
        if matches!(moved, Move::Compact | Move::CompactLoad) {
            bench.store.compact(bench.table.id).await.unwrap();
        }
        assert_eq!(kind(late.commit().await), ErrorKind::Conflict);
        // A row that was only moved has not changed.
        other.commit().await.unwrap();
        assert_eq!(bench.live().await, ["newer", "other", "newer"]);
    }
}

#[tokio::test]
async fn a_row_that_was_deleted_and_purged_is_a_conflict() {
    use std::sync::atomic::{AtomicI64, Ordering};
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock(AtomicI64::new(1_800_000_000_000_000)));
    let store = Store::open_with_clock(config(dir.path(), 1 << 20), Arc::clone(&clock) as _).await.unwrap();
    let options =
        TableOptions { deleted_retention: Some(std::time::Duration::from_secs(1)), ..TableOptions::default() };
    let table = notes::notes(&store, options).await;
    notes::insert(&store, &table, ALICE, &[(1, "one"), (2, "two")]).await;
    store.flush(table.id).await.unwrap();
    let (mut late, mut fresh) = (store.transaction(), store.transaction());
    replace(&mut late, &table, &[(1, "late")]).await;
    insert(&mut fresh, &table, &[(3, "fresh")]).await.unwrap();
    notes::delete(&store, &table, ALICE, &[(1, "one")]).await;
    clock.0.fetch_add(10_000_000, Ordering::Relaxed);
    store.flush(table.id).await.unwrap();
    store.compact(table.id).await.unwrap();
    assert!(seen(&store, &store.view(), &table, ALICE).await.len() == 1, "the deleted row is still there");
    assert_eq!(kind(late.commit().await), ErrorKind::Conflict);
    fresh.commit().await.unwrap();
    assert_eq!(notes::live(&store, &table, ALICE).await, ["two", "fresh"]);
}

#[tokio::test]
async fn all_tables_are_one_commit() {
    let bench = Bench::new().await;
    let other =
        second(&bench.store, TableOptions { durability: Durability::Periodic, ..TableOptions::default() }).await;
    let mut transaction = bench.store.transaction();
    insert(&mut transaction, &other, &[(1, "there")]).await.unwrap();
    insert(&mut transaction, &bench.table, &[(1, "here")]).await.unwrap();
    let commit = transaction.commit().await.unwrap();
    for table in [&bench.table, &other] {
        let slice = bench.store.view().slice(table, ALICE).unwrap();
        let rows: Vec<_> = slice.hot(&[1], 10, true).unwrap().map(|batch| batch.unwrap()).collect();
        assert_eq!(rows[0].column(0).as_primitive::<Int64Type>().value(0).cast_unsigned(), commit.seq.0);
    }
    // One table's conflict holds back the other's rows.
    let mut transaction = bench.store.transaction();
    replace(&mut transaction, &other, &[(1, "never")]).await;
    replace(&mut transaction, &bench.table, &[(1, "never")]).await;
    bench.replace(&[(1, "first")]).await;
    assert_eq!(kind(transaction.commit().await), ErrorKind::Conflict);
    assert_eq!(notes::live(&bench.store, &other, ALICE).await, ["there"]);
    assert_eq!(bench.live().await, ["first"]);
}

#[tokio::test]
async fn a_savepoint_is_gone_back_to_any_number_of_times() {
    let bench = Bench::new().await;
    let mut transaction = bench.store.transaction();
    insert(&mut transaction, &bench.table, &[(1, "one")]).await.unwrap();
    let outer = transaction.mark();
    for note in ["two", "zwei"] {
        insert(&mut transaction, &bench.table, &[(2, note)]).await.unwrap();
        let inner = transaction.mark();
        replace(&mut transaction, &bench.table, &[(1, "uno"), (3, "tre")]).await;
        transaction.back_to(inner).unwrap();
        assert_eq!(bench.within(&mut transaction).await, ["one", note]);
        transaction.back_to(outer).unwrap();
        assert_eq!(bench.within(&mut transaction).await, ["one"]);
    }
    insert(&mut transaction, &bench.table, &[(4, "four")]).await.unwrap();
    transaction.release(outer);
    assert_eq!(kind(transaction.back_to(outer)), ErrorKind::Internal);
    transaction.commit().await.unwrap();
    assert_eq!(bench.live().await, ["one", "four"]);
}

#[tokio::test]
async fn a_reader_keeps_what_it_began_with() {
    let bench = Bench::new().await;
    let mut transaction = bench.store.transaction();
    insert(&mut transaction, &bench.table, &[(1, "one")]).await.unwrap();
    let before = transaction.view();
    insert(&mut transaction, &bench.table, &[(2, "two")]).await.unwrap();
    assert_eq!(seen(&bench.store, &before, &bench.table, ALICE).await.len(), 1);
    transaction.commit().await.unwrap();
    assert_eq!(seen(&bench.store, &before, &bench.table, ALICE).await.len(), 1);
}

#[tokio::test]
async fn a_dropped_table_is_a_conflict_and_an_altered_one_is_not() {
    let bench = Bench::new().await;
    bench.replace(&[(1, "one")]).await;
    let mut transaction = bench.store.transaction();
    replace(&mut transaction, &bench.table, &[(1, "uno")]).await;
    let column = notes::column("more", DataType::Int64, true);
    let initial: ArrayRef = Arc::new(Int64Array::from(vec![None::<i64>]));
    let add = Alteration::Add { column, initial, if_not_exists: false };
    let altered = bench.store.alter_table(bench.table.id, &[add], None).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(notes::live(&bench.store, &altered, ALICE).await, ["uno"]);

    let mut transaction = bench.store.transaction();
    replace(&mut transaction, &bench.table, &[(1, "late")]).await;
    bench.store.drop_table(bench.table.id).await.unwrap();
    let error = transaction.commit().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("public.notes"), "{error}");
}

#[tokio::test]
async fn rows_without_a_key_get_their_ids_when_they_are_written() {
    let bench = Bench::new().await;
    let keyless = NewTable {
        namespace: "public".into(),
        name: "log".into(),
        kind: TableKind::User,
        columns: vec![notes::column("note", DataType::Utf8, true)],
        key: vec![],
        checks: Vec::new(),
        options: TableOptions::default(),
    };
    let table = bench.store.create_table(keyless).await.unwrap();
    let rows = |notes: &[&str]| {
        let notes: ArrayRef = Arc::new(StringArray::from(notes.to_vec()));
        RecordBatch::try_new(table.schema(), vec![notes]).unwrap()
    };
    let mut transaction = bench.store.transaction();
    for _ in 0..2 {
        change(&mut transaction, &table, |set| set.insert(&rows(&["a", "b"])).unwrap()).await.unwrap();
    }
    assert_eq!(seen(&bench.store, &transaction.view(), &table, ALICE).await.len(), 4);
    transaction.commit().await.unwrap();
    assert_eq!(seen(&bench.store, &bench.store.view(), &table, ALICE).await.len(), 4);
}

#[tokio::test]
async fn transactions_that_take_tables_in_any_order_do_not_wait_for_each_other_for_ever() {
    let bench = Bench::new().await;
    let other = second(&bench.store, TableOptions::default()).await;
    let mut tasks = Vec::new();
    for n in 0..16i64 {
        let (store, first, second) = (Arc::clone(&bench.store), Arc::clone(&bench.table), Arc::clone(&other));
        tasks.push(tokio::spawn(async move {
            let mut transaction = store.transaction();
            let tables = if n % 2 == 0 { [&first, &second] } else { [&second, &first] };
            for table in tables {
                insert(&mut transaction, table, &[(n, "n")]).await.unwrap();
            }
            transaction.commit().await.unwrap();
        }));
    }
    for task in tasks {
        tokio::time::timeout(std::time::Duration::from_secs(30), task).await.unwrap().unwrap();
    }
    assert_eq!(bench.live().await.len(), 16);
    assert_eq!(bench.store.locks.len(), 0);
}
