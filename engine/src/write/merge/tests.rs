use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};

use crate::{Error, ErrorKind, Session, world::World};

/// `$1, $2, …`, a column each.
fn parameters(columns: &[&[i64]]) -> Vec<RecordBatch> {
    let named = columns.iter().enumerate().map(|(i, column)| {
        let column: ArrayRef = Arc::new(Int64Array::from(column.to_vec()));
        (format!("${}", i + 1), column)
    });
    vec![RecordBatch::try_from_iter(named).unwrap()]
}

/// With the keys 1 to 3 in `t`, the first of them cold, the last one replaced since it was flushed.
async fn world() -> World {
    let world = World::new().await;
    world.run("CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT, s TEXT DEFAULT 'none')").await;
    world.run("INSERT INTO t VALUES (1, 10, 'a'), (3, 0, 'old')").await;
    world.run("FLUSH TABLE t").await;
    world.run("INSERT INTO t VALUES (2, 20, 'b')").await;
    world.run("REPLACE INTO t VALUES (3, 30, 'c')").await;
    world
}

async fn count(world: &World, sql: &str) -> u64 {
    world.count(sql, Vec::new()).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

async fn error(world: &World, sql: &str) -> Error {
    world.count(sql, Vec::new()).await.err().unwrap_or_else(|| panic!("{sql} was not refused"))
}

async fn refused(world: &World, sql: &str, kind: ErrorKind, word: &str) {
    let error = error(world, sql).await;
    assert_eq!(error.kind(), kind, "{sql}: {error}");
    assert!(error.message().contains(word), "{sql}: {error}");
}

async fn t(world: &World) -> String {
    world.rows("SELECT k, v, s FROM t ORDER BY k").await.join(" ")
}

#[tokio::test]
async fn do_nothing_keeps_what_lives_and_the_first_of_two() {
    let world = world().await;
    let sql = "INSERT INTO t (k, v) VALUES (1, 99), (4, 40), (2, 99), (4, 41) ON CONFLICT DO NOTHING";
    assert_eq!(count(&world, sql).await, 1);
    assert_eq!(t(&world).await, "1|10|a 2|20|b 3|30|c 4|40|none");
    assert_eq!(count(&world, "INSERT OR IGNORE INTO t SELECT k, 0, 'x' FROM t").await, 0);
    assert_eq!(count(&world, "INSERT INTO t SELECT k + 1, v, s FROM t ORDER BY k ON CONFLICT (k) DO NOTHING").await, 1);
    assert_eq!(t(&world).await, "1|10|a 2|20|b 3|30|c 4|40|none 5|40|none");
}

#[tokio::test]
async fn do_update_sees_both_rows() {
    let world = world().await;
    let sql = "INSERT INTO t VALUES (1, 1, 'x'), (3, 3, 'y'), (9, 9, 'z')
               ON CONFLICT (k) DO UPDATE SET v = t.v * 100 + excluded.v, s = s || excluded.s";
    assert_eq!(count(&world, sql).await, 3);
    assert_eq!(t(&world).await, "1|1001|ax 2|20|b 3|3003|cy 9|9|z");
    // A row for which the condition is not true counts nothing, and neither does one for which it is unknown.
    let sql = "INSERT INTO t AS old VALUES (1, NULL, 'p'), (2, 5, 'q'), (3, 4000, 'r'), (10, 0, 'n')
               ON CONFLICT (K) DO UPDATE SET (v, s) = (EXCLUDED.v, DEFAULT) WHERE excluded.v > old.v";
    assert_eq!(count(&world, sql).await, 2);
    assert_eq!(t(&world).await, "1|1001|ax 2|20|b 3|4000|none 9|9|z 10|0|n");
    // What is not evaluated cannot fail.
    let sql =
        "INSERT INTO t VALUES (11, 1, 'x'), (10, 7, 'x') ON CONFLICT DO UPDATE SET v = 1 / (t.v - excluded.v + 8)";
    assert_eq!(count(&world, sql).await, 2);
    assert_eq!(world.rows("SELECT v FROM t WHERE k >= 10 ORDER BY k").await, ["1", "1"]);
}

#[tokio::test]
async fn a_deleted_row_does_not_conflict() {
    let world = world().await;
    world.run("DELETE FROM t WHERE k < 3").await;
    let sql =
        "INSERT INTO t VALUES (1, 1, 'new'), (2, 2, 'new'), (3, 3, 'new') ON CONFLICT DO UPDATE SET s = 'updated'";
    assert_eq!(count(&world, sql).await, 3);
    assert_eq!(t(&world).await, "1|1|new 2|2|new 3|30|updated");
    world.run("DELETE FROM t WHERE k < 3").await;
    let sql = "INSERT INTO t VALUES (1, 5, 'x') ON CONFLICT DO UPDATE SET v = t.v + 100 WHERE NOT t._deleted";
    assert_eq!(count(&world, sql).await, 1);
    assert_eq!(world.rows("SELECT k, v, _deleted FROM t ORDER BY k").await, ["1|5|false", "2|2|true", "3|30|false"]);
}

#[tokio::test]
async fn what_conflicts_in_vain_is_refused_and_writes_nothing() {
    let world = world().await;
    world.run("CREATE TABLE pairs (v BIGINT, b TEXT, a BIGINT, PRIMARY KEY (a, b))").await;
    world.run("CREATE TABLE log (v BIGINT)").await;
    world.run("INSERT INTO log VALUES (1)").await;
    let invalid = ErrorKind::InvalidArgument;
    for (sql, kind, word) in [
        ("INSERT INTO t VALUES (7, 1, ''), (7, 2, '') ON CONFLICT DO UPDATE SET v = 1", invalid, "a second time"),
        ("INSERT INTO t VALUES (1, 1, ''), (1, 2, '') ON CONFLICT DO UPDATE SET v = 1", invalid, "a second time"),
        ("INSERT INTO t VALUES (8, 1, ''), (NULL, 2, '') ON CONFLICT DO NOTHING", invalid, "\"k\""),
        ("INSERT INTO t VALUES (8, 1, ''), (1, 2, '') ON CONFLICT DO UPDATE SET k = NULL", invalid, "NOT NULL"),
        (
            "INSERT INTO t VALUES (8, 1, ''), (1, 2, '') ON CONFLICT DO UPDATE SET k = 2",
            ErrorKind::AlreadyExists,
            "(2)",
        ),
        ("INSERT INTO t VALUES (8, 1, ''), (1, 2, '') ON CONFLICT DO UPDATE SET v = 1 / (v - 10)", invalid, "zero"),
        ("INSERT INTO t VALUES (8, 1, '') ON CONFLICT (v) DO NOTHING", invalid, "(k)"),
        ("INSERT INTO t VALUES (8, 1, '') ON CONFLICT (k, v) DO UPDATE SET v = 1", invalid, "(k)"),
        ("INSERT INTO t VALUES (8, 1, '') ON CONFLICT ON CONSTRAINT t_pkey DO NOTHING", invalid, "(k)"),
        ("INSERT INTO pairs VALUES (1, 'x', 1) ON CONFLICT (b) DO NOTHING", invalid, "(a, b)"),
        ("INSERT INTO log VALUES (1) ON CONFLICT DO NOTHING", invalid, "no primary key"),
        ("INSERT OR IGNORE INTO log VALUES (1)", invalid, "no primary key"),
        ("INSERT INTO t VALUES (8, 1, '') ON CONFLICT DO UPDATE SET v = excluded.w", invalid, "\"w\""),
        ("INSERT INTO t VALUES (8, 1, '') ON CONFLICT DO UPDATE SET _seq = 1", invalid, "system column"),
        ("INSERT INTO t AS excluded VALUES (8, 1, '') ON CONFLICT DO UPDATE SET v = 1", invalid, "alias"),
        ("INSERT INTO t VALUES (8, 1, '') ON DUPLICATE KEY UPDATE v = 1", ErrorKind::Unimplemented, "ON CONFLICT"),
        ("INSERT OR REPLACE INTO t VALUES (8, 1, '') ON CONFLICT DO NOTHING", invalid, "either"),
    ] {
        refused(&world, sql, kind, word).await;
    }
    assert_eq!(t(&world).await, "1|10|a 2|20|b 3|30|c");
    assert_eq!(world.rows("SELECT count(*) FROM log").await, ["1"]);
    let sql = "INSERT INTO pairs VALUES (1, 'x', 1), (2, 'y', 1) ON CONFLICT (b, a) DO UPDATE SET v = 10 * pairs.v + excluded.v";
    assert_eq!((count(&world, sql).await, count(&world, sql).await), (2, 2));
    assert_eq!(world.rows("SELECT a, b, v FROM pairs ORDER BY b").await, ["1|x|11", "1|y|22"]);
}

#[tokio::test]
async fn a_key_may_move_where_none_lives() {
    let world = world().await;
    let sql = "INSERT INTO t VALUES (1, 0, ''), (2, 0, '') ON CONFLICT DO UPDATE SET k = t.k + 100";
    assert_eq!(count(&world, sql).await, 2);
    assert_eq!(t(&world).await, "3|30|c 101|10|a 102|20|b");
}

#[tokio::test]
async fn keys_that_are_not_equal_may_be_the_same() {
    let world = World::new().await;
    world.run("CREATE TABLE f (k DOUBLE PRIMARY KEY, v BIGINT)").await;
    world.run("INSERT INTO f VALUES (0.0, 1), ('NaN', 2)").await;
    world.run("FLUSH TABLE f").await;
    let sql = "INSERT INTO f VALUES (-0.0, 10), (-CAST('NaN' AS DOUBLE), 20), (1.5, 30) ON CONFLICT DO UPDATE SET v = f.v + excluded.v";
    assert_eq!(count(&world, sql).await, 3);
    assert_eq!(world.rows("SELECT v FROM f ORDER BY v").await, ["11", "22", "30"]);
    let sql = "INSERT INTO f VALUES (7.0, 1), (0.0, 1), (-0.0, 1) ON CONFLICT DO UPDATE SET v = 0";
    refused(&world, sql, ErrorKind::InvalidArgument, "a second time").await;
}

#[tokio::test]
async fn rows_of_parameters_follow_one_another() {
    let world = world().await;
    let upsert = "INSERT INTO t (k, v) VALUES ($1, $2) ON CONFLICT (k) DO UPDATE SET v = t.v + excluded.v";
    // Each key once, and again with keys that come twice: the second one meets what the first one left.
    assert_eq!(world.count(upsert, parameters(&[&[1, 2, 7], &[1, 2, 3]])).await.unwrap(), 3);
    assert_eq!(world.count(upsert, parameters(&[&[7, 8, 7, 8], &[10, 1, 100, 1]])).await.unwrap(), 4);
    assert_eq!(t(&world).await, "1|11|a 2|22|b 3|30|c 7|113|none 8|2|none");
    assert_eq!(world.rows("SELECT count(DISTINCT _seq) FROM t WHERE k IN (7, 8)").await, ["1"]);
    let nothing = "INSERT INTO t (k, v) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    assert_eq!(world.count(nothing, parameters(&[&[9, 9, 1], &[5, 6, 7]])).await.unwrap(), 1);
    let set = "INSERT INTO t (k, v) VALUES ($1, 0) ON CONFLICT DO UPDATE SET v = $2 WHERE t.v <> $2";
    assert_eq!(world.count(set, parameters(&[&[9, 1, 1], &[5, 6, 7]])).await.unwrap(), 2);
    assert_eq!(world.rows("SELECT v FROM t WHERE k IN (1, 9) ORDER BY k").await, ["7", "5"]);
    let merge = "MERGE INTO t USING (VALUES ($1, $2)) AS s (k, v) ON t.k = s.k
                 WHEN MATCHED THEN UPDATE SET v = t.v + s.v WHEN NOT MATCHED THEN INSERT (k, v) VALUES (k, v)";
    assert_eq!(world.count(merge, parameters(&[&[50, 50, 1], &[1, 2, 3]])).await.unwrap(), 3);
    assert_eq!(world.rows("SELECT v FROM t WHERE k IN (1, 50) ORDER BY k").await, ["10", "3"]);
    // One that fails takes all of them with it.
    let failing = "INSERT INTO t (k, v) VALUES ($1, $2) ON CONFLICT DO UPDATE SET v = 1 / (excluded.v - 1)";
    assert!(world.count(failing, parameters(&[&[1, 60, 60], &[3, 1, 1]])).await.is_err());
    assert_eq!(world.rows("SELECT v FROM t WHERE k IN (1, 60)").await, ["10"]);
}

#[tokio::test]
async fn large_sources_are_right() {
    let world = World::new().await;
    world.run("CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT)").await;
    world.run("INSERT INTO t SELECT value * 2, 0 FROM generate_series(0, 19999)").await;
    world.run("FLUSH TABLE t").await;
    world.run("UPDATE t SET v = 1 WHERE k % 3 = 0").await;
    for (rows, text) in [(900, "one query"), (9_000, "several"), (30_000, "one join")] {
        world.run("BEGIN").await;
        let sql = format!(
            "INSERT INTO t SELECT value, 5 FROM generate_series(1, {rows}) ON CONFLICT DO UPDATE SET v = t.v + 10 WHERE t.v = 0"
        );
        let (even, of_six) = (rows / 2, rows / 6);
        assert_eq!(count(&world, &sql).await, rows - of_six, "{text}");
        let sums = "SELECT count(*) FILTER (WHERE v = 5), count(*) FILTER (WHERE v = 10), count(*) FROM t";
        assert_eq!(
            world.rows(sums).await,
            [format!("{}|{}|{}", rows - even, even - of_six, 20_000 + rows - even)],
            "{text}"
        );
        world.run("ROLLBACK").await;
    }
}

#[tokio::test]
async fn the_first_clause_that_takes_a_pair_wins() {
    let world = world().await;
    world.run("CREATE TABLE s (k BIGINT, v BIGINT, s TEXT)").await;
    world
        .run("INSERT INTO s VALUES (1, 1, 'one'), (2, 2, NULL), (3, 3, 'three'), (4, 4, 'four'), (5, 5, 'five')")
        .await;
    let sql = "MERGE INTO t AS a USING s AS b ON a.k = b.k
               WHEN MATCHED AND b.v = 1 THEN DELETE
               WHEN MATCHED AND b.s IS NULL THEN DO NOTHING
               WHEN MATCHED THEN UPDATE SET v = a.v + b.v, s = DEFAULT
               WHEN NOT MATCHED AND b.k = 4 THEN INSERT (v, k) VALUES (v * 10, b.k)
               WHEN NOT MATCHED BY TARGET THEN DO NOTHING";
    assert_eq!(count(&world, sql).await, 3);
    assert_eq!(t(&world).await, "2|20|b 3|33|none 4|40|none");
    let sql = "MERGE INTO t USING s ON t.k = s.k WHEN NOT MATCHED BY SOURCE AND t.k > 100 THEN DELETE
               WHEN NOT MATCHED BY SOURCE THEN UPDATE SET s = 'alone' WHEN NOT MATCHED THEN INSERT ROW";
    world.run("INSERT INTO t VALUES (99, 0, ''), (101, 0, '')").await;
    assert_eq!(count(&world, sql).await, 4);
    assert_eq!(t(&world).await, "1|1|one 2|20|b 3|33|none 4|40|none 5|5|five 99|0|alone");
    let sql = "MERGE INTO t USING s ON t.k = s.k AND s.v > 100 WHEN NOT MATCHED BY SOURCE THEN DELETE";
    assert_eq!(count(&world, sql).await, 6);
    assert_eq!(count(&world, "MERGE INTO t USING s ON false WHEN NOT MATCHED THEN INSERT VALUES (s.k)").await, 5);
    assert_eq!(t(&world).await, "1|null|none 2|null|none 3|null|none 4|null|none 5|null|none");
}

#[tokio::test]
async fn conditions_of_other_pairs_are_not_evaluated() {
    let world = world().await;
    let sql = "MERGE INTO t USING (VALUES (1, 0), (4, 2)) AS s (k, d) ON t.k = s.k
               WHEN NOT MATCHED AND 10 / s.d = 5 THEN INSERT (k, v) VALUES (s.k, 10 / s.d)
               WHEN MATCHED AND s.d = 0 THEN UPDATE SET v = -1
               WHEN MATCHED AND 10 / s.d = 5 THEN DELETE";
    assert_eq!(count(&world, sql).await, 2);
    assert_eq!(t(&world).await, "1|-1|a 2|20|b 3|30|c 4|5|none");
}

#[tokio::test]
async fn a_row_is_changed_once() {
    let world = world().await;
    let two = "(VALUES (1, 1), (1, 2), (9, 9)) AS s (k, v)";
    let invalid = ErrorKind::InvalidArgument;
    for (does, kind, word) in [
        ("WHEN MATCHED THEN UPDATE SET v = s.v", invalid, "a second time"),
        ("WHEN MATCHED THEN DELETE", invalid, "a second time"),
        ("WHEN MATCHED AND s.v = 1 THEN DELETE WHEN MATCHED THEN UPDATE SET v = 1", invalid, "a second time"),
        ("WHEN MATCHED AND s.v = 1 THEN UPDATE SET k = 50 WHEN MATCHED THEN DELETE", invalid, "a second time"),
        ("WHEN NOT MATCHED THEN INSERT (k) VALUES (2)", ErrorKind::AlreadyExists, "(2)"),
        ("WHEN MATCHED AND s.v = 1 THEN UPDATE SET k = 3", ErrorKind::AlreadyExists, "(3)"),
    ] {
        refused(&world, &format!("MERGE INTO t USING {two} ON t.k = s.k {does}"), kind, word).await;
    }
    let sql = "MERGE INTO t USING (VALUES (8), (8)) AS s (k) ON t.k = s.k WHEN NOT MATCHED THEN INSERT (k) VALUES (k)";
    refused(&world, sql, ErrorKind::AlreadyExists, "(8)").await;
    assert_eq!(t(&world).await, "1|10|a 2|20|b 3|30|c");
    // Matched twice and changed once is none.
    let sql = format!("MERGE INTO t USING {two} ON t.k = s.k WHEN MATCHED AND s.v = 2 THEN UPDATE SET v = s.v");
    assert_eq!(count(&world, &sql).await, 1);
    // What one clause frees, another one may take.
    let sql =
        "MERGE INTO t USING (VALUES (2, 3), (3, 2)) AS s (k, n) ON t.k = s.k WHEN MATCHED THEN UPDATE SET k = s.n";
    assert_eq!(count(&world, sql).await, 2);
    assert_eq!(t(&world).await, "1|2|a 2|30|c 3|20|b");
}

#[tokio::test]
async fn rows_without_a_key_are_merged_by_any_condition() {
    let world = World::new().await;
    world.run("CREATE TABLE log (a BIGINT, b TEXT)").await;
    world.run("INSERT INTO log VALUES (1, 'x'), (1, 'x'), (2, 'y')").await;
    world.run("FLUSH TABLE log").await;
    world.run("INSERT INTO log VALUES (3, 'z')").await;
    let sql = "MERGE INTO log USING (SELECT * FROM generate_series(1, 5) AS g (n)) AS s ON log.a = s.n
               WHEN MATCHED AND log.a = 3 THEN DELETE WHEN MATCHED THEN UPDATE SET b = b || n
               WHEN NOT MATCHED THEN INSERT VALUES (n, 'new')";
    assert_eq!(count(&world, sql).await, 6);
    assert_eq!(world.rows("SELECT a, b FROM log ORDER BY a, b").await, ["1|x1", "1|x1", "2|y2", "4|new", "5|new"]);
}

#[tokio::test]
async fn merges_that_cannot_be_meant_are_refused() {
    let world = world().await;
    let invalid = ErrorKind::InvalidArgument;
    for (sql, word) in [
        ("MERGE INTO t USING t ON true WHEN MATCHED THEN DELETE", "alias"),
        ("MERGE INTO t USING (SELECT 1 AS k) ON true WHEN MATCHED THEN DELETE", "alias"),
        ("MERGE INTO t USING t AS s ON t.k = s.k", "WHEN"),
        ("MERGE INTO t USING t AS s ON t.k = s.k WHEN MATCHED THEN DELETE WHEN MATCHED THEN DO NOTHING", "WHEN"),
        ("MERGE INTO t USING t AS s ON t.k = s.k WHEN NOT MATCHED THEN INSERT (k, k) VALUES (1, 2)", "twice"),
        ("MERGE INTO t USING t AS s ON t.k = s.k WHEN NOT MATCHED THEN INSERT (k) VALUES (1, 2)", "2 values"),
        ("MERGE INTO t USING t AS s ON t.k = s.k WHEN NOT MATCHED THEN INSERT (k) VALUES (t.k)", "t.k"),
        ("MERGE INTO t USING t AS n ON t.k = n.k WHEN NOT MATCHED BY SOURCE THEN UPDATE SET v = n.v", "n.v"),
        ("MERGE INTO t USING t AS s ON t.k = s.k WHEN MATCHED THEN UPDATE SET v = 1 WHERE v = 1", "AND"),
        ("MERGE INTO t USING t AS s ON t.k = s.k WHEN MATCHED THEN UPDATE SET _seq = 1", "system column"),
        ("MERGE INTO t USING t AS s ON k = 1 WHEN MATCHED THEN DELETE", "k"),
    ] {
        refused(&world, sql, invalid, word).await;
    }
    refused(
        &world,
        "MERGE INTO \"(filled)\".public.t USING t AS s ON true WHEN MATCHED THEN DELETE",
        ErrorKind::NotFound,
        "",
    )
    .await;
    assert_eq!(t(&world).await, "1|10|a 2|20|b 3|30|c");
}

#[tokio::test]
async fn nobody_meets_rows_of_others() {
    let mut world = world().await;
    let admin = (world.user.clone(), Arc::clone(&world.session));
    world.user = world.engine.vouched("bob").await.unwrap();
    world.session = Arc::new(Session::new(&world.user));
    let upsert = "INSERT INTO t VALUES (1, 1, 'bob'), (2, 2, 'bob') ON CONFLICT DO UPDATE SET s = t.s || 'again'";
    assert_eq!(count(&world, upsert).await, 2);
    assert_eq!(t(&world).await, "1|1|bob 2|2|bob");
    assert_eq!(count(&world, "INSERT INTO t VALUES (3, 3, 'bob'), (1, 0, '') ON CONFLICT DO NOTHING").await, 1);
    let sql = "MERGE INTO t USING (VALUES (1)) AS s (k) ON t.k = s.k WHEN NOT MATCHED BY SOURCE THEN DELETE
               WHEN MATCHED THEN UPDATE SET v = -1";
    assert_eq!(count(&world, sql).await, 3);
    assert_eq!(t(&world).await, "1|-1|bob");
    (world.user, world.session) = admin;
    assert_eq!(t(&world).await, "1|10|a 2|20|b 3|30|c");
}

#[tokio::test]
async fn each_privilege_is_asked_for() {
    let mut world = World::new().await;
    world.run("CREATE SHARED TABLE t (k BIGINT PRIMARY KEY, v BIGINT) WITH (grants = 'none')").await;
    world.run("CREATE SHARED TABLE s (k BIGINT, v BIGINT) WITH (grants = 'none')").await;
    world.run("INSERT INTO t VALUES (1, 1)").await;
    let admin = (world.user.clone(), Arc::clone(&world.session));
    let bob = world.engine.vouched("bob").await.unwrap();
    let bobs = Arc::new(Session::new(&bob));
    let insert = "INSERT INTO t VALUES (1, 5) ON CONFLICT DO";
    let merge = |clause: &str| format!("MERGE INTO t USING (VALUES (1)) AS n (k) ON t.k = n.k {clause}");
    for (needed, sql) in [
        (vec!["INSERT"], format!("{insert} NOTHING")),
        (vec!["INSERT", "UPDATE"], format!("{insert} UPDATE SET v = excluded.v")),
        (vec!["INSERT", "UPDATE", "SELECT"], format!("{insert} UPDATE SET v = t.v")),
        (vec!["INSERT", "UPDATE", "SELECT"], format!("{insert} UPDATE SET v = 1 WHERE v = 1")),
        (vec!["SELECT", "UPDATE"], merge("WHEN MATCHED THEN UPDATE SET v = 1")),
        (vec!["SELECT", "DELETE"], merge("WHEN MATCHED AND false THEN DELETE")),
        (vec!["SELECT", "INSERT"], merge("WHEN NOT MATCHED THEN INSERT VALUES (n.k, 1)")),
        (vec!["SELECT"], merge("WHEN NOT MATCHED THEN DO NOTHING")),
    ] {
        for missing in &needed {
            (world.user, world.session) = admin.clone();
            world.run("REVOKE ALL ON t FROM bob").await;
            for privilege in needed.iter().filter(|privilege| *privilege != missing) {
                world.run(&format!("GRANT {privilege} ON t TO bob")).await;
            }
            (world.user, world.session) = (bob.clone(), Arc::clone(&bobs));
            let kind = error(&world, &sql).await.kind();
            assert!(
                [ErrorKind::PermissionDenied, ErrorKind::NotFound].contains(&kind),
                "{sql} without {missing}: {kind:?}"
            );
        }
        (world.user, world.session) = admin.clone();
        for privilege in &needed {
            world.run(&format!("GRANT {privilege} ON t TO bob")).await;
        }
        (world.user, world.session) = (bob.clone(), Arc::clone(&bobs));
        count(&world, &sql).await;
        let reads = "MERGE INTO t USING s ON t.k = s.k WHEN NOT MATCHED THEN DO NOTHING";
        assert!(world.count(reads, Vec::new()).await.is_err());
    }
}

#[tokio::test]
async fn text_keys_are_sought_as_text() {
    let world = World::new().await;
    world.run("CREATE TABLE words (w TEXT PRIMARY KEY, n BIGINT NOT NULL)").await;
    world.run("INSERT INTO words VALUES ('a', 1), ('b', 1)").await;
    world.run("FLUSH TABLE words").await;
    world.run("INSERT INTO words VALUES ('c', 1)").await;
    let words: ArrayRef = Arc::new(StringArray::from(vec!["a", "c", "d"]));
    let params = vec![RecordBatch::try_from_iter([("$1", words)]).unwrap()];
    let sql = "INSERT INTO words VALUES ($1, 1) ON CONFLICT (w) DO UPDATE SET n = words.n + 1";
    assert_eq!(world.count(sql, params).await.unwrap(), 3);
    assert_eq!(world.rows("SELECT w, n FROM words ORDER BY w").await, ["a|2", "b|1", "c|2", "d|1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upserts_at_once_wait_for_each_other() {
    let world = Arc::new(world().await);
    let sql = "INSERT INTO t (k, v) VALUES (1, 1), (77, 1) ON CONFLICT DO UPDATE SET v = t.v + excluded.v";
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                for _ in 0..10 {
                    assert_eq!(count(&world, sql).await, 2);
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(world.rows("SELECT v FROM t WHERE k IN (1, 77) ORDER BY k").await, ["90", "80"]);
}

#[tokio::test]
async fn conditions_may_hold_queries() {
    let world = world().await;
    let sql = "INSERT INTO t VALUES (1, 1, 'x'), (2, 2, 'x'), (5, (SELECT max(v) FROM t), 'new')
               ON CONFLICT DO UPDATE SET v = (SELECT max(o.v) FROM t AS o) WHERE t.v < (SELECT max(o.v) FROM t AS o) - 15";
    assert_eq!(count(&world, sql).await, 2);
    assert_eq!(t(&world).await, "1|30|a 2|20|b 3|30|c 5|30|new");
    world.run("CREATE TABLE picks (k BIGINT)").await;
    world.run("INSERT INTO picks VALUES (1), (3)").await;
    let among = async |condition: &str| {
        let sql = format!(
            "MERGE INTO t USING (SELECT k AS id FROM t) AS n ON t.k = n.id
             WHEN MATCHED AND {condition} THEN UPDATE SET s = 'x' WHEN MATCHED THEN UPDATE SET s = 'y'"
        );
        assert_eq!(count(&world, &sql).await, 4, "{condition}");
        world.rows("SELECT k FROM t WHERE s = 'x' ORDER BY k").await.join(" ")
    };
    assert_eq!(among("t.k IN (SELECT k FROM picks)").await, "1 3");
    assert_eq!(among("n.id + 1 NOT IN (SELECT k FROM picks)").await, "1 3 5");
    assert_eq!(among("EXISTS (SELECT 1 FROM picks AS p WHERE p.k = t.k AND p.k < 2)").await, "1");
    assert_eq!(among("NOT EXISTS (SELECT 1 FROM picks AS p WHERE p.k = n.id)").await, "2 5");
    assert_eq!(among("t.k IN (SELECT max(k) FROM picks) OR EXISTS (SELECT 1 FROM picks WHERE k > 100)").await, "3");
    assert_eq!(among("NULLIF(t.k, 2) NOT IN (SELECT k FROM picks WHERE k > 100)").await, "1 2 3 5");
    world.run("INSERT INTO picks VALUES (NULL)").await;
    assert_eq!(among("t.k IN (SELECT k FROM picks)").await, "1 3");
    assert_eq!(among("t.k NOT IN (SELECT k FROM picks)").await, "");
    let sql = "INSERT INTO t VALUES (1, 1, ''), (2, 2, '') ON CONFLICT DO UPDATE SET s = 'in' WHERE excluded.k IN (SELECT k FROM picks)";
    assert_eq!(count(&world, sql).await, 1);
    assert_eq!(world.rows("DELETE FROM t WHERE k = 1 RETURNING s, k IN (SELECT k FROM picks)").await, ["in|true"]);
    assert_eq!(count(&world, "UPDATE t SET v = CASE WHEN k IN (SELECT k FROM picks) THEN 1 ELSE 0 END").await, 3);
    assert_eq!(world.rows("SELECT v FROM t ORDER BY k").await, ["0", "1", "0"]);
    assert_eq!(count(&world, "INSERT INTO t VALUES (6, (SELECT max(k) FROM t), 'q'), (7, NULL, 'r')").await, 2);
    assert_eq!(world.rows("SELECT v, s FROM t WHERE k > 5 ORDER BY k").await, ["5|q", "null|r"]);
}

#[tokio::test]
async fn they_are_explained() {
    let world = world().await;
    for sql in [
        "EXPLAIN INSERT INTO t AS a VALUES (1, 1, '') ON CONFLICT DO UPDATE SET v = a.v + 1",
        "EXPLAIN MERGE INTO t USING t AS n ON t.k = n.k WHEN MATCHED THEN DO NOTHING",
    ] {
        assert!(world.rows(sql).await.join(" ").contains("Join"), "{sql}");
    }
    assert_eq!(t(&world).await, "1|10|a 2|20|b 3|30|c");
}
