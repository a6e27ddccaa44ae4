mod model;

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use futures::{StreamExt, stream};
use insula_storage::StoreConfig;

use crate::{Error, ErrorKind, IngestMode, IngestTarget, Session, world::World};

fn columns(columns: &[(&str, &[i64])]) -> RecordBatch {
    let column = |(name, values): &(&str, &[i64])| -> (String, ArrayRef) {
        ((*name).to_owned(), Arc::new(Int64Array::from(values.to_vec())))
    };
    RecordBatch::try_from_iter(columns.iter().map(column)).unwrap()
}

async fn count(world: &World, sql: &str) -> u64 {
    world.count(sql, Vec::new()).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

fn is(error: &Error, kind: ErrorKind, word: &str, what: &str) {
    assert_eq!(error.kind(), kind, "{what}: {error}");
    assert!(error.message().contains(word), "{what}: {error}");
}

async fn refused(world: &World, sql: &str, kind: ErrorKind, word: &str) {
    match world.try_run(sql, Vec::new()).await {
        Ok(_) => panic!("{sql} was not refused"),
        Err(error) => is(&error, kind, word, sql),
    }
}

/// Refused by `t_v_check`, without a word of the value, and with nothing written.
async fn violates(world: &World, sql: &str, params: Vec<RecordBatch>) {
    let before = t(world).await;
    let error = world.try_run(sql, params).await.err().unwrap_or_else(|| panic!("{sql} was not refused"));
    is(&error, ErrorKind::InvalidArgument, "check constraint \"t_v_check\" of table \"public.t\"", sql);
    assert!(!error.message().contains('7'), "{sql}: {error}");
    assert_eq!(t(world).await, before, "{sql}");
}

async fn t(world: &World) -> String {
    world.rows("SELECT k, v FROM t ORDER BY k").await.join(" ")
}

/// With the keys 1, cold, and 2, hot; `v` is above 0 or null.
async fn world(kind: &str) -> World {
    let world = World::new().await;
    world.run(&format!("CREATE {kind} TABLE t (k BIGINT PRIMARY KEY, v BIGINT CHECK (v > 0))")).await;
    world.run("INSERT INTO t VALUES (1, 10)").await;
    if kind != "STREAM" {
        world.run("FLUSH TABLE t").await;
    }
    world.run("INSERT INTO t VALUES (2, NULL)").await;
    world
}

#[tokio::test]
async fn no_statement_makes_a_row_that_fails_a_check() {
    for kind in ["USER", "SHARED", "STREAM"] {
        let world = world(kind).await;
        for sql in [
            "INSERT INTO t VALUES (3, 3), (4, -7)",
            "INSERT INTO t SELECT k + 10, v - 77 FROM t",
            "REPLACE INTO t VALUES (1, -7)",
            "INSERT OR REPLACE INTO t VALUES (1, -7)",
            "INSERT INTO t VALUES (5, -7) ON CONFLICT DO NOTHING",
            "INSERT INTO t VALUES (1, 1) ON CONFLICT (k) DO UPDATE SET v = t.v - 17 * excluded.v",
            // The key lives, so this row would not be made; as in PostgreSQL it has to be one that could.
            "INSERT INTO t VALUES (1, -7) ON CONFLICT DO NOTHING",
            "INSERT INTO t VALUES (1, -7) ON CONFLICT (k) DO UPDATE SET v = 1",
            "INSERT INTO t VALUES (5, -7) RETURNING k",
            "UPDATE t SET v = v - 77",
            "UPDATE t SET v = -7 WHERE k = 2",
            "UPDATE t SET k = k + 10, v = s.d FROM (VALUES (-7)) AS s (d)",
            "MERGE INTO t USING (VALUES (1, -7)) AS s (k, d) ON t.k = s.k WHEN MATCHED THEN UPDATE SET v = d",
            "MERGE INTO t USING (VALUES (9, -7)) AS s (k, d) ON t.k = s.k WHEN NOT MATCHED THEN INSERT VALUES (s.k, d)",
            "MERGE INTO t USING (VALUES (9)) AS s (k) ON t.k = s.k WHEN NOT MATCHED BY SOURCE THEN UPDATE SET v = -7",
        ] {
            violates(&world, sql, Vec::new()).await;
        }
        assert_eq!(count(&world, "INSERT INTO t VALUES (3, 1), (4, NULL)").await, 2);
        assert_eq!(count(&world, "UPDATE t SET v = coalesce(v, 0) + 1").await, 4);
        assert_eq!(t(&world).await, "1|11 2|1 3|2 4|1");
        assert_eq!(count(&world, "DELETE FROM t WHERE v > 0").await, 4, "what is deleted is not checked");
    }
}

#[tokio::test]
async fn rows_of_parameters_are_checked_together_and_one_after_the_other() {
    let world = world("USER").await;
    let params = |keys: &[i64], values: &[i64]| vec![columns(&[("$1", keys), ("$2", values)])];
    violates(&world, "INSERT INTO t VALUES ($1, $2)", params(&[3, 4], &[1, -7])).await;
    // One query, and a transaction of several.
    for keys in [[1, 2], [1, 1]] {
        violates(&world, "UPDATE t SET v = $2 WHERE k = $1", params(&keys, &[1, -7])).await;
        violates(&world, "INSERT INTO t VALUES ($1, $2) ON CONFLICT (k) DO UPDATE SET v = 5", params(&keys, &[1, -7]))
            .await;
    }
    assert_eq!(world.count("UPDATE t SET v = $2 WHERE k = $1", params(&[1, 1], &[7, 8])).await.unwrap(), 2);
    assert_eq!(t(&world).await, "1|8 2|null");
}

#[tokio::test]
async fn a_transaction_goes_on_without_the_statement_that_failed() {
    let mut world = world("USER").await;
    world.session = Arc::new(Session::new(&world.user));
    world.run("BEGIN").await;
    world.run("INSERT INTO t VALUES (3, 30)").await;
    violates(&world, "UPDATE t SET v = v - 77", Vec::new()).await;
    violates(&world, "INSERT INTO t VALUES (4, 4), (5, -7)", Vec::new()).await;
    world.run("COMMIT").await;
    assert_eq!(t(&world).await, "1|10 2|null 3|30");
}

async fn ingest(world: &World, table: &str, mode: IngestMode, rows: Vec<RecordBatch>) -> Result<u64, Error> {
    let target = IngestTarget { namespace: None, table: table.into(), mode, user_column: None };
    let (schema, rows) = (rows[0].schema(), stream::iter(rows.into_iter().map(Ok)).boxed());
    world.engine.ingest(&world.user, &world.session, target, schema, rows).await
}

#[tokio::test]
async fn an_ingest_is_checked_in_every_mode() {
    let world = world("USER").await;
    let rows = |from: i64, value: i64| columns(&[("k", &[from, from + 1]), ("v", &[1, value])]);
    for mode in [IngestMode::Append, IngestMode::CreateAppend] {
        for within in [false, true] {
            if within {
                world.run("BEGIN").await;
            }
            let error = ingest(&world, "t", mode, vec![rows(10, 1), rows(20, -7)]).await.unwrap_err();
            is(&error, ErrorKind::InvalidArgument, "\"t_v_check\"", "ingest");
            assert_eq!(t(&world).await, "1|10 2|null");
            if within {
                world.run("ROLLBACK").await;
            }
        }
    }
    // A default is checked like any value.
    world.run("CREATE TABLE d (k BIGINT, v BIGINT DEFAULT -7 CHECK (v > 0))").await;
    let error = ingest(&world, "d", IngestMode::Append, vec![columns(&[("k", &[1])])]).await.unwrap_err();
    is(&error, ErrorKind::InvalidArgument, "\"d_v_check\"", "ingest of a default");
    assert_eq!(ingest(&world, "t", IngestMode::Append, vec![rows(10, 1)]).await.unwrap(), 2);
    // In the place of the table comes another one, which has no checks.
    assert_eq!(ingest(&world, "t", IngestMode::Replace, vec![rows(10, -1)]).await.unwrap(), 2);
}

#[tokio::test]
async fn a_load_into_files_is_checked_to_its_last_row() {
    let world = World::with(|store| StoreConfig { load_bytes: 1 << 10, ..store }).await;
    world.run("CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT CHECK (v > 0))").await;
    let keys: Vec<i64> = (0..1000).collect();
    let rows = |last: i64| {
        let values: Vec<i64> = keys.iter().map(|k| if *k == 999 { last } else { 1 }).collect();
        vec![columns(&[("k", &keys), ("v", &values)])]
    };
    let error = ingest(&world, "t", IngestMode::Append, rows(-1)).await.unwrap_err();
    is(&error, ErrorKind::InvalidArgument, "\"t_v_check\"", "load");
    violates(&world, "INSERT INTO t SELECT value, 500 - value FROM generate_series(1, 700)", Vec::new()).await;
    violates(&world, "REPLACE INTO t SELECT value, 500 - value FROM generate_series(1, 700)", Vec::new()).await;
    assert_eq!(world.engine.store().orphans().await.unwrap(), Vec::<String>::new());
    assert_eq!(ingest(&world, "t", IngestMode::Append, rows(1)).await.unwrap(), 1000);
}

#[tokio::test]
async fn a_table_that_is_made_by_a_query_is_checked() {
    let world = World::new().await;
    let sql = |n: i64| format!("CREATE TABLE t (CHECK (k < 5), PRIMARY KEY (k)) AS SELECT {n} AS k, 1 AS v");
    refused(&world, &sql(5), ErrorKind::InvalidArgument, "\"t_k_check\"").await;
    world.run(&sql(4)).await;
    refused(&world, "INSERT INTO t VALUES (7, 1)", ErrorKind::InvalidArgument, "\"t_k_check\"").await;
}

#[tokio::test]
async fn names_are_those_of_postgresql() {
    let world = World::new().await;
    world
        .run(
            "CREATE TABLE t (a INT CHECK (a > 0) CHECK (a < 9), b INT CONSTRAINT small CHECK (b < 100), c INT CHECK (c > a),
             CHECK (a + b > 1), CHECK (b > 1), CHECK (true), CONSTRAINT t_a_check CHECK (a > 1))",
        )
        .await;
    assert_eq!(
        world.rows("SELECT constraint_name, check_clause FROM information_schema.check_constraints").await,
        [
            "t_a_check1|a > 0",
            "t_a_check2|a < 9",
            "small|b < 100",
            "t_check|c > a",
            "t_check1|a + b > 1",
            "t_b_check|b > 1",
            "t_check2|true",
            "t_a_check|a > 1"
        ]
    );
    let rows = world.rows("SELECT DISTINCT constraint_type FROM information_schema.table_constraints").await;
    assert_eq!(rows, ["CHECK"]);
    // What it says makes the same table again.
    let [text] = world.rows("SHOW CREATE TABLE t").await.try_into().unwrap();
    assert!(text.contains("CONSTRAINT \"t_check\" CHECK (c > a)"), "{text}");
    world.run("DROP TABLE t").await;
    world.run(text.split_once("CREATE").map(|(_, rest)| format!("CREATE{rest}")).unwrap().as_str()).await;
    assert_eq!(world.rows("SHOW CREATE TABLE t").await, [text]);
    refused(&world, "INSERT INTO t VALUES (2, 200, 3)", ErrorKind::InvalidArgument, "\"small\"").await;
    let twice = "CREATE TABLE u (a INT, CONSTRAINT x CHECK (a > 0), CONSTRAINT x CHECK (a < 9))";
    refused(&world, twice, ErrorKind::AlreadyExists, "\"x\"").await;
}

