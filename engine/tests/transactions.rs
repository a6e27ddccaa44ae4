//! Transactions as statements meet them, in the engine: what they see, what they leave, how they end.

use std::{sync::Arc, time::Duration};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch},
    util::display::{ArrayFormatter, FormatOptions},
};
use futures::{StreamExt, TryStreamExt, stream};
use insula_engine::{
    Engine, EngineConfig, Error, ErrorKind, Identity, IngestMode, IngestTarget, Outcome, Session, StoreConfig,
    TransactionLimits,
};

struct World {
    engine: Arc<Engine>,
    _dir: tempfile::TempDir,
}

/// One client.
struct Client {
    engine: Arc<Engine>,
    user: Identity,
    session: Arc<Session>,
}

impl World {
    async fn new() -> Self {
        Self::with(TransactionLimits::default()).await
    }

    /// With the tables `t (k BIGINT PRIMARY KEY, v BIGINT)` and `log (v BIGINT)`.
    async fn with(transactions: TransactionLimits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = StoreConfig { chunk_rows: 4, ..StoreConfig::new(dir.path().to_path_buf()) };
        let config = EngineConfig {
            store,
            memory_limit: 256 << 20,
            transactions,
            limits: Default::default(),
            admin_password: Some("secret".into()),
        };
        let engine = Engine::open(config).await.unwrap();
        let world = Self { engine, _dir: dir };
        let admin = world.client("admin").await;
        admin.run("CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT NOT NULL)").await.unwrap();
        admin.run("CREATE TABLE log (v BIGINT)").await.unwrap();
        world
    }

    async fn client(&self, user: &str) -> Client {
        let user = self.engine.vouched(user).await.unwrap();
        let session = Arc::new(Session::new(&user));
        Client { engine: Arc::clone(&self.engine), user, session }
    }
}

impl Client {
    async fn outcome(&self, sql: &str, params: Vec<RecordBatch>) -> Result<Outcome, Error> {
        self.engine.execute(&self.user, &self.session, sql, params).await
    }

    async fn run(&self, sql: &str) -> Result<u64, Error> {
        self.run_with(sql, Vec::new()).await
    }

    async fn run_with(&self, sql: &str, params: Vec<RecordBatch>) -> Result<u64, Error> {
        match self.outcome(sql, params).await? {
            Outcome::Count(count) => Ok(count),
            Outcome::Rows { rows, .. } => rows.try_fold(0, async |n, batch| Ok(n + batch.num_rows() as u64)).await,
        }
    }

    async fn all(&self, statements: &[&str]) {
        for sql in statements {
            self.run(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
    }

    async fn rows(&self, sql: &str) -> Vec<String> {
        let Outcome::Rows { rows, .. } = self.outcome(sql, Vec::new()).await.unwrap() else { panic!("{sql}: no rows") };
        text(&rows.try_collect::<Vec<_>>().await.unwrap())
    }

    /// Keys and values of `t`.
    async fn t(&self) -> String {
        self.rows("SELECT k, v FROM t ORDER BY k").await.join(" ")
    }

    async fn refused(&self, sql: &str, kind: ErrorKind) -> String {
        let error = self.run(sql).await.err().unwrap_or_else(|| panic!("{sql} was not refused"));
        assert_eq!(error.kind(), kind, "{sql}: {error}");
        error.message().to_owned()
    }

    fn within(&self, session: Arc<Session>) -> Client {
        Client { engine: Arc::clone(&self.engine), user: self.user.clone(), session }
    }
}

fn text(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap());
        let columns: Vec<_> = columns.collect();
        rows.extend(
            (0..batch.num_rows())
                .map(|row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|")),
        );
    }
    rows
}

fn numbers(values: &[i64]) -> RecordBatch {
    let values: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
    RecordBatch::try_from_iter([("n", values)]).unwrap()
}

#[tokio::test]
async fn a_session_reads_its_own_writes_and_others_do_not_until_the_commit() {
    let world = World::new().await;
    let (one, other) = (world.client("ann").await, world.client("ann").await);
    one.all(&["INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)"]).await;
    world.client("admin").await.all(&["FLUSH TABLE t"]).await;
    one.all(&["BEGIN", "INSERT INTO t VALUES (4, 4)", "INSERT INTO log VALUES (7)"]).await;
    assert_eq!(one.run("UPDATE t SET v = v * 10 WHERE k < 3 OR k = 4").await.unwrap(), 3);
    assert_eq!(one.run("DELETE FROM t WHERE k IN (SELECT k FROM t WHERE v = 20)").await.unwrap(), 1);
    assert_eq!(one.run("REPLACE INTO t VALUES (3, 33)").await.unwrap(), 1);
    assert_eq!(one.t().await, "1|10 3|33 4|40");
    assert_eq!(one.rows("SELECT count(*), min(k), max(k), sum(v) FROM t").await, ["3|1|4|83"]);
    assert_eq!(one.rows("SELECT v FROM t WHERE k = 4").await, ["40"]);
    assert_eq!(one.rows("SELECT k FROM t WHERE _deleted").await, ["2"]);
    assert_eq!(other.t().await, "1|1 2|2 3|3");
    one.all(&["COMMIT"]).await;
    assert_eq!(other.t().await, "1|10 3|33 4|40");
    assert_eq!(other.rows("SELECT v FROM log").await, ["7"]);
    // Everything was one commit.
    assert_eq!(
        other.rows("SELECT count(DISTINCT _seq) FROM (SELECT _seq FROM t UNION ALL SELECT _seq FROM log)").await,
        ["1"]
    );
}

#[tokio::test]
async fn what_is_rolled_back_was_never_there() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    ann.all(&["INSERT INTO t VALUES (1, 1)", "START TRANSACTION", "DELETE FROM t", "INSERT INTO t VALUES (2, 2)"])
        .await;
    assert_eq!(ann.t().await, "2|2");
    ann.all(&["ROLLBACK"]).await;
    assert_eq!(ann.t().await, "1|1");
    assert_eq!(ann.rows("SELECT count(*) FROM t WHERE _deleted OR NOT _deleted").await, ["1"]);
}

