//! Flight SQL on the wire: who is let in, what a ticket or handle is worth in other hands, and that each statement runs
//! exactly once whichever way it came.

mod sent;
mod wire;

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int32Array, RecordBatch, StringArray},
    datatypes::{DataType, Schema},
};
use arrow_flight::{
    Action, Criteria, Empty, FlightDescriptor, HandshakeRequest, Ticket,
    flight_service_client::FlightServiceClient,
    sql::{
        ActionClosePreparedStatementRequest, CommandPreparedStatementQuery, CommandPreparedStatementUpdate,
        CommandStatementQuery, ProstMessageExt,
    },
};
use futures::{TryStreamExt, stream};
use insula_client::{Client, Credentials};
use insula_tests::{Server, Setup, count, execute, query, refused, rows};
use prost::Message;
use sent::wire_schema;
use tonic::Code;
use wire::{code_of, outcome, put_command};

/// A server with the table `t (id INT PRIMARY KEY, v VARCHAR)` and `log (v VARCHAR)` without a key.
async fn with_tables() -> Server {
    let server = Server::dev();
    let admin = server.client("admin").await;
    execute(&admin, "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR)").await;
    execute(&admin, "CREATE TABLE log (v VARCHAR)").await;
    server
}

fn statement(sql: &str) -> CommandStatementQuery {
    CommandStatementQuery { query: sql.to_owned(), transaction_id: None }
}

#[tokio::test]
async fn every_rpc_needs_an_identity() {
    let mut server = Setup::new().environment("INSULA_ADMIN_PASSWORD", "secret").start();
    let admin = Client::connect(server.url(), &Credentials::password("admin", "secret")).await.expect("a login");
    for headers in [
        vec![],
        vec![("authorization", "Bearer nonsense")],
        vec![("authorization", "Basic nonsense")],
        vec![("authorization", "Basic YWRtaW46d3Jvbmc=")],
        vec![("authorization", "nonsense")],
        // Without --dev a name alone is worth nothing.
        vec![("x-insula-user", "admin")],
        vec![("x-insula-run-as", "admin")],
    ] {
        let request = wire::Anonymous::new(&headers);
        let mut flight = admin.flight();
        let command = FlightDescriptor::new_cmd(statement("SELECT 1").as_any().encode_to_vec());
        let info = outcome(flight.get_flight_info(request.of(command.clone())).await);
        let mut seen = vec![("GetFlightInfo", info)];
        seen.push(("PollFlightInfo", outcome(flight.poll_flight_info(request.of(command.clone())).await)));
        seen.push(("GetSchema", outcome(flight.get_schema(request.of(command.clone())).await)));
        seen.push(("DoGet", code_of(flight.do_get(request.of(Ticket::new("x"))).await).await));
        seen.push(("DoPut", code_of(flight.do_put(request.of(stream::iter(put_command(command)))).await).await));
        seen.push(("DoExchange", code_of(flight.do_exchange(request.of(stream::empty())).await).await));
        seen.push(("DoAction", code_of(flight.do_action(request.of(Action::new("x", "y"))).await).await));
        seen.push(("ListActions", code_of(flight.list_actions(request.of(Empty {})).await).await));
        seen.push(("ListFlights", code_of(flight.list_flights(request.of(Criteria::default())).await).await));
        let hello = stream::iter([HandshakeRequest::default()]);
        seen.push(("Handshake", code_of(flight.handshake(request.of(hello)).await).await));
        for (rpc, code) in seen {
            assert_eq!(code, Some(Code::Unauthenticated), "{rpc} with {headers:?}");
        }
    }
    // A session token dies with the server that gave it: what it keeps of tokens is in memory alone.
    server.restart();
    let token =
        admin.request(()).metadata().get("authorization").and_then(|value| value.to_str().ok().map(str::to_owned));
    let token = token.and_then(|bearer| bearer.strip_prefix("Bearer ").map(str::to_owned)).expect("a token");
    let stale = Client::connect(server.url(), &Credentials::Token(token)).await.expect("a connection");
    assert_eq!(stale.update("SELECT 1").await.err().and_then(|error| error.code()), Some(Code::Unauthenticated));
}

