//! Stream tables answer like a map that forgets at once: after each commit and each step of the clock the model drops
//! what has expired, for good. The store removes it when it likes; any interleaving of writes, transactions, steps of the
//! clock, purges, changed options and restarts gives the same answers, and a purge leaves on disk what is seen and no more.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Int64Type, UInt64Type},
};
use insula_proto::UserNo;
use insula_storage::{
    Alteration, Clock, ErrorKind, KeyCodec, NewColumn, NewTable, ReadView, Result, Store, StoreConfig, TableDef,
    TableKind, TableOptions, WriteSet,
};
use proptest::prelude::*;

const USERS: u64 = 2;
const KEYS: i64 = 12;

#[derive(Clone, Debug)]
enum Write {
    Insert(Vec<i64>),
    Replace(Vec<i64>),
    /// Of the live rows, those whose key is below the first; the key grows by the second.
    Update(i64, i64),
    Delete(i64, i64),
}

#[derive(Clone, Debug)]
enum Op {
    Write(Write),
    /// A transaction, committed or not.
    Within(Vec<Write>, bool),
    Pass(i64),
    Ttl(Option<i64>),
    MaxRows(Option<u64>),
    Purge,
    Flush,
    Reopen,
}

fn write() -> impl Strategy<Value = Write> {
    let keys = || prop::collection::vec(0..KEYS, 1..5);
    prop_oneof![
        4 => keys().prop_map(Write::Insert),
        3 => keys().prop_map(Write::Replace),
        2 => (0..KEYS, 0..3i64).prop_map(|(below, by)| Write::Update(below, by)),
        3 => (0..KEYS, 0..KEYS).prop_map(|(from, to)| Write::Delete(from, to)),
    ]
}

fn op() -> impl Strategy<Value = (u64, Op)> {
    let op = prop_oneof![
        12 => write().prop_map(Op::Write),
        3 => (prop::collection::vec(write(), 1..4), any::<bool>()).prop_map(|(writes, commits)| Op::Within(writes, commits)),
        4 => (1..40i64).prop_map(Op::Pass),
        1 => prop::option::of(20..200i64).prop_map(Op::Ttl),
        1 => prop::option::of(1..8u64).prop_map(Op::MaxRows),
        2 => Just(Op::Purge),
        1 => Just(Op::Flush),
        1 => Just(Op::Reopen),
    ];
    (0..USERS, op)
}

struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now_micros(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

#[derive(Clone, PartialEq, Debug)]
struct Row {
    value: String,
    deleted: bool,
    /// Of the commit, so that it orders.
    commit: u64,
    updated: i64,
}

/// One user's rows.
type Rows = BTreeMap<i64, Row>;

struct Bench {
    config: StoreConfig,
    clock: Arc<SetClock>,
    store: Option<Arc<Store>>,
    table: Arc<TableDef>,
    model: BTreeMap<u64, Rows>,
    commits: u64,
    _dir: tempfile::TempDir,
}

fn options(ttl: Option<i64>, max_rows: Option<u64>) -> TableOptions {
    let ttl = ttl.map(|micros| Duration::from_micros(micros.unsigned_abs()));
    TableOptions { ttl, max_rows, ..TableOptions::default() }
}

impl Bench {
    async fn new(background: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(SetClock(AtomicI64::new(1_000)));
        let config =
            StoreConfig { min_free_bytes: 0, compaction: background, ..StoreConfig::new(dir.path().to_owned()) };
        let store = Store::open_with_clock(config.clone(), Arc::clone(&clock) as _).await.unwrap();
        let column = |name: &str, data_type: DataType| NewColumn {
            field: Arc::new(Field::new(name, data_type, true)),
            default: None,
        };
        let table = NewTable {
            namespace: "ns".into(),
            name: "t".into(),
            kind: TableKind::Stream,
            columns: vec![column("value", DataType::Utf8), column("id", DataType::Int64)],
            key: vec![1],
            checks: Vec::new(),
            options: options(Some(100), Some(4)),
        };
        let table = store.create_table(table).await.unwrap();
        Self { config, clock, store: Some(store), table, model: BTreeMap::new(), commits: 0, _dir: dir }
    }

    fn store(&self) -> &Arc<Store> {
        self.store.as_ref().unwrap()
    }

    fn batch(&self, rows: &[(i64, String)]) -> RecordBatch {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, value)| value))),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|(key, _)| *key))),
        ];
        RecordBatch::try_new(self.table.schema(), columns).unwrap()
    }

    fn read(&self, view: &Arc<ReadView>, user: u64) -> BTreeMap<i64, (String, bool)> {
        let slice = view.slice(&self.table, UserNo(user)).unwrap();
        let all: Vec<usize> = (0..self.table.stored_schema().fields().len()).collect();
        let mut rows = BTreeMap::new();
        for batch in slice.hot(&all, 3, true).unwrap() {
            let batch = batch.unwrap();
            assert!(batch.column(0).as_primitive::<UInt64Type>().values().iter().all(|no| *no == user));
            let (deleted, values) = (batch.column(3).as_boolean(), batch.column(4).as_string::<i32>());
            let keys = batch.column(5).as_primitive::<Int64Type>();
            for i in 0..batch.num_rows() {
                let row = (values.value(i).to_owned(), deleted.value(i));
                assert!(rows.insert(keys.value(i), row).is_none(), "a key came twice");
            }
        }
        assert_eq!(slice.hot_keys().unwrap().len(), rows.len());
        rows
    }

    /// Drops what has expired; eagerly, and for good.
    fn trim(&self, rows: &mut Rows) {
        let now = self.clock.now_micros();
        if let Some(ttl) = self.table.options.ttl {
            let ttl = ttl.as_micros() as i64;
            rows.retain(|_, row| row.updated >= now - ttl);
        }
        let Some(most) = self.table.options.max_rows else { return };
        let newer = |rows: &Rows, of: (u64, i64), any: bool| {
            let newer = rows.iter().filter(|(key, row)| (row.commit, **key) > of && (any || !row.deleted));
            newer.count() as u64
        };
        let before = rows.clone();
        rows.retain(|key, row| newer(&before, (row.commit, *key), row.deleted) < most);
    }

    fn trim_all(&mut self) {
        let mut model = std::mem::take(&mut self.model);
        model.values_mut().for_each(|rows| self.trim(rows));
        self.model = model;
    }

    /// What a statement makes of rows that it sees: of a set, and of the model. `None`: a key is there already.
    fn apply(&self, write: &Write, set: &mut WriteSet, seen: &Rows, text: &str) -> (Result<()>, Option<Rows>) {
        let (mut changed, mut fits) = (Rows::new(), true);
        let row = |value: &str, deleted| Row { value: value.into(), deleted, commit: u64::MAX, updated: i64::MAX };
        let live = |from: i64, to: i64| -> Vec<(i64, String)> {
            let rows = seen.iter().filter(|(key, row)| !row.deleted && (from..to).contains(*key));
            rows.map(|(key, row)| (*key, row.value.clone())).collect()
        };
        let given = |keys: &[i64]| keys.iter().map(|key| (*key, text.to_owned())).collect::<Vec<_>>();
        let result = match write {
            Write::Insert(keys) => {
                for key in keys {
                    fits &= seen.get(key).is_none_or(|row| row.deleted) && !changed.contains_key(key);
                    changed.insert(*key, row(text, false));
                }
                set.insert(&self.batch(&given(keys)))
            }
            Write::Replace(keys) => {
                changed.extend(keys.iter().map(|key| (*key, row(text, false))));
                set.replace(&self.batch(&given(keys)))
            }
            Write::Update(below, by) => {
                let old = live(0, *below);
                let new: Vec<(i64, String)> = old.iter().map(|(key, _)| (key + by, text.to_owned())).collect();
                changed.extend(old.iter().map(|(key, value)| (*key, row(value, true))));
                for (key, value) in &new {
                    let freed = changed.get(key).is_some_and(|row| row.deleted);
                    fits &= freed || seen.get(key).is_none_or(|row| row.deleted) && !changed.contains_key(key);
                    changed.insert(*key, row(value, false));
                }
                set.update(None, &self.batch(&old), &self.batch(&new))
            }
            Write::Delete(from, to) => {
                let old = live(*from, *to);
                changed.extend(old.iter().map(|(key, value)| (*key, row(value, true))));
                set.delete(None, &self.batch(&old))
            }
        };
        (result, fits.then_some(changed))
    }

    fn commit(&mut self, user: u64, changed: Rows) {
        self.commits += 1;
        let (commit, updated) = (self.commits, self.clock.now_micros());
        let mut rows = self.model.remove(&user).unwrap_or_default();
        rows.extend(changed.into_iter().map(|(key, row)| (key, Row { commit, updated, ..row })));
        self.trim(&mut rows);
        self.model.insert(user, rows);
    }

    async fn write(&mut self, user: u64, write: &Write, text: &str) {
        let store = Arc::clone(self.store());
        let seen = self.model.get(&user).cloned().unwrap_or_default();
        let lock = store.lock(&self.table, UserNo(user)).await;
        let mut set = self.store().write_set(&self.table, UserNo(user));
        let (filled, expected) = self.apply(write, &mut set, &seen, text);
        let result = match filled {
            Ok(()) => store.commit(&lock, set).await.map(drop),
            Err(error) => Err(error),
        };
        match (result, expected) {
            (Ok(()), Some(changed)) => self.commit(user, changed),
            (Err(error), None) if error.kind() == ErrorKind::AlreadyExists => {}
            (result, expected) => panic!("{write:?}: {result:?}, expected {expected:?}"),
        }
    }

    async fn within(&mut self, user: u64, writes: &[Write], commits: bool, text: &str) {
        let mut transaction = self.store().transaction();
        let base = self.model.get(&user).cloned().unwrap_or_default();
        let mut written = Rows::new();
        for (i, write) in writes.iter().enumerate() {
            let mut seen = base.clone();
            seen.extend(written.clone());
            self.trim(&mut seen);
            let visible = seen.iter().map(|(key, row)| (*key, (row.value.clone(), row.deleted))).collect();
            assert_eq!(self.read(&transaction.view(), user), visible, "before {write:?}");
            let mut set = self.store().write_set(&self.table, UserNo(user));
            let (filled, expected) = self.apply(write, &mut set, &seen, &format!("{text}.{i}"));
            let result = match filled {
                Ok(()) => transaction.write(set).await.map(drop),
                Err(error) => Err(error),
            };
            match (result, expected) {
                (Ok(()), Some(changed)) => written.extend(changed),
                (Err(error), None) if error.kind() == ErrorKind::AlreadyExists => {}
                (result, expected) => panic!("{write:?}: {result:?}, expected {expected:?}"),
            }
        }
        if commits {
            transaction.commit().await.unwrap();
            if !written.is_empty() {
                self.commit(user, written);
            }
        }
    }

    async fn alter(&mut self, options: TableOptions) {
        // Nothing would bound it otherwise, as the layer above sees to.
        if options.ttl.is_some() || options.max_rows.is_some() {
            let actions = [Alteration::Options(options)];
            self.table = self.store().alter_table(self.table.id, &actions, None).await.unwrap();
        }
    }

    async fn run(&mut self, number: usize, user: u64, op: &Op) {
        let text = number.to_string();
        match op {
            Op::Write(write) => self.write(user, write, &text).await,
            Op::Within(writes, commits) => self.within(user, writes, *commits, &text).await,
            Op::Pass(micros) => _ = self.clock.0.fetch_add(*micros, Relaxed),
            Op::Ttl(ttl) => self.alter(options(*ttl, self.table.options.max_rows)).await,
            Op::MaxRows(rows) => {
                let ttl = self.table.options.ttl.map(|ttl| ttl.as_micros() as i64);
                self.alter(options(ttl, *rows)).await;
            }
            Op::Purge => {
                self.store().compact(self.table.id).await.unwrap();
                self.trim_all();
                let seen: usize = self.model.values().map(BTreeMap::len).sum();
                let there = self.store().usage(&self.table, None).await.unwrap().hot_rows;
                assert_eq!(there, seen as u64, "on disk is what is seen");
            }
            Op::Flush => _ = self.store().flush(self.table.id).await.unwrap(),
            Op::Reopen => {
                let store = self.store.take().unwrap();
                store.close().await.unwrap();
                drop(store);
                let clock = Arc::clone(&self.clock) as _;
                self.store = Some(Store::open_with_clock(self.config.clone(), clock).await.unwrap());
            }
        }
        self.trim_all();
        self.check().await;
    }

    async fn check(&self) {
        let codec = KeyCodec::new(&self.table).unwrap();
        for user in 0..USERS {
            let expected: BTreeMap<i64, (String, bool)> = self
                .model
                .get(&user)
                .into_iter()
                .flatten()
                .map(|(key, row)| (*key, (row.value.clone(), row.deleted)))
                .collect();
            let view = self.store().view();
            assert_eq!(self.read(&view, user), expected);
            let usage = self.store().usage(&self.table, Some(UserNo(user))).await.unwrap();
            assert_eq!(usage.hot_rows, expected.len() as u64);
            let slice = view.slice(&self.table, UserNo(user)).unwrap();
            for key in 0..KEYS {
                let keys = codec.encode(&[Arc::new(Int64Array::from(vec![key]))]).unwrap();
                let row = slice.row(&keys, &[4], true).await.unwrap();
                assert_eq!(row[0].len(), usize::from(expected.contains_key(&key)), "key {key}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 400, ..ProptestConfig::default() })]
    #[test]
    fn any_interleaving_answers_like_a_map_that_forgets(
        ops in prop::collection::vec(op(), 1..60),
        background in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut bench = Bench::new(background).await;
            for (number, (user, op)) in ops.iter().enumerate() {
                bench.run(number, *user, op).await;
            }
            bench.run(ops.len(), 0, &Op::Purge).await;
            bench.run(ops.len(), 0, &Op::Reopen).await;
            bench.store().close().await.unwrap();
        });
    }
}
