//! Random ALTER TABLEs between random statements of several users, with flushes and restarts, against sorted maps. Each
//! check reads all columns, and filters by each of them: a filter that is pushed into a file which lacks the column
//! must see its initial value, and statistics of a narrower type must not hide rows.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::Path,
    sync::Arc,
};

use arrow::array::{Array, AsArray};
use futures::TryStreamExt;
use insula_engine::{Engine, EngineConfig, Error, ErrorKind, Identity, Outcome, Session, StoreConfig};
use proptest::prelude::*;

const USERS: [&str; 2] = ["ann", "bob"];
/// From each type to those behind it in the same row, and no others.
const TYPES: [&[&str]; 3] =
    [&["SMALLINT", "INT", "BIGINT"], &["REAL", "DOUBLE"], &["DECIMAL(4, 1)", "DECIMAL(9, 2)", "DECIMAL(20, 3)"]];

#[derive(Clone, Debug)]
enum Op {
    /// Type, width, default, NOT NULL.
    Add(usize, usize, Option<i64>, bool),
    AddText(Option<i64>),
    /// The others name a column by its position, modulo how many there are.
    Drop(usize),
    Rename(usize),
    Widen(usize),
    SetDefault(usize, Option<i64>),
    DropNotNull(usize),
    /// Two actions of which the second cannot be done.
    Fail(usize),
    Options(u32),
    /// User, key, and a value for the columns whose bit is set; the others take their default.
    Insert(usize, i64, i64, u8),
    Update(usize, i64, usize, Option<i64>),
    Delete(usize, i64),
    Flush,
    Compact,
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let (user, key, value) = (0..USERS.len(), 0..8i64, 0..9i64);
    let maybe = || prop::option::of(0..9i64);
    prop_oneof![
        4 => (0..TYPES.len(), 0..2usize, maybe(), any::<bool>()).prop_map(|(t, w, d, n)| Op::Add(t, w, d, n)),
        1 => maybe().prop_map(Op::AddText),
        2 => any::<usize>().prop_map(Op::Drop),
        1 => any::<usize>().prop_map(Op::Rename),
        3 => any::<usize>().prop_map(Op::Widen),
        1 => (any::<usize>(), maybe()).prop_map(|(c, d)| Op::SetDefault(c, d)),
        1 => any::<usize>().prop_map(Op::DropNotNull),
        1 => any::<usize>().prop_map(Op::Fail),
        1 => (1000..9000u32).prop_map(Op::Options),
        9 => (user.clone(), key.clone(), value, any::<u8>()).prop_map(|(u, k, v, m)| Op::Insert(u, k, v, m)),
        4 => (user.clone(), key.clone(), any::<usize>(), maybe()).prop_map(|(u, k, c, v)| Op::Update(u, k, c, v)),
        2 => (user, key).prop_map(|(u, k)| Op::Delete(u, k)),
        4 => Just(Op::Flush),
        1 => Just(Op::Compact),
        1 => Just(Op::Restart),
    ]
}

/// A column as it should be. Values of text are numbers too, with a letter before them.
#[derive(Clone, Debug)]
struct Column {
    name: String,
    /// `None`: text.
    kind: Option<(usize, usize)>,
    default: Option<i64>,
    not_null: bool,
}

impl Column {
    fn literal(&self, value: Option<i64>) -> String {
        match (value, self.kind) {
            (None, _) => "NULL".into(),
            (Some(value), Some(_)) => value.to_string(),
            (Some(value), None) => format!("'x{value}'"),
        }
    }

    /// Its value as a number, in SQL.
    fn number(&self) -> String {
        let name = &self.name;
        match self.kind {
            Some(_) => format!("CAST({name} AS BIGINT)"),
            None => format!("CAST(replace({name}, 'x', '') AS BIGINT)"),
        }
    }
}

type Row = Vec<Option<i64>>;
/// Does a filter hold for this value?
type Holds<'a> = &'a dyn Fn(&Option<i64>) -> bool;

struct World {
    dir: tempfile::TempDir,
    engine: Arc<Engine>,
    columns: Vec<Column>,
    rows: Vec<BTreeMap<i64, Row>>,
    /// Of columns, so that a name comes back only on purpose.
    names: usize,
    /// Whether a row was ever written: deleted ones stay.
    touched: bool,
    versions: usize,
}

