use futures::TryStreamExt;

use super::totals::{halves, wide_halves};
use arrow::datatypes::i256;

use crate::{ErrorKind, Outcome, world::World};

#[test]
fn halves_are_whole() {
    let values = [i64::MAX, i64::MIN, -1, 0, 1, i64::MAX, 1 << 32, -(1 << 32), 0xffff_ffff];
    assert_eq!(halves(&values), values.iter().map(|value| i128::from(*value)).sum::<i128>());
    let wide = [i128::MAX, i128::MIN, -1, 0, i128::MAX, 1 << 64, -(1 << 64), u64::MAX.into()];
    let expected = wide.iter().fold(i256::ZERO, |sum, value| sum + i256::from_i128(*value));
    assert_eq!(wide_halves(wide.into_iter()), expected);
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
        fails(&world, exceeds).await;
    }
}

#[tokio::test]
async fn a_sum_of_decimals_that_does_not_fit_is_an_error_too() {
    let world = World::new().await;
    world.run("CREATE TABLE t (id BIGINT PRIMARY KEY, g INT, v DECIMAL(38, 2), s DECIMAL(9, 2))").await;
    let most = format!("{}.99", "9".repeat(36));
    world
        .run(&format!(
            "INSERT INTO t VALUES (1, 1, '{most}', 9999999.99), (2, 1, '{most}', 9999999.99), (3, 1, '-{most}', NULL)"
        ))
        .await;
    for fits in [
        "SELECT sum(v) FROM t",
        "SELECT sum(v) FROM t GROUP BY g",
        "SELECT sum(DISTINCT v) FROM (SELECT v FROM t WHERE id < 3) s",
        "SELECT max(s) FROM (SELECT sum(v) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) s FROM t WHERE id <> 2) x",
        "SELECT max(s) FROM (SELECT sum(DISTINCT v) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) s FROM t) x",
    ] {
        assert_eq!(world.rows(fits).await, [most.clone()], "{fits}");
    }
    assert_eq!(world.rows("SELECT sum(s), sum(DISTINCT s) FROM t").await, ["19999999.98|9999999.99"]);
    assert_eq!(world.rows("SELECT g, sum(s) FROM t GROUP BY g").await, ["1|19999999.98"]);
    assert_eq!(world.rows("SELECT sum(v) FROM t WHERE id > 3").await, ["null"]);
    let small = "SELECT sum(arrow_cast(s, 'Decimal32(9, 2)')), sum(DISTINCT arrow_cast(s, 'Decimal64(18, 2)')) FROM t GROUP BY g";
    assert_eq!(world.rows(small).await, ["19999999.98|9999999.99"]);
    world.run("CREATE TABLE w (id BIGINT PRIMARY KEY, g INT, v DECIMAL(76, 0))").await;
    let widest = "9".repeat(76);
    let rows: Vec<String> = (0..7).map(|id| format!("({id}, 1, '{widest}')")).collect();
    world.run(&format!("INSERT INTO w VALUES {}, (7, 1, '-{widest}')", rows.join(", "))).await;
    assert_eq!(world.rows("SELECT g, sum(v) FROM w WHERE id IN (0, 1, 7) GROUP BY g").await, [format!("1|{widest}")]);
    for exceeds in [
        "SELECT sum(v) FROM t WHERE id < 3",
        "SELECT g, sum(v) FROM t WHERE id < 3 GROUP BY g",
        "SELECT sum(DISTINCT v - id) FROM t WHERE id < 3",
        "SELECT sum(v) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t",
        "SELECT sum(DISTINCT v - id) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t",
        "SELECT sum(DISTINCT 9223372036854775807 - id) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t",
        "SELECT sum(v) FROM w",
        "SELECT g, sum(v) FROM w GROUP BY g",
        "SELECT g, sum(v) FROM w WHERE id < 2 GROUP BY g",
        "SELECT sum(DISTINCT v + id) FROM w WHERE id < 2",
    ] {
        fails(&world, exceeds).await;
    }
}

async fn fails(world: &World, sql: &str) {
    let error = match world.try_run(sql, Vec::new()).await {
        Ok(Outcome::Rows { rows, .. }) => rows.try_collect::<Vec<_>>().await.err(),
        other => other.err(),
    };
    let error = error.unwrap_or_else(|| panic!("{sql} has an answer"));
    assert!(error.kind() == ErrorKind::InvalidArgument && error.message().contains("overflow"), "{sql}: {error}");
}