#[tokio::test]
async fn pending_rows_are_the_newest_there_are() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    ann.all(&["INSERT INTO t VALUES (1, 1)", "BEGIN", "INSERT INTO t VALUES (2, 2)"]).await;
    assert_eq!(
        ann.rows("SELECT k, _seq = 9223372036854775807, _updated IS NOT NULL FROM t ORDER BY _seq").await,
        ["1|false|true", "2|true|true"]
    );
}

#[tokio::test]
async fn all_statements_share_the_snapshot_of_the_first() {
    let world = World::new().await;
    let (one, other) = (world.client("ann").await, world.client("ann").await);
    one.all(&["BEGIN"]).await;
    // Nothing was read yet, so this is not too late.
    other.all(&["INSERT INTO t VALUES (1, 1)"]).await;
    assert_eq!(one.t().await, "1|1");
    other.all(&["INSERT INTO t VALUES (2, 2)", "INSERT INTO log VALUES (2)", "UPDATE t SET v = 9 WHERE k = 1"]).await;
    world.client("admin").await.all(&["FLUSH ALL", "COMPACT TABLE t"]).await;
    assert_eq!(one.t().await, "1|1");
    assert_eq!(one.rows("SELECT count(*) FROM log").await, ["0"]);
    one.all(&["COMMIT"]).await;
    assert_eq!(one.t().await, "1|9 2|2");
}

#[tokio::test]
async fn the_second_of_two_commits_of_one_row_is_aborted() {
    let world = World::new().await;
    let (one, other) = (world.client("ann").await, world.client("ann").await);
    one.all(&["INSERT INTO t VALUES (1, 1), (2, 2)"]).await;
    one.all(&["BEGIN", "UPDATE t SET v = v + 1 WHERE k = 1", "INSERT INTO log VALUES (1)"]).await;
    other.all(&["BEGIN", "UPDATE t SET v = v + 10 WHERE k = 1", "COMMIT"]).await;
    let message = one.refused("COMMIT", ErrorKind::Aborted).await;
    assert!(message.contains("public.t") && message.contains("begin it again"), "{message}");
    assert_eq!(other.t().await, "1|11 2|2");
    assert_eq!(other.rows("SELECT count(*) FROM log").await, ["0"]);
    // Clients answer a failed COMMIT by ROLLBACK; both ways on are open.
    one.all(&["ROLLBACK", "BEGIN", "UPDATE t SET v = v + 1 WHERE k = 1", "COMMIT"]).await;
    assert_eq!(other.t().await, "1|12 2|2");
    // Rows of different keys, and the same rows of different users, do not meet.
    let bob = world.client("bob").await;
    bob.all(&["INSERT INTO t VALUES (1, 100)"]).await;
    for client in [&one, &other, &bob] {
        client.all(&["BEGIN"]).await;
    }
    one.all(&["UPDATE t SET v = 0 WHERE k = 1"]).await;
    other.all(&["UPDATE t SET v = 0 WHERE k = 2"]).await;
    bob.all(&["UPDATE t SET v = 0 WHERE k = 1"]).await;
    for client in [&one, &other, &bob] {
        client.all(&["COMMIT"]).await;
    }
}

