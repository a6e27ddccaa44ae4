//! A plan that is kept gives what a new one would, for its user alone, whatever has changed since it was made; and
//! Substrait plans reach what SQL reaches.

#[path = "kept_plans/rows.rs"]
mod rows;

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
    util::display::{ArrayFormatter, FormatOptions},
};
use datafusion::{catalog::MemTable, prelude::SessionContext};
use datafusion_substrait::serializer::serialize_bytes;
use futures::TryStreamExt;
use insula_engine::{Engine, EngineConfig, Error, ErrorKind, Identity, Outcome, Plan, Session, StoreConfig};

struct World {
    engine: Arc<Engine>,
    _dir: tempfile::TempDir,
}

/// A user in a session.
type Who = (Identity, Arc<Session>);

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = StoreConfig { chunk_rows: 4, ..StoreConfig::new(dir.path().to_path_buf()) };
        let transactions = Default::default();
        let config = EngineConfig {
            store,
            memory_limit: 256 << 20,
            limits: Default::default(),
            admin_password: Some("secret".into()),
            transactions,
        };
        let world = Self { engine: Engine::open(config).await.unwrap(), _dir: dir };
        let (admin, ann, bob) = (world.user("admin").await, world.user("ann").await, world.user("bob").await);
        world.run(&admin, "CREATE TABLE t (id BIGINT PRIMARY KEY, v TEXT)").await;
        world.run(&ann, "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, NULL)").await;
        world.run(&bob, "INSERT INTO t VALUES (1, 'secret')").await;
        world
    }

    async fn user(&self, name: &str) -> Who {
        let identity = self.engine.vouched(name).await.unwrap();
        let session = Arc::new(Session::new(&identity));
        (identity, session)
    }

    async fn rows(&self, (user, session): &Who, plan: &Plan, params: Vec<RecordBatch>) -> Result<Vec<String>, Error> {
        let running = self.engine.begin(user, session, plan.shown_text());
        match self.engine.run(user, session, plan, params, running).await? {
            Outcome::Count(count) => Ok(vec![count.to_string()]),
            Outcome::Rows { rows, schema } => {
                let batches: Vec<RecordBatch> = rows.try_collect().await?;
                assert!(batches.iter().all(|batch| batch.schema() == schema));
                Ok(lines(&batches))
            }
        }
    }

    async fn run(&self, who: &Who, sql: &str) -> Vec<String> {
        let plan = self.engine.plan(&who.0, sql).unwrap();
        self.rows(who, &plan, vec![]).await.unwrap()
    }

    /// RocksDB's threads must not outlive the process's statics.
    async fn close(&self) {
        self.engine.close().await.unwrap();
    }
}

fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let mut lines = Vec::new();
    for batch in batches {
        let columns: Vec<_> =
            batch.columns().iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &options).unwrap()).collect();
        lines.extend(
            (0..batch.num_rows())
                .map(|row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|")),
        );
    }
    lines
}

fn ids(ids: Vec<Option<i64>>) -> Vec<RecordBatch> {
    let ids: ArrayRef = Arc::new(Int64Array::from(ids));
    vec![RecordBatch::try_from_iter_with_nullable([("1", ids, true)]).unwrap()]
}

