//! A statement from outside: seen while it runs, polled, cancelled, killed, renewed, dropped; and the end of a session.

mod sent;

use std::time::Duration;

use arrow::{array::RecordBatch, datatypes::Schema};
use arrow_flight::{
    CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, Criteria, FlightDescriptor, FlightEndpoint,
    FlightInfo, PollInfo, RenewFlightEndpointRequest,
    sql::{
        ActionCancelQueryRequest, ActionCancelQueryResult, Any, CommandPreparedStatementQuery, CommandStatementQuery,
        ProstMessageExt,
    },
};
use futures::{StreamExt, TryStreamExt};
use insula_client::{
    Client, Credentials,
    admin::{
        CompactRequest, FlushRequest, KillQueryRequest, KillSessionRequest, ListQueriesRequest, ListSessionsRequest,
        StatsRequest,
    },
};
use insula_tests::{Server, Setup, count, execute, query, refused, rows};
use prost::Message;
use tonic::{Code, Status};

/// Has a row at once and computes for hours.
const ENDLESS: &str = "SELECT a.value FROM generate_series(1, 10000000) a, generate_series(1, 10000000) b";
/// The same without a row.
const SILENT: &str = "SELECT count(*) FROM generate_series(1, 10000000) a, generate_series(1, 10000000) b
                      WHERE a.value * b.value % 7 = 3";
const LIMIT: Duration = Duration::from_secs(60);

fn statement(sql: &str) -> CommandStatementQuery {
    CommandStatementQuery { query: sql.to_owned(), transaction_id: None }
}

fn descriptor(sql: &str) -> FlightDescriptor {
    FlightDescriptor::new_cmd(statement(sql).as_any().encode_to_vec())
}

/// Asks until the answer is as wanted; there is no event to wait for on this side of the wire.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let holds = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, holds).await.unwrap_or_else(|_| panic!("{what}: not within {LIMIT:?}"));
}

/// Ids of a user's own statements of this text.
async fn running(client: &Client, sql: &str) -> Vec<String> {
    let sql = sql.replace('\'', "''");
    query(client, &format!("SELECT query_id FROM system.queries WHERE text = '{sql}'")).await
}

async fn poll(client: &Client, descriptor: FlightDescriptor) -> Result<PollInfo, Status> {
    let answer = client.flight().poll_flight_info(client.request(descriptor)).await;
    answer.map(tonic::Response::into_inner)
}

async fn fetched(client: &Client, info: &FlightInfo) -> Result<Vec<String>, Option<Code>> {
    let batches = async { client.fetch(info).await?.try_collect::<Vec<RecordBatch>>().await }.await;
    batches.map(|batches| rows(&batches)).map_err(|error| error.code())
}

#[tokio::test]
async fn running_statements_are_seen_by_their_user_and_killed() {
    let server = Server::dev();
    let (alice, bob, admin) = (server.client("alice").await, server.client("bob").await, server.client("admin").await);
    let mut stream = alice.query(ENDLESS).await.expect("rows");
    stream.next().await.expect("a batch").expect("a batch");
    let own = running(&alice, ENDLESS).await;
    assert_eq!(own.len(), 1);
    let id = &own[0];
    assert_eq!(query(&bob, "SELECT count(*) FROM system.queries").await, ["1"], "his own, which counts");
    let seen = format!("SELECT \"user\", text, state, rows > 0 FROM system.queries WHERE query_id = '{id}'");
    assert_eq!(query(&admin, &seen).await, ["alice|NULL|running|true"], "an admin is not told the text");
    assert_eq!(query(&alice, &seen).await, [format!("alice|{ENDLESS}|running|true")]);

    refused(&bob, &format!("KILL QUERY '{id}'"), Code::PermissionDenied).await;
    refused(&alice, "KILL QUERY 'nonsense'", Code::NotFound).await;
    refused(&alice, "KILL QUERY '00000000-0000-4000-8000-000000000000'", Code::NotFound).await;
    assert_eq!(query(&alice, &format!("KILL QUERY '{id}'")).await, [id.as_str()]);
    let end = stream.try_for_each(|_| async { Ok(()) }).await;
    assert_eq!(end.err().and_then(|error| error.code()), Some(Code::Cancelled));
    refused(&alice, &format!("KILL QUERY '{id}'"), Code::NotFound).await;
}

