//! Any interleaving of writes, flushes, compactions and restarts gives the same answers as a plain sorted map.
//!
//! Several users insert, replace, update (also keys), delete and read through the crate's public face; a map keeps what
//! they should see, soft-deleted rows included. Statements that must fail do, and leave nothing.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, Int32Array, RecordBatch, StringArray},
    compute::{filter_record_batch, not},
    datatypes::{DataType, Field, Int32Type, Int64Type, UInt64Type},
};
use insula_proto::UserNo;
use insula_storage::{
    ErrorKind, KeyCodec, NewColumn, NewTable, Store, StoreConfig, TableDef, TableKind, TableOptions, TableSlice,
    WriteSet, restore,
};
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection};
use proptest::prelude::*;

const USERS: u64 = 3;

/// Text with a zero byte, so that keys are escaped, and a number.
type Key = (String, i32);
/// What a user sees under a key: the value, and whether the row is deleted.
type Rows = BTreeMap<Key, (Option<String>, bool)>;

#[derive(Clone, Debug)]
enum Op {
    Insert(Vec<(Key, Option<String>)>),
    Replace(Vec<(Key, Option<String>)>),
    /// Of the live rows, those whose number is below the first; the number grows by the second.
    Update(i32, i32, Option<String>),
    /// Of the live rows, those whose number is below this.
    Delete(i32),
    Flush,
    Compact,
    Reopen,
    Check,
}

fn key() -> impl Strategy<Value = Key> {
    ("[ab\0]{0,2}", 0..6i32)
}

fn rows() -> impl Strategy<Value = Vec<(Key, Option<String>)>> {
    prop::collection::vec((key(), prop::option::of("[a-z]{0,3}")), 1..4)
}

fn op() -> impl Strategy<Value = (u64, Op)> {
    let op = prop_oneof![
        6 => rows().prop_map(Op::Insert),
        3 => rows().prop_map(Op::Replace),
        3 => (0..7i32, -1..2i32, prop::option::of("[a-z]{0,3}")).prop_map(|(below, by, value)| Op::Update(below, by, value)),
        3 => (0..4i32).prop_map(Op::Delete),
        2 => Just(Op::Flush),
        1 => Just(Op::Compact),
        1 => Just(Op::Reopen),
        1 => Just(Op::Check),
    ];
    (0..USERS, op)
}

