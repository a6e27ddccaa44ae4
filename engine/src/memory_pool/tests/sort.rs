//! Sorts of more rows than the memory of all statements: they go to disk and come back in order, and none is refused.

use std::sync::Arc;

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::Int64Type,
};
use futures::TryStreamExt;

use crate::{Engine, EngineConfig, Outcome, Session, StoreConfig};

const ROWS: i64 = 2_000_000;
/// Less than the rows and their keys take.
const MEMORY: usize = 64 << 20;

async fn engine(memory_limit: usize) -> (tempfile::TempDir, Arc<Engine>) {
    let directory = tempfile::tempdir().unwrap();
    let store = StoreConfig::new(directory.path().to_owned());
    let config =
        EngineConfig { store, memory_limit, transactions: Default::default(), admin_password: Some("x".into()) };
    (directory, Engine::open(config).await.unwrap())
}

async fn sorted(engine: &Arc<Engine>, order: &str) {
    let admin = engine.login("admin", "x").await.unwrap();
    let session = Arc::new(Session::new(&admin));
    // Neither column comes in its order: 7919 and the number of rows have no common divisor.
    let sql = format!(
        "SELECT concat('N', lpad(CAST(n % 4001 AS TEXT), 5, '0')) AS t, n, concat('some more text of row ', n) AS u FROM \
         (SELECT (value * 7919) % {ROWS} AS n FROM generate_series(1, {ROWS})) ORDER BY {order}"
    );
    let Outcome::Rows { mut rows, .. } = engine.execute(&admin, &session, &sql, Vec::new()).await.unwrap() else {
        panic!("a query returns rows")
    };
    let (mut count, mut last) = (0, None);
    while let Some(batch) = rows.try_next().await.unwrap() {
        count += batch.num_rows() as i64;
        for row in keys(&batch, order) {
            assert!(last.as_ref().is_none_or(|last| *last < row), "{last:?} before {row:?}");
            last = Some(row);
        }
    }
    assert_eq!(count, ROWS);
}

fn keys(batch: &RecordBatch, order: &str) -> Vec<(String, i64)> {
    let (texts, numbers) = (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<Int64Type>());
    let text = |i: usize| if order == "n" { String::new() } else { texts.value(i).to_owned() };
    (0..batch.num_rows()).map(|i| (text(i), numbers.value(i))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_rows_than_memory_are_sorted() {
    let (_directory, engine) = engine(MEMORY).await;
    sorted(&engine, "t, n").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sorts_share_a_smaller_memory() {
    let (_directory, engine) = engine(MEMORY / 2).await;
    tokio::join!(sorted(&engine, "t, n"), sorted(&engine, "n"));
}