#[tokio::test]
async fn what_is_not_of_one_row_is_refused() {
    let world = World::new().await;
    for (condition, word) in [
        ("a > (SELECT 1)", "subquery"),
        ("EXISTS (SELECT 1)", "subquery"),
        ("a IN (SELECT a FROM nowhere)", "subquery"),
        ("a = ANY (SELECT 1)", "subquery"),
        ("sum(a) > 1", "an aggregate"),
        ("row_number() OVER () > 1", "a window"),
        ("a > $1", "a parameter"),
        ("a > ?", "a parameter"),
        ("d < now()", "now()"),
        ("d < current_date", "current_date()"),
        ("random() < 1", "random()"),
        ("s = current_user", "current_user()"),
        ("s = current_schema()", "current_schema()"),
        ("a < snowflake_id()", "snowflake_id()"),
        ("a < 10 AND CASE WHEN a > 5 THEN uuid() <> s ELSE true END", "uuid()"),
        ("unnest(make_array(a)) > 1", "makes rows"),
        ("_seq > 1", "system column"),
        ("_DELETED", "system column"),
        ("_row_id > 1", "_row_id"),
        ("t.a > 1", "without their table"),
        ("other.a > 1", "without their table"),
        ("b > 1", "\"b\""),
        ("a + 1", "Int64"),
        ("a", "Int32"),
        ("s", "Utf8"),
        ("a > 'x'", "Int32"),
        ("nosuch(a) > 1", "nosuch"),
    ] {
        let sql = format!("CREATE TABLE t (a INT, s TEXT, d TIMESTAMP, CHECK ({condition}))");
        refused(&world, &sql, ErrorKind::InvalidArgument, word).await;
        let sql = sql.replace(", CHECK", ", PRIMARY KEY (a), CHECK");
        refused(&world, &sql, ErrorKind::InvalidArgument, word).await;
    }
    let long = format!("CREATE TABLE t (s TEXT, CHECK (s <> '{}'))", "x".repeat(20_000));
    refused(&world, &long, ErrorKind::ResourceExhausted, "bytes").await;
    refused(&world, "CREATE TABLE t (a INT CHECK (a > 0) NOT ENFORCED)", ErrorKind::Unimplemented, "ENFORCED").await;
    refused(&world, "CREATE TABLE t (a INT UNIQUE)", ErrorKind::Unimplemented, "UNIQUE").await;
}

