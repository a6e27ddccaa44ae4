use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch},
    datatypes::DataType,
};

use crate::{ErrorKind, world::World};

fn numbers(columns: &[&[i64]]) -> Vec<RecordBatch> {
    let named = columns.iter().enumerate().map(|(i, column)| {
        let column: ArrayRef = Arc::new(Int64Array::from(column.to_vec()));
        (format!("${}", i + 1), column)
    });
    vec![RecordBatch::try_from_iter(named).unwrap()]
}

/// With a row of hot and one of cold storage, and one of both.
async fn world() -> World {
    let world = World::new().await;
    world.run("CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT, s TEXT DEFAULT uuid())").await;
    world.run("INSERT INTO t VALUES (1, 10, 'a'), (3, 0, 'old')").await;
    world.run("FLUSH TABLE t").await;
    world.run("INSERT INTO t VALUES (2, 20, 'b')").await;
    world.run("REPLACE INTO t VALUES (3, 30, 'c')").await;
    world
}

#[tokio::test]
async fn an_insert_returns_its_rows_as_they_are_stored() {
    let world = world().await;
    let returned = world.rows("INSERT INTO t (v, k) VALUES (1, 7), (2, 8) RETURNING *").await;
    assert_eq!(returned, world.rows("SELECT * FROM t WHERE k > 3 ORDER BY k").await);
    let sql = "INSERT INTO t AS a SELECT k + 10, v, s FROM t WHERE k < 3 ORDER BY k RETURNING a.k AS key, v * 2, upper(a.s), k";
    let (schema, _) = world.run(sql).await;
    let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!((names[0], names[3], schema.field(1).data_type()), ("key", "k", &DataType::Int64));
    assert_eq!(world.rows("REPLACE INTO t VALUES (1, 11, 'x') RETURNING t.*").await, ["1|11|x"]);
    assert_eq!(world.rows("INSERT INTO t SELECT * FROM t WHERE false RETURNING k").await, [""; 0]);
}

#[tokio::test]
async fn changes_return_new_rows_and_deletions_old_ones() {
    let world = world().await;
    assert_eq!(world.rows("UPDATE t SET v = v + 1, k = k + 100 WHERE k < 3 RETURNING k, v, s").await.len(), 2);
    assert_eq!(world.rows("UPDATE t SET v = v + 1 WHERE k = 101 RETURNING t.k, v, s").await, ["101|12|a"]);
    // A row that is matched twice is changed once.
    let sql = "UPDATE t SET v = 5 FROM (VALUES (1), (2)) AS twice (n) WHERE k = 3 RETURNING v, s";
    assert_eq!(world.rows(sql).await, ["5|c"]);
    assert_eq!(
        world.rows("DELETE FROM t USING (VALUES (1), (2)) AS twice (n) WHERE k = 3 RETURNING *").await,
        ["3|5|c"]
    );
    assert_eq!(world.rows("DELETE FROM t AS gone WHERE v > 1000 RETURNING gone.k").await, [""; 0]);
    world.run("CREATE TABLE log (a BIGINT)").await;
    world.run("INSERT INTO log VALUES (1), (1)").await;
    assert_eq!(world.rows("UPDATE log SET a = a + 1 RETURNING a * 10 AS ten").await, ["20", "20"]);
    assert_eq!(world.rows("DELETE FROM log RETURNING a").await, ["2", "2"]);
}

#[tokio::test]
async fn upserts_and_merges_return_what_they_changed() {
    let world = world().await;
    let sql = "INSERT INTO t VALUES (1, 1, 'x'), (2, 2, 'x'), (9, 9, 'new')
               ON CONFLICT DO UPDATE SET v = t.v + excluded.v WHERE t.k = 2 RETURNING k, v, s";
    let mut returned = world.rows(sql).await;
    returned.sort();
    assert_eq!(returned, ["2|22|b", "9|9|new"]);
    let sql = "MERGE INTO t USING (VALUES (1), (2), (50)) AS s (n) ON t.k = s.n WHEN MATCHED AND n = 1 THEN DELETE
               WHEN MATCHED THEN DO NOTHING WHEN NOT MATCHED THEN INSERT VALUES (n, 0, 'merged') RETURNING k, v, s";
    let mut returned = world.rows(sql).await;
    returned.sort();
    assert_eq!(returned, ["1|10|a", "50|0|merged"]);
    assert_eq!(world.rows("SELECT k FROM t ORDER BY k").await, ["2", "3", "9", "50"]);
}

