//! Results as they travel: one schema on every way, encodings and compression for those who ask, messages of any size.

mod sent;

use arrow::datatypes::{DataType, Schema};
use arrow_flight::{
    FlightDescriptor, Ticket,
    sql::{CommandPreparedStatementQuery, CommandStatementQuery, ProstMessageExt},
};
use futures::TryStreamExt;
use insula_client::Client;
use insula_tests::{Server, Setup, execute, query, refused};
use prost::Message;
use sent::wire_schema;
use tonic::Code;

fn statement(sql: &str) -> CommandStatementQuery {
    CommandStatementQuery { query: sql.to_owned(), transaction_id: None }
}

/// The schema as GetSchema, GetFlightInfo, prepare, the DoGet of a ticket and that of the command itself tell it.
async fn schemas(client: &Client, sql: &str) -> Vec<Schema> {
    let command = statement(sql).as_any().encode_to_vec();
    let info = client.info(&statement(sql)).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let got = client.flight().get_schema(client.request(FlightDescriptor::new_cmd(command.clone()))).await;
    let got = Schema::try_from(&got.expect("a schema").into_inner()).expect("a schema");
    let prepared = client.prepare(sql).await.expect("a statement");
    let handle = CommandPreparedStatementQuery { prepared_statement_handle: prepared.handle().clone() };
    let of_handle = client.info(&handle).await.expect("flight info");
    let ticket = |info: &arrow_flight::FlightInfo| info.endpoint[0].ticket.clone().expect("a ticket");
    let mut all = vec![Schema::try_from(info.clone()).expect("a schema"), got, prepared.schema().as_ref().clone()];
    all.push(Schema::try_from(of_handle.clone()).expect("a schema"));
    for ticket in
        [ticket(&info), ticket(&of_handle), Ticket::new(command), Ticket::new(handle.as_any().encode_to_vec())]
    {
        let (schema, batches) = wire_schema(client, ticket).await;
        assert!(batches.iter().all(|batch| batch.schema() == schema), "{sql}");
        all.push(schema.as_ref().clone());
    }
    all
}

#[tokio::test]
async fn every_way_tells_the_same_schema_of_every_type() {
    let server = Server::dev();
    let (admin, alice) = (server.client("admin").await, server.client("alice").await);
    let columns = "a BIGINT PRIMARY KEY, b SMALLINT, c TINYINT, d INT UNSIGNED, e REAL, f DOUBLE, g DECIMAL(20, 3),
        h VARCHAR NOT NULL, i BYTEA, j DATE, k TIME, l TIMESTAMP, m TIMESTAMP WITH TIME ZONE, n BOOLEAN, o INT[],
        p DECIMAL(50, 2)";
    execute(&admin, &format!("CREATE TABLE kinds ({columns})")).await;
    execute(&alice, "INSERT INTO kinds (a, h, g, o) VALUES (1, 'x', 1.5, [1, NULL])").await;
    execute(&admin, "FLUSH TABLE kinds").await;
    execute(&alice, "INSERT INTO kinds (a, h) VALUES (2, 'y')").await;
    let plain = alice.clone();
    let views = alice.clone().with_header("x-insula-arrow-types", "views, dictionaries").expect("a header");
    for sql in [
        "SELECT * FROM kinds",
        "SELECT *, _seq, _updated, _deleted FROM kinds WHERE a > 5",
        "SELECT arrow_cast(h, 'Utf8View') v, arrow_cast(h, 'Dictionary(Int32, Utf8)') d, arrow_cast(i, 'BinaryView') b,
             arrow_cast(h, 'LargeUtf8') l, [arrow_cast(h, 'Utf8View')] lv, {s: arrow_cast(h, 'Utf8View')} s FROM kinds",
        "SELECT sum(g), avg(f), max(l), count(*), array_agg(h) FROM kinds GROUP BY n",
        "SELECT INTERVAL '1 day', NULL, 1::SMALLINT, now(), current_date, X'00ff', map(['a'], [1])",
        "SELECT k.a, l.h FROM kinds k FULL JOIN kinds l ON k.a = l.a + 1",
        "SHOW COLUMNS FROM kinds",
    ] {
        for client in [&plain, &views] {
            let all = schemas(client, sql).await;
            for schema in &all {
                assert_eq!(schema, &all[0], "{sql}");
            }
        }
    }
    let encoded = "SELECT arrow_cast('x', 'Utf8View') v, arrow_cast('x', 'Dictionary(Int32, Utf8)') d";
    let types = |schema: &Schema| schema.fields().iter().map(|field| field.data_type().clone()).collect::<Vec<_>>();
    assert_eq!(types(&schemas(&plain, encoded).await[0]), [DataType::Utf8, DataType::Utf8]);
    let kept = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    assert_eq!(types(&schemas(&views, encoded).await[0]), [DataType::Utf8View, kept]);
    let wrong = alice.clone().with_header("x-insula-arrow-types", "nonsense").expect("a header");
    let message = refused(&wrong, "SELECT 1", Code::InvalidArgument).await;
    assert!(message.contains("nonsense") && message.contains("views"), "{message}");
}

