//! The real scan against the oracle: every query is run both ways and must answer alike, over rows that were written,
//! changed, deleted, flushed, altered and restarted in an order drawn from a seed.
//!
//! `INSULA_ORACLE_SEEDS` says how many seeds are run (6), `INSULA_ORACLE_SEED` repeats a single one, telling its steps.

#[path = "../../tests/src/rng.rs"]
#[allow(dead_code, reason = "shared with the tests of the whole server")]
mod rng;

use std::sync::Arc;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use insula_engine::{Engine, EngineConfig, Error, ErrorKind, Outcome, Session, StoreConfig};
use rng::Rng;

const USERS: [&str; 2] = ["ann", "ann2"];
/// Keys and values, so that statements and queries meet rows.
const KEYS: u64 = 30;
/// Scans of the same rows after which a scan no longer compares keys with hot ones.
const WARM: usize = 4;

struct World {
    dir: tempfile::TempDir,
    engine: Arc<Engine>,
    rng: Rng,
    /// Columns of `t` that an ALTER added.
    extra: Vec<String>,
    added: usize,
    tell: bool,
    /// Queries compared, and those of them that found rows.
    compared: (u64, u64),
}

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

/// Rows as text, one a line.
async fn lines(outcome: Outcome) -> Result<Vec<String>, Error> {
    let batches: Vec<_> = match outcome {
        Outcome::Count(count) => return Ok(vec![count.to_string()]),
        Outcome::Rows { rows, .. } => rows.try_collect().await?,
    };
    let options = FormatOptions::new().with_null("NULL");
    let mut lines = Vec::new();
    for batch in batches {
        let columns = batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options));
        let columns: Vec<_> = columns.collect::<Result<_, _>>().unwrap();
        let line = |i: usize| columns.iter().map(|c| c.value(i).to_string()).collect::<Vec<_>>().join("|");
        lines.extend((0..batch.num_rows()).map(line));
    }
    Ok(lines)
}

