use std::collections::BTreeMap;

use arrow::{
    array::{AsArray, Int32Array, StringArray},
    datatypes::{DataType, Int32Type, UInt64Type},
};

use super::*;
use crate::{Store, StoreConfig, hot::tests::new_table};

const USER: UserNo = UserNo(1);

/// A store with a table `ns.t (name text not null, id int primary key)`: the key is the second column.
struct Bench {
    store: Arc<Store>,
    table: Arc<TableDef>,
    _dir: tempfile::TempDir,
}

impl Bench {
    async fn new(key: &[usize]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = StoreConfig {
            store_url: Some("memory://".into()),
            file_bytes: 1 << 20,
            min_free_bytes: 0,
            ..StoreConfig::new(dir.path().to_owned())
        };
        let store = Store::open(config).await.unwrap();
        let table = new_table(&[("name", DataType::Utf8, false), ("id", DataType::Int32, false)], key);
        let table = store.create_table(table).await.unwrap();
        Self { store, table, _dir: dir }
    }

    /// Two rows are a chunk, one lies apart.
    fn set(&self) -> WriteSet {
        WriteSet::new(Arc::clone(&self.table), USER).with_chunk_rows(2)
    }

    fn rows(&self, rows: &[(i32, &str)]) -> RecordBatch {
        let names = StringArray::from_iter_values(rows.iter().map(|r| r.1));
        let ids = Int32Array::from_iter_values(rows.iter().map(|r| r.0));
        RecordBatch::try_new(self.table.schema(), vec![Arc::new(names), Arc::new(ids)]).unwrap()
    }

    async fn commit(&self, set: WriteSet) -> Result<Commit> {
        let lock = self.store.lock(&self.table, USER).await;
        self.store.commit(&lock, set).await
    }

    async fn insert(&self, rows: &[(i32, &str)]) -> Result<Commit> {
        let mut set = self.set();
        set.insert(&self.rows(rows))?;
        self.commit(set).await
    }

    async fn update(&self, old: &[(i32, &str)], new: &[(i32, &str)]) -> Result<Commit> {
        let mut set = self.set();
        set.update(None, &self.rows(old), &self.rows(new))?;
        self.commit(set).await
    }

    async fn delete(&self, rows: &[(i32, &str)]) -> Result<Commit> {
        let mut set = self.set();
        set.delete(None, &self.rows(rows))?;
        self.commit(set).await
    }

    /// Hot rows by key: name, and whether deleted.
    fn hot(&self) -> BTreeMap<i32, (String, bool)> {
        let slice = self.store.view().slice(&self.table, USER).unwrap();
        let mut rows = BTreeMap::new();
        for batch in slice.hot(&[5, 4, 3], 3, true).unwrap() {
            let batch = batch.unwrap();
            let (ids, names) = (batch.column(0).as_primitive::<Int32Type>(), batch.column(1).as_string::<i32>());
            for i in 0..batch.num_rows() {
                rows.insert(ids.value(i), (names.value(i).to_owned(), batch.column(2).as_boolean().value(i)));
            }
        }
        rows
    }

    fn live(&self) -> Vec<(i32, String)> {
        self.hot().into_iter().filter(|(_, (_, deleted))| !deleted).map(|(id, (name, _))| (id, name)).collect()
    }
}

fn is_duplicate(result: Result<Commit>, key: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(error.message(), format!("duplicate key {key} in table \"ns.t\""));
}

fn pairs(rows: &[(i32, &str)]) -> Vec<(i32, String)> {
    rows.iter().map(|(id, name)| (*id, (*name).to_owned())).collect()
}

