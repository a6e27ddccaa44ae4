use crate::{ErrorKind, world::World};

async fn world() -> World {
    let world = World::new().await;
    world.run("CREATE TABLE t (id INT PRIMARY KEY, a DOUBLE, b DOUBLE, r REAL, n INT)").await;
    world
        .run(
            "INSERT INTO t VALUES (1, 9, 2, 2, 3), (2, 9, 0, 0, 0), (3, NULL, 0, 0, 0), (4, 9, NULL, NULL, NULL),
                 (5, 'NaN', 0, 0, 0), (6, 8, 4, 4, 4)",
        )
        .await;
    world
}

async fn refused(world: &World, sql: &str) -> String {
    let error = match world.try_run(sql, Vec::new()).await {
        Err(error) => error,
        Ok(crate::Outcome::Count(count)) => panic!("{sql}: {count}"),
        Ok(crate::Outcome::Rows { rows, .. }) => {
            use futures::TryStreamExt;
            match rows.try_collect::<Vec<_>>().await {
                Err(error) => error,
                Ok(rows) => panic!("{sql}: {rows:?}"),
            }
        }
    };
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{sql}: {error}");
    error.to_string()
}

#[tokio::test]
async fn zero_divides_no_float() {
    let world = world().await;
    for expr in [
        "CAST(1 AS DOUBLE) / 0",
        "CAST(1 AS REAL) / CAST(-0.0 AS REAL)",
        "CAST(1 AS DOUBLE) % 0",
        "a / b",
        "a % b",
        "9 / r",
        "a / 0",
        "CAST(b AS DOUBLE) / b",
        "sum(n) / min(b)",
        "a / (b - b)",
    ] {
        let told = refused(&world, &format!("SELECT {expr} FROM t")).await;
        assert!(told.contains("division by zero"), "{expr}: {told}");
    }
    let told = refused(&world, "UPDATE t SET a = a / b").await;
    assert!(told.contains("division by zero"), "{told}");
    assert_eq!(world.rows("SELECT a FROM t WHERE id = 1").await, ["9.0"], "what is refused changes nothing");
}

#[tokio::test]
async fn what_is_no_number_is_divided_to_none() {
    let world = world().await;
    // Neither a null beside a zero, nor one in a zero's place, is a division by zero.
    let rows = world.rows("SELECT id, a / b, a % b, 1 / NULLIF(b, 0) FROM t WHERE id <> 2 ORDER BY id").await;
    assert_eq!(rows, ["1|4.5|1.0|0.5", "3|null|null|null", "4|null|null|null", "5|NaN|NaN|null", "6|2.0|0.0|0.25"]);
    assert_eq!(world.rows("SELECT CAST('inf' AS DOUBLE) / 2, 0 / CAST(2 AS DOUBLE)").await, ["inf|0.0"]);
    assert_eq!(world.rows("SELECT a / 0 FROM t WHERE id = 3").await, ["null"]);
    let schema = world.run("SELECT a / b FROM t WHERE id = 1").await.0;
    assert_eq!(schema.field(0).name(), "t.a / t.b", "a result is called as before");
}

#[tokio::test]
async fn a_condition_guards_the_division_to_its_right() {
    let world = world().await;
    for (condition, ids) in [
        ("b <> 0 AND a / b > 3", "1"),
        ("n <> 0 AND 12 / n > 3", "1"),
        ("n <> 0 AND id > 0 AND 12 % n = 0", "1,6"),
        ("id > 0 AND (n > 0 AND (id < 9 AND 12 / n = 3))", "6"),
        ("b = 0 OR a / b > 3", "1,2,3,5"),
        ("NOT (b = 0 OR a / b > 3)", "6"),
        ("CASE WHEN n <> 0 AND 12 / n > 3 THEN true ELSE false END", "1"),
        ("(n <> 0 AND 12 / n > 3) IS NULL", "4"),
        ("(n = 0 OR 12 / n > 3) IS NULL", "4"),
        ("id IN (SELECT s.id FROM t s WHERE s.b <> 0 AND s.a / s.b > 3)", "1"),
    ] {
        let sql = format!("SELECT string_agg(CAST(id AS TEXT), ',' ORDER BY id) FROM t WHERE {condition}");
        assert_eq!(world.rows(&sql).await, [ids], "{condition}");
    }
    let joined = "SELECT x.id, y.id FROM t x JOIN t y ON y.n <> 0 AND x.n / y.n = 1 AND x.id = y.id ORDER BY 1";
    assert_eq!(world.rows(joined).await, ["1|1", "6|6"]);
    let having = "SELECT id FROM t GROUP BY id HAVING min(b) <> 0 AND max(a) / min(b) > 3";
    assert_eq!(world.rows(having).await, ["1"]);
    // A condition that says nothing of the divisor guards nothing.
    refused(&world, "SELECT id FROM t WHERE id > 0 AND a / b > 3").await;
}
