//! Random upserts and merges of several users, with flushes between so that rows lie hot and cold, against sorted maps.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::{array::AsArray, datatypes::Int64Type};
use futures::TryStreamExt;
use insula_engine::{Engine, EngineConfig, Error, ErrorKind, Identity, Outcome, Session, StoreConfig};
use proptest::prelude::*;

const USERS: [&str; 2] = ["ann", "bob"];

type Rows = Vec<(i64, i64)>;

#[derive(Clone, Debug)]
enum Op {
    DoNothing(Rows),
    /// `SET v = t.v + excluded.v WHERE t.v < limit`.
    DoUpdate(Rows, i64),
    /// A condition for each clause, on the value of the source, or of the target where that stands alone.
    Merge {
        source: Rows,
        delete: i64,
        update: i64,
        insert: i64,
        alone: Option<i64>,
    },
    /// Each matched key becomes the source's value.
    Move(Rows),
    Delete(i64),
    Flush,
    Compact,
}

fn op() -> impl Strategy<Value = (usize, Op)> {
    let (key, value) = (0..10i64, 0..12i64);
    let rows = || prop::collection::vec((key.clone(), value.clone()), 1..5);
    let op = prop_oneof![
        3 => rows().prop_map(Op::DoNothing),
        4 => (rows(), 0..40i64).prop_map(|(rows, limit)| Op::DoUpdate(rows, limit)),
        4 => (rows(), value.clone(), value.clone(), value.clone(), prop::option::of(0..20i64)).prop_map(
            |(source, delete, update, insert, alone)| Op::Merge { source, delete, update, insert, alone }
        ),
        2 => rows().prop_map(Op::Move),
        1 => key.clone().prop_map(Op::Delete),
        2 => Just(Op::Flush),
        1 => Just(Op::Compact),
    ];
    (0..USERS.len(), op)
}

type Model = BTreeMap<i64, i64>;

/// What a statement makes of a user's rows, and how many it changes.
type Outcomes = Result<(Model, u64), ErrorKind>;

fn do_nothing(before: &Model, rows: &Rows) -> Outcomes {
    let (mut after, mut count) = (before.clone(), 0);
    for (k, v) in rows {
        if !after.contains_key(k) {
            after.insert(*k, *v);
            count += 1;
        }
    }
    Ok((after, count))
}

fn do_update(before: &Model, rows: &Rows, limit: i64) -> Outcomes {
    let mut seen = BTreeSet::new();
    if !rows.iter().all(|(k, _)| seen.insert(*k)) {
        return Err(ErrorKind::InvalidArgument);
    }
    let (mut after, mut count) = (before.clone(), 0);
    for (k, v) in rows {
        match before.get(k) {
            Some(old) if *old >= limit => continue,
            Some(old) => after.insert(*k, old + v),
            None => after.insert(*k, *v),
        };
        count += 1;
    }
    Ok((after, count))
}

fn merge(before: &Model, source: &Rows, [delete, update, insert]: [i64; 3], alone: Option<i64>) -> Outcomes {
    let (mut after, mut changed, mut count) = (before.clone(), BTreeSet::new(), 0);
    for (k, v) in source {
        match before.get(k) {
            Some(_) if *v < delete || *v < update => {
                if !changed.insert(*k) {
                    return Err(ErrorKind::InvalidArgument);
                }
                match *v < delete {
                    true => after.remove(k),
                    false => after.insert(*k, before[k] * 2 + v),
                };
                count += 1;
            }
            None if *v < insert => {
                if after.insert(*k, *v).is_some() {
                    return Err(ErrorKind::AlreadyExists);
                }
                count += 1;
            }
            _ => {}
        }
    }
    let keys: BTreeSet<i64> = source.iter().map(|(k, _)| *k).collect();
    let left = before.iter().filter(|(k, v)| !keys.contains(k) && alone.is_some_and(|alone| **v < alone));
    for (k, v) in left {
        after.insert(*k, v + 1);
        count += 1;
    }
    Ok((after, count))
}

fn moved(before: &Model, source: &Rows) -> Outcomes {
    let moves: Rows = source.iter().filter(|(k, _)| before.contains_key(k)).copied().collect();
    let from: BTreeSet<i64> = moves.iter().map(|(k, _)| *k).collect();
    if from.len() < moves.len() {
        return Err(ErrorKind::InvalidArgument);
    }
    let mut after: Model = before.iter().filter(|(k, _)| !from.contains(k)).map(|(k, v)| (*k, *v)).collect();
    for (k, to) in &moves {
        if after.insert(*to, before[k]).is_some() {
            return Err(ErrorKind::AlreadyExists);
        }
    }
    Ok((after, moves.len() as u64))
}