impl World {
    async fn new(seed: u64, tell: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = open(dir.path()).await;
        let (extra, rng) = (Vec::new(), Rng::new(seed));
        let mut world = Self { dir, engine, rng, extra, added: 0, tell, compared: (0, 0) };
        for sql in [
            "CREATE TABLE t (v INT, k BIGINT PRIMARY KEY, note TEXT)",
            "CREATE TABLE c (a TEXT, v BIGINT, b INT, PRIMARY KEY (b, a))",
            "CREATE TABLE log (n BIGINT, g BIGINT)",
        ] {
            world.run("admin", sql).await.unwrap();
        }
        // Queries over nothing prove nothing.
        for user in [USERS[0], USERS[1], USERS[0], USERS[1], USERS[0], USERS[1], USERS[0], USERS[1]] {
            let sql = world.insert();
            let done = world.run(user, &sql).await;
            assert!(
                done.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::AlreadyExists),
                "{sql}: {done:?}"
            );
        }
        world
    }

    async fn ask(&self, user: &str, sql: &str, oracle: bool) -> Result<Vec<String>, Error> {
        let identity = self.engine.vouched(user).await?;
        let session = Arc::new(Session::new(&identity));
        if oracle {
            session.read_through_oracle();
        }
        lines(self.engine.execute(&identity, &session, sql, Vec::new()).await?).await
    }

    async fn run(&self, user: &str, sql: &str) -> Result<(), Error> {
        self.ask(user, sql, false).await.map(drop)
    }

    async fn step(&mut self) {
        let user = USERS[self.rng.below(2) as usize];
        let sql = match self.rng.below(20) {
            0..4 => self.insert(),
            4..6 => format!("REPLACE INTO t (k, v) VALUES ({}, {})", self.key(), self.key()),
            6..8 => format!("UPDATE t SET v = v + 1 WHERE {}", self.filter()),
            8 => format!("UPDATE c SET v = {} WHERE b % 3 = {}", self.key(), self.rng.below(3)),
            9 => format!("DELETE FROM t WHERE {}", self.filter()),
            10 => format!("DELETE FROM log WHERE g < {}", self.rng.below(6)),
            11 => format!("DELETE FROM c WHERE a = 'a{}'", self.rng.below(4)),
            12..15 => format!("FLUSH TABLE {}", ["t", "c", "log"][self.rng.below(3) as usize]),
            15 => "FLUSH ALL".into(),
            16..18 => self.alteration(),
            18 => return self.restart().await,
            _ => format!("UPDATE t SET k = k + {} WHERE k = {}", self.rng.below(3), self.key()),
        };
        let who = if sql.starts_with("FLUSH") || sql.starts_with("ALTER") { "admin" } else { user };
        if self.tell {
            eprintln!("{who}: {sql}");
        }
        match self.run(who, &sql).await {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            done => done.unwrap_or_else(|error| panic!("{sql}: {error}")),
        }
    }

    fn key(&mut self) -> u64 {
        self.rng.below(KEYS)
    }

    fn insert(&mut self) -> String {
        let rows = 1 + self.rng.below(6);
        let table = ["t (k, v, note)", "c (b, v, a)", "log (n, g)"][self.rng.below(3) as usize];
        let row = |rng: &mut Rng| {
            let v = if rng.below(5) == 0 { "NULL".to_owned() } else { rng.below(KEYS).to_string() };
            let text = rng.below(4);
            let k = rng.below(KEYS);
            match &table[..1] {
                "t" => format!("({k}, {v}, 'n{text}')"),
                "c" => format!("({}, {v}, 'a{text}')", k % 8),
                _ => format!("({k}, {})", rng.below(KEYS)),
            }
        };
        let rows: Vec<_> = (0..rows).map(|_| row(&mut self.rng)).collect();
        format!("INSERT INTO {table} VALUES {}", rows.join(", "))
    }

    fn alteration(&mut self) -> String {
        match (self.rng.below(3), self.extra.len()) {
            (0, some) if some > 0 => {
                let at = self.rng.below(some as u64) as usize;
                format!("ALTER TABLE t DROP COLUMN {}", self.extra.swap_remove(at))
            }
            (1, _) => "ALTER TABLE t ALTER COLUMN v TYPE BIGINT".into(),
            (_, 4..) => "FLUSH TABLE t".into(),
            _ => {
                self.added += 1;
                self.extra.push(format!("x{}", self.added));
                let default = if self.rng.below(3) == 0 { "" } else { "DEFAULT 5" };
                format!("ALTER TABLE t ADD COLUMN x{} BIGINT {default}", self.added)
            }
        }
    }

    async fn restart(&mut self) {
        self.engine.close().await.unwrap();
        let nothing = tempfile::tempdir().unwrap();
        // The old engine lets go of the directory before the new one takes it.
        drop(std::mem::replace(&mut self.engine, open(nothing.path()).await));
        self.engine = open(self.dir.path()).await;
    }

    /// On columns of `t`, in the key and outside it.
    fn filter(&mut self) -> String {
        let (a, b) = (self.key(), self.key());
        let any = self.extra.get(self.rng.below(4) as usize).cloned();
        match self.rng.below(12) {
            0 => format!("k = {a}"),
            1 => format!("k < {a}"),
            2 => format!("k BETWEEN {} AND {}", a.min(b), a.max(b)),
            3 => format!("k IN ({a}, {b}, {})", a + 1),
            4 => format!("v < {a}"),
            5 => "v IS NULL".into(),
            6 => format!("note = 'n{}'", a % 4),
            7 => format!("v % 3 = {}", a % 3),
            8 => format!("k = {a} OR v > {b}"),
            9 => any.map_or("note IS NULL".into(), |x| format!("{x} = 5")),
            10 => any.map_or("k <> 3".into(), |x| format!("{x} IS NULL AND k > {a}")),
            _ => "true".into(),
        }
    }

    /// A query, and whether the order of its rows is one that it asks for wholly.
    fn query(&mut self) -> (String, bool) {
        let (filter, limit) = (self.filter(), 1 + self.rng.below(8));
        match self.rng.below(20) {
            0 => (format!("SELECT * FROM t WHERE {filter}"), false),
            1 => (format!("SELECT count(*), sum(v), min(k), max(k), max(v), count(note) FROM t WHERE {filter}"), true),
            2 => ("SELECT count(*), min(k), max(k) FROM t".into(), true),
            3 => (format!("SELECT v % 3 AS g, count(*), sum(k) FROM t WHERE {filter} GROUP BY 1"), false),
            4 => (format!("SELECT k, v FROM t ORDER BY v DESC NULLS LAST, k LIMIT {limit} OFFSET 1"), true),
            5 => (format!("SELECT * FROM t WHERE {filter} ORDER BY k LIMIT {limit}"), true),
            6 => (format!("SELECT k FROM t ORDER BY k DESC LIMIT {limit}"), true),
            7 => (format!("SELECT a.k, b.k, b.note FROM t a JOIN t b ON a.v = b.k WHERE a.k < {}", self.key()), false),
            8 => (format!("SELECT t.k, log.n FROM t JOIN log ON t.k = log.g WHERE log.n > {}", self.key()), false),
            9 => (format!("SELECT k FROM t WHERE k IN (SELECT g FROM log WHERE n < {})", self.key()), false),
            10 => (format!("SELECT k, v, _seq, _updated, _deleted FROM t WHERE {filter}"), false),
            11 => ("SELECT count(*), min(_seq), max(_seq), max(_updated) FROM t WHERE _deleted".into(), true),
            12 => (format!("SELECT k, _seq FROM t WHERE _seq > {}", self.rng.below(40)), false),
            13 => ("SELECT n, g, _deleted FROM log".into(), false),
            14 => (format!("SELECT g, count(*) FROM log WHERE g < {} GROUP BY g", self.key()), false),
            15 => (format!("SELECT * FROM c WHERE b = {} AND a = 'a1'", self.rng.below(8)), false),
            16 => (format!("SELECT * FROM c WHERE b < {} ORDER BY b, a", self.rng.below(8)), true),
            17 => ("SELECT count(*), count(DISTINCT b), sum(v) FROM c WHERE NOT _deleted".into(), true),
            18 => (
                "SELECT k, row_number() OVER (ORDER BY k) FROM t WHERE NOT EXISTS \
                    (SELECT 1 FROM log WHERE log.g = t.k)"
                    .into(),
                false,
            ),
            _ => (format!("SELECT k FROM t WHERE {filter} UNION ALL SELECT b FROM c WHERE v IS NOT NULL"), false),
        }
    }

    /// Scans so often that the places of shadowed rows become known.
    async fn warm(&self) {
        for table in ["t", "c", "log"].repeat(WARM) {
            for user in USERS {
                self.ask(user, &format!("SELECT * FROM {table}"), false).await.unwrap();
            }
        }
    }

    async fn compare(&mut self) {
        if self.rng.below(2) == 0 {
            self.warm().await;
        }
        for _ in 0..6 {
            let ((sql, ordered), user) = (self.query(), USERS[self.rng.below(2) as usize]);
            let mut real = self.ask(user, &sql, false).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
            let mut oracle = self.ask(user, &sql, true).await.unwrap_or_else(|e| panic!("{sql}, the oracle: {e}"));
            if !ordered {
                real.sort();
                oracle.sort();
            }
            if real != oracle {
                let plan = self.ask(user, &format!("EXPLAIN {sql}"), false).await.unwrap();
                panic!("{user}: {sql}\nthe scan:   {real:?}\nthe oracle: {oracle:?}\n{}", plan.join("\n"));
            }
            self.compared.0 += 1;
            self.compared.1 += u64::from(!real.is_empty());
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_real_scan_agrees_with_the_oracle_on_every_query() {
    let single = number("INSULA_ORACLE_SEED");
    let (first, seeds) = (single.unwrap_or(1), single.map_or(number("INSULA_ORACLE_SEEDS").unwrap_or(6), |_| 1));
    let mut compared = (0, 0);
    for seed in first..first + seeds {
        eprintln!("INSULA_ORACLE_SEED={seed}");
        let mut world = World::new(seed, single.is_some()).await;
        for _ in 0..30 {
            world.step().await;
            world.compare().await;
        }
        world.engine.close().await.unwrap();
        compared = (compared.0 + world.compared.0, compared.1 + world.compared.1);
    }
    eprintln!("{} queries compared, of which {} found rows", compared.0, compared.1);
    assert!(compared.1 * 3 > compared.0, "most queries find nothing: {compared:?}");
}

/// An oracle that agreed because it read nothing, or the same plan, would prove nothing.
#[tokio::test]
async fn the_oracle_has_a_plan_of_its_own() {
    let world = World::new(1, false).await;
    world.run("ann", "DELETE FROM t").await.unwrap();
    world.run("ann2", "DELETE FROM t").await.unwrap();
    world.run("ann", "INSERT INTO t (k, v) VALUES (1, 1)").await.unwrap();
    world.run("admin", "FLUSH TABLE t").await.unwrap();
    world.run("ann", "UPDATE t SET v = 2").await.unwrap();
    let plan = |lines: Vec<String>| lines.join("\n");
    let real = plan(world.ask("ann", "EXPLAIN SELECT * FROM t", false).await.unwrap());
    let oracle = plan(world.ask("ann", "EXPLAIN SELECT * FROM t", true).await.unwrap());
    assert!(real.contains("Shadow") && !real.contains("OracleExec"), "{real}");
    assert!(oracle.contains("OracleExec") && !oracle.contains("Shadow"), "{oracle}");
    assert_eq!(world.ask("ann", "SELECT k, v FROM t", true).await.unwrap(), ["1|2"]);
    assert!(world.ask("ann2", "SELECT k, v FROM t", true).await.unwrap().is_empty());
    // No option of a session leads there.
    assert!(world.run("ann", "SET oracle = true").await.is_err());
    assert!(world.run("ann", "SET insula.oracle = true").await.is_err());
    world.engine.close().await.unwrap();
}

/// Two files whose keys overlap are merged, under a limit too.
#[tokio::test]
async fn the_order_of_the_key_holds_under_a_limit() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).await;
    let admin = engine.vouched("admin").await.unwrap();
    let session = Arc::new(Session::new(&admin));
    for sql in [
        "CREATE TABLE t (k BIGINT PRIMARY KEY)",
        "INSERT INTO t VALUES (9), (13), (17)",
        "FLUSH TABLE t",
        "INSERT INTO t VALUES (12), (28)",
        "FLUSH TABLE t",
    ] {
        lines(engine.execute(&admin, &session, sql, Vec::new()).await.unwrap()).await.unwrap();
    }
    let ordered = engine.execute(&admin, &session, "SELECT k FROM t ORDER BY k LIMIT 4", Vec::new()).await.unwrap();
    assert_eq!(lines(ordered).await.unwrap(), ["9", "12", "13", "17"]);
    engine.close().await.unwrap();
}