struct Bench {
    config: StoreConfig,
    /// `None` only between closing and opening.
    store: Option<Arc<Store>>,
    table: Arc<TableDef>,
    model: BTreeMap<u64, Rows>,
    _dir: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = StoreConfig {
            file_bytes: 1 << 20,
            min_free_bytes: 0,
            chunk_rows: 3,
            ..StoreConfig::new(dir.path().to_owned())
        };
        let store = Store::open(config.clone()).await.unwrap();
        let column = |name: &str, data_type: DataType| NewColumn {
            field: Arc::new(Field::new(name, data_type, true)),
            default: None,
        };
        let table = NewTable {
            namespace: "ns".into(),
            name: "t".into(),
            kind: TableKind::User,
            columns: vec![
                column("value", DataType::Utf8),
                column("number", DataType::Int32),
                column("text", DataType::Utf8),
            ],
            key: vec![2, 1],
            checks: Vec::new(),
            options: TableOptions::default(),
        };
        let table = store.create_table(table).await.unwrap();
        Self { config, store: Some(store), table, model: BTreeMap::new(), _dir: dir }
    }

    fn store(&self) -> &Arc<Store> {
        self.store.as_ref().unwrap()
    }

    fn batch(&self, rows: &[(Key, Option<String>)]) -> RecordBatch {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter(rows.iter().map(|(_, value)| value.as_ref()))),
            Arc::new(Int32Array::from_iter_values(rows.iter().map(|((_, number), _)| *number))),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|((text, _), _)| text))),
        ];
        RecordBatch::try_new(self.table.schema(), columns).unwrap()
    }

    /// What the user sees, from both tiers, as the layers above put it together.
    async fn read(&self, user: u64) -> Rows {
        let slice = self.store().view().slice(&self.table, UserNo(user)).unwrap();
        let projection: Vec<usize> = (0..self.table.stored_schema().fields().len()).collect();
        let mut batches: Vec<RecordBatch> = slice.hot(&projection, 3, true).unwrap().collect::<Result<_, _>>().unwrap();
        batches.extend(self.cold(&slice).await);
        let mut rows = Rows::new();
        for batch in batches {
            let users = batch.column(0).as_primitive::<UInt64Type>();
            assert!(users.values().iter().all(|no| *no == user));
            assert!(batch.column(1).as_primitive::<Int64Type>().values().iter().all(|seq| *seq > 0));
            let (deleted, values) = (batch.column(3).as_boolean(), batch.column(4).as_string::<i32>());
            let (numbers, texts) = (batch.column(5).as_primitive::<Int32Type>(), batch.column(6).as_string::<i32>());
            for i in 0..batch.num_rows() {
                let value = values.is_valid(i).then(|| values.value(i).to_owned());
                let key = (texts.value(i).to_owned(), numbers.value(i));
                assert!(rows.insert(key, (value, deleted.value(i))).is_none(), "a key came twice");
            }
        }
        rows
    }

    /// The user's rows in Parquet that no hot row shadows.
    async fn cold(&self, slice: &TableSlice) -> Vec<RecordBatch> {
        let (codec, hot) = (KeyCodec::new(&self.table).unwrap(), slice.hot_keys().unwrap());
        let mut batches = Vec::new();
        for cold in slice.cold().await.unwrap() {
            let file = self.store().objects().get(&cold.path).await.unwrap().bytes().await.unwrap();
            assert_eq!(file.len() as u64, cold.file_bytes);
            let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
            let ranges = cold.ranges.iter().map(|r| r.start as usize..r.end as usize);
            let selection = RowSelection::from_consecutive_ranges(ranges, cold.file_rows as usize);
            let reader = builder.with_row_selection(selection).build().unwrap();
            let mut keys_seen = 0;
            for batch in reader {
                let batch = restore(&batch.unwrap(), &self.table.stored_schema()).unwrap();
                let columns: Vec<ArrayRef> =
                    self.table.stored_key().iter().map(|i| Arc::clone(batch.column(*i))).collect();
                let keys = codec.encode(&columns).unwrap();
                let bounds = (cold.key_bounds.0.as_slice(), cold.key_bounds.1.as_slice());
                assert!((0..keys.len()).all(|i| bounds.0 <= keys.row(i) && keys.row(i) <= bounds.1));
                keys_seen += keys.len();
                batches.push(filter_record_batch(&batch, &not(&hot.mask(&keys)).unwrap()).unwrap());
            }
            assert_eq!(keys_seen as u64, cold.rows());
        }
        batches
    }

    async fn commit(&self, user: u64, fill: impl FnOnce(&mut WriteSet) -> insula_storage::Result<()>) -> Option<u64> {
        let lock = self.store().lock(&self.table, UserNo(user)).await;
        let mut set = self.store().write_set(&self.table, UserNo(user));
        let result = match fill(&mut set) {
            Ok(()) => self.store().commit(&lock, set).await.map(|commit| commit.rows),
            Err(e) => Err(e),
        };
        match result {
            Ok(rows) => Some(rows),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => None,
            Err(e) => panic!("{e}"),
        }
    }

    async fn run(&mut self, user: u64, op: &Op) {
        match op {
            Op::Insert(rows) => self.insert(user, rows).await,
            Op::Replace(rows) => {
                let batch = self.batch(rows);
                let changed = self.commit(user, |set| set.replace(&batch)).await;
                let keys: std::collections::BTreeSet<&Key> = rows.iter().map(|(key, _)| key).collect();
                assert_eq!(changed, Some(keys.len() as u64));
                let mine = self.model.entry(user).or_default();
                mine.extend(rows.iter().map(|(key, value)| (key.clone(), (value.clone(), false))));
            }
            Op::Update(below, by, value) => self.update(user, *below, *by, value.as_ref()).await,
            Op::Delete(below) => {
                let old = self.live(user, *below);
                let batch = self.batch(&old);
                assert_eq!(self.commit(user, |set| set.delete(None, &batch)).await, Some(old.len() as u64));
                let mine = self.model.entry(user).or_default();
                mine.extend(old.into_iter().map(|(key, value)| (key, (value, true))));
            }
            Op::Flush => drop(self.store().flush(self.table.id).await.unwrap()),
            Op::Compact => {
                let report = self.store().compact(self.table.id).await.unwrap();
                // Retention is long, so only replaced rows go, and what is left is one file of these few rows.
                assert!(report.files <= 1, "{report:?}");
            }
            Op::Reopen => {
                let store = self.store.take().unwrap();
                store.close().await.unwrap();
                assert_eq!(Arc::strong_count(&store), 1);
                drop(store);
                self.store = Some(Store::open(self.config.clone()).await.unwrap());
            }
            Op::Check => self.check().await,
        }
    }

    async fn insert(&mut self, user: u64, rows: &[(Key, Option<String>)]) {
        let mine = self.model.entry(user).or_default().clone();
        let mut next = mine.clone();
        let fits = rows.iter().all(|(key, value)| {
            let before = next.insert(key.clone(), (value.clone(), false));
            before.is_none_or(|(_, deleted)| deleted)
        });
        let batch = self.batch(rows);
        let changed = self.commit(user, |set| set.insert(&batch)).await;
        assert_eq!(changed, fits.then_some(rows.len() as u64));
        self.model.insert(user, if fits { next } else { mine });
    }

    async fn update(&mut self, user: u64, below: i32, by: i32, value: Option<&String>) {
        let old = self.live(user, below);
        let moved = |(text, number): &Key| (text.clone(), number + by);
        let new: Vec<(Key, Option<String>)> = old.iter().map(|(key, _)| (moved(key), value.cloned())).collect();
        let mut next = self.model.entry(user).or_default().clone();
        next.extend(old.iter().map(|(key, value)| (key.clone(), (value.clone(), true))));
        let fits = new.iter().all(|(key, value)| {
            let before = next.insert(key.clone(), (value.clone(), false));
            before.is_none_or(|(_, deleted)| deleted)
        });
        let (old_rows, new_rows) = (self.batch(&old), self.batch(&new));
        let changed = self.commit(user, |set| set.update(None, &old_rows, &new_rows)).await;
        assert_eq!(changed, fits.then_some(old.len() as u64));
        if fits {
            self.model.insert(user, next);
        }
    }

    /// The user's live rows whose number is below a limit.
    fn live(&self, user: u64, below: i32) -> Vec<(Key, Option<String>)> {
        let rows = self.model.get(&user).into_iter().flatten();
        let rows = rows.filter(|(key, (_, deleted))| !deleted && key.1 < below);
        rows.map(|(key, (value, _))| (key.clone(), value.clone())).collect()
    }

    async fn check(&self) {
        for user in 0..USERS {
            assert_eq!(self.read(user).await, self.model.get(&user).cloned().unwrap_or_default());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn any_interleaving_answers_like_a_map(ops in prop::collection::vec(op(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut bench = Bench::new().await;
            for (user, op) in &ops {
                bench.run(*user, op).await;
            }
            bench.check().await;
            bench.run(0, &Op::Flush).await;
            bench.check().await;
            bench.run(0, &Op::Reopen).await;
            bench.check().await;
            bench.store().close().await.unwrap();
        });
    }
}
