use proptest::{collection::vec, option, prelude::*};

use crate::world::World;

#[tokio::test]
async fn intervals_are_compared_by_their_length() {
    let world = World::new().await;
    for condition in [
        "INTERVAL '40 days' > INTERVAL '1 month'",
        "INTERVAL '1 month' > INTERVAL '20 days'",
        "INTERVAL '1 day' = INTERVAL '24 hours'",
        "INTERVAL '1 month' = INTERVAL '30 days'",
        "INTERVAL '1 year' = INTERVAL '360 days'",
        "INTERVAL '-1 month' < INTERVAL '-29 days'",
        "NOT INTERVAL '1 day' <> INTERVAL '24 hours'",
        "INTERVAL '25 hours' BETWEEN INTERVAL '1 day' AND INTERVAL '2 days'",
        "INTERVAL '24 hours' IN (INTERVAL '3 days', INTERVAL '1 day')",
        "INTERVAL '24 hours' IS NOT DISTINCT FROM INTERVAL '1 day'",
        "CASE INTERVAL '24 hours' WHEN INTERVAL '1 day' THEN true ELSE false END",
        "INTERVAL '178000000 years' > INTERVAL '2000000000 days'",
        "TIMESTAMP '2024-01-03 01:00:00' - TIMESTAMP '2024-01-01' > INTERVAL '2 days'",
        "(SELECT INTERVAL '49 hours') > INTERVAL '2 days'",
        "(INTERVAL '1 day' > NULL) IS NULL",
    ] {
        assert_eq!(world.rows(&format!("SELECT {condition}")).await, ["true"], "{condition}");
    }
    let schema = world.run("SELECT INTERVAL '1 day' = INTERVAL '24 hours' AS same").await.0;
    assert_eq!(schema.field(0).name(), "same");
}

async fn spans() -> World {
    let world = World::new().await;
    world.run("CREATE TABLE t (id INT PRIMARY KEY, i INTERVAL, began TIMESTAMP, ended TIMESTAMP)").await;
    world
        .run(
            "INSERT INTO t VALUES (1, INTERVAL '40 days', '2024-01-01', '2024-01-03 01:00:00'),
                 (2, INTERVAL '1 month', '2024-01-01', '2024-01-01 01:00:00'),
                 (3, INTERVAL '30 hours', NULL, NULL), (4, INTERVAL '1 day', '2024-01-01', '2023-01-01'),
                 (5, NULL, '2024-01-01', '2024-01-03')",
        )
        .await;
    world
}

#[tokio::test]
async fn columns_are_compared_and_sorted_by_their_length() {
    let world = spans().await;
    for (sql, rows) in [
        ("SELECT id FROM t WHERE i > INTERVAL '1 month'", &["1"][..]),
        ("SELECT id FROM t WHERE ended - began >= INTERVAL '2 days' ORDER BY id", &["1", "5"]),
        (
            "SELECT a.id, b.id FROM t a JOIN t b ON a.i > b.i AND b.i >= INTERVAL '26 hours' ORDER BY 1, 2",
            &["1|2", "1|3", "2|3"],
        ),
        ("SELECT count(*) FROM t a JOIN t b ON a.i = b.i", &["4"]),
        ("SELECT id FROM t ORDER BY i DESC NULLS LAST", &["1", "2", "3", "4", "5"]),
        ("SELECT id FROM t ORDER BY i NULLS FIRST LIMIT 3", &["5", "4", "3"]),
        ("SELECT string_agg(CAST(id AS TEXT), ',' ORDER BY i) FROM t WHERE id < 5", &["4,3,2,1"]),
        ("SELECT id, rank() OVER (ORDER BY i) FROM t WHERE id < 5 ORDER BY id", &["1|4", "2|3", "3|2", "4|1"]),
        (
            "SELECT id, max(i) OVER (ORDER BY i) = i FROM t WHERE id < 5 ORDER BY id",
            &["1|true", "2|true", "3|true", "4|true"],
        ),
        (
            "SELECT id, rank() OVER (ORDER BY i ROWS UNBOUNDED PRECEDING) AS r FROM t WHERE id IN (1, 2) ORDER BY r",
            &["2|1", "1|2"],
        ),
        (
            "SELECT id FROM (SELECT id, rank() OVER (PARTITION BY id % 2 ORDER BY i) AS r FROM t WHERE id < 5) \
          WHERE r = 2 ORDER BY id",
            &["1", "2"],
        ),
    ] {
        assert_eq!(world.rows(sql).await, rows, "{sql}");
    }
}

#[tokio::test]
async fn extremes_are_those_by_length() {
    let world = spans().await;
    let both = "SELECT min(i) = INTERVAL '1 day', max(i) = INTERVAL '40 days' FROM t";
    assert_eq!(world.rows(both).await, ["true|true"]);
    let none = "SELECT min(i), max(i) FROM t WHERE id = 5";
    assert_eq!(world.rows(none).await, ["null|null"]);
    let grouped = "SELECT id % 2, max(i) = INTERVAL '40 days' FROM t WHERE id < 5 GROUP BY 1 ORDER BY 1";
    assert_eq!(world.rows(grouped).await, ["0|false", "1|true"]);
    let schema = world.run("SELECT min(i) FROM t").await.0;
    assert_eq!(schema.field(0).name(), "min(t.i)");
    let having = "SELECT count(*) FROM (SELECT id FROM t GROUP BY id HAVING max(i) > INTERVAL '1 month')";
    assert_eq!(world.rows(having).await, ["1"]);
}

/// Months, days, hours, or nothing.
type Span = Option<(i32, i32, i64)>;

fn spans_of() -> impl Strategy<Value = Vec<Span>> {
    vec(option::weighted(0.85, (-2..3, -60..61, -50..51_i64)), 1..40)
}

fn hours((months, days, hours): (i32, i32, i64)) -> i64 {
    i64::from(months) * 720 + i64::from(days) * 24 + hours
}

fn literal(span: &Span) -> String {
    span.map_or_else(|| "NULL".into(), |(m, d, h)| format!("INTERVAL '{m} months {d} days {h} hours'"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// Frames that slide, and orders, against hours that are counted.
    #[test]
    fn frames_agree_with_a_model(spans in spans_of(), before in 0..4_usize) {
        let rows = spans.iter().enumerate().map(|(id, span)| {
            format!("({id}, {}, {})", literal(span), span.map_or("NULL".into(), |span| hours(span).to_string()))
        });
        let values = rows.collect::<Vec<_>>().join(", ");
        let sql = |of: &str| format!(
            "SELECT {of} FROM (VALUES {values}, (1000, INTERVAL '1 hour', 1)) AS t (id, i, h)"
        );
        let frame = format!("OVER (ORDER BY id ROWS BETWEEN {before} PRECEDING AND CURRENT ROW)");
        // Hours become an interval of one unit, so that only the model orders nothing but numbers.
        let agree = |of: &str| format!(
            "min({of}) {frame} IS NOT DISTINCT FROM CAST(CAST(min(h) {frame} AS TEXT) || ' hours' AS INTERVAL)"
        );
        let sql_order = format!("{} ORDER BY i, id", sql("id"));
        let model_order = format!("{} ORDER BY h, id", sql("id"));
        let frames = sql(&format!("{}, {}", agree("i"), agree("i").replace("min(", "max(")));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (order, model, frames) = runtime.block_on(async {
            let world = World::new().await;
            (world.rows(&sql_order).await, world.rows(&model_order).await, world.rows(&frames).await)
        });
        prop_assert_eq!(order, model);
        prop_assert!(frames.iter().all(|row| row == "true|true"), "{:?}", frames);
    }
}
