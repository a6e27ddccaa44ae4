//! Files of several versions of a table in one merge, and a table that is altered while it is merged.

use arrow::{
    array::{ArrayRef, Int16Array, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field},
    util::display::array_value_to_string,
};

use super::*;
use crate::{Alteration, NewColumn, NewTable, TableKind, WriteSet};

/// `id` bigint primary key, `n` smallint, `gone` text.
async fn numbers(store: &Arc<Store>) -> Arc<TableDef> {
    let table = NewTable {
        namespace: "public".into(),
        name: "numbers".into(),
        kind: TableKind::User,
        columns: vec![
            column("id", DataType::Int64, false),
            column("n", DataType::Int16, true),
            column("gone", DataType::Utf8, true),
        ],
        key: vec![0],
        checks: Vec::new(),
        options: TableOptions::default(),
    };
    store.create_table(table).await.unwrap()
}

fn add(name: &str, initial: &str) -> Alteration {
    let column = NewColumn { field: Arc::new(Field::new(name, DataType::Utf8, false)), default: None };
    Alteration::Add { column, initial: Arc::new(StringArray::from(vec![initial])), if_not_exists: false }
}

fn widen(column: &str, to: DataType) -> Alteration {
    Alteration::Widen { column: column.into(), to }
}

fn rename(from: &str, to: &str) -> Alteration {
    Alteration::Rename { from: from.into(), to: to.into(), checks: Vec::new() }
}

fn drop_column(column: &str) -> Alteration {
    Alteration::Drop { column: column.into(), if_exists: false }
}

/// A row whose numbers are `id`, and whose texts are `text`.
async fn put(store: &Arc<Store>, table: &Arc<TableDef>, user: UserNo, id: i64, text: &str) {
    let column = |data_type: &DataType| -> ArrayRef {
        match data_type {
            DataType::Int16 => Arc::new(Int16Array::from(vec![id as i16])),
            DataType::Int64 => Arc::new(Int64Array::from(vec![id])),
            _ => Arc::new(StringArray::from(vec![text])),
        }
    };
    let columns = table.columns.iter().map(|c| column(c.field.data_type())).collect();
    let rows = RecordBatch::try_new(table.schema(), columns).unwrap();
    write(store, table, user, |set: &mut WriteSet| set.replace(&rows).unwrap()).await;
}

/// The declared columns of the user's rows, as text, in the order of the key.
async fn rows(store: &Arc<Store>, table: &Arc<TableDef>, user: UserNo) -> Vec<String> {
    let slice = store.view().slice(table, user).unwrap();
    let all: Vec<usize> = (0..table.stored_schema().fields().len()).collect();
    let hot: Vec<RecordBatch> = slice.hot(&all, 9, true).unwrap().collect::<Result<_>>().unwrap();
    assert!(hot.is_empty(), "these tests are about files");
    let mut rows = Vec::new();
    for cold in slice.cold().await.unwrap() {
        let batch = fixture::rows_of(&store.cold, table, &cold).await;
        for i in 0..batch.num_rows() {
            let value = |column: &ArrayRef| array_value_to_string(column, i).unwrap();
            rows.push(batch.columns()[table.first_declared()..].iter().map(value).collect::<Vec<_>>().join(" "));
        }
    }
    rows.sort();
    rows
}

/// Each file holds just the columns of the version that its manifest names.
async fn assert_files_are_of_their_version(store: &Arc<Store>, versions: &[(u32, usize)]) {
    let table = store.tables().remove(0);
    let manifest = manifest_of(store, &table);
    let mut found: Vec<(u32, usize)> = Vec::new();
    for file in &manifest.files {
        found.push((file.schema_version, fixture::column_names(&store.cold, &table, file).await.len()));
    }
    found.sort_unstable();
    assert_eq!(found, versions);
}

#[tokio::test]
async fn files_of_all_versions_become_one_of_the_newest() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut table = numbers(&store).await;
    let steps: [&[Alteration]; 5] = [
        &[add("late", "initial")],
        &[widen("n", DataType::Int64), rename("n", "wide")],
        &[drop_column("gone")],
        // The dropped name comes back as another column.
        &[add("gone", "fresh"), rename("late", "n")],
        &[],
    ];
    for (id, step) in (1..).zip(steps) {
        put(&store, &table, ALICE, id, "alice").await;
        put(&store, &table, ALICE, 9, "again").await;
        put(&store, &table, BOB, id, "bob").await;
        store.flush(table.id).await.unwrap();
        table = store.alter_table(table.id, step, None).await.unwrap();
    }
    let expected = [
        "1 1 initial fresh",
        "2 2 alice fresh",
        "3 3 alice fresh",
        "4 4 alice fresh",
        "5 5 alice alice",
        "9 9 again again",
    ];
    assert_eq!(rows(&store, &table, ALICE).await, expected);
    let bobs = rows(&store, &table, BOB).await;
    let versions = [(1, 7), (2, 8), (3, 8), (4, 7), (5, 8)];
    assert_files_are_of_their_version(&store, &versions).await;
    let report = store.compact(table.id).await.unwrap();
    assert_eq!((report.rows, report.removed), (11, 4));
    assert_files_are_of_their_version(&store, &[(5, 8)]).await;
    assert_eq!(rows(&store, &table, ALICE).await, expected);
    assert_eq!(rows(&store, &table, BOB).await, bobs);
    assert_whole(&store, &table, directory.path());
    // Nothing was left to older versions.
    let table = store.alter_table(table.id, &[drop_column("n")], None).await.unwrap();
    assert_eq!(rows(&store, &table, BOB).await[0], "1 1 fresh");
    store.drop_table(table.id).await.unwrap();
    assert!(store.history(table.id).unwrap().is_empty());
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_table_altered_during_its_merge_loses_no_column_and_mixes_none() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let old = numbers(&store).await;
    for id in 1..4 {
        put(&store, &old, ALICE, id, "old").await;
        put(&store, &old, BOB, id, "old").await;
        store.flush(old.id).await.unwrap();
    }
    let mut run = Run::begin(&store.compactor, old.id, Want::Whole).await.unwrap().unwrap();
    let steps = [add("late", "initial"), widen("n", DataType::Int64), drop_column("gone")];
    let table = store.alter_table(old.id, &steps, None).await.unwrap();
    run.merge().await.unwrap();
    // What replaces rows of the merge is of the newer version.
    put(&store, &table, ALICE, 2, "new").await;
    put(&store, &table, ALICE, 4, "new").await;
    store.flush(table.id).await.unwrap();
    let table = store.alter_table(table.id, &[rename("late", "gone")], None).await.unwrap();
    let (next, turn) = store.compactor.prepare_rest(&mut run, table.id).await.unwrap();
    run.commit(&next).await.unwrap();
    run.reclaim(&next).await;
    drop((turn, run));
    let alice = ["1 1 initial", "2 2 new", "3 3 initial", "4 4 new"];
    for whole in [false, true] {
        if whole {
            store.compact(table.id).await.unwrap();
            assert_files_are_of_their_version(&store, &[(3, 7)]).await;
        } else {
            assert_files_are_of_their_version(&store, &[(1, 7), (2, 7)]).await;
        }
        assert_eq!(rows(&store, &table, ALICE).await, alice);
        assert_eq!(rows(&store, &table, BOB).await, ["1 1 initial", "2 2 initial", "3 3 initial"]);
        assert_no_orphans(&store, &table, directory.path());
    }
    store.close().await.unwrap();
}