#[tokio::test]
async fn a_statement_that_fails_leaves_the_transaction_as_it_was() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    ann.all(&["BEGIN", "INSERT INTO t VALUES (1, 1)"]).await;
    ann.refused("INSERT INTO t VALUES (2, 2), (1, 1)", ErrorKind::AlreadyExists).await;
    ann.refused("INSERT INTO t VALUES (3, NULL)", ErrorKind::InvalidArgument).await;
    ann.refused("UPDATE t SET v = 1 / (v - 1)", ErrorKind::InvalidArgument).await;
    ann.refused("SELECT nothing FROM t", ErrorKind::InvalidArgument).await;
    assert_eq!(ann.t().await, "1|1");
    // Of many executions, the first ones go with the one that fails.
    ann.all(&["INSERT INTO t VALUES (5, 5)"]).await;
    let error = ann.run_with("UPDATE t SET v = 10 / (? - 2)", vec![numbers(&[1, 2])]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(ann.t().await, "1|1 5|5");
    assert_eq!(ann.run_with("UPDATE t SET v = v + ?", vec![numbers(&[1, 2])]).await.unwrap(), 4);
    ann.all(&["COMMIT"]).await;
    assert_eq!(ann.t().await, "1|4 5|8");
}

#[tokio::test]
async fn savepoints_nest_and_may_share_a_name() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    ann.refused("SAVEPOINT a", ErrorKind::FailedPrecondition).await;
    ann.all(&["BEGIN", "INSERT INTO t VALUES (1, 1)", "SAVEPOINT a", "INSERT INTO t VALUES (2, 2)"]).await;
    ann.all(&["SAVEPOINT b", "INSERT INTO t VALUES (3, 3)", "SAVEPOINT a", "INSERT INTO t VALUES (4, 4)"]).await;
    ann.all(&["ROLLBACK TO SAVEPOINT a"]).await;
    assert_eq!(ann.t().await, "1|1 2|2 3|3");
    ann.all(&["RELEASE SAVEPOINT a", "ROLLBACK TO A"]).await;
    assert_eq!(ann.t().await, "1|1");
    ann.refused("ROLLBACK TO b", ErrorKind::NotFound).await;
    ann.all(&["INSERT INTO t VALUES (5, 5)", "ROLLBACK TO a", "RELEASE a"]).await;
    ann.refused("ROLLBACK TO a", ErrorKind::NotFound).await;
    ann.all(&["COMMIT"]).await;
    assert_eq!(ann.t().await, "1|1");
}

#[tokio::test]
async fn sql_that_ends_what_is_not_open_is_told_so() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    for sql in ["COMMIT", "ROLLBACK", "ROLLBACK TO a", "RELEASE a"] {
        ann.refused(sql, ErrorKind::FailedPrecondition).await;
    }
    ann.all(&["BEGIN TRANSACTION"]).await;
    ann.refused("BEGIN", ErrorKind::FailedPrecondition).await;
    ann.refused("COMMIT AND CHAIN", ErrorKind::Unimplemented).await;
    ann.all(&["COMMIT", "BEGIN ISOLATION LEVEL REPEATABLE READ", "END"]).await;
    ann.refused("START TRANSACTION ISOLATION LEVEL SERIALIZABLE", ErrorKind::Unimplemented).await;
}

#[tokio::test]
async fn a_read_only_transaction_writes_nothing() {
    let world = World::new().await;
    let admin = world.client("admin").await;
    admin.all(&["BEGIN READ ONLY", "SELECT * FROM t"]).await;
    for sql in ["INSERT INTO t VALUES (1, 1)", "DELETE FROM t", "CREATE TABLE u (x INT)"] {
        admin.refused(sql, ErrorKind::FailedPrecondition).await;
    }
    admin.all(&["COMMIT", "CREATE TABLE u (x INT)"]).await;
}

