use crate::{ErrorKind, world::World};

async fn world() -> World {
    let world = World::new().await;
    for sql in [
        "CREATE TABLE a (id INT PRIMARY KEY, v INT)",
        "CREATE TABLE b (id INT PRIMARY KEY, w INT)",
        "INSERT INTO a VALUES (1, 10), (2, 20)",
        "INSERT INTO b VALUES (2, 200), (3, 300)",
    ] {
        world.run(sql).await;
    }
    world
}

#[tokio::test]
async fn the_merged_column_is_of_the_side_that_has_a_row() {
    let world = world().await;
    for (sql, expected) in [
        ("SELECT id FROM a FULL JOIN b USING (id) ORDER BY id", vec!["1", "2", "3"]),
        ("SELECT * FROM a FULL JOIN b USING (id) ORDER BY id", vec!["1|10|null", "2|20|200", "3|null|300"]),
        ("SELECT id, a.id, b.id FROM a FULL JOIN b USING (id) ORDER BY 1", vec!["1|1|null", "2|2|2", "3|null|3"]),
        ("SELECT id + 1 AS n FROM a x FULL OUTER JOIN b USING (id) WHERE id > 1 ORDER BY n", vec!["3", "4"]),
        (
            "SELECT id, count(*) FROM a FULL JOIN b USING (id) GROUP BY id HAVING id <> 2 ORDER BY id",
            vec!["1|1", "3|1"],
        ),
        ("SELECT v FROM a FULL JOIN b USING (id) ORDER BY id DESC", vec!["null", "20", "10"]),
        ("SELECT id FROM a RIGHT JOIN b USING (id) ORDER BY id", vec!["2", "3"]),
        (
            "SELECT count(*) FROM (SELECT DISTINCT ON (id) w FROM a FULL JOIN (SELECT id + 2 AS id, w FROM b) c USING (id)) d",
            vec!["4"],
        ),
        (
            "SELECT id, count(*) OVER n FROM a FULL JOIN (SELECT id + 2 AS id, w FROM b) c USING (id) WINDOW n AS (PARTITION BY id) ORDER BY id",
            vec!["1|1", "2|1", "4|1", "5|1"],
        ),
        ("SELECT id, v, w FROM a RIGHT JOIN b USING (id) WHERE id = 3", vec!["3|null|300"]),
        ("SELECT * FROM a RIGHT JOIN b USING (id) ORDER BY id", vec!["2|20|200", "3|null|300"]),
        ("SELECT id FROM a LEFT JOIN b USING (id) ORDER BY id", vec!["1", "2"]),
        (
            "SELECT id, (SELECT max(id) FROM a) FROM (SELECT id FROM a) x FULL JOIN (SELECT id FROM b) y USING (id) ORDER BY id",
            vec!["1|2", "2|2", "3|2"],
        ),
    ] {
        assert_eq!(world.rows(sql).await, expected, "{sql}");
    }
}

#[tokio::test]
async fn what_is_not_done_is_said() {
    let world = world().await;
    for sql in [
        "SELECT * FROM a NATURAL FULL JOIN b",
        "SELECT * FROM a FULL JOIN b USING (id) FULL JOIN b c USING (id)",
        "SELECT id FROM (a FULL JOIN b USING (id))",
    ] {
        let error = world.try_run(sql, Vec::new()).await.err().unwrap_or_else(|| panic!("{sql} was taken"));
        assert_eq!(error.kind(), ErrorKind::Unimplemented, "{sql}: {error}");
    }
}