#[tokio::test]
async fn duplicates_are_refused_and_leave_nothing() {
    let bench = Bench::new(&[1]).await;
    is_duplicate(bench.insert(&[(1, "a"), (2, "b"), (1, "c")]).await, "(id)=(1)");
    assert!(bench.live().is_empty());
    assert_eq!(bench.insert(&[(1, "a"), (2, "b")]).await.unwrap().rows, 2);
    is_duplicate(bench.insert(&[(3, "c"), (2, "d")]).await, "(id)=(2)");
    // Many keys go another way.
    let many: Vec<(i32, &str)> = (2..100).rev().map(|id| (id, "x")).collect();
    is_duplicate(bench.insert(&many).await, "(id)=(2)");
    assert_eq!(bench.live(), pairs(&[(1, "a"), (2, "b")]));
    bench.store.flush(bench.table.id).await.unwrap();
    assert!(bench.hot().is_empty());
    is_duplicate(bench.insert(&[(3, "c"), (2, "d")]).await, "(id)=(2)");
    is_duplicate(bench.insert(&many).await, "(id)=(2)");
    // Another user's key is no duplicate, and deleted ones are free on either tier.
    let mut set = WriteSet::new(Arc::clone(&bench.table), UserNo(2));
    set.insert(&bench.rows(&[(1, "mine")])).unwrap();
    let lock = bench.store.lock(&bench.table, UserNo(2)).await;
    bench.store.commit(&lock, set).await.unwrap();
    bench.delete(&[(2, "b")]).await.unwrap();
    bench.insert(&[(2, "new")]).await.unwrap();
    bench.delete(&[(1, "a")]).await.unwrap();
    bench.store.flush(bench.table.id).await.unwrap();
    bench.insert(&[(1, "again")]).await.unwrap();
    is_duplicate(bench.insert(&[(2, "x")]).await, "(id)=(2)");
}

#[tokio::test]
async fn composite_keys_are_named_whole() {
    let bench = Bench::new(&[1, 0]).await;
    bench.insert(&[(1, "a"), (1, "b")]).await.unwrap();
    is_duplicate(bench.insert(&[(1, "b")]).await, "(id, name)=(1, b)");
}

#[tokio::test]
async fn updates_may_move_keys() {
    let bench = Bench::new(&[1]).await;
    bench.insert(&[(1, "a"), (2, "b"), (3, "c")]).await.unwrap();
    let old = [(1, "a"), (2, "b"), (3, "c")];
    // All keys up by one, then down again: what moves away is free, in either order.
    assert_eq!(bench.update(&old, &[(2, "a"), (3, "b"), (4, "c")]).await.unwrap().rows, 3);
    assert_eq!(bench.live(), pairs(&[(2, "a"), (3, "b"), (4, "c")]));
    bench.update(&[(2, "a"), (3, "b"), (4, "c")], &[(1, "a"), (2, "b"), (3, "c")]).await.unwrap();
    assert_eq!(bench.live(), pairs(&old));
    assert_eq!(bench.hot()[&4], ("c".into(), true));
    // A swap.
    bench.update(&old[..2], &[(2, "a"), (1, "b")]).await.unwrap();
    assert_eq!(bench.live(), pairs(&[(1, "b"), (2, "a"), (3, "c")]));
    // Onto a key that stays, one that is rewritten in place before or after, and twice onto one.
    is_duplicate(bench.update(&[(1, "b")], &[(3, "x")]).await, "(id)=(3)");
    is_duplicate(bench.update(&[(3, "c"), (1, "b")], &[(3, "c"), (3, "x")]).await, "(id)=(3)");
    is_duplicate(bench.update(&[(1, "b"), (3, "c")], &[(3, "x"), (3, "c")]).await, "(id)=(3)");
    is_duplicate(bench.update(&[(1, "b"), (2, "a")], &[(9, "x"), (9, "y")]).await, "(id)=(9)");
    bench.store.flush(bench.table.id).await.unwrap();
    is_duplicate(bench.update(&[(1, "b")], &[(3, "x")]).await, "(id)=(3)");
    bench.update(&[(1, "b"), (3, "c")], &[(3, "b"), (5, "c")]).await.unwrap();
    assert_eq!(bench.hot()[&1], ("b".into(), true));
    assert_eq!(bench.live(), pairs(&[(3, "b"), (5, "c")]));
}

#[tokio::test]
async fn of_rows_that_come_twice_one_counts() {
    let bench = Bench::new(&[1]).await;
    bench.insert(&[(1, "a"), (2, "b")]).await.unwrap();
    let twice = [(1, "a"), (1, "a")];
    assert_eq!(bench.update(&twice, &[(1, "x"), (1, "y")]).await.unwrap().rows, 1);
    assert_eq!(bench.live()[0].1, "x");
    assert_eq!(bench.update(&[(1, "x"), (1, "x")], &[(7, "x"), (8, "x")]).await.unwrap().rows, 1);
    assert_eq!(bench.live(), pairs(&[(2, "b"), (7, "x")]));
    assert_eq!(bench.delete(&[(2, "b"), (2, "b")]).await.unwrap().rows, 1);
    let mut set = bench.set();
    set.replace(&bench.rows(&[(7, "p"), (7, "q"), (2, "r")])).unwrap();
    assert!(set.memory() > 0);
    assert_eq!(bench.commit(set).await.unwrap().rows, 2);
    assert_eq!(bench.live(), pairs(&[(2, "r"), (7, "q")]));
}