#[tokio::test]
async fn definitions_stand_beside_a_transaction_until_it_has_changed_rows() {
    let world = World::new().await;
    let admin = world.client("admin").await;
    admin.all(&["BEGIN", "SELECT * FROM t", "CREATE TABLE u (x INT)", "INSERT INTO u VALUES (1)"]).await;
    for sql in ["CREATE TABLE w (x INT)", "DROP TABLE u", "FLUSH TABLE t", "CREATE USER x PASSWORD 'x'"] {
        let message = admin.refused(sql, ErrorKind::FailedPrecondition).await;
        assert!(message.contains("COMMIT or ROLLBACK"), "{message}");
    }
    // What is only the session's, or only shows, is nobody's concern.
    admin.all(&["SET timezone = 'Europe/Berlin'", "SHOW TABLES", "ROLLBACK"]).await;
    assert_eq!(admin.rows("SELECT count(*) FROM u").await, ["0"]);
}

#[tokio::test]
async fn a_table_altered_meanwhile_is_read_as_it_was_and_a_dropped_one_aborts() {
    let world = World::new().await;
    let (admin, other) = (world.client("admin").await, world.client("admin").await);
    admin.all(&["INSERT INTO t VALUES (1, 1)", "BEGIN", "UPDATE t SET v = 2"]).await;
    other.all(&["ALTER TABLE t ADD COLUMN more TEXT DEFAULT 'x'"]).await;
    assert_eq!(admin.rows("SELECT * FROM t").await, ["1|2"]);
    admin.all(&["COMMIT"]).await;
    assert_eq!(admin.rows("SELECT * FROM t").await, ["1|2|x"]);
    admin.all(&["BEGIN", "UPDATE t SET v = 3"]).await;
    other.all(&["DROP TABLE t"]).await;
    assert_eq!(admin.rows("SELECT v FROM t").await, ["3"]);
    admin.refused("COMMIT", ErrorKind::Aborted).await;
}

#[tokio::test]
async fn rows_that_are_still_read_are_of_their_own_moment() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    ann.all(&["INSERT INTO t SELECT value AS k, value AS v FROM generate_series(1, 20000)", "BEGIN"]).await;
    let Outcome::Rows { mut rows, .. } = ann.outcome("SELECT k FROM t", Vec::new()).await.unwrap() else { panic!() };
    let first = rows.next().await.unwrap().unwrap().num_rows();
    ann.all(&["DELETE FROM t", "COMMIT"]).await;
    let rest = rows.try_fold(0, async |n, batch| Ok(n + batch.num_rows())).await.unwrap();
    assert_eq!(first + rest, 20_000);
    assert_eq!(ann.t().await, "");
}

#[tokio::test]
async fn an_ingest_is_part_of_the_transaction() {
    let world = World::new().await;
    let admin = world.client("admin").await;
    let ingest = async |client: &Client, table: &str, mode: IngestMode| {
        let rows = numbers(&[1, 2, 3]);
        let renamed = RecordBatch::try_from_iter([("v", Arc::clone(rows.column(0)))]).unwrap();
        let target = IngestTarget { namespace: None, table: table.into(), mode, user_column: None };
        let (schema, rows) = (renamed.schema(), stream::iter([Ok(renamed)]).boxed());
        client.engine.ingest(&client.user, &client.session, target, schema, rows).await
    };
    admin.all(&["BEGIN"]).await;
    assert_eq!(ingest(&admin, "log", IngestMode::Append).await.unwrap(), 3);
    assert_eq!(ingest(&admin, "log", IngestMode::CreateAppend).await.unwrap(), 3);
    assert_eq!(admin.rows("SELECT count(*) FROM log").await, ["6"]);
    // A new table is a definition.
    let error = ingest(&admin, "fresh", IngestMode::Create).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    admin.all(&["ROLLBACK"]).await;
    assert_eq!(admin.rows("SELECT count(*) FROM log").await, ["0"]);
    admin.all(&["BEGIN"]).await;
    assert_eq!(ingest(&admin, "fresh", IngestMode::Create).await.unwrap(), 3);
    assert_eq!(admin.rows("SELECT count(*) FROM fresh").await, ["3"]);
    ingest(&admin, "log", IngestMode::Append).await.unwrap();
    admin.all(&["COMMIT"]).await;
    assert_eq!(admin.rows("SELECT count(*) FROM log").await, ["3"]);
}

