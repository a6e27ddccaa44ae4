use crate::world::World;

#[tokio::test]
async fn columns_of_a_result_may_share_a_name() {
    let world = World::new().await;
    world.run("CREATE TABLE t (id INT PRIMARY KEY, v INT)").await;
    world.run("INSERT INTO t VALUES (1, 2)").await;
    for (sql, names, row) in [
        ("SELECT id, id FROM t", "id|id", "1|1"),
        ("SELECT id, t.id, v AS id FROM t ORDER BY id", "id|id|id", "1|1|2"),
        ("SELECT count(*), count(*), COUNT(*) FROM t", "count(*)|count(*)|count(*)", "1|1|1"),
        ("SELECT *, id FROM t", "id|v|id", "1|2|1"),
        ("SELECT id, t.*, v FROM t", "id|id|v|v", "1|1|2|2"),
        ("SELECT 'a', v, 'a', 'A' FROM t", "Utf8(\"a\")|v|Utf8(\"a\")|Utf8(\"A\")", "a|2|a|A"),
        ("SELECT id, id FROM t UNION ALL SELECT v, v FROM t WHERE false", "id|id", "1|1"),
        ("SELECT id AS x, v AS x FROM t", "x|x", "1|2"),
        ("(SELECT id, id FROM t)", "id|id", "1|1"),
    ] {
        let (schema, _) = world.run(sql).await;
        let told: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(told.join("|"), names, "{sql}");
        assert_eq!(world.rows(sql).await, [row], "{sql}");
    }
    world.run("EXPLAIN SELECT id, id FROM t").await;
    world.run("INSERT INTO t SELECT id + 1, id + 1 FROM t").await;
    world.run("INSERT INTO t (v, id) SELECT v, v FROM t WHERE id = 1 ON CONFLICT (id) DO UPDATE SET v = 7").await;
    assert_eq!(world.rows("SELECT * FROM t ORDER BY id").await, ["1|2", "2|7"]);
}

#[tokio::test]
async fn so_may_those_of_a_query_that_another_reads() {
    let world = World::new().await;
    world.run("CREATE TABLE t (id INT PRIMARY KEY, v INT)").await;
    world.run("CREATE TABLE u (id INT PRIMARY KEY, w INT)").await;
    world.run("INSERT INTO t VALUES (1, 2)").await;
    world.run("INSERT INTO u VALUES (1, 3)").await;
    for (sql, names, row) in [
        ("WITH a AS (SELECT id, id FROM t) SELECT count(*) FROM a", "count(*)", "1"),
        ("SELECT * FROM (SELECT t.id, u.id, w FROM t JOIN u ON t.id = u.id) s", "id|id|w", "1|1|3"),
        ("SELECT w + 1 AS x FROM (SELECT t.id, u.id, w FROM t JOIN u ON t.id = u.id) s", "x", "4"),
        ("SELECT * FROM (SELECT v, v FROM t) a, (SELECT w, w FROM u) b", "v|v|w|w", "2|2|3|3"),
        ("SELECT s.x, s.y FROM (SELECT id, v AS id FROM t) s (x, y)", "x|y", "1|2"),
        ("WITH a (x, y) AS (SELECT v, v FROM t) SELECT x, y FROM a", "x|y", "2|2"),
        ("SELECT v FROM (SELECT id, id, v FROM t ORDER BY id) s", "v", "2"),
        ("SELECT count(*) AS n FROM t WHERE EXISTS (SELECT id, id FROM u)", "n", "1"),
        ("SELECT sum(v), sum(a.v) FROM t a", "sum(a.v)|sum(a.v)", "2|2"),
        ("SELECT sum(a.v), sum(b.w) FROM t a, u b", "sum(a.v)|sum(b.w)", "2|3"),
        ("SELECT sum(a.v), sum(b.v) FROM t a, t b", "sum(a.v)|sum(b.v)", "2|2"),
        ("SELECT *, v AS id FROM t", "id|v|id", "1|2|2"),
        ("SELECT *, v AS id, v + 1 AS x FROM t ORDER BY x", "id|v|id|x", "1|2|2|3"),
        ("SELECT *, v + 1 AS x FROM t ORDER BY x", "id|v|x", "1|2|3"),
    ] {
        let (schema, _) = world.run(sql).await;
        let told: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(told.join("|"), names, "{sql}");
        assert_eq!(world.rows(sql).await, [row], "{sql}");
    }
    world.run("INSERT INTO t SELECT * FROM (SELECT id + 1 AS a, id + 1 AS a FROM t) s").await;
    assert_eq!(world.rows("SELECT * FROM t ORDER BY id").await, ["1|2", "2|2"]);
}

/// Which one is meant is not guessed.
#[tokio::test]
async fn one_of_several_is_not_meant_by_their_name() {
    let world = World::new().await;
    world.run("CREATE TABLE t (id INT PRIMARY KEY, v INT)").await;
    for sql in [
        "SELECT id FROM (SELECT id, v AS id FROM t) s",
        "SELECT s.id FROM (SELECT id, v AS id FROM t) s",
        "WITH s AS (SELECT id, v AS id FROM t) SELECT id FROM s",
        "SELECT 1 FROM t JOIN (SELECT id, v AS id FROM t) s USING (id)",
    ] {
        let error = world.try_run(sql, Vec::new()).await.err().unwrap_or_else(|| panic!("{sql} was taken"));
        assert!(error.message().contains("id\" is ambiguous") || sql.contains("USING"), "{sql}: {error}");
        assert!(!error.message().contains('\u{1}'), "{sql}: {error}");
    }
    let sorted = world.try_run("SELECT *, v AS id FROM t ORDER BY id", Vec::new()).await.err().unwrap();
    assert!(sorted.message().contains("ambiguous"), "{sorted}");
    // Not that of the query around either.
    for sql in [
        "WITH s AS (SELECT id, v AS id FROM t) SELECT v FROM t WHERE EXISTS (SELECT 1 FROM s WHERE id = v)",
        "SELECT v FROM t WHERE EXISTS (SELECT 1 FROM (SELECT id, v AS id FROM t) s WHERE id = v)",
    ] {
        assert!(world.try_run(sql, Vec::new()).await.is_err(), "{sql}");
    }
    // Here names say which columns belong together.
    assert!(world.try_run("SELECT * FROM t NATURAL JOIN (SELECT id, id FROM t) s", Vec::new()).await.is_err());
}

#[tokio::test]
async fn a_table_tells_its_columns_apart() {
    let world = World::new().await;
    world.run("CREATE TABLE t (id INT PRIMARY KEY, v INT)").await;
    for sql in ["CREATE TABLE u AS SELECT id, id FROM t", "CREATE TABLE u AS SELECT * FROM (SELECT id, id FROM t) s"] {
        assert!(world.try_run(sql, Vec::new()).await.is_err(), "{sql}");
    }
}