#[tokio::test]
async fn basic_works_on_any_rpc_and_is_answered_with_a_token() {
    let server = Setup::new().environment("INSULA_ADMIN_PASSWORD", "secret").start();
    let request = wire::Anonymous::new(&[("authorization", "Basic YWRtaW46c2VjcmV0")]);
    let command = FlightDescriptor::new_cmd(statement("SELECT current_user").as_any().encode_to_vec());
    let mut flight = FlightServiceClient::new(wire::channel(server.url()).await);
    let info = flight.get_flight_info(request.of(command)).await.expect("an answer");
    let bearer = info.metadata().get("authorization").and_then(|value| value.to_str().ok()).expect("a header");
    let token = bearer.strip_prefix("Bearer ").expect("a bearer token").to_owned();
    let client = Client::connect(server.url(), &Credentials::Token(token)).await.expect("a connection");
    assert_eq!(query(&client, "SELECT current_user").await, ["admin"]);
}

#[tokio::test]
async fn in_dev_mode_a_name_is_enough_on_any_rpc() {
    let server = with_tables().await;
    let client = server.client("bob").await.with_header("x-insula-user", "bob").expect("a header");
    assert_eq!(query(&client, "SELECT current_user").await, ["bob"]);
    for headers in [vec![("x-insula-user", "alice")], vec![("authorization", "Basic YWxpY2U6")]] {
        let request = wire::Anonymous::new(&headers);
        let command = FlightDescriptor::new_cmd(statement("SELECT 1").as_any().encode_to_vec());
        let mut flight = FlightServiceClient::new(wire::channel(server.url()).await);
        assert_eq!(outcome(flight.get_flight_info(request.of(command)).await), None, "{headers:?}");
    }
}

#[tokio::test]
async fn health_and_reflection_are_open() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let server = Setup::new().start();
    let channel = wire::channel(server.url()).await;
    let health = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.expect("health");
    assert_eq!(health.into_inner().status, 1, "SERVING");
    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answers = ServerReflectionClient::new(channel).server_reflection_info(stream::iter([list])).await;
    let answers: Vec<_> = answers.expect("reflection").into_inner().try_collect().await.expect("an answer");
    let Some(MessageResponse::ListServicesResponse(services)) = &answers[0].message_response else {
        panic!("unexpected answer {answers:?}");
    };
    let names: Vec<_> = services.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&"arrow.flight.protocol.FlightService"), "{names:?}");
}

#[tokio::test]
async fn a_ticket_is_worth_nothing_to_another_user() {
    let server = with_tables().await;
    let (alice, bob) = (server.client("alice").await, server.client("bob").await);
    execute(&alice, "INSERT INTO t VALUES (1, 'secret')").await;
    let info = alice.info(&statement("SELECT * FROM t")).await.expect("flight info");
    let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
    assert!(!String::from_utf8_lossy(&ticket.ticket).contains("SELECT"), "a ticket is sealed");
    assert_eq!(bob.ticket(ticket.clone()).await.err().and_then(|error| error.code()), Some(Code::PermissionDenied));
    let batches: Vec<_> = alice.fetch(&info).await.expect("rows").try_collect().await.expect("rows");
    assert_eq!(rows(&batches), ["1|secret"], "the refusal took nothing from its owner");

    for (number, bytes) in wire::damaged(&ticket.ticket).into_iter().enumerate() {
        let code = alice.ticket(Ticket::new(bytes)).await.err().and_then(|error| error.code());
        // A message whose handle is broken (2), or cut off before it (4), names no ticket that there is; others are none.
        let expected = if matches!(number, 2 | 4) { Code::NotFound } else { Code::InvalidArgument };
        assert_eq!(code, Some(expected), "damaged ticket {number}");
    }
}