#[tokio::test]
async fn a_dropped_stream_ends_its_statement_and_frees_its_memory() {
    let server = Server::dev();
    let (alice, admin) = (server.client("alice").await, server.client("admin").await);
    let reserved = async || {
        let stats = admin.admin().stats(admin.request(StatsRequest {})).await.expect("figures").into_inner();
        assert!(stats.memory_limit_bytes > 0);
        stats.memory_reserved_bytes
    };
    let sorted = "SELECT value FROM generate_series(1, 4000000) ORDER BY value % 1000, value";
    let mut stream = alice.query(sorted).await.expect("rows");
    stream.next().await.expect("a batch").expect("a batch");
    assert!(reserved().await > 1_000_000, "a sort holds its rows while they are read");
    drop(stream);
    until("the statement is gone", async || running(&alice, sorted).await.is_empty()).await;
    until("its memory is free", async || reserved().await == 0).await;
}

#[tokio::test]
async fn a_statement_is_killed_though_its_client_reads_nothing() {
    let server = Server::dev();
    let alice = server.client("alice").await;
    let sorted = "SELECT value, repeat('x', 100) FROM generate_series(1, 1000000) ORDER BY value % 1000, value";
    // The stream is held and not read: the server has filled what the connection takes, and waits.
    let held = alice.query(sorted).await.expect("rows");
    let id = running(&alice, sorted).await.remove(0);
    execute(&alice, &format!("KILL QUERY '{id}'")).await;
    until("the statement is gone", async || running(&alice, sorted).await.is_empty()).await;
    let end = held.try_for_each(|_| async { Ok(()) }).await;
    assert_eq!(end.err().and_then(|error| error.code()), Some(Code::Cancelled));
}

#[tokio::test]
async fn polling_starts_a_query_and_brings_its_rows() {
    let server = Server::dev();
    let (admin, alice, bob) = (server.client("admin").await, server.client("alice").await, server.client("bob").await);
    execute(&admin, "CREATE TABLE log (v VARCHAR)").await;
    let first = poll(&alice, descriptor("SELECT 1 + 1")).await.expect("an answer");
    assert!(first.flight_descriptor.is_none(), "complete");
    assert_eq!(first.progress, Some(1.0));
    let info = first.info.expect("flight info");
    for _ in 0..2 {
        assert_eq!(fetched(&alice, &info).await, Ok(vec!["2".into()]), "the second reading runs it again");
    }
    assert_eq!(fetched(&bob, &info).await, Err(Some(Code::PermissionDenied)));

    // An error is the poll's.
    let failed = poll(&alice, descriptor("SELECT 1 / (value - 1) FROM generate_series(1, 2)")).await;
    assert_eq!(failed.err().map(|status| status.code()), Some(Code::InvalidArgument));

    // A statement with an effect has run when it is complete, and runs no more.
    let info = poll(&alice, descriptor("INSERT INTO log VALUES ('polled')")).await.expect("an answer").info;
    assert_eq!(count(&alice, "log").await, 1);
    let info = info.expect("flight info");
    for _ in 0..2 {
        assert_eq!(fetched(&alice, &info).await, Ok(vec![]));
        assert_eq!(count(&alice, "log").await, 1);
    }
}

#[tokio::test]
async fn polling_tells_how_far_a_query_has_come() {
    let server = Server::dev();
    let (admin, alice) = (server.client("admin").await, server.client("alice").await);
    execute(&admin, "CREATE TABLE t (id BIGINT PRIMARY KEY)").await;
    execute(&alice, "INSERT INTO t SELECT value FROM generate_series(1, 100000)").await;
    execute(&admin, "FLUSH TABLE t").await;
    let sql = "SELECT count(*) FROM t a, t b WHERE (a.id * b.id) % 1000003 = 7";
    let first = poll(&alice, descriptor(sql)).await.expect("an answer");
    assert!(first.flight_descriptor.is_some(), "not complete");
    let progress = first.progress.expect("the table knows how many rows it has");
    assert!(progress > 0.0 && progress < 1.0, "{progress}");
}

#[tokio::test]
async fn a_poll_that_is_given_up_leaves_nothing_running() {
    let server = Server::dev();
    let alice = server.client("alice").await;
    // On a connection of its own, which ends with it.
    let other = server.client("alice").await;
    let polled = tokio::spawn(async move { poll(&other, descriptor(SILENT)).await.map(drop) });
    until("it runs", async || !running(&alice, SILENT).await.is_empty()).await;
    if !polled.is_finished() {
        polled.abort();
        until("the statement is gone", async || running(&alice, SILENT).await.is_empty()).await;
    }
}