#[tokio::test]
async fn what_a_transaction_holds_is_bounded() {
    let limits = TransactionLimits { bytes: 1 << 20, ..TransactionLimits::default() };
    let world = World::with(limits).await;
    let ann = world.client("ann").await;
    ann.all(&["BEGIN", "INSERT INTO t SELECT value AS k, value AS v FROM generate_series(1, 1000)"]).await;
    let many = "INSERT INTO t SELECT value AS k, value AS v FROM generate_series(10000, 200000)";
    let message = ann.refused(many, ErrorKind::ResourceExhausted).await;
    assert!(message.contains("commit in smaller parts"), "{message}");
    assert_eq!(ann.rows("SELECT count(*) FROM t").await, ["1000"]);
    // What is undone counts no more.
    for _ in 0..8 {
        ann.all(&["SAVEPOINT a", "INSERT INTO t SELECT value AS k, value AS v FROM generate_series(2000, 5000)"]).await;
        ann.all(&["ROLLBACK TO a", "RELEASE a"]).await;
    }
    ann.all(&["COMMIT"]).await;
    assert_eq!(ann.rows("SELECT count(*) FROM t").await, ["1000"]);
}

#[tokio::test]
async fn an_idle_transaction_ends_and_nothing_after_it_commits_by_itself() {
    for limits in [
        TransactionLimits { idle: Duration::ZERO, ..TransactionLimits::default() },
        TransactionLimits { age: Duration::ZERO, ..TransactionLimits::default() },
    ] {
        let world = World::with(limits).await;
        let ann = world.client("ann").await;
        ann.all(&["BEGIN", "INSERT INTO t VALUES (1, 1)"]).await;
        let message = ann.refused("INSERT INTO t VALUES (2, 2)", ErrorKind::Aborted).await;
        assert!(message.contains("ROLLBACK"), "{message}");
        ann.refused("SELECT 1", ErrorKind::Aborted).await;
        ann.refused("COMMIT", ErrorKind::Aborted).await;
        ann.all(&["ROLLBACK"]).await;
        assert_eq!(ann.t().await, "");
    }
}

#[tokio::test]
async fn one_that_has_not_begun_is_not_idle() {
    let world = World::with(TransactionLimits { idle: Duration::ZERO, ..TransactionLimits::default() }).await;
    let ann = world.client("ann").await;
    ann.all(&["BEGIN"]).await;
    world.engine.sweep();
    ann.all(&["INSERT INTO t VALUES (1, 1)"]).await;
    world.engine.sweep();
    ann.refused("COMMIT", ErrorKind::Aborted).await;
}

#[tokio::test]
async fn a_session_that_closes_takes_its_transactions_along() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let called = world.engine.begin_transaction(&ann.user, &ann.session).unwrap();
    let within = ann.within(ann.session.within(&called).unwrap());
    within.all(&["INSERT INTO t VALUES (1, 1)"]).await;
    ann.all(&["BEGIN", "INSERT INTO t VALUES (2, 2)"]).await;
    ann.session.close();
    within.refused("SELECT 1", ErrorKind::Aborted).await;
    assert_eq!(world.engine.commit(&called).await.unwrap_err().kind(), ErrorKind::Aborted);
    assert_eq!(world.client("ann").await.t().await, "");
}

