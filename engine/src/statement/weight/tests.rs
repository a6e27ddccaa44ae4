use arrow::datatypes::{DataType, Field};
use insula_storage::StoreConfig;

use super::*;
use crate::{Engine, EngineConfig, Identity, Outcome, Session};
use std::sync::Arc;

async fn weights(cases: &[(&str, Weight)]) {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::open(EngineConfig {
        store: StoreConfig::new(directory.path().to_owned()),
        memory_limit: 64 << 20,
        limits: Default::default(),
        transactions: Default::default(),
        admin_password: Some("x".into()),
    })
    .await
    .unwrap();
    let admin: Identity = engine.login("admin", "x").await.unwrap();
    let session = Arc::new(Session::new(&admin));
    for sql in ["CREATE TABLE t (a INT, b TEXT, v INT, PRIMARY KEY (a, b))", "CREATE TABLE n (v INT)"] {
        assert!(matches!(engine.execute(&admin, &session, sql, Vec::new()).await, Ok(Outcome::Count(0))));
    }
    for (sql, weight) in cases {
        let plan = engine.plan(&admin, sql).unwrap();
        let bound = arrow::datatypes::Schema::new(vec![Field::new("$1", DataType::Int32, true)]);
        engine.describe(&admin, &session, &plan, Some(&bound)).await.unwrap();
        assert_eq!(engine.begin_run(&admin, &session, &plan, &[]).weight(), *weight, "{sql}");
    }
}

#[test]
fn what_takes_long_to_be_worked_out_is_not_planned_among_the_light() {
    for heavy in [
        "SELECT levenshtein(repeat('a', 150000), repeat('b', 150000))",
        "SELECT REPEAT ('a', 5)",
        "SELECT \"repeat\"('a', 5)",
        "SELECT repeat/**/('a', 5)",
        "SELECT regexp_count('a', 'b')",
        "SELECT v FROM range(1, 5)",
    ] {
        assert_eq!(Weight::of_text(heavy), Weight::Heavy, "{heavy}");
    }
    for light in [
        "SELECT v FROM t WHERE a = 1",
        "REPLACE INTO t VALUES (1)",
        "CREATE OR REPLACE TABLE x AS SELECT 1",
        "SELECT my_repeat(1), repeated FROM t",
        "SELECT upper(b) FROM t WHERE b = 'é'",
    ] {
        assert_eq!(Weight::of_text(light), Weight::Light, "{light}");
    }
    assert_eq!(Weight::of_message(b"\x08\x06repeat\x10"), Weight::Heavy);
    assert_eq!(Weight::of_message(b"\x08\x03add\x10"), Weight::Light);
}

#[tokio::test]
async fn light_is_what_reads_single_keys_or_nothing_that_is_stored() {
    use Weight::{Heavy, Light};
    weights(&[
        ("SELECT 1", Light),
        ("SELECT v FROM t WHERE a = 1 AND b = 'x'", Light),
        ("SELECT v FROM t WHERE a = $1 AND b = $2", Light),
        ("SELECT now()", Light),
        ("SELECT repeat('a', (random() * 5)::INT)", Heavy),
        ("SELECT * FROM system.queries", Light),
        ("EXPLAIN SELECT * FROM t", Light),
        ("SHOW TABLES", Light),
        ("SET timezone = 'UTC'", Light),
        ("SELECT v FROM t WHERE a = 1", Heavy),
        ("SELECT count(*) FROM t", Heavy),
        ("SELECT * FROM generate_series(1, 1000000)", Heavy),
        ("SELECT unnest([1, 2, 3])", Heavy),
        ("WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT * FROM r", Heavy),
        ("SELECT (SELECT count(*) FROM t)", Heavy),
        ("EXPLAIN ANALYZE SELECT * FROM t", Heavy),
        ("CREATE TABLE u AS SELECT * FROM t", Heavy),
    ])
    .await;
}

#[tokio::test]
async fn writes_are_light_where_they_name_their_rows() {
    use Weight::{Heavy, Light};
    weights(&[
        ("INSERT INTO t VALUES (1, 'x', 2)", Light),
        ("INSERT INTO t VALUES (1, 'x', 2), ($1, 'y', 2)", Light),
        ("INSERT INTO t SELECT * FROM t", Heavy),
        ("INSERT INTO t VALUES (1, 'x', (SELECT count(*) FROM t))", Heavy),
        ("UPDATE t SET v = v + 1 WHERE b = 'x' AND a IN (1, 2)", Light),
        ("UPDATE t SET v = (SELECT count(*) FROM t) WHERE a = 1 AND b = 'x'", Heavy),
        ("DELETE FROM t WHERE (t.a = $1 AND b = 'x') AND v > 3", Light),
        ("DELETE FROM t WHERE a = 1 OR b = 'x'", Heavy),
        ("DELETE FROM t WHERE a = 1", Heavy),
        ("DELETE FROM n WHERE v = 1", Heavy),
        ("UPDATE t SET v = n.v FROM n WHERE a = 1 AND b = 'x'", Heavy),
        ("TRUNCATE TABLE t", Heavy),
        ("INSERT INTO t VALUES (1, 'x', 2) ON CONFLICT DO UPDATE SET v = t.v + excluded.v RETURNING v", Light),
        ("INSERT INTO t VALUES (1, 'x', 2) ON CONFLICT DO UPDATE SET v = (SELECT count(*) FROM t)", Heavy),
        ("UPDATE t SET v = 1 WHERE a = 1 AND b = 'x' RETURNING v", Light),
        ("UPDATE t SET v = 1 WHERE a = 1 AND b = 'x' RETURNING (SELECT count(*) FROM t)", Heavy),
        ("DELETE FROM t WHERE a = 1 AND b = 'x' RETURNING (SELECT count(*) FROM t)", Heavy),
        ("MERGE INTO t USING n ON t.a = n.v WHEN MATCHED THEN DELETE", Heavy),
    ])
    .await;
}

#[test]
fn memory_of_a_text_is_by_its_words() {
    let words = |sql: &str| (text_memory(sql) - 3 * sql.len()) / WORD_BYTES;
    assert_eq!(words("SELECT a.b, 1.5 FROM t_1"), 6);
    assert_eq!(words("(1,2),(3,4)"), 11);
    assert_eq!(words("'it''s one, (not) several words'"), 1);
    assert_eq!(words("SELECT   \n 'grün' , größe"), 4);
    assert_eq!(words(""), 0);
}