#[tokio::test]
async fn one_text_is_one_plan_of_one_user() {
    let world = World::new().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let sql = "SELECT v FROM t WHERE id = 1";
    let plan = world.engine.plan(&ann.0, sql).unwrap();
    assert!(Arc::ptr_eq(&plan, &world.engine.plan(&ann.0, sql).unwrap()), "kept");
    let other = world.engine.plan(&bob.0, sql).unwrap();
    assert!(!Arc::ptr_eq(&plan, &other), "and never shared");
    for _ in 0..2 {
        assert_eq!(world.rows(&ann, &plan, vec![]).await.unwrap(), ["a"]);
        assert_eq!(world.rows(&bob, &other, vec![]).await.unwrap(), ["secret"]);
    }
    let stolen = world.rows(&bob, &plan, vec![]).await.unwrap_err();
    assert_eq!(stolen.kind(), ErrorKind::PermissionDenied);
    let described = world.engine.describe(&bob.0, &bob.1, &plan, None).await.unwrap_err();
    assert_eq!(described.kind(), ErrorKind::PermissionDenied);
    // A password is not kept beyond its statement.
    let sql = "CREATE USER carl PASSWORD 'secret'";
    let first = world.engine.plan(&ann.0, sql).unwrap();
    assert!(!Arc::ptr_eq(&first, &world.engine.plan(&ann.0, sql).unwrap()));
    world.close().await;
}

#[tokio::test]
async fn each_run_has_a_snapshot_of_its_own() {
    let world = World::new().await;
    let ann = world.user("ann").await;
    let plan = world.engine.plan(&ann.0, "SELECT count(*) FROM t a JOIN t b ON a.id = b.id").unwrap();
    for expected in ["3", "4", "4"] {
        assert_eq!(world.rows(&ann, &plan, vec![]).await.unwrap(), [expected]);
        world.run(&ann, "REPLACE INTO t VALUES (4, 'd')").await;
        world.run(&world.user("admin").await, "FLUSH TABLE t").await;
    }
    world.close().await;
}

#[tokio::test]
async fn a_change_of_the_catalog_or_the_session_makes_it_anew() {
    let world = World::new().await;
    let (admin, ann) = (world.user("admin").await, world.user("ann").await);
    let plan = world.engine.plan(&ann.0, "SELECT * FROM t WHERE id = 1").unwrap();
    let is_true = || world.engine.is_true(&ann.0, &ann.1, &plan);
    assert!(!is_true(), "nothing is known yet");
    let described = world.engine.describe(&ann.0, &ann.1, &plan, None).await.unwrap();
    assert_eq!(described.schema.fields().len(), 2);
    assert!(is_true());
    for (change, expected) in [
        ("ALTER TABLE t ADD COLUMN n INT DEFAULT 7", "1|a|7"),
        ("ALTER TABLE t DROP COLUMN v", "1|7"),
        ("ALTER TABLE t RENAME COLUMN n TO m", "1|7"),
    ] {
        world.run(&admin, change).await;
        assert!(!is_true(), "{change}");
        assert_eq!(world.rows(&ann, &plan, vec![]).await.unwrap(), [expected]);
        assert!(is_true());
    }
    world.run(&ann, "SET insula.show_system_columns = true").await;
    assert!(!is_true());
    assert_eq!(world.rows(&ann, &plan, vec![]).await.unwrap()[0].split('|').count(), 5);
    world.run(&ann, "RESET insula.show_system_columns").await;
    world.run(&admin, "CREATE NAMESPACE app").await;
    world.run(&admin, "CREATE TABLE app.t (id BIGINT PRIMARY KEY, other BIGINT)").await;
    world.run(&ann, "INSERT INTO app.t VALUES (1, 9)").await;
    world.run(&ann, "SET schema = app").await;
    assert_eq!(world.rows(&ann, &plan, vec![]).await.unwrap(), ["1|9"], "a name leads elsewhere now");
    world.run(&admin, "DROP TABLE app.t").await;
    assert_eq!(world.rows(&ann, &plan, vec![]).await.unwrap_err().kind(), ErrorKind::NotFound);
    world.close().await;
}

#[tokio::test]
async fn what_a_run_decides_is_not_kept() {
    let world = World::new().await;
    let ann = world.user("ann").await;
    let (mut times, mut numbers) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        times.extend(world.run(&ann, "SELECT now() FROM t LIMIT 1").await);
        numbers.extend(world.run(&ann, "SELECT snowflake_id() FROM t LIMIT 1").await);
        assert_eq!(world.run(&ann, "SELECT current_user, id FROM t WHERE id = 1").await, ["ann|1"]);
    }
    assert!(times[0] < times[1], "{times:?}");
    assert_ne!(numbers[0], numbers[1]);
    world.close().await;
}

