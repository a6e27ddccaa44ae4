//! A table of notes in a store of a temporary directory, for the tests of flushes and compactions.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use arrow::{
    array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field},
};
use insula_proto::UserNo;

use crate::{
    KeyCodec, NewColumn, NewTable, ReadView, Result, Store, StoreConfig, TableDef, TableKind, TableOptions, WriteSet,
    clock::Clock, cold::fixture,
};

pub(crate) const ALICE: UserNo = UserNo(1);
pub(crate) const BOB: UserNo = UserNo(2);

pub(crate) async fn open(directory: &Path) -> Arc<Store> {
    open_with(directory, 64 << 20).await
}

pub(crate) async fn open_with(directory: &Path, file_bytes: u64) -> Arc<Store> {
    Store::open(config(directory, file_bytes)).await.unwrap()
}

/// What a flush leaves behind is looked at, so nothing compacts it meanwhile.
pub(crate) fn config(directory: &Path, file_bytes: u64) -> StoreConfig {
    StoreConfig {
        file_bytes,
        min_free_bytes: 0,
        compaction: false,
        chunk_rows: 2,
        ..StoreConfig::new(directory.into())
    }
}

/// Stands still until it is set.
pub(crate) struct SetClock(pub(crate) AtomicI64);

impl Clock for SetClock {
    fn now_micros(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

pub(crate) async fn reopen(store: Arc<Store>, directory: &Path) -> Arc<Store> {
    store.close().await.unwrap();
    drop(store);
    open(directory).await
}

pub(crate) fn column(name: &str, data_type: DataType, nullable: bool) -> NewColumn {
    NewColumn { field: Arc::new(Field::new(name, data_type, nullable)), default: None }
}

/// `note` text, `id` bigint primary key: the key is in the second column.
pub(crate) async fn notes(store: &Arc<Store>, options: TableOptions) -> Arc<TableDef> {
    let table = NewTable {
        namespace: "public".into(),
        name: "notes".into(),
        kind: TableKind::User,
        columns: vec![column("note", DataType::Utf8, true), column("id", DataType::Int64, false)],
        key: vec![1],
        checks: Vec::new(),
        options,
    };
    store.create_table(table).await.unwrap()
}

pub(crate) fn batch(table: &TableDef, rows: &[(i64, &str)]) -> RecordBatch {
    let notes: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1)));
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
    RecordBatch::try_new(table.schema(), vec![notes, ids]).unwrap()
}

pub(crate) async fn write(store: &Arc<Store>, table: &Arc<TableDef>, user: UserNo, fill: impl FnOnce(&mut WriteSet)) {
    let lock = store.lock(table, user).await;
    let mut set = store.write_set(table, user);
    fill(&mut set);
    store.commit(&lock, set).await.unwrap();
}

pub(crate) async fn insert(store: &Arc<Store>, table: &Arc<TableDef>, user: UserNo, rows: &[(i64, &str)]) {
    write(store, table, user, |set| set.insert(&batch(table, rows)).unwrap()).await;
}

pub(crate) async fn replace(store: &Arc<Store>, table: &Arc<TableDef>, user: UserNo, rows: &[(i64, &str)]) {
    write(store, table, user, |set| set.replace(&batch(table, rows)).unwrap()).await;
}

pub(crate) async fn delete(store: &Arc<Store>, table: &Arc<TableDef>, user: UserNo, rows: &[(i64, &str)]) {
    write(store, table, user, |set| set.delete(None, &batch(table, rows)).unwrap()).await;
}

/// What a user sees: encoded key → note and whether it is deleted. A row seen twice fails.
pub(crate) async fn seen(store: &Arc<Store>, view: &Arc<ReadView>, table: &Arc<TableDef>, user: UserNo) -> Seen {
    try_seen(store, view, table, user).await.unwrap()
}

/// The same, where something may be damaged or out of reach.
pub(crate) async fn try_seen(
    store: &Arc<Store>,
    view: &Arc<ReadView>,
    table: &Arc<TableDef>,
    user: UserNo,
) -> Result<Seen> {
    let slice = view.slice(table, user)?;
    let hot_keys = slice.hot_keys()?;
    let all: Vec<usize> = (0..table.stored_schema().fields().len()).collect();
    let mut seen = Seen::new();
    for rows in slice.hot(&all, 100, true)? {
        add(&mut seen, table, &rows?, |_| false);
    }
    for cold in slice.cold().await? {
        let rows = fixture::try_rows_of(&store.cold, table, &cold).await?;
        add(&mut seen, table, &rows, |key| hot_keys.contains(key));
    }
    Ok(seen)
}

pub(crate) type Seen = BTreeMap<Vec<u8>, (String, bool)>;

pub(crate) fn add(seen: &mut Seen, table: &TableDef, rows: &RecordBatch, shadowed: impl Fn(&[u8]) -> bool) {
    let columns: Vec<_> = table.stored_key().iter().map(|column| Arc::clone(rows.column(*column))).collect();
    let keys = KeyCodec::new(table).unwrap().encode(&columns).unwrap();
    let notes = rows.column(table.first_declared()).as_string::<i32>();
    for i in (0..rows.num_rows()).filter(|i| !shadowed(keys.row(*i))) {
        let row = (notes.value(i).to_owned(), rows.column(3).as_boolean().value(i));
        assert!(seen.insert(keys.row(i).to_vec(), row).is_none(), "a key is seen twice");
    }
}

/// The same of what is live, in key order.
pub(crate) async fn try_live(store: &Arc<Store>, table: &Arc<TableDef>, user: UserNo) -> Result<Vec<String>> {
    let seen = try_seen(store, &store.view(), table, user).await?;
    Ok(seen.into_values().filter(|(_, deleted)| !deleted).map(|(note, _)| note).collect())
}

/// The live notes of a user, in key order.
pub(crate) async fn live(store: &Arc<Store>, table: &Arc<TableDef>, user: UserNo) -> Vec<String> {
    let seen = seen(store, &store.view(), table, user).await;
    seen.into_values().filter(|(_, deleted)| !deleted).map(|(note, _)| note).collect()
}

pub(crate) fn objects(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for table in std::fs::read_dir(directory.join("cold")).unwrap().map(|entry| entry.unwrap().path()) {
        for file in std::fs::read_dir(table).into_iter().flatten() {
            found.push(file.unwrap().file_name().into_string().unwrap());
        }
    }
    found
}

pub(crate) async fn wait_until<F: Future<Output = bool>>(mut reached: impl FnMut() -> F) {
    for _ in 0..1000 {
        if reached().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not reached within ten seconds");
}