#[tokio::test]
async fn expressions_mean_what_they_mean_in_statements() {
    let world = World::new().await;
    world
        .run(
            "CREATE TABLE t (k INT, s TEXT, d DECIMAL(6, 2), at TIMESTAMP, l INT[],
             CHECK (coalesce(s, 'none') <> 'bad'), CHECK (nullif(s, 'x') IS NOT NULL OR s IS NULL),
             CHECK (s LIKE 'a%' OR length(s) < 4 AND s ~ '^[a-z]+$'), CHECK (d BETWEEN 0.5 AND 99.99),
             CHECK (at >= '2020-01-01' AND date_part('year', at) < 2100), CHECK (k IN (1, 2, 3, 4000) AND k + 1 > 0),
             CONSTRAINT short CHECK (array_length(l) < 3))",
        )
        .await;
    let row = |values: &str| format!("INSERT INTO t VALUES ({values})");
    count(&world, &row("1, 'abc', 1.5, '2024-01-01', [1, 2]")).await;
    count(&world, &row("NULL, NULL, NULL, NULL, NULL")).await;
    for (values, check) in [
        ("1, 'bad', 1, '2024-01-01', NULL", "t_s_check"),
        ("1, 'x', 1, '2024-01-01', NULL", "t_s_check1"),
        ("1, 'X1', 1, '2024-01-01', NULL", "t_s_check2"),
        ("1, 'a', 0.49, '2024-01-01', NULL", "t_d_check"),
        ("1, 'a', 1, '2019-12-31 23:59:59.999999', NULL", "t_at_check"),
        ("4, 'a', 1, '2024-01-01', NULL", "t_k_check"),
        ("1, 'a', 1, '2024-01-01', [1, 2, 3]", "short"),
    ] {
        refused(&world, &row(values), ErrorKind::InvalidArgument, &format!("\"{check}\"")).await;
    }
    // What cannot be computed is no pass, and says which check that was.
    world.run("CREATE TABLE u (a INT, b INT CHECK (a / b > 0), c BIGINT CHECK (c * 2 > 0))").await;
    refused(&world, "INSERT INTO u VALUES (1, 0, 1)", ErrorKind::InvalidArgument, "\"u_check\"").await;
    refused(&world, "INSERT INTO u VALUES (1, 0, 1)", ErrorKind::InvalidArgument, "division by zero").await;
    refused(&world, "INSERT INTO u VALUES (1, 1, 9223372036854775807)", ErrorKind::InvalidArgument, "\"u_c_check\"")
        .await;
    count(&world, "INSERT INTO u VALUES (1, NULL, NULL)").await;
}

