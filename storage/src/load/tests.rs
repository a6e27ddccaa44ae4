mod compacted;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, UInt64Array},
    datatypes::{DataType, Field, Int64Type, TimestampMicrosecondType},
};
use insula_proto::UserNo;
use proptest::prelude::*;

use super::{Mode, Owners, Scope};
use crate::{
    Commit, ErrorKind, Filling, KeyCodec, MetaBatch, NewColumn, NewTable, Result, Store, StoreConfig, TableDef,
    TableKind, TableOptions, WriteSet,
    cold::{fixture, manifest},
};

const ALICE: UserNo = UserNo(1);
const BOB: UserNo = UserNo(2);

type Row = (u64, i64, &'static str);

fn config(directory: &Path, load_bytes: usize, file_bytes: u64) -> StoreConfig {
    let load_bytes = load_bytes / 2;
    StoreConfig { load_bytes, file_bytes, min_free_bytes: 0, compaction: false, ..StoreConfig::new(directory.into()) }
}

/// Runs of a few rows, one file each.
async fn open(directory: &Path) -> Arc<Store> {
    Store::open(config(directory, 100, 1)).await.unwrap()
}

fn new_table(name: &str, keyed: bool) -> NewTable {
    let column = |name: &str, data_type: DataType| NewColumn {
        field: Arc::new(Field::new(name, data_type, false)),
        default: None,
    };
    NewTable {
        namespace: "public".into(),
        name: name.into(),
        kind: TableKind::User,
        columns: vec![column("note", DataType::Utf8), column("id", DataType::Int64)],
        key: if keyed { vec![1] } else { vec![] },
        checks: Vec::new(),
        options: TableOptions::default(),
    }
}

async fn notes(store: &Arc<Store>) -> Arc<TableDef> {
    store.create_table(new_table("notes", true)).await.unwrap()
}

fn batch(table: &TableDef, rows: &[(i64, String)]) -> RecordBatch {
    let notes: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.1)));
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
    RecordBatch::try_new(table.schema(), vec![notes, ids]).unwrap()
}

/// Pushes the rows two at a time.
async fn load(store: &Arc<Store>, table: &Arc<TableDef>, scope: Scope, mode: Mode, rows: &[Row]) -> Result<Commit> {
    let rows: Vec<_> = rows.iter().map(|(user, id, note)| (*user, *id, (*note).to_owned())).collect();
    load_owned(store, table, scope, mode, &rows).await
}

async fn load_owned(
    store: &Arc<Store>,
    table: &Arc<TableDef>,
    scope: Scope,
    mode: Mode,
    rows: &[(u64, i64, String)],
) -> Result<Commit> {
    fill(store, table, scope, mode, rows).await?.finish().await
}

async fn fill(
    store: &Arc<Store>,
    table: &Arc<TableDef>,
    scope: Scope,
    mode: Mode,
    rows: &[(u64, i64, String)],
) -> Result<super::Load> {
    let mut load = store.load(table, scope, mode).await?;
    for rows in rows.chunks(2) {
        let owners = match scope {
            Scope::One(user) => Owners::One(user),
            Scope::Many => Owners::Each(UInt64Array::from_iter_values(rows.iter().map(|row| row.0))),
        };
        let rows: Vec<_> = rows.iter().map(|row| (row.1, row.2.clone())).collect();
        load.push(batch(table, &rows), owners).await?;
    }
    Ok(load)
}

async fn write(store: &Arc<Store>, table: &Arc<TableDef>, user: UserNo, fill: impl FnOnce(&mut WriteSet)) {
    let lock = store.lock(table, user).await;
    let mut set = WriteSet::new(Arc::clone(table), user);
    fill(&mut set);
    store.commit(&lock, set).await.unwrap();
}

/// Number → note, whether it is deleted.
type Seen = BTreeMap<i64, (String, bool)>;