#[tokio::test]
async fn parameters_may_stand_anywhere() {
    let world = World::new().await;
    let ann = world.user("ann").await;
    for (sql, given, expected) in [
        ("SELECT v FROM t WHERE id = $1", Some(2), vec!["b"]),
        ("SELECT v FROM t WHERE $1 = id", Some(1), vec!["a"]),
        ("SELECT v FROM t WHERE id = $1", None, vec![]),
        ("SELECT v FROM t WHERE id = $1 AND id = 2", Some(1), vec![]),
        ("SELECT v FROM t WHERE id = $1 + 1", Some(1), vec!["b"]),
        ("SELECT v FROM t WHERE NOT id < $1 ORDER BY id", Some(2), vec!["b", "NULL"]),
        ("SELECT id FROM t ORDER BY id LIMIT $1", Some(2), vec!["1", "2"]),
        ("SELECT $1 + 1, count(*) FROM t GROUP BY $1", Some(4), vec!["5|3"]),
        (
            "SELECT a.id FROM t a WHERE EXISTS (SELECT 1 FROM t b WHERE b.id = a.id AND b.id > $1) ORDER BY 1",
            Some(2),
            vec!["3"],
        ),
        (
            "SELECT id FROM t WHERE id IN (SELECT id FROM t WHERE id = $1) OR id = 3 ORDER BY id",
            Some(1),
            vec!["1", "3"],
        ),
        ("SELECT b.v FROM t a LEFT JOIN t b ON b.id = a.id + 1 WHERE a.id = $1", Some(1), vec!["b"]),
        ("SELECT b.v FROM t a LEFT JOIN t b ON b.id = a.id + 1 WHERE b.id = $1", None, vec![]),
    ] {
        let plan = world.engine.plan(&ann.0, sql).unwrap();
        // Another value first, which must leave nothing in the plan.
        world.rows(&ann, &plan, ids(vec![Some(77)])).await.unwrap();
        for _ in 0..2 {
            assert_eq!(world.rows(&ann, &plan, ids(vec![given])).await.unwrap(), expected, "{sql}");
        }
    }
    let plan = world.engine.plan(&ann.0, "SELECT id, v FROM t WHERE id = $1").unwrap();
    let many = ids(vec![Some(3), None, Some(1), Some(9), Some(1)]);
    assert_eq!(world.rows(&ann, &plan, many).await.unwrap(), ["3|NULL", "1|a", "1|a"], "in the order of the rows");
    world.close().await;
}