#[tokio::test]
async fn the_tables_of_what_runs_are_told() {
    let server = Server::dev();
    let (alice, admin) = (server.client("alice").await, server.client("admin").await);
    execute(&admin, "CREATE TABLE t (id BIGINT PRIMARY KEY)").await;
    execute(&alice, "INSERT INTO t SELECT value FROM generate_series(1, 1000)").await;
    let sql = "SELECT a.id FROM t a, generate_series(1, 10000000) b";
    let mut stream = alice.query(sql).await.expect("rows");
    stream.next().await.expect("a batch").expect("a batch");
    let told = "SELECT tables FROM system.queries WHERE \"user\" = 'alice'";
    assert_eq!(query(&admin, told).await, ["public.t"]);
    let listed = admin.admin().list_queries(admin.request(ListQueriesRequest {})).await.expect("queries").into_inner();
    let tables: Vec<_> = listed.queries.iter().filter(|query| query.user == "alice").map(|q| &q.tables).collect();
    assert_eq!(tables, [&["public.t".to_owned()]]);
}

#[tokio::test]
async fn a_polled_query_is_cancelled_by_its_flight_info() {
    let server = Server::dev();
    let (alice, bob) = (server.client("alice").await, server.client("bob").await);
    let first = poll(&alice, descriptor(SILENT)).await.expect("an answer");
    let next = first.flight_descriptor.expect("not complete");
    let info = first.info.expect("flight info");
    assert!(Schema::try_from(info.clone()).is_ok_and(|schema| schema.fields().len() == 1));
    assert!(first.expiration_time.is_some());
    assert_eq!(running(&alice, SILENT).await.len(), 1, "it runs though nobody has fetched it");
    assert_eq!(poll(&bob, next.clone()).await.err().map(|s| s.code()), Some(Code::PermissionDenied));
    let second = poll(&alice, next.clone()).await.expect("an answer");
    assert!(second.flight_descriptor.is_some(), "still not");

    let request = CancelFlightInfoRequest { info: Some(info.clone()) }.encode_to_vec();
    let denied = bob.action("CancelFlightInfo", request.clone()).await;
    assert_eq!(denied.err().and_then(|error| error.code()), Some(Code::PermissionDenied));
    let answer = alice.action("CancelFlightInfo", request).await.expect("an answer").remove(0);
    let answer = CancelFlightInfoResult::decode(answer).expect("a result");
    assert_eq!(answer.status(), CancelStatus::Cancelled);
    until("the statement is gone", async || running(&alice, SILENT).await.is_empty()).await;
    let ended = poll(&alice, next).await;
    assert!(ended.is_err() || fetched(&alice, &info).await == Err(Some(Code::Cancelled)));
    assert_eq!(fetched(&alice, &info).await, Err(Some(Code::Cancelled)), "its ticket runs nothing any more");
}

#[tokio::test]
async fn cancel_query_says_what_it_could_do() {
    let server = Server::dev();
    let (admin, alice) = (server.client("admin").await, server.client("alice").await);
    execute(&admin, "CREATE TABLE log (v VARCHAR)").await;
    let cancel = async |info: &FlightInfo| {
        let request = ActionCancelQueryRequest { info: info.encode_to_vec().into() };
        let body = alice.action("CancelQuery", request.as_any().encode_to_vec()).await.expect("an answer").remove(0);
        let any = Any::decode(body).expect("a result");
        any.unpack::<ActionCancelQueryResult>().expect("a result").expect("a result").result
    };
    let info = alice.info(&statement("SELECT 1")).await.expect("flight info");
    assert_eq!(cancel(&info).await, CancelStatus::Cancelled as i32, "it has not begun");
    assert_eq!(fetched(&alice, &info).await, Err(Some(Code::Cancelled)));
    let info = alice.info(&statement("INSERT INTO log VALUES ('once')")).await.expect("flight info");
    assert_eq!(fetched(&alice, &info).await, Ok(vec![]));
    assert_eq!(cancel(&info).await, CancelStatus::NotCancellable as i32, "it has taken effect");
    assert_eq!(query(&alice, "SELECT v FROM log").await, ["once"]);

    let info = alice.info(&statement(ENDLESS)).await.expect("flight info");
    let mut stream = alice.fetch(&info).await.expect("rows");
    stream.next().await.expect("a batch").expect("a batch");
    assert_eq!(cancel(&info).await, CancelStatus::Cancelled as i32);
    let end = stream.try_for_each(|_| async { Ok(()) }).await;
    assert_eq!(end.err().and_then(|error| error.code()), Some(Code::Cancelled));
}