/// What a user sees of both tiers. A row seen twice fails, and so does one without number and time of its commit.
async fn seen(store: &Arc<Store>, table: &Arc<TableDef>, user: UserNo) -> Seen {
    let slice = store.view().slice(table, user).unwrap();
    let (hot_keys, codec) = (slice.hot_keys().unwrap(), KeyCodec::new(table).unwrap());
    let all: Vec<usize> = (0..table.stored_schema().fields().len()).collect();
    let mut batches: Vec<(RecordBatch, bool, bool)> =
        slice.hot(&all, 100, true).unwrap().map(|batch| (batch.unwrap(), false, false)).collect();
    for cold in slice.cold().await.unwrap() {
        let stamped = cold.stamp.inspect(|stamp| assert!(stamp.seq.0 > 0 && stamp.updated_micros > 0)).is_some();
        batches.push((fixture::rows_of(&store.cold, table, &cold).await, true, stamped));
    }
    let mut seen = Seen::new();
    for (rows, is_cold, stamped) in batches {
        let columns: Vec<_> = table.stored_key().iter().map(|column| Arc::clone(rows.column(*column))).collect();
        let keys = codec.encode(&columns).unwrap();
        let (seqs, times) = (rows.column(1).as_primitive::<Int64Type>(), rows.column(2));
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let first = table.first_declared();
        let (notes, ids) = (rows.column(first).as_string::<i32>(), rows.column(first + 1).as_primitive::<Int64Type>());
        for i in (0..rows.num_rows()).filter(|i| !is_cold || !hot_keys.contains(keys.row(*i))) {
            assert_eq!(seqs.value(i) > 0 && times.value(i) > 0, !stamped);
            let row = (notes.value(i).to_owned(), rows.column(3).as_boolean().value(i));
            assert!(seen.insert(ids.value(i), row).is_none(), "a key is seen twice");
        }
    }
    seen
}

async fn live(store: &Arc<Store>, table: &Arc<TableDef>, user: UserNo) -> Vec<(i64, String)> {
    let rows = seen(store, table, user).await.into_iter();
    rows.filter(|(_, (_, deleted))| !deleted).map(|(id, (note, _))| (id, note)).collect()
}

fn rows(rows: &[(i64, &str)]) -> Vec<(i64, String)> {
    rows.iter().map(|(id, note)| (*id, (*note).to_owned())).collect()
}

/// Names of all objects, and the number of intents.
fn left(store: &Store, directory: &Path) -> (Vec<String>, usize) {
    let mut found = Vec::new();
    for table in std::fs::read_dir(directory.join("cold")).unwrap().map(|entry| entry.unwrap().path()) {
        for file in std::fs::read_dir(table).into_iter().flatten() {
            found.push(file.unwrap().file_name().into_string().unwrap());
        }
    }
    (found, manifest::intents(&store.db).unwrap().len())
}

/// Every object is named by a manifest, and no change is under way.
fn assert_tidy(store: &Store, directory: &Path) {
    let named = manifest::all(&store.db).unwrap();
    let named: usize = named.iter().map(|(table, manifest)| manifest.objects(*table).len()).sum();
    let (found, intents) = left(store, directory);
    assert_eq!((found.len(), intents), (named, 0), "{found:?}");
}

#[tokio::test]
async fn loads_of_one_user_appear_at_once_and_last() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let table = notes(&store).await;
    let given: Vec<Row> = vec![(1, 5, "five"), (1, 1, "one"), (1, 9, "nine"), (1, 3, "three"), (1, 7, "seven")];
    let begun = fill(&store, &table, Scope::One(ALICE), Mode::Insert, &[(1, 4, "four".into())]).await.unwrap();
    let commit = load(&store, &table, Scope::One(ALICE), Mode::Insert, &given).await.unwrap();
    assert_eq!(commit.rows, 5);
    let five = rows(&[(1, "one"), (3, "three"), (5, "five"), (7, "seven"), (9, "nine")]);
    assert_eq!(live(&store, &table, ALICE).await, five);
    assert!(live(&store, &table, BOB).await.is_empty());
    // The number is that of the commit, not that of the beginning.
    let later = begun.finish().await.unwrap();
    assert_eq!(later.seq.0, commit.seq.0 + 1);
    let slices = store.view().slice(&table, ALICE).unwrap().cold().await.unwrap();
    let seqs: Vec<_> = slices.iter().map(|slice| slice.stamp.unwrap().seq).collect();
    assert!(slices.len() > 2 && seqs.is_sorted() && seqs.last() == Some(&later.seq));
    assert_tidy(&store, dir.path());
    store.close().await.unwrap();
    drop(store);
    let store = open(dir.path()).await;
    assert_eq!(live(&store, &table, ALICE).await.len(), 6);
    store.close().await.unwrap();
}

