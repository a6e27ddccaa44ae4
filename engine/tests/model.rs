//! Random statements of several users, with flushes and restarts between, against sorted maps. The filters are on
//! columns outside the key, because a filter pushed below the merge of hot and cold is what brings old versions back.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU32},
};

use arrow::{array::AsArray, datatypes::Int64Type};
use futures::TryStreamExt;
use insula_engine::{Engine, EngineConfig, Error, ErrorKind, Identity, Outcome, Session, StoreConfig};
use proptest::prelude::*;

const USERS: [&str; 3] = ["ann", "ann2", "../bob"];

#[derive(Clone, Debug)]
enum Op {
    Insert(usize, Vec<(i64, i64)>),
    Replace(usize, i64, i64),
    UpdateKey(usize, i64, i64),
    /// `SET v = v + 1 WHERE v < limit`.
    UpdateBelow(usize, i64),
    /// `WHERE k IN (SELECT k FROM t WHERE v >= limit)`.
    DeleteFrom(usize, i64),
    DeleteKey(usize, i64),
    MoveKey(usize, i64, i64),
    Flush,
    Compact,
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let user = 0..USERS.len();
    let (key, value) = (0..12i64, 0..20i64);
    prop_oneof![
        4 => (user.clone(), prop::collection::vec((key.clone(), value.clone()), 1..4)).prop_map(|(u, r)| Op::Insert(u, r)),
        3 => (user.clone(), key.clone(), value.clone()).prop_map(|(u, k, v)| Op::Replace(u, k, v)),
        2 => (user.clone(), key.clone(), value.clone()).prop_map(|(u, k, v)| Op::UpdateKey(u, k, v)),
        1 => (user.clone(), value.clone()).prop_map(|(u, v)| Op::UpdateBelow(u, v)),
        1 => (user.clone(), value).prop_map(|(u, v)| Op::DeleteFrom(u, v)),
        2 => (user.clone(), key.clone()).prop_map(|(u, k)| Op::DeleteKey(u, k)),
        1 => (user, key.clone(), key).prop_map(|(u, a, b)| Op::MoveKey(u, a, b)),
        3 => Just(Op::Flush),
        1 => Just(Op::Compact),
        1 => Just(Op::Restart),
    ]
}

struct World {
    dir: tempfile::TempDir,
    engine: Arc<Engine>,
    model: Vec<BTreeMap<i64, i64>>,
}

static SEEN: AtomicU32 = AtomicU32::new(0);