#[tokio::test]
async fn a_check_is_the_same_in_every_session() {
    let world = World::new().await;
    let check = "CREATE TABLE t (at TIMESTAMPTZ CHECK (at < TIMESTAMPTZ '2024-01-01 00:00:00'))";
    // Whoever writes first is whose statement plans it.
    for first in ["America/New_York", "Asia/Tokyo", "UTC"] {
        world.run(&format!("SET timezone = '{first}'")).await;
        world.run(check).await;
        for zone in [first, "Asia/Tokyo", "UTC", "America/New_York"] {
            world.run(&format!("SET timezone = '{zone}'")).await;
            let late = "INSERT INTO t VALUES ('2024-01-01 00:00:00Z')";
            refused(&world, late, ErrorKind::InvalidArgument, "\"t_at_check\"").await;
            count(&world, "INSERT INTO t VALUES ('2023-12-31 23:59:59Z')").await;
        }
        world.run("DROP TABLE t").await;
    }
}

#[tokio::test]
async fn columns_that_a_check_names_are_renamed_in_it_and_stay() {
    let world = World::new().await;
    world.run("CREATE TABLE t (k INT PRIMARY KEY, a SMALLINT, \"B b\" INT, s STRUCT<a INT>)").await;
    world.run("ALTER TABLE t ADD CHECK (a > 0), ADD CONSTRAINT both CHECK (\"B b\" > a AND s['a'] <> 7)").await;
    for (action, word) in [
        ("DROP COLUMN a", "\"t_a_check\""),
        ("DROP COLUMN s", "DROP CONSTRAINT \"both\""),
        ("ALTER COLUMN a TYPE BIGINT", "change its type"),
    ] {
        refused(&world, &format!("ALTER TABLE t {action}"), ErrorKind::FailedPrecondition, word).await;
    }
    world
        .run("ALTER TABLE t RENAME COLUMN a TO \"Odd \"\"name\", RENAME COLUMN \"B b\" TO a, RENAME COLUMN s TO select")
        .await;
    assert_eq!(
        world.rows("SELECT check_clause FROM information_schema.check_constraints").await,
        ["\"Odd \"\"name\" > 0", "\"a\" > \"Odd \"\"name\" AND \"select\"['a'] <> 7"]
    );
    refused(&world, "INSERT INTO t (k, \"Odd \"\"name\") VALUES (1, 0)", ErrorKind::InvalidArgument, "t_a_check").await;
    refused(&world, "INSERT INTO t (k, \"Odd \"\"name\", a) VALUES (1, 5, 5)", ErrorKind::InvalidArgument, "both")
        .await;
    count(&world, "INSERT INTO t (k, \"Odd \"\"name\", a) VALUES (1, 5, 6)").await;
    // Once it is free, it goes.
    world.run("ALTER TABLE t DROP CONSTRAINT both, DROP COLUMN select, ALTER COLUMN a TYPE BIGINT").await;
    world.run("ALTER TABLE t DROP CONSTRAINT t_a_check, DROP CONSTRAINT IF EXISTS t_a_check").await;
    count(&world, "UPDATE t SET \"Odd \"\"name\" = -1").await;
    refused(&world, "ALTER TABLE t DROP CONSTRAINT both", ErrorKind::NotFound, "no CHECK constraints").await;
    refused(&world, "ALTER TABLE t DROP CONSTRAINT t_pkey", ErrorKind::FailedPrecondition, "primary key").await;
    let history = world.rows("SELECT change FROM system.table_history WHERE table = 't' ORDER BY version").await;
    assert!(history[1].contains("ADD CONSTRAINT \"t_a_check\" CHECK (a > 0)"), "{history:?}");
    assert!(history[3].starts_with("DROP CONSTRAINT \"both\", DROP COLUMN"), "{history:?}");
}

