//! Random statements of several users on a stream table, while the clock jumps, options change, purges run and the engine
//! is restarted, against maps that forget at once. Each check asks in the ways that are answered differently: a scan, a
//! filter, counts and bounds, single keys by a prepared statement, and the oracle.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use arrow::{
    array::{Array, AsArray, Int64Array, RecordBatch},
    datatypes::Int64Type,
};
use futures::TryStreamExt;
use insula_engine::{Engine, EngineConfig, Error, ErrorKind, Identity, Outcome, Session, StoreConfig};
use insula_storage::Clock;
use proptest::prelude::*;

const USERS: [&str; 2] = ["ann", "bob"];
const KEYS: i64 = 10;
const SECOND: i64 = 1_000_000;

#[derive(Clone, Debug)]
enum Op {
    Insert(usize, Vec<(i64, i64)>),
    Replace(usize, i64, i64),
    /// `SET v = v + 1 WHERE v < limit`.
    Update(usize, i64),
    /// `WHERE k IN (SELECT k FROM t WHERE v >= limit)`.
    Delete(usize, i64),
    DeleteKey(usize, i64),
    Pass(i64),
    /// Seconds, rows; 0: off.
    Options(i64, usize),
    Compact,
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let user = 0..USERS.len();
    let (key, value) = (0..KEYS, 0..20i64);
    prop_oneof![
        5 => (user.clone(), prop::collection::vec((key.clone(), value.clone()), 1..4)).prop_map(|(u, r)| Op::Insert(u, r)),
        3 => (user.clone(), key.clone(), value.clone()).prop_map(|(u, k, v)| Op::Replace(u, k, v)),
        1 => (user.clone(), value.clone()).prop_map(|(u, v)| Op::Update(u, v)),
        1 => (user.clone(), value).prop_map(|(u, v)| Op::Delete(u, v)),
        3 => (user, key).prop_map(|(u, k)| Op::DeleteKey(u, k)),
        4 => (1..60i64).prop_map(Op::Pass),
        1 => (30..200i64, 0..7usize).prop_map(|(ttl, rows)| Op::Options(ttl, rows)),
        1 => (1..7usize).prop_map(|rows| Op::Options(0, rows)),
        2 => Just(Op::Compact),
        1 => Just(Op::Restart),
    ]
}

struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now_micros(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct Row {
    v: i64,
    commit: u64,
    updated: i64,
}

struct World {
    dir: tempfile::TempDir,
    clock: Arc<SetClock>,
    engine: Arc<Engine>,
    model: Vec<BTreeMap<i64, Row>>,
    commits: u64,
    ttl: Option<i64>,
    max_rows: Option<usize>,
}

async fn open(dir: &std::path::Path, clock: &Arc<SetClock>) -> Arc<Engine> {
    let config = EngineConfig {
        store: StoreConfig::new(dir.to_path_buf()),
        memory_limit: 256 << 20,
        transactions: Default::default(),
        limits: Default::default(),
        admin_password: Some("secret".into()),
    };
    Engine::open_with_clock(config, Arc::clone(clock) as _).await.unwrap()
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(SetClock(AtomicI64::new(1_000 * SECOND)));
        let engine = open(dir.path(), &clock).await;
        let model = vec![BTreeMap::new(); USERS.len()];
        let world = Self { dir, clock, engine, model, commits: 0, ttl: Some(100), max_rows: Some(4) };
        let table = "CREATE STREAM TABLE t (v BIGINT NOT NULL, k BIGINT PRIMARY KEY) WITH (ttl = '100s', max_rows = 4)";
        world.run("admin", table).await.unwrap();
        world
    }

    async fn identity(&self, user: &str) -> (Identity, Arc<Session>) {
        let identity = self.engine.vouched(user).await.unwrap();
        let session = Arc::new(Session::new(&identity));
        (identity, session)
    }

    async fn run(&self, user: &str, sql: &str) -> Result<u64, Error> {
        let (identity, session) = self.identity(user).await;
        match self.engine.execute(&identity, &session, sql, Vec::new()).await? {
            Outcome::Count(count) => Ok(count),
            Outcome::Rows { rows, .. } => rows.try_collect::<Vec<_>>().await.map(|b| b.len() as u64),
        }
    }

    /// All columns of the rows, which are numbers.
    async fn numbers(&self, user: &str, sql: &str, parameter: Option<i64>, oracle: bool) -> Vec<Vec<Option<i64>>> {
        let (identity, session) = self.identity(user).await;
        if oracle {
            session.read_through_oracle();
        }
        let parameters = parameter.map(|key| {
            let key: arrow::array::ArrayRef = Arc::new(Int64Array::from(vec![key]));
            RecordBatch::try_from_iter([("k", key)]).unwrap()
        });
        let outcome = self.engine.execute(&identity, &session, sql, parameters.into_iter().collect()).await.unwrap();
        let Outcome::Rows { rows, .. } = outcome else { panic!("no rows") };
        let mut found = Vec::new();
        for batch in rows.try_collect::<Vec<_>>().await.unwrap() {
            let columns: Vec<&Int64Array> = batch.columns().iter().map(|c| c.as_primitive::<Int64Type>()).collect();
            let value = |column: &&Int64Array, row| column.is_valid(row).then(|| column.value(row));
            found.extend((0..batch.num_rows()).map(|row| columns.iter().map(|c| value(c, row)).collect::<Vec<_>>()));
        }
        found
    }

    fn trim(&mut self) {
        let now = self.clock.now_micros();
        for rows in &mut self.model {
            if let Some(ttl) = self.ttl {
                rows.retain(|_, row| row.updated >= now - ttl * SECOND);
            }
            if let Some(most) = self.max_rows {
                let mut places: Vec<(u64, i64)> = rows.iter().map(|(key, row)| (row.commit, *key)).collect();
                places.sort_unstable();
                for (_, key) in &places[..places.len().saturating_sub(most)] {
                    rows.remove(key);
                }
            }
        }
    }

    fn stamp(&mut self, v: i64) -> Row {
        Row { v, commit: self.commits, updated: self.clock.now_micros() }
    }

    async fn apply(&mut self, op: &Op) {
        self.commits += 1;
        match op {
            Op::Insert(user, rows) => self.insert(*user, rows).await,
            Op::Replace(user, k, v) => {
                let sql = format!("REPLACE INTO t (k, v) VALUES ({k}, {v})");
                assert_eq!(self.run(USERS[*user], &sql).await.unwrap(), 1);
                let row = self.stamp(*v);
                self.model[*user].insert(*k, row);
            }
            Op::Update(user, limit) => {
                let sql = format!("UPDATE t SET v = v + 1 WHERE v < {limit}");
                let changed = self.run(USERS[*user], &sql).await.unwrap();
                let stamp = self.stamp(0);
                let hit = self.model[*user].values_mut().filter(|row| row.v < *limit);
                let hit: Vec<_> = hit.map(|row| *row = Row { v: row.v + 1, ..stamp }).collect();
                assert_eq!(changed as usize, hit.len());
            }
            Op::Delete(user, limit) => {
                let sql = format!("DELETE FROM t WHERE k IN (SELECT k FROM t WHERE v >= {limit})");
                let deleted = self.run(USERS[*user], &sql).await.unwrap() as usize;
                let before = self.model[*user].len();
                self.model[*user].retain(|_, row| row.v < *limit);
                assert_eq!(deleted, before - self.model[*user].len());
            }
            Op::DeleteKey(user, k) => {
                let deleted = self.run(USERS[*user], &format!("DELETE FROM t WHERE k = {k}")).await.unwrap();
                assert_eq!(deleted, u64::from(self.model[*user].remove(k).is_some()));
            }
            Op::Pass(seconds) => _ = self.clock.0.fetch_add(seconds * SECOND, Relaxed),
            Op::Options(ttl, rows) => {
                (self.ttl, self.max_rows) = ((*ttl > 0).then_some(*ttl), (*rows > 0).then_some(*rows));
                let ttl = self.ttl.map_or("off".into(), |ttl| format!("{ttl}s"));
                let rows = self.max_rows.map_or("'off'".into(), |rows| rows.to_string());
                self.run("admin", &format!("ALTER TABLE t SET (ttl = '{ttl}', max_rows = {rows})")).await.unwrap();
            }
            Op::Compact => {
                self.run("admin", "COMPACT TABLE t").await.unwrap();
            }
            Op::Restart => {
                self.engine.close().await.unwrap();
                let nothing = tempfile::tempdir().unwrap();
                // The old engine lets go of the directory before the new one takes it.
                drop(std::mem::replace(&mut self.engine, open(nothing.path(), &self.clock).await));
                self.engine = open(self.dir.path(), &self.clock).await;
            }
        }
        self.trim();
    }

    async fn insert(&mut self, user: usize, rows: &[(i64, i64)]) {
        let values: Vec<_> = rows.iter().map(|(k, v)| format!("({v}, {k})")).collect();
        let result = self.run(USERS[user], &format!("INSERT INTO t VALUES {}", values.join(", "))).await;
        let mut after = self.model[user].clone();
        if rows.iter().all(|(k, v)| after.insert(*k, self.stamp(*v)).is_none()) {
            assert_eq!(result.unwrap(), rows.len() as u64);
            self.model[user] = after;
        } else {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::AlreadyExists);
        }
    }

    async fn check(&self, limit: i64) {
        for (user, model) in USERS.iter().zip(&self.model) {
            let all: Vec<Vec<Option<i64>>> = model.iter().map(|(k, row)| vec![Some(*k), Some(row.v)]).collect();
            let sql = "SELECT k, v FROM t ORDER BY k";
            assert_eq!(self.numbers(user, sql, None, false).await, all, "{user}");
            assert_eq!(self.numbers(user, sql, None, true).await, all, "{user}, by the oracle");
            let below: Vec<_> = all.iter().filter(|row| row[1] < Some(limit)).cloned().collect();
            let filter = format!("SELECT k, v FROM t WHERE v < {limit} ORDER BY k");
            assert_eq!(self.numbers(user, &filter, None, false).await, below, "{user}, v < {limit}");
            let keys = || model.keys().copied();
            let bounds = vec![vec![Some(model.len() as i64), keys().min(), keys().max()]];
            let sql = "SELECT count(*), min(k), max(k) FROM t";
            assert_eq!(self.numbers(user, sql, None, false).await, bounds, "{user}");
            for key in 0..KEYS {
                let one: Vec<_> = all.iter().filter(|row| row[0] == Some(key)).cloned().collect();
                let sql = "SELECT k, v FROM t WHERE k = $1";
                assert_eq!(self.numbers(user, sql, Some(key), false).await, one, "{user}, k = {key}");
            }
        }
        assert!(self.numbers("stranger", "SELECT k, v FROM t", None, false).await.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_answers_like_maps_that_forget(ops in prop::collection::vec(op(), 1..40), limit in 0..20i64) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for op in &ops {
                world.apply(op).await;
                world.check(limit).await;
            }
            world.engine.close().await.unwrap();
        });
    }
}
