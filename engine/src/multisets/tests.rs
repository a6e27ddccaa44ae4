use crate::world::World;

/// Of all numbers of copies of a row on both sides, NULLs and several columns included; and of what stands around them.
#[tokio::test]
async fn as_many_copies_are_left_as_sql_says() {
    let world = World::new().await;
    for side in ["l", "r"] {
        world.run(&format!("CREATE TABLE {side} (id BIGINT PRIMARY KEY, a INT, b TEXT)")).await;
    }
    let mut id = 0;
    let mut rows = |copies: &dyn Fn(i32) -> i32| {
        let mut rows = Vec::new();
        for kind in 0..9 {
            for _ in 0..copies(kind) {
                id += 1;
                // One kind is NULL in a column, another one in both.
                let (a, b) = match kind {
                    7 => ("NULL".into(), "NULL".into()),
                    8 => ("1".into(), "NULL".into()),
                    _ => (kind.to_string(), format!("'{}'", kind % 2)),
                };
                rows.push(format!("({id}, {a}, {b})"));
            }
        }
        rows.join(", ")
    };
    world.run(&format!("INSERT INTO l VALUES {}", rows(&|kind| kind % 3))).await;
    world.run(&format!("INSERT INTO r VALUES {}", rows(&|kind| kind / 3))).await;
    let shown = |sql: &str| format!("SELECT a, b, count(*) FROM ({sql}) s GROUP BY a, b ORDER BY a, b");
    // Copies on the left are 0 1 2 0 1 2 0 1 2, on the right 0 0 0 1 1 1 2 2 2.
    let both = shown("SELECT a, b FROM l INTERSECT ALL SELECT a, b FROM r");
    assert_eq!(world.rows(&both).await, ["1|null|2", "4|0|1", "5|1|1", "null|null|1"]);
    let left = shown("SELECT a, b FROM l EXCEPT ALL SELECT a, b FROM r");
    assert_eq!(world.rows(&left).await, ["1|1|1", "2|0|2", "5|1|1"]);
    let same = "SELECT count(*) FROM (SELECT b FROM l INTERSECT ALL SELECT b FROM l) s";
    assert_eq!(world.rows(same).await, ["9"]);
    // In a chain, below a condition, among what is distinct, and in the names and types of the left side.
    let chain = "SELECT a FROM l EXCEPT ALL SELECT a FROM r EXCEPT ALL SELECT 2 ORDER BY a";
    assert_eq!(world.rows(chain).await, ["1", "2", "5"]);
    let within = "SELECT count(*) FROM l WHERE a IN (SELECT a FROM l EXCEPT ALL SELECT CAST(a AS BIGINT) FROM r)";
    assert_eq!(world.rows(within).await, ["7"]);
    let once = "SELECT a FROM l INTERSECT SELECT a FROM r ORDER BY a";
    assert_eq!(world.rows(once).await, ["1", "4", "5", "null"]);
    let distinct = "(SELECT DISTINCT a FROM l) INTERSECT ALL SELECT a FROM r ORDER BY a";
    assert_eq!(world.rows(distinct).await, ["1", "4", "5", "null"]);
    let (schema, _) = world.run("SELECT a AS x, b FROM l EXCEPT ALL SELECT a, b FROM r").await;
    assert_eq!(schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), ["x", "b"]);
}
