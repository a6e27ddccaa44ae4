use crate::world::World;

/// What differs by a cast alone has a name of its own wherever names are.
#[tokio::test]
async fn expressions_that_differ_by_a_cast_stand_side_by_side() {
    let world = World::new().await;
    world.run("CREATE TABLE t (id BIGINT PRIMARY KEY, v TEXT)").await;
    world.run("INSERT INTO t VALUES (1, '9'), (2, '10')").await;
    for (sql, rows) in [
        ("SELECT id, id::TEXT, CAST(id AS INT), id FROM t WHERE id = 1", "1|1|1|1"),
        ("SELECT t.id::INT, id::TEXT, (id)::SMALLINT FROM t WHERE id = 1", "1|1|1"),
        ("SELECT length(id::TEXT), length(id::INT::TEXT), id::TEXT, id FROM t WHERE id = 1", "1|1|1|1"),
        ("SELECT *, v::INT FROM t WHERE id = 2", "2|10|10"),
        ("SELECT DATE '2024-01-02', TIMESTAMP '2024-01-02', '2024-01-02'", "2024-01-02|2024-01-02T00:00:00|2024-01-02"),
        ("SELECT INTERVAL '1 day' = INTERVAL '24 hours', (1 + 1), 1 + 1", "true|2|2"),
        ("SELECT max(v) AS a, max(v::INT) AS b, max(CAST(v AS DOUBLE)) AS c FROM t", "9|10|10.0"),
        ("SELECT max(v), max(v::INT), count(DISTINCT v), count(DISTINCT v::INT) FROM t", "9|10|2|2"),
        ("SELECT max(v) < max(v::INT)::TEXT FROM t HAVING max(v) = '9'", "false"),
        ("SELECT max(v || 'x') AS a, max(v::INT::TEXT || 'x') AS b FROM t", "9x|9x"),
        ("SELECT v::INT, count(*) FROM t GROUP BY v::INT, v HAVING v::INT > 9 ORDER BY v::INT", "10|1"),
        ("SELECT v::INT AS a, v AS b FROM t GROUP BY a, v ORDER BY a LIMIT 1", "9|9"),
        ("SELECT v::INT AS a, v AS b FROM t GROUP BY 1, 2 ORDER BY 1 LIMIT 1", "9|9"),
        ("SELECT max(v) OVER () AS a, max(v::INT) OVER () AS b FROM t LIMIT 1", "9|10"),
        ("SELECT v FROM t GROUP BY v ORDER BY max(v::INT) DESC, max(v) LIMIT 1", "10"),
        ("SELECT a, b FROM (SELECT max(v) AS a, max(v::INT) AS b FROM t) AS q", "9|10"),
        (
            "SELECT x.v, x.v::INT FROM t AS x UNION ALL SELECT '1', '2'::INT FROM t WHERE false ORDER BY 2 LIMIT 1",
            "9|9",
        ),
    ] {
        assert_eq!(world.rows(sql).await, [rows], "{sql}");
    }
}

/// The order is that of the expression which is named, also where another one is unlike it by a cast only.
#[tokio::test]
async fn they_order_and_group_as_what_they_are() {
    let world = World::new().await;
    world.run("CREATE TABLE t (id BIGINT PRIMARY KEY, v TEXT)").await;
    world.run("INSERT INTO t VALUES (1, '9'), (2, '10'), (3, '09')").await;
    assert_eq!(world.rows("SELECT v, v::INT FROM t ORDER BY v::INT, v").await, ["09|9", "9|9", "10|10"]);
    assert_eq!(world.rows("SELECT v, v::INT FROM t ORDER BY v").await, ["09|9", "10|10", "9|9"]);
    let grouped = "SELECT v::INT, max(v), max(v::INT) FROM t GROUP BY v::INT ORDER BY v::INT";
    assert_eq!(world.rows(grouped).await, ["9|9|9", "10|10|10"]);
}

#[tokio::test]
async fn a_name_that_need_not_tell_a_cast_is_as_ever() {
    let world = World::new().await;
    world.run("CREATE TABLE t (id BIGINT PRIMARY KEY)").await;
    let (schema, _) = world.run("SELECT id::INT FROM t").await;
    assert_eq!(schema.field(0).name(), "t.id");
}