async fn open(dir: &Path) -> Arc<Engine> {
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
        let column = Column { name: "c0".into(), kind: Some((0, 0)), default: None, not_null: false };
        let rows = vec![BTreeMap::new(); USERS.len()];
        let world = Self { dir, engine, columns: vec![column], rows, names: 1, touched: false, versions: 1 };
        world.run("admin", "CREATE TABLE t (c0 SMALLINT, k BIGINT PRIMARY KEY)").await.unwrap();
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
            Outcome::Rows { rows, .. } => {
                rows.try_collect::<Vec<_>>().await.map(|b| b.iter().map(|b| b.num_rows() as u64).sum())
            }
        }
    }

    async fn rows(&self, user: &str, sql: &str) -> BTreeMap<i64, Row> {
        let (identity, session) = self.identity(user).await;
        let outcome = self.engine.execute(&identity, &session, sql, Vec::new()).await;
        let Outcome::Rows { rows, .. } = outcome.unwrap_or_else(|e| panic!("{sql}: {e}")) else { panic!("no rows") };
        let batches: Vec<_> = rows.try_collect().await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        let mut found = BTreeMap::new();
        for batch in batches {
            for i in 0..batch.num_rows() {
                let value = |c: usize| {
                    let column = batch.column(c).as_primitive::<arrow::datatypes::Int64Type>();
                    column.is_valid(i).then(|| column.value(i))
                };
                let row = (1..batch.num_columns()).map(value).collect();
                assert!(found.insert(value(0).unwrap(), row).is_none(), "a key came twice");
            }
        }
        found
    }

    async fn alter(&mut self, actions: &str) -> Result<(), Error> {
        let result = self.run("admin", &format!("ALTER TABLE t {actions}")).await;
        self.versions += usize::from(result.is_ok());
        result.map(|count| assert_eq!(count, 0))
    }

    async fn add(&mut self, kind: Option<(usize, usize)>, default: Option<i64>, not_null: bool) {
        let column = Column { name: format!("c{}", self.names), kind, default, not_null };
        // Names of dropped columns come back: their values must not.
        self.names = (self.names + 1) % 7;
        if self.columns.iter().any(|c| c.name == column.name) {
            return;
        }
        let sql_type = kind.map_or("TEXT", |(kind, width)| TYPES[kind][width]);
        let not_null_sql = if not_null { "NOT NULL" } else { "" };
        let default_sql = default.map(|_| format!("DEFAULT {}", column.literal(default))).unwrap_or_default();
        let result = self.alter(&format!("ADD COLUMN {} {sql_type} {not_null_sql} {default_sql}", column.name)).await;
        if not_null && default.is_none() && self.touched {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidArgument);
            return;
        }
        result.unwrap();
        self.columns.push(column);
        self.rows.iter_mut().flat_map(BTreeMap::values_mut).for_each(|row| row.push(default));
    }

    async fn apply(&mut self, op: &Op) {
        let picked = |column: &usize| (!self.columns.is_empty()).then(|| column % self.columns.len());
        match op {
            Op::Add(kind, width, default, not_null) => self.add(Some((*kind, *width)), *default, *not_null).await,
            Op::AddText(default) => self.add(None, *default, false).await,
            Op::Insert(user, key, value, mask) => self.insert(*user, *key, *value, *mask).await,
            Op::Delete(user, key) => {
                let deleted = self.run(USERS[*user], &format!("DELETE FROM t WHERE k = {key}")).await.unwrap();
                assert_eq!(deleted, u64::from(self.rows[*user].remove(key).is_some()));
            }
            Op::Options(rows) => self.alter(&format!("SET (flush_rows = {rows})")).await.unwrap(),
            Op::Flush => drop(self.run("admin", "FLUSH TABLE t").await.unwrap()),
            Op::Compact => drop(self.run("admin", "COMPACT TABLE t").await.unwrap()),
            Op::Restart => {
                self.engine.close().await.unwrap();
                let nothing = tempfile::tempdir().unwrap();
                // The old engine lets go of the directory before the new one takes it.
                drop(std::mem::replace(&mut self.engine, open(nothing.path()).await));
                self.engine = open(self.dir.path()).await;
            }
            Op::Drop(c) | Op::Rename(c) | Op::Widen(c) | Op::SetDefault(c, _) | Op::DropNotNull(c) | Op::Fail(c) => {
                if let Some(at) = picked(c) {
                    self.alter_column(op, at).await;
                }
            }
            Op::Update(user, key, column, value) => {
                if let Some(at) = picked(column) {
                    self.update(*user, *key, at, *value).await;
                }
            }
        }
    }

    async fn alter_column(&mut self, op: &Op, at: usize) {
        let name = self.columns[at].name.clone();
        match op {
            Op::Drop(_) => {
                self.alter(&format!("DROP COLUMN {name}")).await.unwrap();
                self.columns.remove(at);
                self.rows.iter_mut().flat_map(BTreeMap::values_mut).for_each(|row| {
                    row.remove(at);
                });
            }
            Op::Rename(_) => {
                let to = format!("r{}", self.versions);
                self.alter(&format!("RENAME COLUMN {name} TO {to}")).await.unwrap();
                self.columns[at].name = to;
            }
            Op::Widen(_) => {
                let Some((kind, width)) = self.columns[at].kind.filter(|(kind, width)| width + 1 < TYPES[*kind].len())
                else {
                    return;
                };
                self.alter(&format!("ALTER COLUMN {name} TYPE {}", TYPES[kind][width + 1])).await.unwrap();
                self.columns[at].kind = Some((kind, width + 1));
                let back = self.alter(&format!("ALTER COLUMN {name} TYPE {}", TYPES[kind][width])).await;
                assert_eq!(back.unwrap_err().kind(), ErrorKind::InvalidArgument);
            }
            Op::SetDefault(_, default) => {
                let how = default
                    .map_or("DROP DEFAULT".into(), |_| format!("SET DEFAULT {}", self.columns[at].literal(*default)));
                self.alter(&format!("ALTER COLUMN {name} {how}")).await.unwrap();
                self.columns[at].default = *default;
            }
            Op::DropNotNull(_) => {
                self.alter(&format!("ALTER COLUMN {name} DROP NOT NULL")).await.unwrap();
                self.columns[at].not_null = false;
            }
            _ => {
                let error = self.alter(&format!("DROP COLUMN {name}, DROP COLUMN nowhere")).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            }
        }
    }

    async fn insert(&mut self, user: usize, key: i64, value: i64, mask: u8) {
        let given = |i: usize| mask >> (i % 8) & 1 == 1;
        let row: Row =
            self.columns.iter().enumerate().map(|(i, c)| if given(i) { Some(value) } else { c.default }).collect();
        let named = || self.columns.iter().enumerate().filter(|(i, _)| given(*i)).map(|(_, column)| column);
        let names: String = named().map(|column| format!(", {}", column.name)).collect();
        let values: String = named().map(|column| format!(", {}", column.literal(Some(value)))).collect();
        let result = self.run(USERS[user], &format!("INSERT INTO t (k{names}) VALUES ({key}{values})")).await;
        if self.columns.iter().zip(&row).any(|(column, value)| column.not_null && value.is_none()) {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidArgument);
        } else if let Entry::Vacant(free) = self.rows[user].entry(key) {
            assert_eq!(result.unwrap(), 1);
            free.insert(row);
            self.touched = true;
        } else {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::AlreadyExists);
        }
    }

    async fn update(&mut self, user: usize, key: i64, at: usize, value: Option<i64>) {
        let column = &self.columns[at];
        let sql = format!("UPDATE t SET {} = {} WHERE k = {key}", column.name, column.literal(value));
        let result = self.run(USERS[user], &sql).await;
        let row = self.rows[user].get_mut(&key);
        match row {
            Some(_) if column.not_null && value.is_none() => {
                assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidArgument);
            }
            row => {
                assert_eq!(result.unwrap(), u64::from(row.is_some()), "{sql}");
                row.map(|row| row[at] = value).unwrap_or_default();
            }
        }
    }

    async fn check(&self, limit: i64) {
        let numbers: String = self.columns.iter().map(|column| format!(", {}", column.number())).collect();
        for (user, model) in USERS.iter().zip(&self.rows) {
            assert_eq!(self.rows(user, &format!("SELECT k{numbers} FROM t")).await, *model, "{user}");
            for (at, column) in self.columns.iter().enumerate() {
                let (name, literal) = (&column.name, column.literal(Some(limit)));
                let filters: [(String, Holds); 4] = [
                    (format!("{name} IS NULL"), &|value| value.is_none()),
                    (format!("{name} = {literal}"), &|value| *value == Some(limit)),
                    (format!("{name} > {literal}"), &|value| value.is_some_and(|value| value > limit)),
                    (format!("{name} IS NOT NULL AND k < 5"), &|value| value.is_some()),
                ];
                for (filter, holds) in filters {
                    let mut expected = model.clone();
                    expected.retain(|key, row| holds(&row[at]) && (!filter.ends_with("k < 5") || *key < 5));
                    let sql = format!("SELECT k{numbers} FROM t WHERE {filter}");
                    assert_eq!(self.rows(user, &sql).await, expected, "{user}: {sql}");
                }
            }
        }
    }

    async fn check_history(&self) {
        let count = self.run("admin", "DESCRIBE TABLE t HISTORY").await.unwrap();
        assert_eq!(count, self.versions as u64);
    }
}

/// As many as `INSULA_ALTER_CASES` says.
fn cases() -> u32 {
    std::env::var("INSULA_ALTER_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_answers_like_sorted_maps(ops in prop::collection::vec(op(), 1..40), limit in 0..9i64) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for (i, op) in ops.iter().enumerate() {
                world.apply(op).await;
                if i % 4 == 3 {
                    world.check(limit).await;
                }
            }
            world.check(limit).await;
            world.check_history().await;
            world.engine.close().await.unwrap();
        });
    }
}
