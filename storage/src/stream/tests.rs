mod purge;

use std::{path::Path, sync::atomic::AtomicI64, sync::atomic::Ordering, time::Duration};

use arrow::{
    array::{AsArray, Int64Array},
    datatypes::{DataType, TimestampMicrosecondType},
};
use tempfile::TempDir;

use super::*;
use crate::{
    Alteration, DiskUsage, ErrorKind, KeyBounds, KeyCodec, KeyRange, NewTable, StoreConfig, WriteSet,
    notes::{self, ALICE, BOB, SetClock, batch, column, config, delete, insert, live, replace},
};

/// A store with a clock that the test sets, whose tables are purged when the test says so.
struct Bench {
    store: Arc<Store>,
    table: Arc<TableDef>,
    clock: Arc<SetClock>,
    dir: TempDir,
}

const SECOND: i64 = 1_000_000;
const START: i64 = 1_000 * SECOND;

fn aged(seconds: u64) -> TableOptions {
    TableOptions { ttl: Some(Duration::from_secs(seconds)), ..TableOptions::default() }
}

fn capped(rows: u64) -> TableOptions {
    TableOptions { max_rows: Some(rows), ..TableOptions::default() }
}

async fn stream(store: &Arc<Store>, name: &str, options: TableOptions) -> Arc<TableDef> {
    let table = NewTable {
        namespace: "public".into(),
        name: name.into(),
        kind: TableKind::Stream,
        columns: vec![column("note", DataType::Utf8, true), column("id", DataType::Int64, false)],
        key: vec![1],
        checks: Vec::new(),
        options,
    };
    store.create_table(table).await.unwrap()
}

async fn open(dir: &Path, clock: &Arc<SetClock>) -> Arc<Store> {
    Store::open_with_clock(config(dir, 64 << 20), Arc::clone(clock) as _).await.unwrap()
}

impl Bench {
    async fn new(options: TableOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(SetClock(AtomicI64::new(START)));
        let store = open(dir.path(), &clock).await;
        let table = stream(&store, "events", options).await;
        Self { store, table, clock, dir }
    }

    fn pass(&self, micros: i64) {
        self.clock.0.fetch_add(micros, Ordering::Relaxed);
    }

    async fn insert(&self, rows: &[(i64, &str)]) {
        insert(&self.store, &self.table, ALICE, rows).await;
    }

    async fn live(&self) -> Vec<String> {
        live(&self.store, &self.table, ALICE).await
    }

    /// Deleted rows, too.
    async fn all(&self) -> usize {
        notes::seen(&self.store, &self.store.view(), &self.table, ALICE).await.len()
    }

    /// Row versions of all users on disk.
    async fn versions(&self) -> u64 {
        self.store.usage(&self.table, None).await.unwrap().hot_rows
    }

    async fn reopen(mut self) -> Self {
        self.store.close().await.unwrap();
        drop(self.store);
        self.store = open(self.dir.path(), &self.clock).await;
        self
    }

    fn key(&self, id: i64) -> crate::KeyRows {
        KeyCodec::new(&self.table).unwrap().encode(&[Arc::new(Int64Array::from(vec![id]))]).unwrap()
    }

    async fn alter(&mut self, options: TableOptions) {
        let options = [Alteration::Options(options)];
        self.table = self.store.alter_table(self.table.id, &options, None).await.unwrap();
    }
}

#[tokio::test]
async fn a_row_is_gone_for_every_reader_right_after_its_last_moment() {
    let bench = Bench::new(aged(60)).await;
    bench.insert(&[(1, "old"), (2, "old")]).await;
    bench.pass(10 * SECOND);
    bench.insert(&[(3, "new")]).await;
    bench.pass(50 * SECOND);
    assert_eq!(bench.live().await, ["old", "old", "new"], "so old they may be");
    bench.pass(1);
    assert_eq!(bench.live().await, ["new"]);
    let slice = bench.store.view().slice(&bench.table, ALICE).unwrap();
    let notes = |wanted: KeyBounds| -> usize {
        slice.hot_within(&wanted, &[4], 100, true).unwrap().map(|rows| rows.unwrap().num_rows()).sum()
    };
    let range = KeyRange { lower: bench.key(1).row(0).to_vec(), upper: Some(bench.key(3).row(0).to_vec()) };
    assert_eq!(notes(KeyBounds::Range(range)), 0);
    let mut keys = bench.key(2);
    keys.push(bench.key(3).row(0));
    assert_eq!(notes(KeyBounds::Keys(Arc::new(keys))), 1);
    assert_eq!(slice.hot_keys().unwrap().len(), 1);
    assert_eq!(slice.row(&bench.key(1), &[4], true).await.unwrap()[0].len(), 0);
    assert_eq!(slice.row(&bench.key(3), &[4], true).await.unwrap()[0].len(), 1);
    let DiskUsage { hot_rows, .. } = bench.store.usage(&bench.table, Some(ALICE)).await.unwrap();
    assert_eq!(hot_rows, 1);
    assert_eq!(bench.versions().await, 3, "on disk they are until they are purged");
    bench.store.close().await.unwrap();
}

