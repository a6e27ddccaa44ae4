//! Statements and their answers as text, short enough to compare in one line.

use arrow::{
    array::RecordBatch,
    util::display::{ArrayFormatter, FormatOptions},
};
use futures::TryStreamExt;
use insula_client::Client;
use tonic::Code;

/// Runs an update that must succeed; the rows changed.
pub async fn execute(client: &Client, sql: &str) -> i64 {
    match client.update(sql).await {
        Ok(count) => count,
        Err(error) => panic!("{sql}\n  failed: {:?} {error}", error.code()),
    }
}

/// Runs a query that must succeed; each row as its values with `|` between.
pub async fn query(client: &Client, sql: &str) -> Vec<String> {
    let answer = async { client.query(sql).await?.try_collect::<Vec<RecordBatch>>().await }.await;
    match answer {
        Ok(batches) => rows(&batches),
        Err(error) => panic!("{sql}\n  failed: {:?} {error}", error.code()),
    }
}

/// `SELECT count(*) FROM what`.
pub async fn count(client: &Client, what: &str) -> usize {
    let rows = query(client, &format!("SELECT count(*) FROM {what}")).await;
    rows[0].parse().expect("a count")
}

/// Runs a statement that must be refused with a code, by both ways a statement can take; the message.
pub async fn refused(client: &Client, sql: &str, code: Code) -> String {
    let by_query = async { client.query(sql).await?.try_collect::<Vec<RecordBatch>>().await }.await;
    let error = by_query.err().unwrap_or_else(|| panic!("{sql}\n  was not refused as a query"));
    assert_eq!(error.code(), Some(code), "{sql}\n  as a query: {error}");
    let error = client.update(sql).await.err().unwrap_or_else(|| panic!("{sql}\n  was not refused as an update"));
    assert_eq!(error.code(), Some(code), "{sql}\n  as an update: {error}");
    error.to_string()
}

/// Each row as its values with `|` between; NULL as `NULL`.
pub fn rows(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
        let columns: Vec<_> = columns.collect::<Result<_, _>>().expect("a printable type");
        rows.extend((0..batch.num_rows()).map(|row| {
            let values: Vec<_> = columns.iter().map(|column| column.value(row).to_string()).collect();
            values.join("|")
        }));
    }
    rows
}
