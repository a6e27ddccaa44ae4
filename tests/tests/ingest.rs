//! Bulk ingest: what it makes, what it refuses, and that it is all or nothing when the client vanishes half-way.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use futures::{StreamExt, stream};
use insula_client::{Client, Credentials, Ingest, IngestMode};
use insula_tests::{Server, count, execute, query};
use tonic::Code;

fn big_batches(count: usize) -> (Arc<Schema>, Vec<RecordBatch>) {
    let schema =
        Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("v", DataType::Utf8, true)]));
    let batches = (0..count as i64).map(|number| {
        let ids: Vec<_> = (number * 1000..(number + 1) * 1000).collect();
        let values: Vec<_> = ids.iter().map(|id| format!("value {id} {}", "x".repeat(100))).collect();
        let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(ids)), Arc::new(StringArray::from(values))];
        RecordBatch::try_new(Arc::clone(&schema), columns).expect("a batch")
    });
    let batches = batches.collect();
    (schema, batches)
}

#[tokio::test]
async fn ingest_makes_tables_appends_and_refuses() {
    let server = Server::dev();
    let (admin, alice) = (server.client("admin").await, server.client("alice").await);
    let (schema, batches) = big_batches(12);
    let items = || stream::iter(batches.clone().into_iter().map(Ok));
    let target =
        |mode| Ingest { namespace: Some("public".to_owned()), table: "big".to_owned(), mode, user_column: None };
    let missing = alice.ingest(&target(IngestMode::Append), schema.clone(), items()).await;
    assert_eq!(missing.err().and_then(|error| error.code()), Some(Code::NotFound));
    let denied = alice.ingest(&target(IngestMode::Create), schema.clone(), items()).await;
    assert_eq!(denied.err().and_then(|error| error.code()), Some(Code::PermissionDenied));
    assert_eq!(admin.ingest(&target(IngestMode::Create), schema.clone(), items()).await.expect("rows"), 12_000);
    let again = admin.ingest(&target(IngestMode::Create), schema.clone(), items()).await;
    assert_eq!(again.err().and_then(|error| error.code()), Some(Code::AlreadyExists));
    assert_eq!(alice.ingest(&target(IngestMode::Append), schema.clone(), items()).await.expect("rows"), 12_000);
    assert_eq!(alice.ingest(&target(IngestMode::CreateAppend), schema.clone(), items()).await.expect("rows"), 12_000);
    assert_eq!(query(&alice, "SELECT count(*), count(DISTINCT id), sum(id) FROM big").await, ["24000|12000|143988000"]);
    assert_eq!(count(&admin, "big").await, 12_000, "each user's rows are their own");
    // A column that the table lacks, and one of a type that does not fit.
    let other: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    for name in ["nonsense", "id"] {
        let batch = RecordBatch::try_from_iter([(name, Arc::clone(&other))]).expect("a batch");
        for (mode, code) in
            [(IngestMode::Append, Code::InvalidArgument), (IngestMode::CreateAppend, Code::AlreadyExists)]
        {
            let batch = batch.clone();
            let refused = alice.ingest(&target(mode), batch.schema(), stream::iter([Ok(batch)])).await;
            let error = refused.expect_err("does not fit");
            assert_eq!(error.code(), Some(code), "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
    }
    let empty = alice.ingest(&target(IngestMode::Append), schema, stream::empty()).await;
    assert_eq!(empty.expect("nothing is nothing wrong"), 0);
    assert_eq!(count(&alice, "big").await, 24_000);
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Vanish {
    /// The source of the rows fails.
    Source,
    /// The call is cancelled, the connection stays.
    Call,
    /// The connection goes without a goodbye.
    Connection,
}

/// Sends 50 of 60 batches, and vanishes on a runtime of its own, whose end is the end of its connection.
async fn ingest_and_vanish(url: &str, target: Ingest, how: Vanish) {
    let url = url.to_owned();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let client = Client::connect(&url, &Credentials::user("alice")).await.expect("a connection");
            let (schema, mut batches) = big_batches(50);
            let last = batches.pop().expect("50 batches");
            let (sent, enough) = tokio::sync::oneshot::channel();
            let items = stream::iter(batches.into_iter().map(Ok)).chain(stream::once(async move {
                let _ = sent.send(());
                Ok(last)
            }));
            let end = stream::once(async move {
                match how {
                    Vanish::Source => Err(insula_client::Error::Usage("the source failed".to_owned())),
                    Vanish::Call | Vanish::Connection => futures::future::pending().await,
                }
            });
            tokio::select! {
                biased;
                done = client.ingest(&target, schema, items.chain(end)) => {
                    let error = done.expect_err("it never ends well");
                    assert!(how == Vanish::Source && error.to_string().contains("the source failed"), "{error}");
                }
                Ok(()) = enough, if how != Vanish::Source => {}
            }
            if how == Vanish::Call {
                // Behind the cancellation on the same connection.
                assert_eq!(count(&client, "big").await, 0);
            }
        });
    });
    tokio::task::spawn_blocking(|| thread.join()).await.expect("a thread").expect("the vanishing client");
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_nothing() {
    let server = Server::dev();
    execute(&server.client("admin").await, "CREATE TABLE big (id BIGINT NOT NULL, v VARCHAR)").await;
    let alice = server.client("alice").await;
    let target = Ingest { namespace: None, table: "big".to_owned(), mode: IngestMode::Append, user_column: None };
    for how in [Vanish::Call, Vanish::Source, Vanish::Connection] {
        for _ in 0..5 {
            ingest_and_vanish(server.url(), target.clone(), how).await;
        }
        assert_eq!(count(&alice, "big").await, 0, "{how:?}");
    }
    // The table is free, a whole stream is stored whole, and nothing of the others turns up late.
    let (schema, batches) = big_batches(60);
    let items = stream::iter(batches.into_iter().map(Ok));
    assert_eq!(alice.ingest(&target, schema, items).await.expect("rows"), 60_000);
    assert_eq!(count(&alice, "big").await, 60_000);
}

#[tokio::test]
async fn a_table_that_an_ingest_makes_appears_with_all_its_rows_or_not_at_all() {
    let server = Server::dev();
    let admin = server.client("admin").await;
    let (schema, batches) = big_batches(3);
    let whole = || stream::iter(batches.clone().into_iter().map(Ok));
    let broken = || whole().chain(stream::iter([Err(insula_client::Error::Usage("the source failed".to_owned()))]));
    let target = |mode| Ingest { namespace: None, table: "made".to_owned(), mode, user_column: None };
    for mode in [IngestMode::Create, IngestMode::CreateAppend, IngestMode::Replace] {
        admin.ingest(&target(mode), schema.clone(), broken()).await.expect_err("it breaks off");
        let error = admin.query("SELECT * FROM made").await.err().expect("no such table");
        assert_eq!(error.code(), Some(Code::NotFound), "{error}");
    }
    assert_eq!(admin.ingest(&target(IngestMode::Create), schema.clone(), whole()).await.expect("rows"), 3_000);
    admin.ingest(&target(IngestMode::Replace), schema.clone(), broken()).await.expect_err("it breaks off");
    assert_eq!(count(&admin, "made").await, 3_000, "the old table is still there");
    let (schema, batches) = big_batches(2);
    let fewer = stream::iter(batches.into_iter().map(Ok));
    assert_eq!(admin.ingest(&target(IngestMode::Replace), schema, fewer).await.expect("rows"), 2_000);
    assert_eq!(count(&admin, "made").await, 2_000);
}
