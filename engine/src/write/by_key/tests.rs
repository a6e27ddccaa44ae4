use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};

use crate::{ErrorKind, world::World};

/// `$1, $2, …`, a column each.
fn parameters(columns: &[ArrayRef]) -> Vec<RecordBatch> {
    let named = columns.iter().enumerate().map(|(i, column)| (format!("${}", i + 1), Arc::clone(column)));
    vec![RecordBatch::try_from_iter(named).unwrap()]
}

fn numbers(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

/// With the keys 1 to 2,000, the first thousand of them flushed.
async fn world() -> World {
    let world = World::new().await;
    world.run("CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT NOT NULL, s TEXT)").await;
    world.run("CREATE TABLE pairs (a BIGINT, b TEXT, v BIGINT, PRIMARY KEY (a, b))").await;
    world.run("INSERT INTO t SELECT value, 0, 'row ' || value FROM generate_series(1, 1000)").await;
    world.run("FLUSH TABLE t").await;
    world.run("INSERT INTO t SELECT value, 0, 'row ' || value FROM generate_series(1001, 2000)").await;
    world
}

/// How many commits the rows of the table come from.
async fn commits(world: &World, table: &str) -> String {
    world.rows(&format!("SELECT count(DISTINCT _seq) FROM {table}")).await.remove(0)
}

#[tokio::test]
async fn many_rows_are_one_commit() {
    let world = world().await;
    // More than one query is made for, of hot and of cold rows.
    let params = parameters(&[numbers(1..=1500), numbers(101..=1600)]);
    assert_eq!(world.count("UPDATE t SET v = v + $1 WHERE k = $2", params).await.unwrap(), 1500);
    assert_eq!(commits(&world, "t WHERE v > 0").await, "1");
    assert_eq!(world.rows("SELECT count(*), min(k - v), max(k - v) FROM t WHERE v > 0").await, ["1500|100|100"]);
    // Keys that are not there count nothing.
    let params = parameters(&[numbers(1900..2100)]);
    assert_eq!(world.count("DELETE FROM t WHERE k = $1", params).await.unwrap(), 101);
    assert_eq!(world.rows("SELECT count(*), max(k) FROM t").await, ["1899|1899"]);
    assert_eq!(commits(&world, "t WHERE _deleted AND k >= 1900").await, "1");
}

#[tokio::test]
async fn conditions_and_values_may_be_more_than_the_key() {
    let world = world().await;
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["row 1", "row 5", "row 1003"]));
    let params = parameters(&[texts, numbers([1, 2, 1003])]);
    let sql = "UPDATE t SET s = upper($1) || k, v = length(s) WHERE $2 = k AND s = $1";
    assert_eq!(world.count(sql, params).await.unwrap(), 2);
    assert_eq!(world.rows("SELECT k, v, s FROM t WHERE v > 0 ORDER BY k").await, ["1|5|ROW 11", "1003|8|ROW 10031003"]);
    let keys: ArrayRef = Arc::new(StringArray::from(vec!["x", "y", "x"]));
    let params = parameters(&[numbers([1, 1, 2]), Arc::clone(&keys), numbers([10, 11, 12])]);
    assert_eq!(world.count("INSERT INTO pairs VALUES ($1, $2, $3)", params).await.unwrap(), 3);
    let params = parameters(&[numbers([7, 8, 9]), numbers([1, 2, 2]), keys]);
    assert_eq!(world.count("UPDATE pairs AS p SET v = $1 WHERE p.a = $2 AND p.b = $3", params).await.unwrap(), 2);
    assert_eq!(world.rows("SELECT * FROM pairs ORDER BY a, b").await, ["1|x|7", "1|y|11", "2|x|9"]);
    assert_eq!(commits(&world, "pairs WHERE v < 10").await, "1");
}

/// Keys that come twice, keys that move, conditions of other rows: all as if each row were a statement of its own.
#[tokio::test]
async fn rows_see_what_the_ones_before_them_did() {
    let world = world().await;
    let params = parameters(&[numbers([1, 2, 1, 1])]);
    assert_eq!(world.count("UPDATE t SET v = v + 1 WHERE k = $1", params).await.unwrap(), 4);
    assert_eq!(world.rows("SELECT k, v FROM t WHERE v > 0 ORDER BY k").await, ["1|3", "2|1"]);
    assert_eq!(commits(&world, "t WHERE v > 0").await, "1");
    let params = parameters(&[numbers([5000, 5001, 5002]), numbers([1, 5000, 5001])]);
    assert_eq!(world.count("UPDATE t SET k = $1 WHERE k = $2", params).await.unwrap(), 3);
    assert_eq!(world.rows("SELECT k, v FROM t WHERE v = 3").await, ["5002|3"]);
    let params = parameters(&[numbers([10, 11])]);
    let sql = "UPDATE t SET v = (SELECT max(v) FROM t) + 1 WHERE k >= $1 AND k < $1 + 1";
    assert_eq!(world.count(sql, params).await.unwrap(), 2);
    assert_eq!(world.rows("SELECT k, v FROM t WHERE k IN (10, 11) ORDER BY k").await, ["10|4", "11|5"]);
    let params = parameters(&[numbers([3, 4])]);
    assert_eq!(world.count("DELETE FROM t WHERE v >= $1", params).await.unwrap(), 3);
    assert_eq!(world.rows("SELECT count(*) FROM t WHERE v >= 3").await, ["0"]);
}

#[tokio::test]
async fn one_row_that_fails_leaves_nothing() {
    let world = world().await;
    let before = world.rows("SELECT sum(v), count(*), max(_seq) FROM t").await;
    // The row with the number 700 divides by zero, in one query for all of them and in one each.
    let values = || (1..=900).map(|i| if i == 700 { 0 } else { i });
    for keys in [numbers(1..=900), numbers((1..=900).map(|i| i % 899 + 1))] {
        let params = parameters(&[numbers(values()), keys]);
        let error = world.count("UPDATE t SET v = 1000 / $1 WHERE k = $2", params).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert_eq!(world.rows("SELECT sum(v), count(*), max(_seq) FROM t").await, before);
    }
    // So within a transaction, which goes on without it.
    world.run("BEGIN").await;
    world.run("UPDATE t SET v = 5 WHERE k = 1").await;
    let params = parameters(&[numbers(values()), numbers((1..=900).map(|i| i % 899 + 1))]);
    world.count("UPDATE t SET v = 1000 / $1 WHERE k = $2", params).await.unwrap_err();
    let params = parameters(&[numbers([7, 7]), numbers([2, 3])]);
    assert_eq!(world.count("UPDATE t SET v = $1 WHERE k = $2", params).await.unwrap(), 2);
    world.run("COMMIT").await;
    assert_eq!(world.rows("SELECT k, v FROM t WHERE v > 0 ORDER BY k").await, ["1|5", "2|7", "3|7"]);
}

/// Each takes the lock before it reads, so none of them is refused for the sake of another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_at_once_wait_for_each_other() {
    let world = world().await;
    let run = || async { world.count("UPDATE t SET v = v + 1 WHERE k = $1", parameters(&[numbers([1, 1, 2])])).await };
    let all = tokio::join!(run(), run(), run(), run());
    assert_eq!(<[_; 4]>::from(all).map(Result::unwrap), [3; 4]);
    assert_eq!(world.rows("SELECT k, v FROM t WHERE v > 0 ORDER BY k").await, ["1|8", "2|4"]);
}
