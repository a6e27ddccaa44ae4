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
    let config = EngineConfig {
        store,
        memory_limit,
        transactions: Default::default(),
        limits: Default::default(),
        admin_password: Some("x".into()),
    };
    (directory, Engine::open(config).await.unwrap())
}

/// The rows in so many parts, which are sorted side by side and merged.
fn source(parts: i64) -> String {
    let part = |i| format!("SELECT value FROM generate_series({}, {})", ROWS / parts * i + 1, ROWS / parts * (i + 1));
    (0..parts).map(part).collect::<Vec<_>>().join(" UNION ALL ")
}

async fn sorted(engine: &Arc<Engine>, parts: i64, order: &str) {
    let admin = engine.login("admin", "x").await.unwrap();
    let session = Arc::new(Session::new(&admin));
    // Neither column comes in its order: 7919 and the number of rows have no common divisor.
    let sql = format!(
        "SELECT concat('N', lpad(CAST(n % 4001 AS TEXT), 5, '0')) AS t, n, concat('some more text of row ', n) AS u FROM \
         (SELECT (value * 7919) % {ROWS} AS n FROM ({})) ORDER BY {order}",
        source(parts)
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
    sorted(&engine, 1, "t, n").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sorts_share_a_smaller_memory() {
    let (_directory, engine) = engine(MEMORY / 2).await;
    tokio::join!(sorted(&engine, 1, "t, n"), sorted(&engine, 1, "n"));
}

/// Their merges need memory at the same time, and none of them can spill it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_parts_spill_at_once() {
    let (_directory, engine) = engine(MEMORY).await;
    sorted(&engine, 5, "t, n").await;
}