#[tokio::test]
async fn rows_that_do_not_fit_are_refused_by_name() {
    let bench = Bench::new(&[1]).await;
    let ids: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let nulls: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>]));
    let rows = RecordBatch::try_from_iter([("name", nulls), ("id", Arc::clone(&ids))]).unwrap();
    let error = bench.set().insert(&rows).unwrap_err();
    let message = "null value in column \"name\" of table \"ns.t\" violates NOT NULL";
    assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, message));
    let rows = RecordBatch::try_from_iter([("name", Arc::clone(&ids)), ("id", Arc::clone(&ids))]).unwrap();
    let error = bench.set().replace(&rows).unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.message().contains("\"name\""), "{error}");
    let rows = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    assert_eq!(bench.set().delete(None, &rows).unwrap_err().kind(), ErrorKind::Invalid);
    let other = bench.store.lock(&bench.table, UserNo(2)).await;
    assert_eq!(bench.store.commit(&other, bench.set()).await.unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(bench.commit(bench.set()).await.unwrap(), Commit { seq: Seq(0), rows: 0 });
}

#[tokio::test]
async fn rows_without_a_key_live_by_their_row_id() {
    let bench = Bench::new(&[]).await;
    bench.insert(&[(1, "a"), (1, "a"), (2, "b")]).await.unwrap();
    bench.insert(&[(1, "a")]).await.unwrap();
    let ids = || {
        let slice = bench.store.view().slice(&bench.table, USER).unwrap();
        let batches: Vec<RecordBatch> = slice.hot(&[4, 6], 100, false).unwrap().collect::<Result<_>>().unwrap();
        let rows = batches.iter().flat_map(|b| {
            let ids = b.column(0).as_primitive::<UInt64Type>().values().iter();
            let values = b.column(1).as_primitive::<Int32Type>().values().iter();
            ids.copied().zip(values.copied()).collect::<Vec<_>>()
        });
        rows.collect::<Vec<(u64, i32)>>()
    };
    let before = ids();
    assert_eq!(before.iter().map(|r| r.1).collect::<Vec<_>>(), [1, 1, 2, 1]);
    assert!(before.is_sorted() && before.windows(2).all(|w| w[0].0 < w[1].0));
    let mut set = bench.set();
    let chosen = UInt64Array::from(vec![before[1].0, before[3].0]);
    set.update(Some(&chosen), &bench.rows(&[(1, "a"), (1, "a")]), &bench.rows(&[(8, "x"), (9, "y")])).unwrap();
    assert_eq!(bench.commit(set).await.unwrap().rows, 2);
    let mut set = bench.set();
    set.delete(Some(&UInt64Array::from(vec![before[0].0])), &bench.rows(&[(1, "a")])).unwrap();
    bench.commit(set).await.unwrap();
    assert_eq!(ids(), [(before[1].0, 8), (before[2].0, 2), (before[3].0, 9)]);
    assert_eq!(bench.set().delete(None, &bench.rows(&[(1, "a")])).unwrap_err().kind(), ErrorKind::Internal);
}

/// A statement that stops waiting for its commit must not let the next one look too early.
#[tokio::test]
async fn a_given_up_commit_keeps_the_lock() {
    let bench = Bench::new(&[1]).await;
    for id in 0..50 {
        let mut set = bench.set();
        set.insert(&bench.rows(&[(id, "first")])).unwrap();
        let lock = bench.store.lock(&bench.table, USER).await;
        {
            let commit = bench.store.commit(&lock, set);
            tokio::pin!(commit);
            let waker = futures::task::noop_waker();
            let _ = commit.as_mut().poll(&mut std::task::Context::from_waker(&waker));
        }
        drop(lock);
        is_duplicate(bench.insert(&[(id, "second")]).await, &format!("(id)=({id})"));
    }
    assert_eq!(bench.live().len(), 50);
}
