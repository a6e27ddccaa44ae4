use arrow::{
    array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch},
    datatypes::{DataType, Field, Int32Type, Int64Type},
};

use super::*;
use crate::{
    ErrorKind, Load, NewColumn, StoreConfig, WriteSet,
    cold::{fixture, manifest},
    hot::tests::new_table,
    load::{Mode, Owners, Scope},
    notes::{self, ALICE, BOB},
    table::TableOptions,
};

const USER: UserNo = UserNo(5);

async fn open(dir: &tempfile::TempDir) -> (Arc<Store>, Arc<TableDef>) {
    let config = StoreConfig {
        min_free_bytes: 0,
        compaction: false,
        chunk_rows: 2,
        ..StoreConfig::new(dir.path().join("data"))
    };
    let store = Store::open(config).await.unwrap();
    let table = match store.tables().first() {
        Some(table) => Arc::clone(table),
        None => store.create_table(new_table(&[("id", DataType::Int32, false)], &[0])).await.unwrap(),
    };
    (store, table)
}

fn add(name: &str, nullable: bool, initial: Option<i32>) -> Alteration {
    let field = Arc::new(Field::new(name, DataType::Int32, nullable));
    let initial: ArrayRef = Arc::new(Int32Array::from(vec![initial]));
    Alteration::Add { column: NewColumn { field, default: None }, initial, if_not_exists: false }
}

fn drop_column(column: &str) -> Alteration {
    Alteration::Drop { column: column.into(), if_exists: false }
}

/// One row, all of whose columns hold this number.
fn batch(table: &Arc<TableDef>, number: i32) -> RecordBatch {
    let column = |data_type: &DataType| -> ArrayRef {
        match data_type {
            DataType::Int64 => Arc::new(Int64Array::from(vec![i64::from(number)])),
            _ => Arc::new(Int32Array::from(vec![number])),
        }
    };
    let columns = table.columns.iter().map(|c| column(c.field.data_type())).collect();
    RecordBatch::try_new(table.schema(), columns).unwrap()
}

fn set(table: &Arc<TableDef>, number: i32) -> WriteSet {
    let mut set = WriteSet::new(Arc::clone(table), USER).with_chunk_rows(1);
    set.insert(&batch(table, number)).unwrap();
    set
}

async fn load(store: &Arc<Store>, table: &Arc<TableDef>, mode: Mode, number: i32) -> Load {
    let mut load = store.load(table, Scope::One(USER), mode).await.unwrap();
    load.push(batch(table, number), Owners::One(USER)).await.unwrap();
    load
}

async fn commit(store: &Arc<Store>, table: &Arc<TableDef>, set: WriteSet) -> Result<()> {
    let lock = store.lock(table, USER).await;
    store.commit(&lock, set).await.map(drop)
}

/// The declared columns of all rows, in the order of the key.
async fn rows(store: &Arc<Store>, table: &Arc<TableDef>) -> Vec<Vec<Option<i64>>> {
    let slice = store.view().slice(table, USER).unwrap();
    let all: Vec<usize> = (0..table.stored_schema().fields().len()).collect();
    let mut batches: Vec<RecordBatch> = slice.hot(&all, 3, true).unwrap().collect::<Result<_>>().unwrap();
    for cold in slice.cold().await.unwrap() {
        batches.push(fixture::rows_of(&store.cold, table, &cold).await);
    }
    let mut rows = Vec::new();
    for batch in &batches {
        assert_eq!(batch.schema(), table.stored_schema());
        for i in 0..batch.num_rows() {
            let value = |column: &ArrayRef| match column.data_type() {
                DataType::Int64 => column.is_valid(i).then(|| column.as_primitive::<Int64Type>().value(i)),
                _ => column.is_valid(i).then(|| i64::from(column.as_primitive::<Int32Type>().value(i))),
            };
            rows.push(batch.columns()[table.first_declared()..].iter().map(value).collect::<Vec<_>>());
        }
    }
    rows.sort();
    rows
}