#[tokio::test]
async fn tickets_are_renewed() {
    let server = Server::dev();
    let (alice, bob) = (server.client("alice").await, server.client("bob").await);
    let info = alice.info(&statement("SELECT 7")).await.expect("flight info");
    let endpoint = info.endpoint[0].clone();
    let expires = |endpoint: &FlightEndpoint| {
        let time = endpoint.expiration_time.expect("an end");
        (time.seconds, time.nanos)
    };
    let request = RenewFlightEndpointRequest { endpoint: Some(endpoint.clone()) }.encode_to_vec();
    let denied = bob.action("RenewFlightEndpoint", request.clone()).await;
    assert_eq!(denied.err().and_then(|error| error.code()), Some(Code::PermissionDenied));
    let renewed = alice.action("RenewFlightEndpoint", request).await.expect("an answer").remove(0);
    let renewed = FlightEndpoint::decode(renewed).expect("an endpoint");
    assert!(expires(&renewed) > expires(&endpoint));
    assert!(renewed.location.is_empty());
    let info = FlightInfo { endpoint: vec![renewed], ..info };
    assert_eq!(fetched(&alice, &info).await, Ok(vec!["7".into()]));
}

#[tokio::test]
async fn flights_are_the_callers_tables() {
    let server = Server::dev();
    let (admin, alice, bob) = (server.client("admin").await, server.client("alice").await, server.client("bob").await);
    for table in ["notes", "\"odd \"\" name\"", "note_s"] {
        execute(&admin, &format!("CREATE TABLE {table} (id INT PRIMARY KEY, v VARCHAR)")).await;
    }
    execute(&alice, "INSERT INTO notes VALUES (1, 'mine')").await;
    let list = async |client: &Client, pattern: &'static str| {
        let request = client.request(Criteria { expression: pattern.into() });
        let flights = client.flight().list_flights(request).await.expect("flights").into_inner();
        flights.try_collect::<Vec<_>>().await.expect("flights")
    };
    let everything = list(&alice, "").await;
    assert!(everything.len() >= 3);
    for info in &everything {
        let schema = Schema::try_from(info.clone()).expect("a schema");
        let (sent, _) = sent::wire_schema(&alice, info.endpoint[0].ticket.clone().expect("a ticket")).await;
        assert_eq!(sent.fields(), schema.fields());
    }
    assert_eq!(list(&alice, "note_").await.len(), 1, "as LIKE has it");
    assert_eq!(list(&alice, "note\\_%").await.len(), 1);
    assert_eq!(list(&alice, "public.note%").await.len(), 2);
    assert_eq!(list(&alice, "nothing%").await.len(), 0);
    let notes = list(&alice, "public.notes").await.remove(0);
    assert_eq!(fetched(&alice, &notes).await, Ok(vec!["1|mine".into()]));
    assert_eq!(fetched(&bob, &notes).await, Ok(vec![]), "a ticket that names a table has no rows of anybody in it");
}

#[tokio::test]
async fn closing_a_session_ends_its_token_and_all_under_it() {
    let server = Setup::new().environment("INSULA_ADMIN_PASSWORD", "secret").start();
    let login =
        async || Client::connect(server.url(), &Credentials::password("admin", "secret")).await.expect("a login");
    let (closing, other) = (login().await, login().await);
    let prepared = closing.prepare("SELECT 1").await.expect("a statement");
    let info = closing.info(&statement("SELECT 1")).await.expect("flight info");
    let mut stream = closing.query(ENDLESS).await.expect("rows");
    stream.next().await.expect("a batch").expect("a batch");
    closing.action("CloseSession", Vec::new()).await.expect("closed");

    let end = stream.try_for_each(|_| async { Ok(()) }).await;
    assert_eq!(end.err().and_then(|error| error.code()), Some(Code::Cancelled));
    let refusal = closing.query("SELECT 1").await.err().and_then(|error| error.code());
    assert_eq!(refusal, Some(Code::Unauthenticated), "the token is worth nothing any more");
    // The user lives on in other sessions, and what was the closed one's is gone for them too.
    assert_eq!(query(&other, "SELECT 1").await, ["1"]);
    let get = CommandPreparedStatementQuery { prepared_statement_handle: prepared.handle().clone() };
    assert_eq!(other.info(&get).await.err().and_then(|error| error.code()), Some(Code::NotFound));
    assert_eq!(fetched(&other, &info).await, Err(Some(Code::NotFound)));
}