#[tokio::test]
async fn rows_in_order_share_a_file_and_are_not_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(dir.path(), 100, 1 << 20)).await.unwrap();
    let table = notes(&store).await;
    let given: Vec<_> = (0..100).map(|id| (1, id, format!("note {id}"))).collect();
    load_owned(&store, &table, Scope::One(ALICE), Mode::Insert, &given).await.unwrap();
    let more: Vec<_> = (100..200).map(|id| (1, id, format!("note {id}"))).collect();
    load_owned(&store, &table, Scope::One(ALICE), Mode::Insert, &more).await.unwrap();
    let manifest = manifest::current(&store.db, table.id).unwrap();
    assert_eq!(manifest.files.iter().map(|file| file.rows).collect::<Vec<_>>(), [100, 100]);
    assert_eq!(live(&store, &table, ALICE).await.len(), 200);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_key_that_lives_refuses_the_whole_load_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let table = notes(&store).await;
    load(&store, &table, Scope::One(ALICE), Mode::Insert, &[(1, 1, "cold")]).await.unwrap();
    write(&store, &table, ALICE, |set| set.insert(&batch(&table, &rows(&[(2, "hot")]))).unwrap()).await;
    let before = live(&store, &table, ALICE).await;
    let long: Vec<Row> = (10..30).map(|id| (1, id, "x")).collect();
    for (case, taken) in [(vec![(1, 1, "y")], 1), (vec![(1, 2, "y")], 2), (vec![(1, 15, "y")], 15)] {
        let given: Vec<Row> = long.iter().copied().chain(case).collect();
        let error = load(&store, &table, Scope::One(ALICE), Mode::Insert, &given).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(error.message(), format!("duplicate key (id)=({taken}) in table \"public.notes\""));
        assert_eq!(live(&store, &table, ALICE).await, before);
        assert_tidy(&store, dir.path());
    }
    // Within one run, which is never written.
    let error = load(&store, &table, Scope::One(ALICE), Mode::Insert, &[(1, 8, "a"), (1, 8, "b")]).await.unwrap_err();
    assert_eq!(error.message(), "duplicate key (id)=(8) in table \"public.notes\"");
    // The same keys of another user are free.
    load(&store, &table, Scope::One(BOB), Mode::Insert, &[(2, 1, "bob's")]).await.unwrap();
    assert_eq!(live(&store, &table, BOB).await, rows(&[(1, "bob's")]));
    assert_eq!(live(&store, &table, ALICE).await, before);
    store.close().await.unwrap();
}

