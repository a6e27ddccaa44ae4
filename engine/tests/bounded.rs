//! Functions that make more than they are given: what is too much is refused before it is made, and what is honest is not.

use std::{sync::Arc, time::Instant};

use arrow::{array::AsArray, datatypes::Int64Type};
use futures::TryStreamExt;
use insula_engine::{Engine, EngineConfig, Error, ErrorKind, Outcome, Session, StoreConfig};

async fn open(dir: &std::path::Path) -> Arc<Engine> {
    let config = EngineConfig {
        store: StoreConfig::new(dir.to_path_buf()),
        memory_limit: 256 << 20,
        transactions: Default::default(),
        limits: Default::default(),
        admin_password: Some("secret".into()),
    };
    Engine::open(config).await.unwrap()
}

/// With a table of ann's, of which a batch is a good part of what one may be.
async fn open_with_wide(dir: &std::path::Path) -> Arc<Engine> {
    let engine = open(dir).await;
    for (user, sql) in [
        ("admin", "CREATE TABLE wide (s TEXT)"),
        ("ann", "INSERT INTO wide SELECT repeat('x', 3000) FROM generate_series(1, 10000)"),
    ] {
        let user = engine.vouched(user).await.unwrap();
        engine.execute(&user, &Arc::new(Session::new(&user)), sql, Vec::new()).await.unwrap();
    }
    engine
}

/// The one number that a statement gives.
async fn number(engine: &Arc<Engine>, sql: &str) -> Result<i64, Error> {
    let ann = engine.vouched("ann").await?;
    let session = Arc::new(Session::new(&ann));
    let Outcome::Rows { rows, .. } = engine.execute(&ann, &session, sql, Vec::new()).await? else {
        panic!("no rows: {sql}")
    };
    let batches: Vec<_> = rows.try_collect().await?;
    let column = arrow::compute::cast(batches[0].column(0), &arrow::datatypes::DataType::Int64)?;
    Ok(column.as_primitive::<Int64Type>().value(0))
}

const TOO_MUCH: [&str; 17] = [
    "SELECT cardinality(range(1, 10000000000))",
    "SELECT count(*) FROM (SELECT unnest(range(1, 100000)) FROM generate_series(1, 8192))",
    "SELECT count(*) FROM (SELECT unnest(range(1, 100000 + value)) FROM generate_series(1, 8192))",
    "SELECT length(replace(repeat('a', 2000000), 'a', repeat('b', 2000)))",
    "SELECT length(regexp_replace(repeat('a', 1000000), 'a', repeat('b', 5000), 'g'))",
    "SELECT length(sha256(repeat('a', 2000000000)))",
    "SELECT length(lpad('x', 2000000000, 'y'))",
    "SELECT length(rpad('x', 2000000000))",
    "SELECT length(string_agg(repeat('x', 1000000), '')) FROM generate_series(1, 3000)",
    "SELECT cardinality(array_agg(repeat('x', 1000000))) FROM generate_series(1, 3000)",
    "SELECT cardinality(array_repeat(repeat('x', 10000), 1000000))",
    "SELECT cardinality(array_resize([1], 1000000000, 2))",
    "SELECT cardinality(generate_series(TIMESTAMP '2000-01-01', TIMESTAMP '2030-01-01', INTERVAL '1 microsecond'))",
    "SELECT max(length(repeat('x', value * 1000))) FROM generate_series(1, 8192)",
    // The values of a column, and not literals, which are bounded otherwise.
    "SELECT sum(length(s || s || s || s)) FROM (SELECT repeat('x', 3000 + value % 2) AS s FROM generate_series(1, 30000))",
    "SELECT sum(length(s || s || s || s)) FROM wide",
    "SELECT count(*) FROM wide WHERE s || s || s || s = 'x'",
];

#[tokio::test]
async fn what_is_too_much_is_refused_before_it_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open_with_wide(dir.path()).await;
    for sql in TOO_MUCH {
        let began = Instant::now();
        let error = number(&engine, sql).await.expect_err(sql);
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{sql}: {error}");
        assert!(error.message().contains("--user-memory-limit"), "{sql}: {error}");
        assert!(began.elapsed().as_secs() < 20, "{sql}: {:?}", began.elapsed());
        assert_eq!(number(&engine, "SELECT 1").await.unwrap(), 1, "after {sql}");
    }
}

const HONEST: [(&str, i64); 15] = [
    ("SELECT length(repeat('x', 1000))", 1000),
    ("SELECT cardinality(range(1, 1000000))", 999_999),
    ("SELECT count(*) FROM (SELECT unnest(range(1, 1000000)))", 999_999),
    ("SELECT sum(length(repeat('x', value % 100))) FROM generate_series(0, 99999)", 4_950_000),
    ("SELECT sum(length(replace(repeat('ab', value % 10), 'a', 'xyz'))) FROM generate_series(0, 99999)", 1_800_000),
    // Its bound is a gigabyte, and it makes little.
    (
        "SELECT sum(length(regexp_replace(repeat('ab', 500 + value % 1), 'b+a?b?z', repeat('c', 100), 'g'))) \
         FROM generate_series(1, 8192)",
        8_192_000,
    ),
    ("SELECT length(lpad('x', 10, 'yz'))", 10),
    ("SELECT cardinality(range(DATE '2020-01-01', DATE '2021-01-01', INTERVAL '1 day'))", 366),
    ("SELECT cardinality(array_repeat('x', 1000))", 1000),
    ("SELECT length(concat('a', NULL, 'b'))", 2),
    ("SELECT sum(length(concat('a', value, 'b'))) FROM generate_series(0, 9)", 30),
    ("SELECT sum(length('a' || value || 'b')) FROM generate_series(0, 9)", 30),
    ("SELECT count(*) FROM (SELECT 'a' || NULL AS n) WHERE n IS NULL", 1),
    ("SELECT max(length(s || 'b')) FROM wide", 3001),
    ("SELECT count(*) FROM generate_series(1, 3000000)", 3_000_000),
];

#[tokio::test]
async fn what_is_honest_is_not_refused_and_leaves_nothing_counted() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open_with_wide(dir.path()).await;
    for (sql, expected) in HONEST {
        // More often than would fit if what one made were counted for ever.
        for _ in 0..5 {
            assert_eq!(number(&engine, sql).await.unwrap_or_else(|e| panic!("{sql}: {e}")), expected, "{sql}");
        }
    }
}