#[tokio::test]
async fn a_handle_is_worth_nothing_to_another_user() {
    let server = with_tables().await;
    let (alice, bob) = (server.client("alice").await, server.client("bob").await);
    execute(&alice, "INSERT INTO t VALUES (1, 'secret')").await;
    let mut select = alice.prepare("SELECT * FROM t").await.expect("a statement");
    let mut insert = alice.prepare("INSERT INTO t VALUES (2, 'two')").await.expect("a statement");
    let denied = Some(Code::PermissionDenied);
    let handle = select.handle().clone();
    let get = CommandPreparedStatementQuery { prepared_statement_handle: handle.clone() };
    assert_eq!(bob.info(&get).await.err().and_then(|error| error.code()), denied, "GetFlightInfo");
    let command = FlightDescriptor::new_cmd(get.as_any().encode_to_vec());
    let put = bob.put(stream::iter(put_command(command))).await;
    assert_eq!(put.err().and_then(|error| error.code()), denied, "DoPut of parameters");
    let update = CommandPreparedStatementUpdate { prepared_statement_handle: insert.handle().clone() };
    let command = FlightDescriptor::new_cmd(update.as_any().encode_to_vec());
    let put = bob.put(stream::iter(put_command(command))).await;
    assert_eq!(put.err().and_then(|error| error.code()), denied, "DoPut of an update");
    let close = ActionClosePreparedStatementRequest { prepared_statement_handle: handle };
    let closed = bob.action("ClosePreparedStatement", close.as_any().encode_to_vec()).await;
    assert_eq!(closed.err().and_then(|error| error.code()), denied, "ClosePreparedStatement");

    let batches: Vec<_> = select.query(None).await.expect("rows").try_collect().await.expect("rows");
    assert_eq!(rows(&batches), ["1|secret"], "the handle still works for its owner");
    assert_eq!(insert.update(None).await.expect("a count"), 1, "and its statement had not run");
    let close = ActionClosePreparedStatementRequest { prepared_statement_handle: "nonsense".into() };
    let closed = alice.action("ClosePreparedStatement", close.as_any().encode_to_vec()).await;
    assert_eq!(closed.err().and_then(|error| error.code()), Some(Code::NotFound));
}

fn pairs(ids: Vec<i32>, values: Vec<Option<&str>>) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int32Array::from(ids));
    let values: ArrayRef = Arc::new(StringArray::from(values));
    RecordBatch::try_from_iter_with_nullable([("1", ids, true), ("2", values, true)]).expect("a batch")
}

#[tokio::test]
async fn prepared_updates_run_once_per_row_of_parameters() {
    let server = with_tables().await;
    let alice = server.client("alice").await;
    for (sql, first) in [("INSERT INTO t VALUES (?, ?)", 0), ("INSERT INTO t (v, id) VALUES ($2, $1)", 10)] {
        let mut insert = alice.prepare(sql).await.expect("a statement");
        assert!(insert.is_update() && insert.schema().fields().is_empty());
        let types: Vec<_> =
            insert.parameters().fields().iter().map(|f| (f.data_type().clone(), f.is_nullable())).collect();
        assert_eq!(types, [(DataType::Int32, true), (DataType::Utf8, true)], "{sql}");
        let batch = pairs(vec![first, first + 1, first + 2], vec![Some("a"), None, Some("c")]);
        assert_eq!(insert.update(Some(batch)).await.expect("a count"), 3);
        // The handle lives on, and its next parameters are new ones.
        assert_eq!(insert.update(Some(pairs(vec![first + 3], vec![Some("d")]))).await.expect("a count"), 1);
        insert.close().await.expect("closed");
    }
    let expected = ["0|a", "1|NULL", "2|c", "3|d", "10|a", "11|NULL", "12|c", "13|d"];
    assert_eq!(query(&alice, "SELECT id, v FROM t ORDER BY id").await, expected);
    let mut delete = alice.prepare("DELETE FROM t WHERE id = ? OR v = ?").await.expect("a statement");
    let batch = pairs(vec![0, 13, 99], vec![Some("c"), None, None]);
    assert_eq!(delete.update(Some(batch)).await.expect("a count"), 4, "the sum over its rows");
    assert_eq!(delete.update(None).await.err().and_then(|error| error.code()), Some(Code::InvalidArgument));
}

#[tokio::test]
async fn prepared_queries_take_parameters_and_live_until_closed() {
    let server = with_tables().await;
    let alice = server.client("alice").await;
    execute(&alice, "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')").await;
    let mut select = alice.prepare("SELECT v FROM t WHERE id = $1 OR v = $2 ORDER BY id").await.expect("a statement");
    assert!(!select.is_update());
    assert_eq!(select.schema().fields().len(), 1);
    for (batch, expected) in [
        (pairs(vec![1], vec![Some("c")]), vec!["a", "c"]),
        (pairs(vec![2], vec![None]), vec!["b"]),
        (pairs(vec![3, 1], vec![None, None]), vec!["c", "a"]),
        (pairs(vec![9], vec![Some("x' OR '1'='1")]), vec![]),
    ] {
        let batches: Vec<_> = select.query(Some(batch)).await.expect("rows").try_collect().await.expect("rows");
        assert_eq!(rows(&batches), expected);
    }
    let handle = select.handle().clone();
    select.close().await.expect("closed");
    let get = CommandPreparedStatementQuery { prepared_statement_handle: handle };
    assert_eq!(alice.info(&get).await.err().and_then(|error| error.code()), Some(Code::NotFound));

    // Ten and more parameters come in the order of their numbers.
    let many: Vec<_> =
        (1..=11).map(|n| format!("CAST(${n} AS {}) AS c{n}", if n == 10 { "VARCHAR" } else { "INT" })).collect();
    let statement = alice.prepare(&format!("SELECT {}", many.join(", "))).await.expect("a statement");
    assert_eq!(statement.parameters().fields().len(), 11);
}