#[tokio::test]
async fn many_rows_of_an_insert_are_one_query() {
    let world = World::new().await;
    let (admin, ann) = (world.user("admin").await, world.user("ann").await);
    let columns = "id BIGINT PRIMARY KEY, v TEXT DEFAULT 'none', n INT NOT NULL, made BIGINT DEFAULT snowflake_id()";
    world.run(&admin, &format!("CREATE TABLE many ({columns})")).await;
    let rows = |from: i64, n: Option<i32>| {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + 500));
        let texts: ArrayRef =
            Arc::new((from..from + 500).map(|i| (i % 2 == 0).then(|| format!("v{i}"))).collect::<StringArray>());
        let numbers: ArrayRef =
            Arc::new((0..500).map(|i| if i == 499 { n } else { Some(i) }).collect::<arrow::array::Int32Array>());
        RecordBatch::try_from_iter_with_nullable([("1", ids, true), ("2", texts, true), ("3", numbers, true)]).unwrap()
    };
    let insert = world.engine.plan(&ann.0, "INSERT INTO many (n, v, id) VALUES ($3 + 1, upper($2), $1)").unwrap();
    assert_eq!(world.rows(&ann, &insert, vec![rows(0, Some(1)), rows(500, Some(2))]).await.unwrap(), ["1000"]);
    let sums = world.run(&ann, "SELECT count(*), count(v), sum(n), count(DISTINCT made), min(v) FROM many").await;
    assert_eq!(sums, ["1000|500|249505|1000|V0"]);
    // All or nothing, as ever.
    for (batch, kind) in
        [(rows(999, Some(1)), ErrorKind::AlreadyExists), (rows(2000, None), ErrorKind::InvalidArgument)]
    {
        assert_eq!(world.rows(&ann, &insert, vec![batch]).await.unwrap_err().kind(), kind);
    }
    let fewer = world.engine.plan(&ann.0, "INSERT INTO many (id, n) VALUES ($1, 5), ($2, 6)").unwrap();
    let two: ArrayRef = Arc::new(Int64Array::from(vec![5001, 5003]));
    let three: ArrayRef = Arc::new(Int64Array::from(vec![5002, 5004]));
    let batch = RecordBatch::try_from_iter([("1", two), ("2", three)]).unwrap();
    assert_eq!(world.rows(&ann, &fewer, vec![batch]).await.unwrap(), ["4"]);
    assert_eq!(world.run(&ann, "SELECT count(*), sum(n) FROM many WHERE v = 'none'").await, ["4|22"]);
    world.close().await;
}

#[tokio::test]
async fn free_parameters_take_the_type_they_are_given() {
    let world = World::new().await;
    let ann = world.user("ann").await;
    let plan = world.engine.plan(&ann.0, "SELECT $1 AS x").unwrap();
    for (given, data_type) in [
        (Arc::new(Int64Array::from(vec![1])) as ArrayRef, DataType::Int64),
        (Arc::new(StringArray::from(vec!["1"])), DataType::Utf8),
        (Arc::new(Int64Array::from(vec![2])), DataType::Int64),
    ] {
        let bound = Schema::new(vec![Field::new("1", given.data_type().clone(), true)]);
        let described = world.engine.describe(&ann.0, &ann.1, &plan, Some(&bound)).await.unwrap();
        assert_eq!(described.schema.field(0).data_type(), &data_type);
        assert_eq!(described.parameters.field(0).data_type(), &data_type);
        let batch = RecordBatch::try_new(Arc::new(bound), vec![given]).unwrap();
        assert_eq!(world.rows(&ann, &plan, vec![batch]).await.unwrap().len(), 1);
    }
    for (sql, expected) in [
        ("SELECT CAST($1 AS INTEGER)", DataType::Int32),
        ("SELECT TRY_CAST($1 AS DATE)", DataType::Date32),
        ("SELECT id FROM t LIMIT $1", DataType::Int64),
        ("SELECT id FROM t OFFSET $1", DataType::Int64),
        ("SELECT $1", DataType::Utf8),
    ] {
        let plan = world.engine.plan(&ann.0, sql).unwrap();
        let described = world.engine.describe(&ann.0, &ann.1, &plan, None).await.unwrap();
        assert_eq!(described.parameters.field(0).data_type(), &expected, "{sql}");
    }
    let text: ArrayRef = Arc::new(StringArray::from(vec!["not a number"]));
    let wrong = RecordBatch::try_from_iter([("1", text)]).unwrap();
    let plan = world.engine.plan(&ann.0, "SELECT v FROM t WHERE id = $1").unwrap();
    let error = world.rows(&ann, &plan, vec![wrong]).await.unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidArgument && error.message().contains("$1"), "{error}");
    assert!(!error.message().contains("not a number"), "a value is content: {error}");
    world.close().await;
}

