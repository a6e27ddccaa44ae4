use futures::TryStreamExt;

use super::*;
use crate::{ErrorKind, Outcome, world::World};

#[test]
fn halves_are_whole() {
    let values = [i64::MAX, i64::MIN, -1, 0, 1, i64::MAX, 1 << 32, -(1 << 32), 0xffff_ffff];
    assert_eq!(halves(&values), values.iter().map(|value| i128::from(*value)).sum::<i128>());
}

/// Ungrouped, of few and of many groups, distinct, in frames; of both kinds of integers.
#[tokio::test]
async fn a_sum_that_does_not_fit_is_an_error_and_what_is_met_on_the_way_is_not() {
    let world = World::new().await;
    world.run("CREATE TABLE t (id BIGINT PRIMARY KEY, g INT, v BIGINT, u BIGINT UNSIGNED, n INT)").await;
    let (most, all) = (i64::MAX, u64::MAX);
    world
        .run(&format!(
            "INSERT INTO t VALUES (1, 1, {most}, {all}, NULL), (2, 1, {most}, 1, NULL), (3, 1, -{most}, 0, 4)"
        ))
        .await;
    for fits in [
        "SELECT sum(v) FROM t",
        "SELECT sum(v) FROM t GROUP BY g",
        "SELECT sum(DISTINCT v) + 9223372036854775807 FROM t",
        "SELECT max(s) FROM (SELECT sum(v) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) s FROM t WHERE id <> 2)",
    ] {
        assert_eq!(world.rows(fits).await, [most.to_string()], "{fits}");
    }
    assert_eq!(world.rows("SELECT sum(n) FROM t").await, ["4"]);
    assert_eq!(world.rows("SELECT sum(n) FROM t WHERE id < 3").await, ["null"]);
    for exceeds in [
        "SELECT sum(v) FROM t WHERE id < 3",
        "SELECT g, sum(v) FROM t WHERE id < 3 GROUP BY g",
        "SELECT id % 2, sum(v) FROM t WHERE id < 3 GROUP BY GROUPING SETS ((id % 2), ())",
        "SELECT sum(DISTINCT v - id), sum(DISTINCT id) FROM t WHERE id < 3",
        "SELECT sum(v) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t",
        "SELECT sum(u) FROM t",
        "SELECT g, sum(u) FROM t GROUP BY g",
    ] {
        let error = match world.try_run(exceeds, Vec::new()).await {
            Ok(Outcome::Rows { rows, .. }) => rows.try_collect::<Vec<_>>().await.err(),
            other => other.err(),
        };
        let error = error.unwrap_or_else(|| panic!("{exceeds} has an answer"));
        assert!(
            error.kind() == ErrorKind::InvalidArgument && error.message().contains("overflow"),
            "{exceeds}: {error}"
        );
    }
}