#[tokio::test]
async fn a_statement_runs_exactly_once_on_every_path() {
    let server = with_tables().await;
    let (admin, alice) = (server.client("admin").await, server.client("alice").await);
    // GetFlightInfo runs it; its ticket has what it returned, and runs nothing however often it is redeemed.
    let info = alice.info(&statement("INSERT INTO log VALUES ('by DoGet')")).await.expect("flight info");
    assert!(info.endpoint.iter().all(|endpoint| endpoint.location.is_empty()), "nowhere to retry it");
    assert_eq!(count(&alice, "log").await, 1);
    for _ in 0..3 {
        let batches: Vec<_> = alice.fetch(&info).await.expect("a stream").try_collect().await.expect("a stream");
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
        assert_eq!(count(&alice, "log").await, 1);
    }
    // GetSchema runs nothing.
    let command = FlightDescriptor::new_cmd(statement("INSERT INTO log VALUES ('never')").as_any().encode_to_vec());
    alice.flight().get_schema(alice.request(command.clone())).await.expect("a schema");
    assert_eq!(count(&alice, "log").await, 1);
    // The command as its own ticket runs once for each DoGet.
    let ticket = Ticket::new(statement("DELETE FROM log WHERE v = 'by DoGet'").as_any().encode_to_vec());
    let _: Vec<_> = alice.ticket(ticket).await.expect("a stream").try_collect().await.expect("a stream");
    assert_eq!(count(&alice, "log").await, 0);
    execute(&alice, "INSERT INTO log VALUES ('by DoGet')").await;
    // A refused statement is refused where it is sent, and leaves nothing.
    let refused_at_once = alice.info(&statement("INSERT INTO t SELECT 1, 'a' UNION ALL SELECT 1, 'b'")).await;
    assert_eq!(refused_at_once.err().and_then(|error| error.code()), Some(Code::AlreadyExists));
    assert_eq!(count(&alice, "t").await, 0);
    // Prepared, as Python's cursor.execute does with everything.
    let mut insert = alice.prepare("INSERT INTO log VALUES ('prepared')").await.expect("a statement");
    let batches: Vec<_> = insert.query(None).await.expect("a stream").try_collect().await.expect("a stream");
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
    assert_eq!(count(&alice, "log WHERE v = 'prepared'").await, 1);
    // Definitions too.
    let mut create = admin.prepare("CREATE TABLE made (id INT PRIMARY KEY)").await.expect("a statement");
    let _: Vec<_> = create.query(None).await.expect("a stream").try_collect().await.expect("a stream");
    assert_eq!(count(&alice, "made").await, 0);
    refused(&admin, "CREATE TABLE made (id INT PRIMARY KEY)", Code::AlreadyExists).await;
    // Queries may be read again.
    let info = alice.info(&statement("SELECT v FROM log ORDER BY v")).await.expect("flight info");
    for _ in 0..2 {
        let batches: Vec<_> = alice.fetch(&info).await.expect("rows").try_collect().await.expect("rows");
        assert_eq!(rows(&batches), ["by DoGet", "prepared"]);
    }
}