#[tokio::test]
async fn transactions_begun_by_calls_are_many_and_their_owners_alone() {
    let world = World::new().await;
    let (ann, bob) = (world.client("ann").await, world.client("bob").await);
    let begin = || world.engine.begin_transaction(&ann.user, &ann.session).unwrap();
    let (first, second) = (begin(), begin());
    let in_first = ann.within(ann.session.within(&first).unwrap());
    let in_second = ann.within(ann.session.within(&second).unwrap());
    in_first.all(&["INSERT INTO t VALUES (1, 1)"]).await;
    in_second
        .all(&["INSERT INTO t VALUES (2, 2)", "SAVEPOINT a", "INSERT INTO t VALUES (3, 3)", "ROLLBACK TO a"])
        .await;
    assert_eq!((in_first.t().await, in_second.t().await), ("1|1".into(), "2|2".into()));
    // SQL of the session itself is outside of both.
    assert_eq!(ann.t().await, "");
    in_first.refused("COMMIT", ErrorKind::FailedPrecondition).await;
    assert_eq!(world.engine.transaction(&bob.user, first.id()).err().unwrap().kind(), ErrorKind::NotFound);
    assert_eq!(bob.session.within(&first).err().unwrap().kind(), ErrorKind::PermissionDenied);
    world.engine.commit(&first).await.unwrap();
    world.engine.roll_back(&second).await;
    assert_eq!(ann.t().await, "1|1");
    for ended in [&in_first, &in_second] {
        ended.refused("SELECT 1", ErrorKind::NotFound).await;
    }
    assert_eq!(world.engine.transaction(&ann.user, first.id()).err().unwrap().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_transaction_whose_commit_failed_can_be_rolled_back() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let transaction = world.engine.begin_transaction(&ann.user, &ann.session).unwrap();
    let within = ann.within(ann.session.within(&transaction).unwrap());
    within.all(&["INSERT INTO t VALUES (1, 1)"]).await;
    ann.all(&["INSERT INTO t VALUES (1, 2)"]).await;
    assert_eq!(world.engine.commit(&transaction).await.unwrap_err().kind(), ErrorKind::Aborted);
    within.refused("SELECT 1", ErrorKind::Aborted).await;
    let again = world.engine.transaction(&ann.user, transaction.id()).unwrap();
    assert_eq!(world.engine.commit(&again).await.unwrap_err().kind(), ErrorKind::Aborted);
    world.engine.roll_back(&again).await;
    assert_eq!(ann.t().await, "1|2");
}

#[tokio::test]
async fn too_many_transactions_push_out_those_that_did_nothing() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let begin = || world.engine.begin_transaction(&ann.user, &ann.session);
    let unused = begin().unwrap();
    for _ in 1..256 {
        let transaction = begin().unwrap();
        ann.within(ann.session.within(&transaction).unwrap()).all(&["SELECT k FROM t"]).await;
    }
    begin().unwrap();
    assert_eq!(world.engine.transaction(&ann.user, unused.id()).err().unwrap().kind(), ErrorKind::NotFound);
    let last = begin();
    // The one before has done nothing either.
    last.unwrap();
    let bob = world.client("bob").await;
    world.engine.begin_transaction(&bob.user, &bob.session).unwrap();
}

#[tokio::test]
async fn an_erasure_does_not_wait_for_transactions_of_others() {
    let world = World::new().await;
    let (admin, ann, bob) = (world.client("admin").await, world.client("ann").await, world.client("bob").await);
    bob.all(&["INSERT INTO t VALUES (1, 1)"]).await;
    ann.all(&["BEGIN", "INSERT INTO t VALUES (1, 1)"]).await;
    admin.all(&["DROP USER bob ERASE"]).await;
    let message = ann.refused("COMMIT", ErrorKind::Aborted).await;
    assert!(message.contains("erased") && !message.contains("bob"), "{message}");
}

#[tokio::test]
async fn concurrent_statements_of_one_transaction_run_one_after_another() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    ann.all(&["BEGIN", "INSERT INTO t VALUES (1, 0)"]).await;
    let adds = (0..8).map(|_| ann.run("UPDATE t SET v = v + 1"));
    for result in futures::future::join_all(adds).await {
        assert_eq!(result.unwrap(), 1);
    }
    ann.all(&["COMMIT"]).await;
    assert_eq!(ann.t().await, "1|8");
}

#[tokio::test]
async fn a_statement_that_is_given_up_leaves_the_transaction_as_it_was() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    ann.all(&["BEGIN", "INSERT INTO t VALUES (1, 1)"]).await;
    let target = IngestTarget { namespace: None, table: "log".into(), mode: IngestMode::Append, user_column: None };
    let rows = RecordBatch::try_from_iter([("v", Arc::clone(numbers(&[1]).column(0)))]).unwrap();
    let endless = stream::iter([Ok(rows.clone())]).chain(stream::pending()).boxed();
    let mut ingest = Box::pin(world.engine.ingest(&ann.user, &ann.session, target, rows.schema(), endless));
    // It waits for its client by then.
    assert!(futures::poll!(&mut ingest).is_pending());
    drop(ingest);
    assert_eq!(ann.rows("SELECT count(*) FROM log").await, ["0"]);
    ann.all(&["COMMIT"]).await;
    assert_eq!(ann.t().await, "1|1");
}