#[tokio::test]
async fn the_admin_service_tells_users_of_themselves_and_admins_of_all() {
    let server = Server::dev();
    let (admin, alice, bob) = (server.client("admin").await, server.client("alice").await, server.client("bob").await);
    execute(&admin, "CREATE TABLE notes (id INT PRIMARY KEY)").await;
    execute(&alice, "INSERT INTO notes VALUES (1), (2)").await;
    let mut stream = alice.query(ENDLESS).await.expect("rows");
    stream.next().await.expect("a batch").expect("a batch");
    let list = async |client: &Client| {
        let answer = client.admin().list_queries(client.request(ListQueriesRequest {})).await;
        answer.expect("queries").into_inner().queries
    };
    let own = list(&alice).await;
    assert_eq!(own.iter().filter_map(|q| q.text.as_deref()).collect::<Vec<_>>(), [ENDLESS]);
    assert!(list(&bob).await.is_empty());
    let told = list(&admin).await;
    assert!(told.iter().all(|q| q.user == "alice" && q.text.is_none() && q.text_hash == own[0].text_hash));

    let sessions = async |client: &Client| {
        let answer = client.admin().list_sessions(client.request(ListSessionsRequest {})).await;
        let users = answer.expect("sessions").into_inner().sessions.into_iter().map(|session| session.user);
        users.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(sessions(&bob).await, ["bob"]);
    assert_eq!(sessions(&admin).await, ["admin", "alice", "bob"]);
    let denied = bob.admin().stats(bob.request(StatsRequest {})).await;
    assert_eq!(denied.err().map(|status| status.code()), Some(Code::PermissionDenied));
    let stats = admin.admin().stats(admin.request(StatsRequest {})).await.expect("figures").into_inner();
    assert_eq!((stats.queries, stats.sessions >= 3, stats.tables >= 1), (1, true, true));

    let answer = alice.admin().list_sessions(alice.request(ListSessionsRequest {})).await.expect("sessions");
    let session_id = answer.into_inner().sessions[0].session_id.clone();
    let kill = KillSessionRequest { session_id: session_id.clone() };
    let denied = bob.admin().kill_session(bob.request(kill)).await;
    assert_eq!(denied.err().map(|status| status.code()), Some(Code::PermissionDenied));
    let answer = alice.admin().list_sessions(alice.request(ListSessionsRequest {})).await.expect("sessions");
    assert!(answer.into_inner().sessions.iter().any(|session| session.session_id == session_id), "it is open still");

    let kill = KillQueryRequest { query_id: own[0].query_id.clone() };
    let denied = bob.admin().kill_query(bob.request(kill.clone())).await;
    assert_eq!(denied.err().map(|status| status.code()), Some(Code::PermissionDenied));
    admin.admin().kill_query(admin.request(kill)).await.expect("killed");
    let end = stream.try_for_each(|_| async { Ok(()) }).await;
    assert_eq!(end.err().and_then(|error| error.code()), Some(Code::Cancelled));

    let flush = FlushRequest { table: "notes".into() };
    let flushed = admin.admin().flush(admin.request(flush.clone())).await.expect("flushed").into_inner().tables;
    assert_eq!((flushed[0].table.as_str(), flushed[0].rows), ("notes", Some(2)));
    let untold = bob.admin().flush(bob.request(flush)).await.expect("flushed").into_inner().tables;
    assert_eq!(untold[0].rows, None, "counts of all users are for admins");
    let compact = CompactRequest { table: "public.notes".into() };
    assert!(admin.admin().compact(admin.request(compact)).await.expect("compacted").into_inner().rows.is_some());
    let odd = CompactRequest { table: "notes\"; DROP TABLE notes; --".into() };
    let refusal = admin.admin().compact(admin.request(odd)).await;
    assert_eq!(refusal.err().map(|status| status.code()), Some(Code::NotFound), "a name is a name");
}