#[tokio::test]
async fn the_announced_schema_is_the_schema_sent() {
    let server = with_tables().await;
    let alice = server.client("alice").await;
    let admin = server.client("admin").await;
    let columns =
        "a BIGINT PRIMARY KEY, b VARCHAR NOT NULL, c DECIMAL(10, 2), d TIMESTAMP, e DOUBLE[], f BYTEA, g DATE";
    execute(&admin, &format!("CREATE TABLE kinds ({columns})")).await;
    execute(&alice, "INSERT INTO kinds (a, b, c) VALUES (1, 'x', 1.5), (2, 'y', NULL)").await;
    for sql in [
        "SELECT * FROM kinds",
        "SELECT * FROM kinds WHERE false",
        "SELECT a + 1, count(*), sum(c), min(d), arrow_cast(b, 'Dictionary(Int32, Utf8)') FROM kinds GROUP BY a, b",
        "SELECT k.*, t.v FROM kinds k LEFT JOIN t ON k.a = t.id",
        "SELECT a FROM kinds UNION ALL SELECT NULL",
        "SELECT _updated, _deleted, _seq, * FROM kinds",
        "SELECT 1, 'x', NULL, arrow_cast('x', 'Utf8View'), [1, 2], {'a': 1}",
        "EXPLAIN SELECT * FROM kinds",
        "INSERT INTO log VALUES ('x')",
        "FLUSH TABLE kinds",
    ] {
        let by = if sql.starts_with("FLUSH") { &admin } else { &alice };
        let info = by.info(&statement(sql)).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let announced = Schema::try_from(info.clone()).expect("a schema");
        let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
        let (sent, batches) = wire_schema(by, ticket).await;
        assert_eq!(announced.fields(), sent.fields(), "{sql}");
        for batch in &batches {
            assert_eq!(batch.schema().fields(), announced.fields(), "{sql}");
        }
        let views = announced
            .fields()
            .iter()
            .map(|field| field.data_type())
            .filter(|kind| matches!(kind, DataType::Utf8View | DataType::BinaryView | DataType::Dictionary(_, _)));
        assert_eq!(views.count(), 0, "{sql}: types that older drivers cannot read");
    }
}

#[tokio::test]
async fn errors_have_their_codes_and_name_the_thing() {
    let server = with_tables().await;
    let (admin, alice) = (server.client("admin").await, server.client("alice").await);
    execute(&alice, "INSERT INTO t VALUES (1, 'a')").await;
    for (sql, code, named) in [
        ("SELEC 1", Code::InvalidArgument, "SELEC"),
        ("SELECT * FROM nowhere", Code::NotFound, "nowhere"),
        ("SELECT * FROM nowhere.t", Code::NotFound, "nowhere"),
        ("SELECT vv FROM t", Code::InvalidArgument, "vv"),
        ("SELECT nonsense(1)", Code::InvalidArgument, "nonsense"),
        ("SELECT CAST(v AS INT) FROM t", Code::InvalidArgument, ""),
        ("SELECT 1 / (id - 1) FROM t", Code::InvalidArgument, ""),
        ("SELECT id AND v FROM t", Code::InvalidArgument, ""),
        ("INSERT INTO t VALUES (1, 'b')", Code::AlreadyExists, "t"),
        ("INSERT INTO t VALUES (1, 'b', 3)", Code::InvalidArgument, ""),
        ("INSERT INTO nowhere VALUES (1)", Code::NotFound, "nowhere"),
        ("UPDATE t SET nonsense = 1", Code::InvalidArgument, "nonsense"),
        ("CREATE TABLE u (id INT PRIMARY KEY)", Code::PermissionDenied, ""),
        ("DROP TABLE t", Code::PermissionDenied, ""),
        ("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'", Code::PermissionDenied, ""),
        ("COPY t TO '/tmp/x.csv'", Code::PermissionDenied, ""),
        ("SELECT * FROM '/etc/passwd'", Code::PermissionDenied, "--allow-external"),
    ] {
        let message = refused(&alice, sql, code).await;
        assert!(message.contains(named), "{sql}: {message}");
        assert!(!message.contains("DataFusion") && !message.contains(".rs:"), "{sql}: an inside shows: {message}");
    }
    for (sql, code, named) in [
        ("CREATE TABLE t (id INT PRIMARY KEY)", Code::AlreadyExists, "t"),
        ("CREATE TABLE u (id INT PRIMARY KEY) WITH (flush_rowz = 5)", Code::InvalidArgument, "flush_rows"),
        ("CREATE TABLE u (id NONSENSE PRIMARY KEY)", Code::InvalidArgument, "NONSENSE"),
        ("CREATE TABLE u (id INT, PRIMARY KEY (missing))", Code::InvalidArgument, "missing"),
        ("CREATE TABLE nowhere.u (id INT)", Code::NotFound, "nowhere"),
        ("DROP TABLE missing", Code::NotFound, "missing"),
        ("DROP NAMESPACE missing", Code::NotFound, "missing"),
        ("CREATE NAMESPACE public", Code::AlreadyExists, "public"),
        ("FLUSH TABLE missing", Code::NotFound, "missing"),
    ] {
        let message = refused(&admin, sql, code).await;
        assert!(message.contains(named), "{sql}: {message}");
    }
    assert_eq!(query(&alice, "SELECT * FROM t").await, ["1|a"], "the server goes on");
}
