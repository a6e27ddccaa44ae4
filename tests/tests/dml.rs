//! Statements that write: which rows they touch, whatever the predicate and wherever the rows lie, and what a refused
//! one leaves behind (nothing).

mod common;

use std::collections::BTreeMap;

use common::{Row, Side, TABLES, load, other_rows, table_rows};
use insula_tests::{Server, count, execute, query, refused};
use tonic::Code;

/// Where the rows lie when the statement comes.
#[derive(Clone, Copy, Debug)]
enum Tier {
    Hot,
    Cold,
    /// Half in Parquet, half in the hot tier, some in both.
    Mixed,
}

type Predicate = (&'static str, fn(&Row, &[Side]) -> bool);

/// Each with its twin in Rust, which follows SQL's rules for NULL.
const PREDICATES: [Predicate; 14] = [
    ("id IN (SELECT id FROM app.s)", |row, side| side.iter().any(|s| s.id == Some(row.id))),
    ("id IN (SELECT id FROM app.s WHERE v > 50)", |row, side| side.iter().any(|s| s.id == Some(row.id) && s.v > 50)),
    ("id IN (SELECT id FROM app.s WHERE false)", |_, _| false),
    // One NULL in the list, and NOT IN is never true.
    ("id NOT IN (SELECT id FROM app.s)", |_, _| false),
    ("id NOT IN (SELECT id FROM app.s WHERE id IS NOT NULL)", |row, side| side.iter().all(|s| s.id != Some(row.id))),
    ("EXISTS (SELECT 1 FROM app.s WHERE s.id = t.id)", |row, side| side.iter().any(|s| s.id == Some(row.id))),
    ("NOT EXISTS (SELECT 1 FROM app.s WHERE s.id = t.id)", |row, side| side.iter().all(|s| s.id != Some(row.id))),
    ("EXISTS (SELECT 1 FROM app.s WHERE v > 1000)", |_, _| false),
    ("v > (SELECT avg(v) FROM app.s)", |row, side| {
        let sum: i64 = side.iter().map(|s| s.v).sum();
        row.v.is_some_and(|v| v as f64 > sum as f64 / side.len() as f64)
    }),
    ("v < (SELECT max(s.v) FROM app.s WHERE s.id = t.id)", |row, side| {
        let max = side.iter().filter(|s| s.id == Some(row.id)).map(|s| s.v).max();
        matches!((row.v, max), (Some(v), Some(max)) if v < max)
    }),
    ("v IS NULL OR id IN (SELECT id + 1 FROM app.s)", |row, side| {
        row.v.is_none() || side.iter().any(|s| s.id == Some(row.id - 1))
    }),
    ("NOT (v > 30)", |row, _| row.v.is_some_and(|v| v <= 30)),
    ("id % 3 = 0 AND v BETWEEN 10 AND 60", |row, _| row.id % 3 == 0 && row.v.is_some_and(|v| (10..=60).contains(&v))),
    ("true", |_, _| true),
];

#[tokio::test]
async fn predicates_touch_exactly_their_rows_hot() {
    predicates(Tier::Hot).await;
}

#[tokio::test]
async fn predicates_touch_exactly_their_rows_cold() {
    predicates(Tier::Cold).await;
}

#[tokio::test]
async fn predicates_touch_exactly_their_rows_mixed() {
    predicates(Tier::Mixed).await;
}

/// Each predicate has users of its own, so that one load serves all of them.
async fn predicates(tier: Tier) {
    let server = Server::dev();
    let admin = server.client("admin").await;
    for sql in TABLES {
        execute(&admin, sql).await;
    }
    let (rows, side) = (table_rows(), other_rows());
    let half = rows.len() / 2;
    for number in 0..PREDICATES.len() {
        for verb in ["delete", "update"] {
            let client = server.client(&format!("{verb} {number}")).await;
            match tier {
                Tier::Hot | Tier::Cold => load(&client, &rows, &side).await,
                Tier::Mixed => {
                    // A first version that the flush makes cold and that the second half then replaces in part.
                    let old: Vec<_> =
                        rows[..half].iter().map(|row| Row { v: row.v.map(|v| v + 7), ..row.clone() }).collect();
                    load(&client, &old, &side[..side.len() / 2]).await;
                }
            }
        }
    }
    if !matches!(tier, Tier::Hot) {
        query(&admin, "FLUSH ALL").await;
    }
    for (number, (predicate, holds)) in PREDICATES.iter().enumerate() {
        for verb in ["delete", "update"] {
            let client = server.client(&format!("{verb} {number}")).await;
            if matches!(tier, Tier::Mixed) {
                execute(&client, "UPDATE app.t SET v = v - 7").await;
                load(&client, &rows[half..], &side[side.len() / 2..]).await;
            }
            let hit: Vec<_> = rows.iter().filter(|row| holds(row, &side)).map(|row| row.id).collect();
            let sql = match verb {
                "delete" => format!("DELETE FROM app.t WHERE {predicate}"),
                _ => format!("UPDATE app.t SET g = 'hit' WHERE {predicate}"),
            };
            assert_eq!(execute(&client, &sql).await, hit.len() as i64, "{tier:?}: {sql}");
            let expected: Vec<_> = rows
                .iter()
                .filter(|row| verb == "update" || !hit.contains(&row.id))
                .map(|row| if hit.contains(&row.id) { Row { g: "hit".to_owned(), ..row.clone() } } else { row.clone() })
                .map(|row| row.to_string())
                .collect();
            assert_eq!(query(&client, "SELECT g, id, v FROM app.t ORDER BY id").await, expected, "{tier:?}: {sql}");
        }
    }
}

#[tokio::test]
async fn a_deleted_row_stays_deleted_over_flush_and_restart() {
    let mut server = Server::dev();
    let admin = server.client("admin").await;
    execute(&admin, "CREATE TABLE t (id VARCHAR PRIMARY KEY, v INT)").await;
    let alice = server.client("alice").await;
    execute(&alice, "INSERT INTO t VALUES ('a', 1)").await;
    query(&admin, "FLUSH TABLE t").await;
    assert_eq!(execute(&alice, "DELETE FROM t WHERE id = 'a'").await, 1);
    execute(&alice, "INSERT INTO t VALUES ('b', 2)").await;
    query(&admin, "FLUSH TABLE t").await;
    server.restart();
    let alice = server.client("alice").await;
    assert_eq!(query(&alice, "SELECT * FROM t").await, ["b|2"]);
    assert_eq!(query(&alice, "SELECT * FROM t WHERE v < 2").await, [""; 0], "a filter brings no old version back");
    assert_eq!(count(&alice, "t").await, 1);
    assert_eq!(query(&alice, "SELECT id, v, _deleted FROM t ORDER BY id").await, ["a|1|true", "b|2|false"]);
    assert_eq!(query(&alice, "SELECT id FROM t WHERE _deleted").await, ["a"]);
    // The key is free again, and one version of it lives.
    execute(&alice, "INSERT INTO t VALUES ('a', 3)").await;
    query(&server.client("admin").await, "FLUSH TABLE t").await;
    assert_eq!(query(&alice, "SELECT * FROM t ORDER BY id").await, ["a|3", "b|2"]);
}

#[tokio::test]
async fn filters_on_other_columns_resurrect_no_old_version() {
    let server = Server::dev();
    let admin = server.client("admin").await;
    execute(&admin, "CREATE TABLE t (id INT PRIMARY KEY, colour VARCHAR)").await;
    let alice = server.client("alice").await;
    execute(&alice, "INSERT INTO t VALUES (1, 'red'), (2, 'red')").await;
    query(&admin, "FLUSH TABLE t").await;
    execute(&alice, "UPDATE t SET colour = 'blue' WHERE id = 1").await;
    for _ in ["new version hot", "new version cold"] {
        assert_eq!(query(&alice, "SELECT id FROM t WHERE colour = 'red'").await, ["2"]);
        assert_eq!(query(&alice, "SELECT id FROM t WHERE colour = 'blue'").await, ["1"]);
        assert_eq!(count(&alice, "t").await, 2);
        query(&admin, "FLUSH TABLE t").await;
    }
}

#[tokio::test]
async fn keys_in_any_position_and_composite_keys() {
    let server = Server::dev();
    let admin = server.client("admin").await;
    execute(&admin, "CREATE TABLE second (name VARCHAR, id BIGINT PRIMARY KEY)").await;
    execute(&admin, "CREATE TABLE pair (v INT, b VARCHAR, a INT, PRIMARY KEY (a, b))").await;
    let alice = server.client("alice").await;
    // The same first column throughout: whoever takes it for the key loses rows.
    execute(&alice, "INSERT INTO second VALUES ('same', 1), ('same', 2)").await;
    query(&admin, "FLUSH ALL").await;
    execute(&alice, "INSERT INTO second VALUES ('same', 3)").await;
    query(&admin, "FLUSH ALL").await;
    assert_eq!(query(&alice, "SELECT id FROM second ORDER BY id").await, ["1", "2", "3"]);
    refused(&alice, "INSERT INTO second VALUES ('other', 2)", Code::AlreadyExists).await;

    execute(&alice, "INSERT INTO pair VALUES (1, 'x', 1), (2, 'y', 1), (3, 'x', 2)").await;
    query(&admin, "FLUSH ALL").await;
    refused(&alice, "INSERT INTO pair VALUES (9, 'z', 2), (9, 'x', 1)", Code::AlreadyExists).await;
    // Two keys that run together as text, and a separator inside one.
    execute(&alice, "INSERT INTO pair VALUES (4, '', 12), (5, '2', 1), (6, 'x' || chr(1) || 'y', 1)").await;
    assert_eq!(execute(&alice, "UPDATE pair SET v = v * 10 WHERE a IN (SELECT 1) AND b = 'x'").await, 1);
    assert_eq!(execute(&alice, "DELETE FROM pair WHERE a = 1 AND b = 'y'").await, 1);
    for _ in ["hot", "cold"] {
        assert_eq!(query(&alice, "SELECT v FROM pair ORDER BY v").await, ["3", "4", "5", "6", "10"]);
        query(&admin, "FLUSH ALL").await;
    }
}

#[tokio::test]
async fn an_update_may_move_keys() {
    let server = Server::dev();
    execute(&server.client("admin").await, "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR)").await;
    let alice = server.client("alice").await;
    execute(&alice, "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')").await;
    query(&server.client("admin").await, "FLUSH TABLE t").await;
    // Onto keys that the same statement frees, and onto one that it does not.
    assert_eq!(execute(&alice, "UPDATE t SET id = id + 1").await, 3);
    assert_eq!(query(&alice, "SELECT * FROM t ORDER BY id").await, ["2|a", "3|b", "4|c"]);
    refused(&alice, "UPDATE t SET id = 4 WHERE id = 2", Code::AlreadyExists).await;
    assert_eq!(query(&alice, "SELECT * FROM t ORDER BY id").await, ["2|a", "3|b", "4|c"]);
}

#[tokio::test]
async fn tables_without_a_key_keep_equal_rows_apart() {
    let mut server = Server::dev();
    execute(&server.client("admin").await, "CREATE TABLE t (v INT, s VARCHAR)").await;
    let alice = server.client("alice").await;
    execute(&alice, "INSERT INTO t VALUES (1, 'x'), (1, 'x'), (2, 'y')").await;
    query(&server.client("admin").await, "FLUSH TABLE t").await;
    execute(&alice, "INSERT INTO t VALUES (1, 'x')").await;
    assert_eq!(count(&alice, "t WHERE v = 1").await, 3);
    assert_eq!(execute(&alice, "UPDATE t SET s = 'z' WHERE v = 1").await, 3);
    assert_eq!(execute(&alice, "DELETE FROM t WHERE v = 2").await, 1);
    server.restart();
    let alice = server.client("alice").await;
    assert_eq!(query(&alice, "SELECT * FROM t").await, ["1|z", "1|z", "1|z"]);
    assert_eq!(alice.describe("SELECT * FROM t").await.expect("a schema").fields().len(), 2, "the row id is hidden");
}

#[tokio::test]
async fn replace_puts_rows_over_those_of_the_same_key() {
    let server = Server::dev();
    let admin = server.client("admin").await;
    execute(&admin, "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR, d INT DEFAULT 5)").await;
    let alice = server.client("alice").await;
    execute(&alice, "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2)").await;
    query(&admin, "FLUSH TABLE t").await;
    assert_eq!(execute(&alice, "REPLACE INTO t (id, v) VALUES (2, 'B'), (3, 'C')").await, 2);
    for _ in ["hot", "cold"] {
        // The whole row is replaced: what is not named takes its default, not its old value.
        assert_eq!(query(&alice, "SELECT * FROM t ORDER BY id").await, ["1|a|1", "2|B|5", "3|C|5"]);
        query(&admin, "FLUSH TABLE t").await;
    }
}

#[tokio::test]
async fn refused_statements_store_nothing() {
    let mut server = Server::dev();
    let admin = server.client("admin").await;
    let columns = "id INT PRIMARY KEY, v VARCHAR NOT NULL, d INT DEFAULT 5, at TIMESTAMP DEFAULT now()";
    execute(&admin, &format!("CREATE TABLE t ({columns})")).await;
    let alice = server.client("alice").await;
    execute(&alice, "INSERT INTO t (id, v) VALUES (1, 'a')").await;
    for tier in ["hot", "cold"] {
        refused(&alice, "INSERT INTO t (id, v) VALUES (2, 'b'), (1, 'again')", Code::AlreadyExists).await;
        refused(&alice, "INSERT INTO t (id, v) VALUES (3, 'b'), (3, 'c')", Code::AlreadyExists).await;
        let message = refused(&alice, "INSERT INTO t (id, v) VALUES (4, 'b'), (5, NULL)", Code::InvalidArgument).await;
        assert!(message.contains('v'), "{tier}: the message names the column: {message}");
        refused(&alice, "INSERT INTO t (id) VALUES (6)", Code::InvalidArgument).await;
        refused(&alice, "INSERT INTO t (id, v) VALUES (NULL, 'b')", Code::InvalidArgument).await;
        refused(&alice, "UPDATE t SET v = NULL", Code::InvalidArgument).await;
        refused(&alice, "INSERT INTO t (id, v) SELECT CAST('x' AS INT), 'b'", Code::InvalidArgument).await;
        refused(&alice, "INSERT INTO t (id, v) SELECT 7 / (id - 1), 'b' FROM t", Code::InvalidArgument).await;
        refused(&alice, "INSERT INTO t (id, v) VALUES (9999999999, 'b')", Code::InvalidArgument).await;
        assert_eq!(query(&alice, "SELECT id, v, d FROM t").await, ["1|a|5"], "{tier}");
        query(&admin, "FLUSH TABLE t").await;
    }
    assert_eq!(count(&alice, "t WHERE at > now() - INTERVAL '1 hour'").await, 1, "the default is of the insert's time");
    server.restart();
    assert_eq!(query(&server.client("alice").await, "SELECT id, v, d FROM t").await, ["1|a|5"]);
}

#[tokio::test]
async fn insert_from_select_reads_before_it_writes() {
    let server = Server::dev();
    let admin = server.client("admin").await;
    execute(&admin, "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR)").await;
    execute(&admin, "CREATE SHARED TABLE names (id INT PRIMARY KEY, name VARCHAR)").await;
    execute(&admin, "INSERT INTO names VALUES (1, 'one'), (2, 'two'), (3, 'three')").await;
    let alice = server.client("alice").await;
    assert_eq!(execute(&alice, "INSERT INTO t SELECT id, name FROM names").await, 3);
    for _ in 0..4 {
        let before = count(&alice, "t").await as i64;
        let sql = "INSERT INTO t SELECT id + (SELECT max(id) FROM t), v FROM t";
        assert_eq!(execute(&alice, sql).await, before, "it never sees its own rows");
        query(&admin, "FLUSH TABLE t").await;
    }
    assert_eq!(count(&alice, "t").await, 48);
    refused(&alice, "INSERT INTO names VALUES (4, 'four')", Code::PermissionDenied).await;
    let mut names = BTreeMap::new();
    for row in query(&alice, "SELECT v, count(*) FROM t GROUP BY v").await {
        let (name, count) = row.split_once('|').expect("two columns");
        names.insert(name.to_owned(), count.to_owned());
    }
    assert!(names.len() == 3 && names.values().all(|count| count == "16"), "{names:?}");
}