struct World {
    engine: Arc<Engine>,
    models: Vec<Model>,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = EngineConfig {
            store: StoreConfig { chunk_rows: 4, ..StoreConfig::new(dir.path().to_path_buf()) },
            memory_limit: 256 << 20,
            transactions: Default::default(),
            limits: Default::default(),
            admin_password: Some("secret".into()),
        };
        let engine = Engine::open(config).await.unwrap();
        let world = Self { engine, models: vec![Model::new(); USERS.len()], _dir: dir };
        // The key is the second column: nothing may take the first one for it.
        world.run("admin", "CREATE TABLE t (v BIGINT NOT NULL, k BIGINT PRIMARY KEY)").await.unwrap();
        world
    }

    async fn outcome(&self, user: &str, sql: &str) -> Result<Outcome, Error> {
        let identity: Identity = self.engine.vouched(user).await.unwrap();
        let session = Arc::new(Session::new(&identity));
        self.engine.execute(&identity, &session, sql, Vec::new()).await
    }

    async fn run(&self, user: &str, sql: &str) -> Result<u64, Error> {
        match self.outcome(user, sql).await? {
            Outcome::Count(count) => Ok(count),
            Outcome::Rows { rows, .. } => rows.try_collect::<Vec<_>>().await.map(|_| 0),
        }
    }

    async fn rows(&self, user: &str) -> Rows {
        let outcome = self.outcome(user, "SELECT k, v FROM t ORDER BY k").await.unwrap();
        let Outcome::Rows { rows, .. } = outcome else { panic!("no rows") };
        let mut found = Vec::new();
        for batch in rows.try_collect::<Vec<_>>().await.unwrap() {
            let (k, v) = (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_primitive::<Int64Type>());
            found.extend(k.values().iter().copied().zip(v.values().iter().copied()));
        }
        found
    }

    async fn apply(&mut self, user: usize, op: &Op) {
        let before = &self.models[user];
        let values = |rows: &Rows| rows.iter().map(|(k, v)| format!("({k}, {v})")).collect::<Vec<_>>().join(", ");
        let (sql, wanted) = match op {
            Op::DoNothing(rows) => (
                format!("INSERT INTO t (k, v) VALUES {} ON CONFLICT (k) DO NOTHING", values(rows)),
                do_nothing(before, rows),
            ),
            Op::DoUpdate(rows, limit) => (
                format!(
                    "INSERT INTO t (k, v) VALUES {} ON CONFLICT DO UPDATE SET v = t.v + excluded.v WHERE v < {limit}",
                    values(rows)
                ),
                do_update(before, rows, *limit),
            ),
            Op::Merge { source, delete, update, insert, alone } => {
                let alone_clause = alone
                    .map(|alone| format!("WHEN NOT MATCHED BY SOURCE AND v < {alone} THEN UPDATE SET v = t.v + 1"));
                (
                    format!(
                        "MERGE INTO t USING (VALUES {}) AS s (k, w) ON s.k = t.k WHEN MATCHED AND w < {delete} THEN DELETE
                         WHEN MATCHED AND w < {update} THEN UPDATE SET v = v * 2 + w
                         WHEN NOT MATCHED AND w < {insert} THEN INSERT (k, v) VALUES (k, w) {}",
                        values(source),
                        alone_clause.unwrap_or_default()
                    ),
                    merge(before, source, [*delete, *update, *insert], *alone),
                )
            }
            Op::Move(rows) => (
                format!(
                    "MERGE INTO t USING (VALUES {}) AS s (k, n) ON t.k = s.k WHEN MATCHED THEN UPDATE SET k = s.n",
                    values(rows)
                ),
                moved(before, rows),
            ),
            Op::Delete(k) => {
                let mut after = before.clone();
                let count = u64::from(after.remove(k).is_some());
                (format!("DELETE FROM t WHERE k = {k}"), Ok((after, count)))
            }
            Op::Flush | Op::Compact => {
                let verb = if matches!(op, Op::Flush) { "FLUSH" } else { "COMPACT" };
                self.run("admin", &format!("{verb} TABLE t")).await.unwrap();
                return;
            }
        };
        match (self.run(USERS[user], &sql).await, wanted) {
            (Ok(count), Ok((after, wanted))) => {
                assert_eq!(count, wanted, "{sql}");
                self.models[user] = after;
            }
            // Of two mistakes in one statement either may be told.
            (Err(error), Err(_)) => {
                let kinds = [ErrorKind::InvalidArgument, ErrorKind::AlreadyExists];
                assert!(kinds.contains(&error.kind()), "{sql}: {error}");
            }
            (result, wanted) => panic!("{sql}: {result:?} instead of {wanted:?}"),
        }
        for (user, model) in USERS.iter().zip(&self.models) {
            let wanted: Rows = model.iter().map(|(k, v)| (*k, *v)).collect();
            assert_eq!(self.rows(user).await, wanted, "{user} after {sql}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_upserts_and_merges_answer_like_sorted_maps(ops in prop::collection::vec(op(), 1..24)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for (user, op) in &ops {
                world.apply(*user, op).await;
            }
            world.engine.close().await.unwrap();
        });
    }
}
