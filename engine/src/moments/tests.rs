use crate::world::World;

async fn world() -> World {
    let world = World::new().await;
    world
        .run("CREATE TABLE t (id INT PRIMARY KEY, ends TIMESTAMP, zoned TIMESTAMPTZ, coarse TIMESTAMP(0), day DATE)")
        .await;
    world
        .run(
            "INSERT INTO t VALUES (1, '9999-12-31', '9999-12-31', '9999-12-31', '9999-12-31'),
                 (2, '2020-05-05 10:00:00.000001', '2020-05-05 10:00:00', '2020-05-05 10:00:00', '2020-05-05'),
                 (3, NULL, NULL, NULL, NULL)",
        )
        .await;
    world
}

#[tokio::test]
async fn far_days_are_compared_with_text_and_dates() {
    let world = world().await;
    for (condition, ids) in [
        ("ends >= '9999-12-31'", "1"),
        ("'9999-12-31 00:00:00' = ends", "1"),
        ("ends < '9999-12-31'", "2"),
        ("zoned = '9999-12-31'", "1"),
        ("zoned > '2020-05-05 09:59:59Z' AND zoned < '9999-12-31T00:00:00Z'", "2"),
        ("coarse = '9999-12-31'", "1"),
        ("coarse < '2020-05-05 10:00:01'", "2"),
        ("ends BETWEEN '0001-01-01' AND '9999-12-31'", "1,2"),
        ("ends NOT BETWEEN '2020-01-01' AND '2021-01-01'", "1"),
        ("ends IN ('9999-12-31', '2020-05-05 10:00:00.000001')", "1,2"),
        ("ends > day", "2"),
        ("ends = day", "1"),
        ("ends > current_date", "1"),
        ("ends = DATE '9999-12-31'", "1"),
        ("CASE WHEN ends = '9999-12-31' THEN true ELSE false END", "1"),
        ("id IN (SELECT id FROM t WHERE ends = '9999-12-31')", "1"),
        ("ends IS NOT DISTINCT FROM '9999-12-31'", "1"),
    ] {
        let sql = format!("SELECT string_agg(CAST(id AS TEXT), ',' ORDER BY id) FROM t WHERE {condition}");
        assert_eq!(world.rows(&sql).await, [ids], "{condition}");
    }
}

#[tokio::test]
async fn a_key_of_time_is_still_sought() {
    let world = World::new().await;
    world.run("CREATE TABLE log (at TIMESTAMP PRIMARY KEY, v INT)").await;
    world.run("INSERT INTO log VALUES ('2020-05-05 10:00:00', 1), ('9999-12-31', 2)").await;
    assert_eq!(world.rows("SELECT v FROM log WHERE at = '9999-12-31'").await, ["2"]);
    let plan = world.rows("EXPLAIN SELECT v FROM log WHERE at = '9999-12-31'").await.join("\n");
    assert!(
        plan.contains("9999-12-31") || plan.contains("253402214400000000"),
        "the column itself is compared: {plan}"
    );
    assert!(!plan.contains("CAST(log.at"), "{plan}");
}

#[tokio::test]
async fn what_is_no_time_is_said_to_be_none() {
    let world = world().await;
    let error = world.count("DELETE FROM t WHERE ends > 'soon'", Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::InvalidArgument, "{error}");
}