#[tokio::test]
async fn the_key_of_a_row_that_is_gone_is_free_and_a_new_version_lives_as_long_again() {
    let bench = Bench::new(aged(60)).await;
    bench.insert(&[(1, "first")]).await;
    bench.pass(60 * SECOND);
    let mut set = WriteSet::new(Arc::clone(&bench.table), ALICE);
    set.insert(&batch(&bench.table, &[(1, "second")])).unwrap();
    let lock = bench.store.lock(&bench.table, ALICE).await;
    assert_eq!(bench.store.commit(&lock, set).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    drop(lock);
    bench.pass(1);
    bench.insert(&[(1, "second")]).await;
    bench.pass(60 * SECOND);
    assert_eq!(bench.live().await, ["second"]);
    replace(&bench.store, &bench.table, ALICE, &[(1, "third")]).await;
    bench.pass(60 * SECOND);
    assert_eq!(bench.live().await, ["third"]);
    bench.store.close().await.unwrap();
}

#[tokio::test]
async fn what_is_remembered_of_rows_does_not_outlive_them() {
    let bench = Bench::new(aged(60)).await;
    let rows: Vec<(i64, &str)> = (0..1000).map(|id| (id, "note")).collect();
    bench.insert(&rows[..500]).await;
    bench.pass(SECOND);
    bench.insert(&rows[500..]).await;
    for _ in 0..2 {
        assert_eq!(bench.live().await.len(), 1000);
    }
    bench.pass(60 * SECOND);
    for _ in 0..2 {
        assert_eq!(bench.live().await.len(), 500);
    }
    bench.pass(1);
    assert_eq!(bench.live().await.len(), 0);
    bench.store.close().await.unwrap();
}

#[tokio::test]
async fn a_statement_has_one_moment() {
    let bench = Bench::new(aged(60)).await;
    bench.insert(&[(1, "a")]).await;
    bench.pass(60 * SECOND);
    let view = bench.store.view();
    bench.pass(SECOND);
    let other = stream(&bench.store, "other", aged(60)).await;
    let before = notes::seen(&bench.store, &view, &bench.table, ALICE).await;
    assert_eq!(before.len(), 1, "the view was taken in time, however late the row is read");
    bench.store.compact(bench.table.id).await.unwrap();
    assert_eq!(notes::seen(&bench.store, &view, &bench.table, ALICE).await, before);
    assert!(bench.live().await.is_empty());
    drop((view, other));
    bench.store.close().await.unwrap();
}

#[tokio::test]
async fn a_clock_that_is_set_back_makes_no_row_old_at_its_birth() {
    let bench = Bench::new(aged(60)).await;
    bench.insert(&[(1, "a")]).await;
    bench.pass(-3600 * SECOND);
    bench.insert(&[(2, "b")]).await;
    assert_eq!(bench.live().await, ["a", "b"]);
    bench.pass(7200 * SECOND);
    bench.insert(&[(3, "c")]).await;
    assert_eq!(bench.live().await, ["c"]);
    bench.pass(-7200 * SECOND);
    bench.insert(&[(4, "d")]).await;
    assert_eq!(bench.live().await, ["c", "d"]);
    bench.store.close().await.unwrap();
}

#[tokio::test]
async fn each_user_keeps_the_newest_rows_by_commit_and_key() {
    let bench = Bench::new(capped(3)).await;
    bench.insert(&[(9, "nine"), (1, "one"), (5, "five"), (7, "seven")]).await;
    assert_eq!(bench.live().await, ["five", "seven", "nine"], "of one commit, those of the highest keys");
    insert(&bench.store, &bench.table, BOB, &[(1, "bob")]).await;
    bench.insert(&[(2, "two")]).await;
    assert_eq!(bench.live().await, ["two", "seven", "nine"]);
    replace(&bench.store, &bench.table, ALICE, &[(7, "seven again")]).await;
    bench.insert(&[(3, "three")]).await;
    assert_eq!(bench.live().await, ["two", "three", "seven again"], "a change makes a row new");
    bench.insert(&[(9, "nine again")]).await;
    assert_eq!(bench.live().await, ["three", "seven again", "nine again"], "the key was free");
    assert_eq!(live(&bench.store, &bench.table, BOB).await, ["bob"]);
    bench.store.close().await.unwrap();
}

#[tokio::test]
async fn a_deletion_brings_nothing_back() {
    let bench = Bench::new(capped(2)).await;
    bench.insert(&[(1, "a"), (2, "b"), (3, "c")]).await;
    delete(&bench.store, &bench.table, ALICE, &[(3, "c")]).await;
    assert_eq!(bench.live().await, ["b"], "a had gone before");
    bench.insert(&[(4, "d")]).await;
    assert_eq!(bench.live().await, ["b", "d"], "a deleted row takes up no place");
    // Deleted rows are seen while they are among the newest of all.
    assert_eq!(bench.all().await, 3);
    bench.insert(&[(5, "e")]).await;
    assert_eq!((bench.live().await.len(), bench.all().await), (2, 2));
    bench.store.close().await.unwrap();
}

#[tokio::test]
async fn a_transaction_sees_no_more_than_may_stay_and_brings_nothing_back() {
    let bench = Bench::new(capped(2)).await;
    bench.insert(&[(1, "a"), (2, "b"), (3, "c")]).await;
    let mut transaction = bench.store.transaction();
    let change = |fill: fn(&mut WriteSet, &TableDef)| {
        let mut set = WriteSet::new(Arc::clone(&bench.table), ALICE);
        fill(&mut set, &bench.table);
        set
    };
    let deleted = change(|set, table| set.delete(None, &batch(table, &[(3, "c")])).unwrap());
    transaction.write(deleted).await.unwrap();
    let within = async |view| {
        let seen = notes::seen(&bench.store, &view, &bench.table, ALICE).await;
        seen.into_values().filter(|(_, deleted)| !deleted).map(|(note, _)| note).collect::<Vec<_>>()
    };
    assert_eq!(within(transaction.view()).await, ["b"]);
    let added = change(|set, table| set.insert(&batch(table, &[(4, "d"), (5, "e")])).unwrap());
    transaction.write(added).await.unwrap();
    assert_eq!(within(transaction.view()).await, ["d", "e"]);
    assert_eq!(bench.live().await, ["b", "c"]);
    transaction.commit().await.unwrap();
    assert_eq!(bench.live().await, ["d", "e"]);
    bench.store.close().await.unwrap();
}

#[tokio::test]
async fn a_transaction_that_changed_what_has_expired_since_is_refused() {
    let bench = Bench::new(aged(60)).await;
    bench.insert(&[(1, "a")]).await;
    for purged in [false, true] {
        replace(&bench.store, &bench.table, ALICE, &[(1, "a")]).await;
        let mut transaction = bench.store.transaction();
        let mut set = WriteSet::new(Arc::clone(&bench.table), ALICE);
        set.update(None, &batch(&bench.table, &[(1, "a")]), &batch(&bench.table, &[(1, "b")])).unwrap();
        transaction.write(set).await.unwrap();
        bench.pass(61 * SECOND);
        if purged {
            bench.store.compact(bench.table.id).await.unwrap();
            assert_eq!(bench.versions().await, 0);
        }
        assert_eq!(transaction.commit().await.unwrap_err().kind(), ErrorKind::Conflict);
        assert!(bench.live().await.is_empty());
    }
    bench.store.close().await.unwrap();
}

#[tokio::test]
async fn looser_options_hold_for_what_is_there() {
    let mut bench = Bench::new(TableOptions { ttl: Some(Duration::from_secs(60)), ..capped(2) }).await;
    bench.insert(&[(1, "a"), (2, "b"), (3, "c")]).await;
    bench.alter(TableOptions { ttl: Some(Duration::from_secs(60)), ..capped(10) }).await;
    assert_eq!(bench.live().await, ["b", "c"]);
    bench.pass(30 * SECOND);
    bench.insert(&[(4, "d")]).await;
    bench.pass(31 * SECOND);
    bench.alter(TableOptions { ttl: None, ..capped(10) }).await;
    assert_eq!(bench.live().await, ["d"]);
    bench.alter(capped(1)).await;
    bench.insert(&[(5, "e")]).await;
    assert_eq!(bench.live().await, ["e"], "stricter ones hold at once");
    bench.alter(aged(1)).await;
    bench.pass(SECOND + 1);
    assert!(bench.live().await.is_empty());
    bench.store.close().await.unwrap();
}

#[tokio::test]
async fn many_users_rows_are_one_commit() {
    let bench = Bench::new(capped(2)).await;
    let set = |user, rows: &[(i64, &str)]| {
        let mut set = WriteSet::new(Arc::clone(&bench.table), user);
        set.insert(&batch(&bench.table, rows)).unwrap();
        set
    };
    let lock = bench.store.lock_all(&bench.table).await;
    let sets = vec![set(ALICE, &[(1, "a"), (2, "b"), (3, "c")]), set(BOB, &[(1, "d")])];
    assert_eq!(bench.store.commit_many(&lock, sets).await.unwrap().rows, 4);
    let again = vec![set(ALICE, &[(9, "x")]), set(BOB, &[(1, "y")])];
    let refused = bench.store.commit_many(&lock, again).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    drop(lock);
    assert_eq!(bench.live().await, ["b", "c"], "nothing of what was refused is there");
    assert_eq!(live(&bench.store, &bench.table, BOB).await, ["d"]);
    bench.store.close().await.unwrap();
}

#[tokio::test]
async fn times_are_those_of_the_newest_version() {
    let bench = Bench::new(aged(60)).await;
    bench.insert(&[(1, "a")]).await;
    bench.pass(SECOND);
    replace(&bench.store, &bench.table, ALICE, &[(1, "b")]).await;
    let slice = bench.store.view().slice(&bench.table, ALICE).unwrap();
    let rows = slice.hot(&[2], 10, false).unwrap().next().unwrap().unwrap();
    assert_eq!(rows.column(0).as_primitive::<TimestampMicrosecondType>().value(0), START + SECOND);
    drop(slice);
    bench.store.close().await.unwrap();
}

#[tokio::test]
async fn a_full_share_refuses_writers_of_streams_alone() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock(AtomicI64::new(START)));
    let config = StoreConfig { max_hot_bytes: 64 << 10, ..config(dir.path(), 64 << 20) };
    let store = Store::open_with_clock(config, Arc::clone(&clock) as _).await.unwrap();
    let (events, other) = (stream(&store, "events", aged(60)).await, stream(&store, "other", aged(60)).await);
    let kept = notes::notes(&store, TableOptions { flush_interval: None, ..TableOptions::default() }).await;
    let text = "x".repeat(8 << 10);
    for id in 0..4 {
        insert(&store, &events, ALICE, &[(id, &text)]).await;
    }
    for table in [&events, &other] {
        let mut set = WriteSet::new(Arc::clone(table), BOB);
        set.insert(&batch(table, &[(1, "a")])).unwrap();
        let lock = store.lock(table, BOB).await;
        let refused = store.commit(&lock, set).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ResourceExhausted);
        assert!(refused.message().contains("32768 bytes"), "{refused}");
    }
    insert(&store, &kept, ALICE, &[(1, "note")]).await;
    assert!(!store.tables.is_crowded(), "a user table is not flushed for what streams hold");
    clock.0.fetch_add(61 * SECOND, Ordering::Relaxed);
    store.compact(events.id).await.unwrap();
    insert(&store, &events, BOB, &[(1, "a")]).await;
    assert_eq!(
        store.tables.hot_bytes().0,
        store.usage(&events, None).await.unwrap().hot_bytes + store.usage(&kept, None).await.unwrap().hot_bytes
    );
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_row_by_its_key_is_not_at_hand_where_all_keys_would_have_to_be_looked_at() {
    use futures::FutureExt;
    let bench = Bench::new(capped(3)).await;
    bench.insert(&[(1, "a"), (2, "b")]).await;
    let slice = || bench.store.view().slice(&bench.table, ALICE).unwrap();
    let at_hand = |slice: &crate::TableSlice| slice.row(&bench.key(2), &[4], false).now_or_never().map(Result::unwrap);
    assert!(at_hand(&slice()).is_none(), "the thread that asks would be held up");
    slice().settle().await.unwrap();
    assert_eq!(at_hand(&slice()).unwrap()[0].len(), 1, "what was found is remembered");
    bench.insert(&[(3, "c")]).await;
    assert!(at_hand(&slice()).is_none());
    assert_eq!(slice().row(&bench.key(2), &[4], false).await.unwrap()[0].len(), 1);
    bench.store.close().await.unwrap();
}
