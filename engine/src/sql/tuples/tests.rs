use crate::{ErrorKind, world::World};

async fn world() -> World {
    let world = World::new().await;
    world.run("CREATE TABLE t (id BIGINT PRIMARY KEY, a INT, b INT)").await;
    world.run("CREATE TABLE u (id BIGINT PRIMARY KEY, x INT, y INT)").await;
    let t = "(1, 1, 1), (2, 1, 2), (3, NULL, 1), (4, 3, NULL), (5, NULL, NULL), (6, 3, 9), (7, 9, 9)";
    world.run(&format!("INSERT INTO t VALUES {t}")).await;
    world.run("INSERT INTO u VALUES (1, 1, 1), (2, 3, NULL), (3, 2, 2)").await;
    world
}

/// What `(a, b) IN (SELECT x, y FROM u)` is for each row of `t`, by hand.
const IS_IN: [&str; 7] = ["1|true", "2|false", "3|null", "4|null", "5|null", "6|null", "7|false"];

#[tokio::test]
async fn rows_are_found_in_subqueries() {
    let world = world().await;
    let found = "(a, b) IN (SELECT x, y FROM u)";
    assert_eq!(world.rows(&format!("SELECT id, {found} FROM t ORDER BY id")).await, IS_IN);
    let not: Vec<String> = IS_IN
        .iter()
        .map(|row| match row.split_once('|').unwrap() {
            (id, "true") => format!("{id}|false"),
            (id, "false") => format!("{id}|true"),
            (id, _) => format!("{id}|null"),
        })
        .collect();
    assert_eq!(world.rows("SELECT id, (a, b) NOT IN (SELECT x, y FROM u) FROM t ORDER BY id").await, not);
    for (condition, expected) in [
        (found, vec!["1"]),
        ("(a, b) NOT IN (SELECT x, y FROM u)", vec!["2", "7"]),
        ("NOT (a, b) IN (SELECT x, y FROM u)", vec!["2", "7"]),
        ("NOT ((a, b) NOT IN (SELECT x, y FROM u) OR id = 9)", vec!["1"]),
        ("(a, b) IN (SELECT x, y FROM u) OR id = 7", vec!["1", "7"]),
        ("((a, b) IN (SELECT x, y FROM u)) IS NULL", vec!["3", "4", "5", "6"]),
        ("(a, b) IN (SELECT x, y FROM u WHERE u.id = 2)", vec![]),
        ("(a, b) NOT IN (SELECT x, y FROM u WHERE u.id > 9)", vec!["1", "2", "3", "4", "5", "6", "7"]),
        ("(a + 1, b + 1) IN (SELECT x, y FROM u)", vec!["1"]),
        ("(a, b) IN (VALUES (1, 2), (9, 9))", vec!["2", "7"]),
        ("(a, b) IN (SELECT x, y FROM u UNION ALL SELECT 9, 9)", vec!["1", "7"]),
        ("(a, b) IN (SELECT max(x), 9 FROM u)", vec!["6"]),
        ("(a, a) IN (SELECT x, x FROM u)", vec!["1", "2", "4", "6"]),
        ("(id, a, b) IN (SELECT * FROM u)", vec!["1"]),
        ("(a, b) IN (SELECT a, b FROM t ORDER BY id LIMIT 2)", vec!["1", "2"]),
    ] {
        let sql = format!("SELECT id FROM t WHERE {condition} ORDER BY id");
        assert_eq!(world.rows(&sql).await, expected, "{condition}");
    }
    world.run("UPDATE t SET b = 7 WHERE (a, b) IN (SELECT x, y FROM u)").await;
    world.run("DELETE FROM t WHERE (a, b) NOT IN (SELECT x, y FROM u) AND id <> 1").await;
    assert_eq!(world.rows("SELECT id, b FROM t ORDER BY id").await, ["1|7", "3|1", "4|null", "5|null", "6|9"]);
}

#[tokio::test]
async fn rows_are_found_in_lists() {
    let world = world().await;
    for (condition, expected) in [
        ("(a, b) IN ((1, 2), (9, 9))", vec!["2", "7"]),
        ("(a, b) NOT IN ((1, 2), (9, 9))", vec!["1", "3", "4", "6"]),
        ("((a, b) IN ((1, 2), (9, 9))) IS NULL", vec!["5"]),
        ("(a, b) IN ((1, NULL), (b, a))", vec!["1", "7"]),
        ("(a, b) = (1, 2)", vec!["2"]),
        ("(a, b) <> (1, 2)", vec!["1", "3", "4", "6", "7"]),
    ] {
        let sql = format!("SELECT id FROM t WHERE {condition} ORDER BY id");
        assert_eq!(world.rows(&sql).await, expected, "{condition}");
    }
    let many = (0..3000).map(|i| format!("({i}, {i})")).collect::<Vec<_>>().join(", ");
    assert_eq!(world.rows(&format!("SELECT id FROM t WHERE (a, b) IN ({many}) ORDER BY id")).await, ["1", "7"]);
}

#[tokio::test]
async fn what_cannot_be_compared_is_said() {
    let world = world().await;
    // Each level of this would copy all below it.
    let nested =
        (0..20).fold("SELECT 1, 2".to_owned(), |query, _| format!("SELECT 1, 2 WHERE ((1, 2) IN ({query})) IS NULL"));
    for sql in [
        "SELECT id FROM t WHERE (a, b) IN (SELECT x FROM u)",
        "SELECT id FROM t WHERE (a, b) IN ((1, 2, 3))",
        "SELECT id FROM t WHERE (a, b) IN (1, 2)",
        "SELECT id FROM t WHERE (a, b) = (1, 2, 3)",
        &nested,
    ] {
        let error = world.try_run(sql, Vec::new()).await.err().unwrap_or_else(|| panic!("{sql} was taken"));
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{sql}: {error}");
    }
}
