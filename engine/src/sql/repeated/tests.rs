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
async fn a_table_tells_its_columns_apart() {
    let world = World::new().await;
    world.run("CREATE TABLE t (id INT PRIMARY KEY, v INT)").await;
    for sql in ["CREATE TABLE u AS SELECT id, id FROM t", "SELECT id FROM (SELECT id, id FROM t)"] {
        assert!(world.try_run(sql, Vec::new()).await.is_err(), "{sql}");
    }
}