#[tokio::test]
async fn hot_rows_and_tombstones_do_not_hide_what_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let table = notes(&store).await;
    write(&store, &table, ALICE, |set| set.insert(&batch(&table, &rows(&[(1, "a"), (2, "b")]))).unwrap()).await;
    write(&store, &table, ALICE, |set| set.delete(None, &batch(&table, &rows(&[(1, "a")]))).unwrap()).await;
    load(&store, &table, Scope::One(ALICE), Mode::Insert, &[(1, 1, "again")]).await.unwrap();
    load(&store, &table, Scope::One(ALICE), Mode::Replace, &[(1, 2, "old"), (1, 3, "c"), (1, 2, "new")]).await.unwrap();
    assert_eq!(live(&store, &table, ALICE).await, rows(&[(1, "again"), (2, "new"), (3, "c")]));
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_load_of_many_users_is_all_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let table = notes(&store).await;
    let given: Vec<Row> = vec![(2, 1, "b1"), (1, 1, "a1"), (3, 7, "c7"), (1, 2, "a2"), (2, 9, "b9")];
    assert_eq!(load(&store, &table, Scope::Many, Mode::Insert, &given).await.unwrap().rows, 5);
    assert_eq!(live(&store, &table, ALICE).await, rows(&[(1, "a1"), (2, "a2")]));
    assert_eq!(live(&store, &table, BOB).await, rows(&[(1, "b1"), (9, "b9")]));
    let error = load(&store, &table, Scope::Many, Mode::Insert, &[(4, 1, "d1"), (2, 9, "again")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(live(&store, &table, UserNo(4)).await.is_empty());
    let done = load(&store, &table, Scope::Many, Mode::Replace, &[(4, 1, "d1"), (2, 9, "again")]).await.unwrap();
    assert_eq!(done.rows, 2);
    assert_eq!(live(&store, &table, BOB).await, rows(&[(1, "b1"), (9, "again")]));
    assert_tidy(&store, dir.path());
    // An empty one is no error and leaves nothing.
    assert_eq!(load(&store, &table, Scope::Many, Mode::Insert, &[]).await.unwrap().rows, 0);
    assert_tidy(&store, dir.path());
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_load_waits_for_writers_and_they_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let table = notes(&store).await;
    let lock = store.lock(&table, BOB).await;
    let (store2, table2) = (Arc::clone(&store), Arc::clone(&table));
    let loading =
        tokio::spawn(async move { load(&store2, &table2, Scope::Many, Mode::Insert, &[(2, 1, "loaded")]).await });
    let mut set = WriteSet::new(Arc::clone(&table), BOB);
    set.insert(&batch(&table, &rows(&[(1, "first")]))).unwrap();
    store.commit(&lock, set).await.unwrap();
    drop(lock);
    assert_eq!(loading.await.unwrap().unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(live(&store, &table, BOB).await, rows(&[(1, "first")]));
    store.close().await.unwrap();
}

#[tokio::test]
async fn tables_without_a_key_take_every_row() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let table = store.create_table(new_table("log", false)).await.unwrap();
    let given: Vec<_> = (0..50).map(|id| (1 + id as u64 % 2, id, format!("n{id}"))).collect();
    load_owned(&store, &table, Scope::Many, Mode::Insert, &given).await.unwrap();
    write(&store, &table, ALICE, |set| set.insert(&batch(&table, &rows(&[(50, "hot")]))).unwrap()).await;
    load_owned(&store, &table, Scope::One(ALICE), Mode::Replace, &[(1, 51, "last".into())]).await.unwrap();
    assert_eq!((live(&store, &table, ALICE).await.len(), live(&store, &table, BOB).await.len()), (27, 25));
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_load_that_is_dropped_or_whose_table_is_dropped_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let table = notes(&store).await;
    let given: Vec<_> = (0..30).map(|id| (1, id, "x".to_owned())).collect();
    drop(fill(&store, &table, Scope::One(ALICE), Mode::Insert, &given).await.unwrap());
    while left(&store, dir.path()) != (vec![], 0) {
        tokio::task::yield_now().await;
    }
    let filled = fill(&store, &table, Scope::One(ALICE), Mode::Insert, &given).await.unwrap();
    store.drop_table(table.id).await.unwrap();
    assert_eq!(filled.finish().await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(left(&store, dir.path()), (vec![], 0));
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_table_appears_with_its_loaded_rows_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let old = notes(&store).await;
    load(&store, &old, Scope::One(ALICE), Mode::Insert, &[(1, 1, "old")]).await.unwrap();
    let new = store.declare_table(new_table("notes", true)).unwrap();
    let twice: Vec<_> = (0..20).chain(3..4).map(|id| (1, id, "x".to_owned())).collect();
    let filled = fill(&store, &new, Scope::One(ALICE), Mode::Insert, &twice).await.unwrap();
    let error =
        store.create_filled(&new, None, Filling::Load(filled), Some(old.id), MetaBatch::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(live(&store, &old, ALICE).await, rows(&[(1, "old")]));
    assert_tidy(&store, dir.path());
    let filled = fill(&store, &new, Scope::One(ALICE), Mode::Insert, &twice[..20]).await.unwrap();
    assert_eq!(
        store.create_filled(&new, None, Filling::Load(filled), Some(old.id), MetaBatch::default()).await.unwrap(),
        20
    );
    assert_eq!(live(&store, &new, ALICE).await.len(), 20);
    assert_eq!(store.tables().len(), 1);
    assert_tidy(&store, dir.path());
    store.close().await.unwrap();
}

#[derive(Clone, Debug)]
enum Op {
    Load(bool, Vec<(u64, i64, String)>),
    LoadMany(bool, Vec<(u64, i64, String)>),
    Insert(i64),
    Delete(i64),
    Flush,
    Compact,
    Reopen,
}

fn op() -> impl Strategy<Value = (u64, Op)> {
    let rows = || prop::collection::vec((1..4u64, 0..40i64, "[a-z]{1,3}"), 1..16);
    let op = prop_oneof![
        4 => (any::<bool>(), rows()).prop_map(|(replace, rows)| Op::Load(replace, rows)),
        3 => (any::<bool>(), rows()).prop_map(|(replace, rows)| Op::LoadMany(replace, rows)),
        3 => (0..40i64).prop_map(Op::Insert),
        3 => (0..40i64).prop_map(Op::Delete),
        1 => Just(Op::Flush),
        1 => Just(Op::Compact),
        1 => Just(Op::Reopen),
    ];
    (1..4u64, op)
}

type Model = BTreeMap<u64, Seen>;

/// What the load makes of the model; `None`: it must be refused.
fn apply(model: &Model, replace: bool, rows: &[(u64, i64, String)]) -> Option<(Model, u64)> {
    let (mut next, mut mine) = (model.clone(), std::collections::BTreeSet::new());
    for (user, id, note) in rows {
        let before = next.entry(*user).or_default().insert(*id, (note.clone(), false));
        if before.is_some_and(|(_, deleted)| !deleted) && !replace {
            return None;
        }
        mine.insert((*user, *id));
    }
    Some((next, mine.len() as u64))
}

async fn run(ops: &[(u64, Op)], load_bytes: usize, file_bytes: u64) {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), load_bytes, file_bytes);
    let mut store = Store::open(config.clone()).await.unwrap();
    let table = notes(&store).await;
    let mut model = Model::new();
    for (user, op) in ops {
        let me = UserNo(*user);
        match op {
            Op::Load(replace, rows) | Op::LoadMany(replace, rows) => {
                let scope = if matches!(op, Op::Load(..)) { Scope::One(me) } else { Scope::Many };
                let mut rows = rows.clone();
                if scope != Scope::Many {
                    rows.iter_mut().for_each(|row| row.0 = *user);
                }
                let mode = if *replace { Mode::Replace } else { Mode::Insert };
                match (load_owned(&store, &table, scope, mode, &rows).await, apply(&model, *replace, &rows)) {
                    (Ok(commit), Some((next, count))) => {
                        assert_eq!(commit.rows, count);
                        model = next;
                    }
                    (Err(error), None) => assert_eq!(error.kind(), ErrorKind::AlreadyExists),
                    (result, expected) => panic!("{result:?}, expected {expected:?}"),
                }
            }
            Op::Insert(id) => {
                let rows = vec![(*id, "hot".to_owned())];
                write(&store, &table, me, |set| set.replace(&batch(&table, &rows)).unwrap()).await;
                model.entry(*user).or_default().insert(*id, ("hot".to_owned(), false));
            }
            Op::Delete(id) => {
                let mine = model.entry(*user).or_default();
                let Some((note, false)) = mine.get(id).cloned() else { continue };
                let rows = vec![(*id, note.clone())];
                write(&store, &table, me, |set| set.delete(None, &batch(&table, &rows)).unwrap()).await;
                mine.insert(*id, (note, true));
            }
            Op::Flush => drop(store.flush(table.id).await.unwrap()),
            Op::Compact => drop(store.compact(table.id).await.unwrap()),
            Op::Reopen => {
                store.close().await.unwrap();
                drop(store);
                store = Store::open(config.clone()).await.unwrap();
            }
        }
        assert_eq!(seen(&store, &table, me).await, model.get(user).cloned().unwrap_or_default());
        assert_tidy(&store, dir.path());
    }
    for user in 1..4 {
        assert_eq!(seen(&store, &table, UserNo(user)).await, model.get(&user).cloned().unwrap_or_default());
    }
    store.close().await.unwrap();
}

fn cases() -> u32 {
    std::env::var("INSULA_LOAD_CASES").map_or(24, |text| text.parse().expect("a number of cases"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 200, ..ProptestConfig::default() })]
    /// Any interleaving of loads, writes, flushes and restarts answers like a map.
    #[test]
    fn loads_answer_like_a_map(
        ops in prop::collection::vec(op(), 1..20),
        load_bytes in prop_oneof![Just(1usize), 60..400usize],
        file_bytes in prop_oneof![Just(1u64), Just(1u64 << 20)],
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(run(&ops, load_bytes, file_bytes));
    }
}