#[tokio::test]
async fn rows_of_every_version_lie_side_by_side_in_both_tiers() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut table) = open(&dir).await;
    let widen = Alteration::Widen { column: "a".into(), to: DataType::Int64 };
    let steps = [
        vec![add("a", true, Some(7)), add("b", true, None)],
        vec![widen],
        vec![drop_column("b")],
        vec![add("b", false, Some(9))],
    ];
    for (number, step) in (1..).zip(steps) {
        commit(&store, &table, set(&table, number)).await.unwrap();
        table = store.alter_table(table.id, &step, Some(USER)).await.unwrap();
    }
    commit(&store, &table, set(&table, 5)).await.unwrap();
    let some = |values: [i64; 3]| values.map(Some).to_vec();
    let expected = [some([1, 7, 9]), some([2, 2, 9]), some([3, 3, 9]), some([4, 4, 9]), some([5, 5, 5])];
    assert_eq!(rows(&store, &table).await, expected);
    store.close().await.unwrap();
    drop((store, table));
    let (store, table) = open(&dir).await;
    assert_eq!(rows(&store, &table).await, expected);
    store.flush(table.id).await.unwrap();
    assert_eq!(rows(&store, &table).await, expected);
    let authors: Vec<_> = store.history(table.id).unwrap().iter().map(|v| (v.version, v.author)).collect();
    assert_eq!(authors, [(1, None), (2, Some(USER)), (3, Some(USER)), (4, Some(USER)), (5, Some(USER))]);
    store.drop_table(table.id).await.unwrap();
    assert!(store.history(table.id).unwrap().is_empty());
    store.close().await.unwrap();
}