/// What another system makes of a query over tables of these shapes.
async fn substrait(sql: &str) -> Vec<u8> {
    let context = SessionContext::new();
    let field = |name: &str, data_type, nullable| Field::new(name, data_type, nullable);
    let t = Schema::new(vec![field("id", DataType::Int64, false), field("v", DataType::Utf8, true)]);
    let other = Schema::new(vec![field("id", DataType::Int64, false)]);
    for (name, schema) in [("t", t), ("missing", other)] {
        let table = MemTable::try_new(Arc::new(schema), vec![vec![]]).unwrap();
        context.register_table(name, Arc::new(table)).unwrap();
    }
    serialize_bytes(sql, &context).await.unwrap()
}

#[tokio::test]
async fn substrait_plans_read_the_callers_rows_and_nothing_else() {
    let world = World::new().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    for (sql, of_ann, of_bob) in [
        ("SELECT v FROM t WHERE id = 1", vec!["a"], vec!["secret"]),
        ("SELECT count(*), max(upper(v)) FROM t", vec!["3|B"], vec!["1|SECRET"]),
        ("SELECT a.id FROM t a WHERE a.id IN (SELECT id + 1 FROM t) ORDER BY a.id", vec!["2", "3"], vec![]),
    ] {
        let message = substrait(sql).await;
        for (who, expected) in [(&ann, of_ann), (&bob, of_bob)] {
            let plan = world.engine.plan_substrait(&who.0, &message).await.unwrap();
            let described = world.engine.describe(&who.0, &who.1, &plan, None).await.unwrap();
            assert!(!described.is_update && !described.has_effect);
            for _ in 0..2 {
                assert_eq!(world.rows(who, &plan, vec![]).await.unwrap(), expected, "{sql}");
            }
        }
    }
    let missing = world.engine.plan_substrait(&ann.0, &substrait("SELECT id FROM missing").await).await.unwrap();
    assert_eq!(world.rows(&ann, &missing, vec![]).await.unwrap_err().kind(), ErrorKind::NotFound);
    let broken = world.engine.plan_substrait(&ann.0, b"nonsense").await.err().unwrap();
    assert_eq!(broken.kind(), ErrorKind::InvalidArgument);
    world.close().await;
}

/// A message of Substrait with one field of another message in it.
fn holding(field: u8, inner: &[u8]) -> Vec<u8> {
    let key = u16::from(field) << 3 | 2;
    let mut message = if key < 128 { vec![key as u8] } else { vec![(key & 127) as u8 | 128, (key >> 7) as u8] };
    message.push(u8::try_from(inner.len()).unwrap());
    message.extend(inner);
    message
}

#[tokio::test]
async fn substrait_plans_that_write_or_reach_outside_are_refused() {
    let world = World::new().await;
    let ann = world.user("ann").await;
    // Numbers of fields in Substrait's algebra.proto: of the relation in Rel, then of what a ReadRel reads.
    let (read, write, ddl, update, extension) = (1, 19, 20, 22, 11);
    let (local_files, extension_table) = (6, 8);
    for (rel, kind) in [
        (holding(write, &[]), ErrorKind::Unimplemented),
        (holding(ddl, &[]), ErrorKind::Unimplemented),
        (holding(update, &[]), ErrorKind::Unimplemented),
        (holding(extension, &[]), ErrorKind::Unimplemented),
        (holding(read, &holding(local_files, &[])), ErrorKind::PermissionDenied),
        (holding(read, &holding(extension_table, &[])), ErrorKind::PermissionDenied),
        (holding(read, &[]), ErrorKind::PermissionDenied),
    ] {
        // Plan { relations: [PlanRel { rel }] }
        let message = holding(3, &holding(1, &rel));
        let plan = world.engine.plan_substrait(&ann.0, &message).await.unwrap();
        assert_eq!(world.rows(&ann, &plan, vec![]).await.unwrap_err().kind(), kind, "{message:?}");
    }
    // Plan { relations: [PlanRel { root: RelRoot {} }] }
    let rootless = world.engine.plan_substrait(&ann.0, &holding(3, &holding(2, &[]))).await.err().unwrap();
    assert_eq!(rootless.kind(), ErrorKind::InvalidArgument);
    world.close().await;
}