#[tokio::test]
async fn a_check_is_added_where_no_row_can_fail_it() {
    let world = World::new().await;
    world.run("CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT)").await;
    world.run("ALTER TABLE t ADD CONSTRAINT early CHECK (v <> 1)").await;
    world.run("INSERT INTO t VALUES (1, -10)").await;
    let add = "ALTER TABLE t ADD CHECK (v > 0)";
    refused(&world, add, ErrorKind::FailedPrecondition, "NOT VALID").await;
    refused(&world, &add.replace("> 0", "<> 0"), ErrorKind::FailedPrecondition, "NOT VALID").await;
    world.run("DELETE FROM t").await;
    refused(&world, add, ErrorKind::FailedPrecondition, "deleted ones count").await;
    world.run("INSERT INTO t VALUES (1, -10)").await;
    world.run(&format!("{add} NOT VALID")).await;
    violates(&world, "UPDATE t SET v = v - 1", Vec::new()).await;
    violates(&world, "INSERT INTO t VALUES (2, -7)", Vec::new()).await;
    assert_eq!(count(&world, "UPDATE t SET v = 5").await, 1);
    // Of a new column it is known what the rows have in it.
    world
        .run("ALTER TABLE t ADD COLUMN a INT CHECK (a > 0), ADD COLUMN b INT DEFAULT 3 CHECK (b > 0) CHECK (b < 9)")
        .await;
    refused(&world, "INSERT INTO t VALUES (2, 2, 2, 9)", ErrorKind::InvalidArgument, "\"t_b_check1\"").await;
    for column in ["c INT DEFAULT 0 CHECK (c > 0)", "c INT DEFAULT 5 CHECK (c > a)"] {
        refused(&world, &format!("ALTER TABLE t ADD COLUMN {column}"), ErrorKind::FailedPrecondition, "holds rows")
            .await;
    }
    world.run("ALTER TABLE t ADD COLUMN IF NOT EXISTS b INT CHECK (b > 1000)").await;
    count(&world, "INSERT INTO t VALUES (2, 2, 2, 8)").await;
    refused(&world, "ALTER TABLE t ADD CONSTRAINT early CHECK (v > 1)", ErrorKind::AlreadyExists, "\"early\"").await;
    refused(&world, "ALTER TABLE t ADD CHECK (nowhere > 1)", ErrorKind::InvalidArgument, "\"nowhere\"").await;
    refused(&world, "ALTER TABLE t ADD UNIQUE (v)", ErrorKind::Unimplemented, "ALTER TABLE").await;
}

#[tokio::test]
async fn a_transaction_that_wrote_before_a_check_came_does_not_commit() {
    let mut world = World::new().await;
    world.run("CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT)").await;
    world.run("INSERT INTO t VALUES (9, 9)").await;
    let alone = Arc::clone(&world.session);
    world.session = Arc::new(Session::new(&world.user));
    world.run("BEGIN").await;
    world.run("INSERT INTO t VALUES (1, -1)").await;
    let within = std::mem::replace(&mut world.session, alone);
    world.run("ALTER TABLE t ADD CHECK (v > 0) NOT VALID").await;
    world.session = within;
    refused(&world, "COMMIT", ErrorKind::Aborted, "altered").await;
    world.run("ROLLBACK").await;
    assert_eq!(t(&world).await, "9|9");
}