/// Bytes of the messages with rows, one by one.
async fn sizes(client: &Client, sql: &str) -> Vec<usize> {
    let ticket = Ticket::new(statement(sql).as_any().encode_to_vec());
    let data = client.flight().do_get(client.request(ticket)).await.expect("a stream").into_inner();
    let bodies: Vec<_> = data.map_ok(|data| data.data_body.len()).try_collect().await.expect("messages");
    bodies.into_iter().filter(|size| *size > 0).collect()
}

#[tokio::test]
async fn results_are_compressed_for_those_who_ask_and_cut_to_the_setting() {
    let server = Setup::dev().arguments(&["--result-message-size", "64KiB"]).start();
    let alice = server.client("alice").await;
    let sql = "SELECT value, 'the same text in every row' AS t FROM generate_series(1, 50000)";
    let plain = sizes(&alice, sql).await;
    assert!(plain.len() > 20 && plain.iter().all(|size| *size < 100_000), "{plain:?}");
    for way in ["lz4", "zstd"] {
        let client = alice.clone().with_header("x-insula-compression", way).expect("a header");
        let compressed: usize = sizes(&client, sql).await.iter().sum();
        assert!(compressed * 2 < plain.iter().sum(), "{way}: {compressed}");
        assert_eq!(query(&client, &format!("SELECT sum(value), max(t) FROM ({sql})")).await.len(), 1);
        let batches: Vec<_> = client.query(sql).await.expect("rows").try_collect().await.expect("rows");
        assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 50_000, "{way}");
    }
}

#[tokio::test]
async fn a_cell_of_a_hundred_megabytes_goes_both_ways() {
    let server = Server::dev();
    let (admin, alice) = (server.client("admin").await, server.client("alice").await);
    execute(&admin, "CREATE TABLE files (id INT PRIMARY KEY, body VARCHAR)").await;
    let mut insert = alice.prepare("INSERT INTO files VALUES (1, $1)").await.expect("a statement");
    let body: arrow::array::ArrayRef =
        std::sync::Arc::new(arrow::array::StringArray::from(vec!["x".repeat(100_000_000)]));
    let batch = arrow::array::RecordBatch::try_from_iter_with_nullable([("1", body, true)]).expect("a batch");
    assert_eq!(insert.update(Some(batch)).await.expect("a count"), 1);
    for _ in ["hot", "cold"] {
        let batches: Vec<_> =
            alice.query("SELECT body FROM files").await.expect("rows").try_collect().await.expect("rows");
        let lengths = batches.iter().map(|b| b.column(0).get_array_memory_size()).sum::<usize>();
        assert!(lengths >= 100_000_000);
        assert_eq!(query(&alice, "SELECT length(body) FROM files").await, ["100000000"]);
        execute(&admin, "FLUSH TABLE files").await;
    }
}

#[tokio::test]
async fn a_result_comes_in_parts_for_those_who_ask() {
    let server = Server::dev();
    let (admin, alice, bob) = (server.client("admin").await, server.client("alice").await, server.client("bob").await);
    execute(&admin, "CREATE TABLE t (id BIGINT PRIMARY KEY, v VARCHAR)").await;
    execute(&alice, "INSERT INTO t SELECT value, 'old' FROM generate_series(1, 1000)").await;
    execute(&admin, "FLUSH TABLE t").await;
    execute(&alice, "REPLACE INTO t SELECT value, 'new' FROM generate_series(900, 1100)").await;
    let asking = alice.clone().with_header("x-insula-partitions", "on").expect("a header");
    let endpoints =
        async |client: &Client, sql: &str| client.info(&statement(sql)).await.expect("flight info").endpoint;
    let select = "SELECT id, v FROM t";
    assert_eq!(endpoints(&alice, select).await.len(), 1);
    for whole in ["SELECT count(*) FROM t", "SELECT id FROM t ORDER BY v", "INSERT INTO t VALUES (5000, 'x')"] {
        assert_eq!(endpoints(&asking, whole).await.len(), 1, "{whole}");
    }
    let parts = endpoints(&asking, select).await;
    assert!(parts.len() > 1, "fresh rows and flushed ones at least");
    // What is written after the question is not part of the answer.
    execute(&alice, "DELETE FROM t").await;
    for _ in 0..2 {
        let mut all = Vec::new();
        for part in &parts {
            let ticket = part.ticket.clone().expect("a ticket");
            let batches: Vec<_> = alice.ticket(ticket).await.expect("rows").try_collect().await.expect("rows");
            all.extend(insula_tests::rows(&batches));
        }
        all.sort();
        all.dedup();
        let (old, new) = all.iter().partition::<Vec<_>, _>(|row| row.ends_with("|old"));
        // With the one row that the INSERT above has stored, when its flight was asked for.
        assert_eq!((old.len(), new.len()), (899, 202));
    }
    let stolen = bob.ticket(parts[0].ticket.clone().expect("a ticket")).await;
    assert_eq!(stolen.err().and_then(|error| error.code()), Some(Code::PermissionDenied));
}