#[tokio::test]
async fn rows_of_parameters_return_theirs_in_their_order() {
    let world = world().await;
    let run = async |sql: &str, params| {
        let crate::Outcome::Rows { rows, .. } = world.try_run(sql, params).await.unwrap() else { panic!("no rows") };
        let batches: Vec<RecordBatch> = futures::TryStreamExt::try_collect(rows).await.unwrap();
        batches.iter().map(RecordBatch::num_rows).sum::<usize>()
    };
    assert_eq!(run("INSERT INTO t (k, v) VALUES ($1, $2) RETURNING k + v", numbers(&[&[5, 6], &[1, 2]])).await, 2);
    assert_eq!(run("UPDATE t SET v = $2 WHERE k = $1 RETURNING v", numbers(&[&[5, 6, 99], &[3, 4, 5]])).await, 2);
    assert_eq!(run("UPDATE t SET v = v + $2 WHERE k = $1 RETURNING v + $2", numbers(&[&[5, 5], &[3, 4]])).await, 2);
    assert_eq!(run("DELETE FROM t WHERE k = $1 RETURNING v", numbers(&[&[5, 6]])).await, 2);
    let upsert = "INSERT INTO t (k, v) VALUES ($1, $2) ON CONFLICT DO UPDATE SET v = t.v + 1 RETURNING v";
    assert_eq!(run(upsert, numbers(&[&[7, 7, 1], &[1, 1, 1]])).await, 3);
    assert_eq!(world.rows("SELECT v FROM t WHERE k IN (1, 7) ORDER BY k").await, ["11", "2"]);
}

#[tokio::test]
async fn what_fails_in_it_is_not_written() {
    let world = world().await;
    for sql in [
        "INSERT INTO t VALUES (5, 0, ''), (6, 1, '') RETURNING 1 / v",
        "UPDATE t SET v = v - 10 RETURNING 1 / v",
        "DELETE FROM t RETURNING 1 / (v - 20)",
        "INSERT INTO t VALUES (5, 0, '') RETURNING nothing",
        "INSERT INTO t VALUES (5, 0, '') RETURNING count(*)",
        "DELETE FROM t RETURNING _seq",
    ] {
        let error = world.try_run(sql, Vec::new()).await.err().unwrap_or_else(|| panic!("{sql} was not refused"));
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{sql}: {error}");
    }
    assert_eq!(world.rows("SELECT k, v FROM t ORDER BY k").await, ["1|10", "2|20", "3|30"]);
}

#[tokio::test]
async fn within_a_transaction_it_sees_what_is_pending() {
    let world = world().await;
    world.run("BEGIN").await;
    assert_eq!(world.rows("UPDATE t SET v = v + 1 WHERE k = 1 RETURNING v").await, ["11"]);
    assert_eq!(world.rows("UPDATE t SET v = v + 1 WHERE k = 1 RETURNING v").await, ["12"]);
    assert_eq!(world.rows("INSERT INTO t VALUES (4, 4, '') RETURNING k").await, ["4"]);
    world.run("ROLLBACK").await;
    assert_eq!(world.rows("DELETE FROM t WHERE k IN (1, 4) RETURNING v").await, ["10"]);
}

#[tokio::test]
async fn it_is_described_as_a_query_with_an_effect() {
    let world = world().await;
    let describe = async |sql: &str| {
        let plan = world.engine.plan(&world.user, sql).unwrap();
        world.engine.describe(&world.user, &world.session, &plan, None).await.unwrap()
    };
    let described = describe("INSERT INTO t VALUES ($1, 1, $2) RETURNING k, s AS name").await;
    assert_eq!((described.is_update, described.has_effect), (false, true));
    assert_eq!(described.parameters.fields().len(), 2);
    let names: Vec<_> = described.schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["k", "name"]);
    assert!(describe("DELETE FROM t").await.is_update);
}