async fn open(dir: &std::path::Path) -> Arc<Engine> {
    let store = StoreConfig { chunk_rows: 4, ..StoreConfig::new(dir.to_path_buf()) };
    let config = EngineConfig {
        store,
        memory_limit: 256 << 20,
        transactions: Default::default(),
        limits: Default::default(),
        admin_password: Some("secret".into()),
    };
    Engine::open(config).await.unwrap()
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = open(dir.path()).await;
        let world = Self { dir, engine, model: vec![BTreeMap::new(); USERS.len()] };
        // The key is the second column: nothing may take the first one for it.
        world.run("admin", "CREATE TABLE t (v BIGINT NOT NULL, k BIGINT PRIMARY KEY, note TEXT)").await.unwrap();
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

    async fn rows(&self, user: &str, sql: &str) -> Vec<(i64, i64)> {
        let (identity, session) = self.identity(user).await;
        let outcome = self.engine.execute(&identity, &session, sql, Vec::new()).await.unwrap();
        let Outcome::Rows { rows, .. } = outcome else { panic!("no rows") };
        let batches: Vec<_> = rows.try_collect().await.unwrap();
        let mut found = Vec::new();
        for batch in batches {
            let (k, v) = (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_primitive::<Int64Type>());
            found.extend(k.values().iter().copied().zip(v.values().iter().copied()));
        }
        found
    }

    async fn apply(&mut self, op: &Op) {
        match op {
            Op::Insert(user, rows) => self.insert(*user, rows).await,
            Op::Replace(user, k, v) => {
                let sql = format!("REPLACE INTO t (k, v) VALUES ({k}, {v})");
                assert_eq!(self.run(USERS[*user], &sql).await.unwrap(), 1);
                self.model[*user].insert(*k, *v);
            }
            Op::UpdateKey(user, k, v) => {
                let sql = format!("UPDATE t SET v = {v} WHERE k = {k}");
                let changed = self.run(USERS[*user], &sql).await.unwrap();
                let old = self.model[*user].get_mut(k);
                assert_eq!(changed, u64::from(old.is_some()));
                old.map(|old| *old = *v).unwrap_or_default();
            }
            Op::UpdateBelow(user, limit) => {
                let sql = format!("UPDATE t SET v = v + 1 WHERE v < {limit}");
                let changed = self.run(USERS[*user], &sql).await.unwrap();
                let hit: Vec<_> = self.model[*user].values_mut().filter(|v| **v < *limit).map(|v| *v += 1).collect();
                assert_eq!(changed as usize, hit.len());
            }
            Op::DeleteFrom(user, limit) => {
                let sql = format!("DELETE FROM t WHERE k IN (SELECT k FROM t WHERE v >= {limit})");
                let deleted = self.run(USERS[*user], &sql).await.unwrap() as usize;
                let before = self.model[*user].len();
                self.model[*user].retain(|_, v| *v < *limit);
                assert_eq!(deleted, before - self.model[*user].len());
            }
            Op::DeleteKey(user, k) => {
                let deleted = self.run(USERS[*user], &format!("DELETE FROM t WHERE k = {k}")).await.unwrap();
                assert_eq!(deleted, u64::from(self.model[*user].remove(k).is_some()));
            }
            Op::MoveKey(user, from, to) => self.move_key(*user, *from, *to).await,
            Op::Flush => {
                self.run("admin", "FLUSH TABLE t").await.unwrap();
            }
            Op::Compact => {
                self.run("admin", "COMPACT TABLE t").await.unwrap();
            }
            Op::Restart => {
                self.engine.close().await.unwrap();
                let nothing = tempfile::tempdir().unwrap();
                // The old engine lets go of the directory before the new one takes it.
                drop(std::mem::replace(&mut self.engine, open(nothing.path()).await));
                self.engine = open(self.dir.path()).await;
            }
        }
    }

    async fn insert(&mut self, user: usize, rows: &[(i64, i64)]) {
        let values: Vec<_> = rows.iter().map(|(k, v)| format!("({v}, {k}, 'n')")).collect();
        let result = self.run(USERS[user], &format!("INSERT INTO t VALUES {}", values.join(", "))).await;
        let mut after = self.model[user].clone();
        if rows.iter().all(|(k, v)| after.insert(*k, *v).is_none()) {
            assert_eq!(result.unwrap(), rows.len() as u64);
            self.model[user] = after;
        } else {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::AlreadyExists);
        }
    }

    async fn move_key(&mut self, user: usize, from: i64, to: i64) {
        let result = self.run(USERS[user], &format!("UPDATE t SET k = {to} WHERE k = {from}")).await;
        let rows = &mut self.model[user];
        match rows.get(&from).copied() {
            None => assert_eq!(result.unwrap(), 0),
            Some(_) if from != to && rows.contains_key(&to) => {
                assert_eq!(result.unwrap_err().kind(), ErrorKind::AlreadyExists);
            }
            Some(v) => {
                assert_eq!(result.unwrap(), 1);
                rows.remove(&from);
                rows.insert(to, v);
            }
        }
    }

    async fn check(&self, limit: i64) {
        for (user, model) in USERS.iter().zip(&self.model) {
            let all: Vec<_> = model.iter().map(|(k, v)| (*k, *v)).collect();
            assert_eq!(self.rows(user, "SELECT k, v FROM t ORDER BY k").await, all, "{user}");
            let filtered: Vec<_> = all.iter().copied().filter(|(_, v)| *v < limit).collect();
            let sql = format!("SELECT k, v FROM t WHERE v < {limit} ORDER BY k");
            assert_eq!(self.rows(user, &sql).await, filtered, "{user}, v < {limit}");
            let live = "SELECT k, v FROM t WHERE NOT _deleted ORDER BY k";
            assert_eq!(self.rows(user, live).await, all, "{user}, with _deleted");
        }
        assert!(self.rows("stranger", "SELECT k, v FROM t").await.is_empty());
        SEEN.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_answers_like_sorted_maps(ops in prop::collection::vec(op(), 1..30), limit in 0..20i64) {
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