#[tokio::test]
async fn files_of_older_versions_lack_columns() {
    let dir = tempfile::tempdir().unwrap();
    let (store, old) = open(&dir).await;
    commit(&store, &old, set(&old, 1)).await.unwrap();
    store.flush(old.id).await.unwrap();
    let table = store.alter_table(old.id, &[add("a", false, Some(7))], None).await.unwrap();
    assert_eq!(rows(&store, &table).await, [[Some(1), Some(7)]]);
    // A key that lies in an older file is found.
    let error = commit(&store, &table, set(&table, 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_write_encoded_before_the_change_is_right_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, old) = open(&dir).await;
    let (early, late) = (set(&old, 1), set(&old, 2));
    let table = store.alter_table(old.id, &[add("a", false, Some(7)), add("b", true, None)], None).await.unwrap();
    commit(&store, &old, early).await.unwrap();
    assert_eq!(rows(&store, &table).await, [[Some(1), Some(7), None]]);
    store.flush(table.id).await.unwrap();
    commit(&store, &old, late).await.unwrap();
    store.flush(table.id).await.unwrap();
    assert_eq!(rows(&store, &table).await, [[Some(1), Some(7), None], [Some(2), Some(7), None]]);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_load_begun_before_the_change_is_right_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, old) = open(&dir).await;
    commit(&store, &old, set(&old, 3)).await.unwrap();
    let steps = [add("a", true, Some(7)), add("b", true, None)];
    let table = store.alter_table(old.id, &steps, None).await.unwrap();
    let early = [load(&store, &table, Mode::Insert, 1).await, load(&store, &table, Mode::Replace, 2).await];
    let steps =
        [drop_column("b"), add("c", false, Some(9)), Alteration::Widen { column: "a".into(), to: DataType::Int64 }];
    let table = store.alter_table(old.id, &steps, None).await.unwrap();
    // One that a load replaces lies in a file of the later version.
    commit(&store, &table, set(&table, 2)).await.unwrap();
    store.flush(table.id).await.unwrap();
    for early in early {
        early.finish().await.unwrap();
    }
    load(&store, &table, Mode::Insert, 4).await.finish().await.unwrap();
    let some = |values: [i64; 3]| values.map(Some).to_vec();
    assert_eq!(rows(&store, &table).await, [some([1, 1, 9]), some([2, 2, 9]), some([3, 7, 9]), some([4, 4, 4])]);
    let versions: Vec<u32> =
        manifest::current(&store.db, table.id).unwrap().files.iter().map(|file| file.schema_version).collect();
    assert_eq!(versions, [3, 2, 2, 3], "of the definition under which each was written");
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_load_without_a_column_that_needs_a_value_is_stale_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, old) = open(&dir).await;
    let early = load(&store, &old, Mode::Insert, 1).await;
    let table = store.alter_table(old.id, &[add("a", false, None)], None).await.unwrap();
    assert_eq!(early.finish().await.unwrap_err().kind(), ErrorKind::Stale);
    assert!(rows(&store, &table).await.is_empty());
    assert!(manifest::current(&store.db, table.id).unwrap().files.is_empty());
    assert!(manifest::intents(&store.db).unwrap().is_empty());
    load(&store, &table, Mode::Insert, 1).await.finish().await.unwrap();
    assert_eq!(rows(&store, &table).await, [[Some(1), Some(1)]]);
    // Rows that were loaded count as rows.
    let error = store.alter_table(table.id, &[add("b", false, None)], None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_column_that_needs_a_value_needs_an_empty_table() {
    let dir = tempfile::tempdir().unwrap();
    let (store, old) = open(&dir).await;
    let encoded = set(&old, 1);
    let table = store.alter_table(old.id, &[add("a", false, None)], None).await.unwrap();
    // It was empty then; a row that came without the column now would have nothing to show.
    assert_eq!(commit(&store, &old, encoded).await.unwrap_err().kind(), ErrorKind::Stale);
    assert!(rows(&store, &table).await.is_empty());
    commit(&store, &table, set(&table, 1)).await.unwrap();
    for flushed in [false, true] {
        if flushed {
            store.flush(table.id).await.unwrap();
        }
        let error = store.alter_table(table.id, &[add("b", false, None)], None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    assert_eq!(store.tables(), [table]);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_view_is_read_by_its_own_definition_or_a_later_one() {
    let dir = tempfile::tempdir().unwrap();
    let (store, old) = open(&dir).await;
    commit(&store, &old, set(&old, 1)).await.unwrap();
    let before = store.view();
    let table = store.alter_table(old.id, &[add("a", true, Some(7))], None).await.unwrap();
    assert!(before.slice(&old, USER).is_ok() && before.slice(&table, USER).is_ok());
    assert_eq!(store.view().slice(&old, USER).map(drop).unwrap_err().kind(), ErrorKind::Stale);
    // The same after a freeze, which writes the record anew.
    store.flush(table.id).await.unwrap();
    assert_eq!(store.view().slice(&old, USER).map(drop).unwrap_err().kind(), ErrorKind::Stale);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_table_gets_a_name_that_is_free_and_keeps_its_rows() {
    let directory = tempfile::tempdir().unwrap();
    let store = notes::open(directory.path()).await;
    let table = notes::notes(&store, TableOptions::default()).await;
    notes::insert(&store, &table, ALICE, &[(1, "cold")]).await;
    store.flush(table.id).await.unwrap();
    notes::insert(&store, &table, ALICE, &[(2, "hot")]).await;
    let rename = |to: &str| [Alteration::RenameTable { to: to.into() }];
    let renamed = store.alter_table(table.id, &rename("letters"), Some(BOB)).await.unwrap();
    assert_eq!((renamed.id, renamed.name.as_str()), (table.id, "letters"));
    let other = notes::notes(&store, TableOptions::default()).await;
    let taken = store.alter_table(other.id, &rename("letters"), None).await.unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
    assert_eq!(store.alter_table(other.id, &rename("notes"), None).await.unwrap().schema_version, 1, "nothing to do");
    let store = notes::reopen(store, directory.path()).await;
    let renamed = store.tables().into_iter().find(|t| t.name == "letters").unwrap();
    assert_eq!(notes::live(&store, &renamed, ALICE).await, ["cold", "hot"]);
    let history = store.history(renamed.id).unwrap();
    assert_eq!(history.last().unwrap().change, "RENAME TO \"letters\"");
    store.close().await.unwrap();
}

#[tokio::test]
async fn rows_that_were_encoded_before_a_check_came_are_not_committed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, table) = open(&dir).await;
    let (early, late) = (set(&table, 1), set(&table, 2));
    let mut load = store.load(&table, Scope::One(USER), Mode::Insert).await.unwrap();
    load.push(batch(&table, 3), Owners::One(USER)).await.unwrap();
    let check = crate::NewCheck { name: "c".into(), sql: "id > 5".into(), columns: vec!["id".into()] };
    let add = |holds| [Alteration::AddCheck { check: check.clone(), holds }];
    let lock = store.lock(&table, USER).await;
    store.commit(&lock, early).await.unwrap();
    let error = store.alter_table(table.id, &add(false), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
    let altered = store.alter_table(table.id, &add(true), None).await.unwrap();
    assert_eq!(store.commit(&lock, late).await.unwrap_err().kind(), ErrorKind::Stale);
    store.commit(&lock, set(&altered, 6)).await.unwrap();
    drop(lock);
    assert_eq!(load.finish().await.unwrap_err().kind(), ErrorKind::Stale);
    store.close().await.unwrap();
    drop(store);
    let (store, table) = open(&dir).await;
    assert_eq!(table.checks, altered.checks);
    assert_eq!(store.history(table.id).unwrap()[1].change, "ADD CONSTRAINT \"c\" CHECK (id > 5)");
}
