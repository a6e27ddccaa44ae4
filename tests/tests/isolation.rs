//! Many users over one connection: no message to one of them holds a byte of another's rows, and whatever one user was
//! given is worth nothing in the hands of another, on every path that takes it.

#[path = "../../engine/tests/leak/canary.rs"]
mod canary;
mod rng {
    pub use insula_tests::Rng;
}
#[allow(dead_code, reason = "shared with the tests of the protocol")]
mod wire;

use arrow::array::RecordBatch;
use arrow_flight::{
    Action, CancelFlightInfoRequest, FlightData, FlightDescriptor, FlightInfo, RenewFlightEndpointRequest, Ticket,
    decode::FlightRecordBatchStream,
    flight_service_client::FlightServiceClient,
    sql::{
        ActionBeginSavepointRequest, ActionBeginSavepointResult, ActionBeginTransactionRequest,
        ActionBeginTransactionResult, ActionCancelQueryRequest, ActionClosePreparedStatementRequest,
        ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, ActionEndSavepointRequest,
        ActionEndTransactionRequest, Any, CommandPreparedStatementQuery, CommandPreparedStatementUpdate,
        CommandStatementIngest, CommandStatementQuery, CommandStatementUpdate, EndTransaction, ProstMessageExt,
    },
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use insula_tests::{Rng, Server, execute, rows};
use prost::Message;
use tonic::{
    Code, Request, Status,
    metadata::{AsciiMetadataKey, MetadataMap},
    transport::Channel,
};

/// Names that begin with each other, or look like something else.
const NAMES: [&str; 12] = [
    "a",
    "aa",
    "aa/a",
    "../a",
    "'; DROP TABLE t; --",
    "\"a\"",
    "%",
    "é",
    "e\u{301}",
    "аdmin",
    " ",
    "a user of whom much is known",
];

/// One user among those who share a connection.
#[derive(Clone)]
struct User {
    flight: FlightServiceClient<Channel>,
    metadata: MetadataMap,
}

impl User {
    fn new(channel: &Channel, name: &str) -> Self {
        use base64_of_std::encode;
        let mut metadata = MetadataMap::new();
        let basic = format!("Basic {}", encode(format!("{name}:").as_bytes()));
        metadata.insert("authorization", basic.parse().expect("a header"));
        Self { flight: FlightServiceClient::new(channel.clone()), metadata }
    }

    fn with(&self, headers: &[(&'static str, &str)]) -> Self {
        let mut user = self.clone();
        for (name, value) in headers {
            user.metadata.insert(AsciiMetadataKey::from_static(name), value.parse().expect("a header"));
        }
        user
    }

    fn of<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.metadata.clone();
        request
    }

    async fn info(&self, command: &impl ProstMessageExt) -> Result<FlightInfo, Status> {
        let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
        Ok(self.flight.clone().get_flight_info(self.of(descriptor)).await?.into_inner())
    }

    /// The messages as they come.
    async fn get(&self, ticket: Bytes) -> Result<Vec<FlightData>, Status> {
        self.flight.clone().do_get(self.of(Ticket { ticket })).await?.into_inner().try_collect().await
    }

    async fn put(&self, command: &impl ProstMessageExt) -> Result<Vec<Bytes>, Status> {
        let messages = wire::put_command(FlightDescriptor::new_cmd(command.as_any().encode_to_vec()));
        let results = self.flight.clone().do_put(self.of(stream::iter(messages))).await?.into_inner();
        results.map_ok(|result| result.app_metadata).try_collect().await
    }

    async fn act(&self, name: &str, body: Vec<u8>) -> Result<Bytes, Status> {
        let action = Action { r#type: name.to_owned(), body: body.into() };
        let results = self.flight.clone().do_action(self.of(action)).await?.into_inner();
        let bodies: Vec<_> = results.map_ok(|result| result.body).try_collect().await?;
        Ok(bodies.into_iter().next().unwrap_or_default())
    }

    async fn update(&self, sql: &str) -> Result<Vec<Bytes>, Status> {
        self.put(&CommandStatementUpdate { query: sql.into(), transaction_id: None }).await
    }

    async fn rows(&self, sql: &str) -> Vec<String> {
        let messages = self.get(statement(sql).as_any().encode_to_vec().into()).await;
        decoded(&messages.unwrap_or_else(|status| panic!("{sql}: {status}"))).await
    }
}

/// Basic credentials need no crate for so little.
mod base64_of_std {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    pub fn encode(bytes: &[u8]) -> String {
        let digits = bytes.chunks(3).flat_map(|chunk| {
            let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
            (0..4).map(move |i| match i <= chunk.len() {
                true => char::from(DIGITS[(bits >> (18 - 6 * i)) as usize & 63]),
                false => '=',
            })
        });
        digits.collect()
    }
}

fn statement(sql: &str) -> CommandStatementQuery {
    CommandStatementQuery { query: sql.to_owned(), transaction_id: None }
}

async fn decoded(messages: &[FlightData]) -> Vec<String> {
    let messages = stream::iter(messages.to_vec()).map(Ok);
    let batches = FlightRecordBatchStream::new_from_flight_data(messages).try_collect::<Vec<RecordBatch>>().await;
    rows(&batches.expect("batches"))
}

fn unpacked<M: ProstMessageExt>(body: Bytes) -> M {
    Any::decode(body).expect("a packed message").unpack().expect("a message").expect("the message that was asked for")
}

/// Looks at every byte that was sent, and at the rows.
async fn searched(user: usize, asked: &str, messages: Vec<FlightData>) -> usize {
    for message in &messages {
        for bytes in [&message.data_header, &message.data_body, &message.app_metadata] {
            if let Some(found) = canary::foreign_bytes(bytes, user, asked) {
                panic!("{asked}\n  to {:?}: the message holds {found}, which is another user's", NAMES[user]);
            }
        }
    }
    let rows = decoded(&messages).await;
    for row in &rows {
        assert_eq!(canary::foreign(row, user, asked), None, "{asked}: {row}");
    }
    rows.len()
}

/// Each user has ten rows in files that all share, with texts too long to lie within a view, and two hot ones.
async fn filled(server: &Server, rng: &mut Rng) -> (Vec<User>, Vec<Vec<String>>) {
    let admin = server.client("admin").await;
    execute(&admin, "CREATE TABLE t (id BIGINT PRIMARY KEY, v BIGINT, name VARCHAR, bin BYTEA)").await;
    let channel = wire::channel(server.url()).await;
    let users: Vec<_> = NAMES.iter().map(|name| User::new(&channel, name)).collect();
    let mut tokens = Vec::new();
    for (index, user) in users.iter().enumerate() {
        let own: Vec<_> = (0..12).map(|_| canary::token(index, rng)).collect();
        let row =
            |id: usize| format!("({id}, {}, '{}', '{}'::bytea)", canary::number(index, id as i64), own[id], own[id]);
        let all: Vec<_> = (0..10).map(row).collect();
        user.update(&format!("INSERT INTO t VALUES {}", all.join(", "))).await.expect("rows are stored");
        tokens.push(own);
    }
    execute(&admin, "FLUSH TABLE t").await;
    for (index, user) in users.iter().enumerate() {
        let row = |id: usize| format!("({id}, {}, '{}', NULL)", canary::number(index, id as i64), tokens[index][id]);
        user.update(&format!("INSERT INTO t VALUES {}, {}", row(10), row(11))).await.expect("rows are stored");
    }
    (users, tokens)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_holds_a_byte_of_another_users_rows() {
    let mut rng = Rng::new(Rng::seed("INSULA_LEAK_SEED"));
    let server = Server::dev();
    let (users, tokens) = filled(&server, &mut rng).await;
    let tasks = users.iter().enumerate().map(|(index, user)| {
        let (user, mut rng) = (user.clone(), rng.fork());
        let other = tokens[(index + 1) % tokens.len()][3].clone();
        tokio::spawn(async move {
            for _ in 0..3 {
                for (sql, least) in questions(&other, &mut rng) {
                    let types = ["", "views", "dictionaries", "views, dictionaries"][rng.below(4) as usize];
                    let parts = ["on", "off"][rng.below(2) as usize];
                    let user = user.with(&[("x-insula-arrow-types", types), ("x-insula-partitions", parts)]);
                    let found = asked(&user, index, &sql, &mut rng).await;
                    assert!(found >= least, "{sql}: {found} rows");
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("no leak");
    }
}

/// With the rows that each has at least.
fn questions(other: &str, rng: &mut Rng) -> Vec<(String, usize)> {
    let id = rng.below(12);
    let all = [
        ("SELECT * FROM t".to_owned(), 12),
        (format!("SELECT name, bin FROM t WHERE id = {id}"), 1),
        (format!("SELECT name FROM t WHERE id IN ({id}, {}, 99)", (id + 5) % 12), 2),
        (format!("SELECT name, v FROM t WHERE name = '{other}' OR id > 8"), 3),
        ("SELECT array_agg(name), array_agg(bin) FROM t GROUP BY id % 3".to_owned(), 3),
        ("SELECT {a: name, b: bin} AS s, map([id], [name]) FROM t WHERE id < 5".to_owned(), 5),
        ("SELECT a.name, b.name FROM t a JOIN t b ON a.id = b.id + 1 ORDER BY a.name".to_owned(), 11),
        ("SELECT arrow_cast(name, 'Dictionary(Int32, Utf8)') d, min(name) OVER (ORDER BY id) FROM t".to_owned(), 12),
        ("SELECT name FROM t ORDER BY name LIMIT 2 OFFSET 1".to_owned(), 2),
        ("SELECT DISTINCT substr(name, 1, 14) FROM t UNION ALL SELECT name FROM t WHERE v > 0".to_owned(), 13),
        ("SELECT count(*), max(name), min(bin) FROM t".to_owned(), 1),
        ("EXPLAIN ANALYZE VERBOSE SELECT name FROM t WHERE name > 'cnry'".to_owned(), 1),
        ("SELECT * FROM system.queries".to_owned(), 1),
    ];
    all.into()
}

/// On one of the ways that lead to a result; the rows.
async fn asked(user: &User, index: usize, sql: &str, rng: &mut Rng) -> usize {
    let command = match rng.below(4) {
        0 => {
            let messages = user.get(statement(sql).as_any().encode_to_vec().into()).await.expect("rows");
            return searched(index, sql, messages).await;
        }
        1 => {
            let create = ActionCreatePreparedStatementRequest { query: sql.to_owned(), transaction_id: None };
            let body = user.act("CreatePreparedStatement", create.as_any().encode_to_vec()).await.expect("a handle");
            let created: ActionCreatePreparedStatementResult = unpacked(body);
            let handle = created.prepared_statement_handle;
            user.info(&CommandPreparedStatementQuery { prepared_statement_handle: handle }).await
        }
        2 => {
            let descriptor = FlightDescriptor::new_cmd(statement(sql).as_any().encode_to_vec());
            let polled = user.flight.clone().poll_flight_info(user.of(descriptor)).await.expect("an answer");
            Ok(polled.into_inner().info.expect("flight info"))
        }
        _ => user.info(&statement(sql)).await,
    };
    let info = command.unwrap_or_else(|status| panic!("{sql}: {status}"));
    assert_eq!(canary::foreign_bytes(&info.encode_to_vec(), index, sql), None, "{sql}: flight info");
    let mut count = 0;
    for endpoint in info.endpoint {
        let messages = user.get(endpoint.ticket.expect("a ticket").ticket).await;
        count += searched(index, sql, messages.unwrap_or_else(|status| panic!("{sql}: {status}"))).await;
    }
    count
}

/// Each of these took the process down, and with it everybody's statements, when nothing bounded them.
#[tokio::test]
async fn a_statement_that_is_too_deep_harms_nobody() {
    let server = Server::dev();
    let channel = wire::channel(server.url()).await;
    let (user, other) = (User::new(&channel, "a"), User::new(&channel, "aa"));
    for (begin, link) in [
        ("SELECT 1", "+1"),
        ("SELECT 1 WHERE true", " AND true"),
        ("SELECT 1", "::int"),
        ("SELECT 1", " UNION ALL SELECT 1"),
        ("SELECT 1 FROM (SELECT 1) a", " CROSS JOIN (SELECT 1)"),
        ("WITH a AS (SELECT 1)", ", a AS (SELECT 1 FROM a)"),
    ] {
        let sql = format!("{begin}{}", link.repeat(30_000));
        let code = user.info(&statement(&sql)).await.err().map(|status| status.code());
        assert_eq!(code, Some(Code::InvalidArgument), "{begin}{link}…");
        // And what is just not too deep is answered.
        let most = format!("{begin}{}", link.repeat(if link.contains("AND") { 900 } else { 90 }));
        let most = if link.starts_with(',') {
            format!(
                "WITH a0 AS (SELECT 1){} SELECT * FROM a90",
                (1..=90).map(|i| format!(", a{i} AS (SELECT * FROM a{})", i - 1)).collect::<String>()
            )
        } else {
            most
        };
        if !link.contains("JOIN") {
            user.rows(&most).await;
        }
        assert_eq!(other.rows("SELECT 1").await, ["1"]);
    }
}

/// What one user was given, each by the call that gives it.
struct Given {
    ticket: Bytes,
    part: Bytes,
    info: FlightInfo,
    poll: FlightDescriptor,
    select: Bytes,
    insert: Bytes,
    transaction: Bytes,
    savepoint: Bytes,
}

async fn given(owner: &User) -> Given {
    let prepare = async |sql: &str| {
        let create = ActionCreatePreparedStatementRequest { query: sql.to_owned(), transaction_id: None };
        let body = owner.act("CreatePreparedStatement", create.as_any().encode_to_vec()).await.expect("a handle");
        unpacked::<ActionCreatePreparedStatementResult>(body).prepared_statement_handle
    };
    let info = owner.info(&statement("SELECT * FROM t")).await.expect("flight info");
    let parted =
        owner.with(&[("x-insula-partitions", "on")]).info(&statement("SELECT id FROM t")).await.expect("flight info");
    assert!(parted.endpoint.len() > 1, "fresh rows and flushed ones");
    // It computes beyond the patience of one call, so that there is something to ask again with.
    let slow = "SELECT count(*) FROM generate_series(1, 10000000) a, generate_series(1, 10000000) b WHERE a.value * b.value % 7 = 3";
    let descriptor = FlightDescriptor::new_cmd(statement(slow).as_any().encode_to_vec());
    let polled = owner.flight.clone().poll_flight_info(owner.of(descriptor)).await.expect("an answer").into_inner();
    let begin = ActionBeginTransactionRequest {}.as_any().encode_to_vec();
    let begun: ActionBeginTransactionResult = unpacked(owner.act("BeginTransaction", begin).await.expect("begun"));
    let transaction = begun.transaction_id;
    let insert = CommandStatementUpdate {
        query: "INSERT INTO t (id) VALUES (500)".into(),
        transaction_id: Some(transaction.clone()),
    };
    owner.put(&insert).await.expect("a row in the transaction");
    let savepoint = ActionBeginSavepointRequest { transaction_id: transaction.clone(), name: "here".into() };
    let body = owner.act("BeginSavepoint", savepoint.as_any().encode_to_vec()).await.expect("a savepoint");
    let ticket = |info: &FlightInfo, at: usize| info.endpoint[at].ticket.clone().expect("a ticket").ticket;
    Given {
        ticket: ticket(&info, 0),
        part: ticket(&parted, 1),
        info,
        poll: polled.flight_descriptor.expect("not complete"),
        select: prepare("SELECT * FROM t").await,
        insert: prepare("INSERT INTO t (id) VALUES (600)").await,
        transaction,
        savepoint: unpacked::<ActionBeginSavepointResult>(body).savepoint_id,
    }
}

#[tokio::test]
async fn what_a_user_was_given_is_refused_from_everybody_else_on_every_path() {
    let mut rng = Rng::new(1);
    let server = Server::dev();
    let (users, _) = filled(&server, &mut rng).await;
    let channel = wire::channel(server.url()).await;
    let (owner, admin) = (&users[0], User::new(&channel, "admin"));
    let given = given(owner).await;
    let all = "SELECT id, v, name FROM t ORDER BY id";
    let before = owner.rows(all).await;
    // The name of one begins with the owner's; the other may do much else.
    for thief in [&users[1], &admin] {
        let own = thief.rows(all).await;
        for (path, outcome) in tried(thief, &given).await {
            assert_eq!(outcome, Some(Code::PermissionDenied), "{path}");
        }
        assert_eq!(thief.rows(all).await, own, "nothing of it came to whom it does not belong");
    }
    assert_eq!(owner.rows(all).await, before, "and nothing happened to its owner");

    // It is worth to the owner what it was.
    assert_eq!(decoded(&owner.get(given.ticket).await.expect("rows")).await.len(), before.len());
    assert!(owner.get(given.part).await.is_ok());
    assert!(owner.info(&CommandPreparedStatementQuery { prepared_statement_handle: given.select }).await.is_ok());
    let polled = owner.flight.clone().poll_flight_info(owner.of(given.poll)).await.expect("it still runs").into_inner();
    let cancel = CancelFlightInfoRequest { info: polled.info };
    owner.act("CancelFlightInfo", cancel.encode_to_vec()).await.expect("cancelled");
    owner.put(&CommandPreparedStatementUpdate { prepared_statement_handle: given.insert }).await.expect("a row");
    let end = end_transaction(given.transaction, EndTransaction::Commit);
    owner.act("EndTransaction", end).await.expect("the transaction was not ended");
    assert_eq!(owner.rows(all).await.len(), before.len() + 2);
}

fn end_transaction(transaction_id: Bytes, action: EndTransaction) -> Vec<u8> {
    ActionEndTransactionRequest { transaction_id, action: action.into() }.as_any().encode_to_vec()
}

/// Every call that takes one of these, made by somebody else, and how each was refused.
async fn tried(thief: &User, given: &Given) -> Vec<(&'static str, Option<Code>)> {
    let code = |status: Status| Some(status.code());
    let outcome = |answer: Result<Bytes, Status>| answer.err().and_then(code);
    let query = |handle: &Bytes| CommandPreparedStatementQuery { prepared_statement_handle: handle.clone() };
    let within =
        |sql: &str| CommandStatementQuery { query: sql.into(), transaction_id: Some(given.transaction.clone()) };
    let mut seen = vec![
        ("DoGet of a ticket", thief.get(given.ticket.clone()).await.err().and_then(code)),
        ("DoGet of a part", thief.get(given.part.clone()).await.err().and_then(code)),
        ("GetFlightInfo of a handle", thief.info(&query(&given.select)).await.err().and_then(code)),
    ];
    let command: Bytes = query(&given.select).as_any().encode_to_vec().into();
    let descriptor = FlightDescriptor::new_cmd(command.clone());
    let schema = thief.flight.clone().get_schema(thief.of(descriptor.clone())).await;
    seen.push(("GetSchema of a handle", wire::outcome(schema)));
    let polled = thief.flight.clone().poll_flight_info(thief.of(descriptor)).await;
    seen.push(("PollFlightInfo of a handle", wire::outcome(polled)));
    seen.push(("DoGet of a handle", thief.get(command).await.err().and_then(code)));
    seen.push(("DoPut of parameters", thief.put(&query(&given.select)).await.err().and_then(code)));
    let update = CommandPreparedStatementUpdate { prepared_statement_handle: given.insert.clone() };
    seen.push(("DoPut of a prepared update", thief.put(&update).await.err().and_then(code)));
    for handle in [&given.select, &given.insert] {
        let close = ActionClosePreparedStatementRequest { prepared_statement_handle: handle.clone() };
        let closed = thief.act("ClosePreparedStatement", close.as_any().encode_to_vec()).await;
        seen.push(("ClosePreparedStatement", outcome(closed)));
    }
    let polled = thief.flight.clone().poll_flight_info(thief.of(given.poll.clone())).await;
    seen.push(("PollFlightInfo of a poll", wire::outcome(polled)));

    let cancel = CancelFlightInfoRequest { info: Some(given.info.clone()) };
    seen.push(("CancelFlightInfo", outcome(thief.act("CancelFlightInfo", cancel.encode_to_vec()).await)));
    let cancel = ActionCancelQueryRequest { info: given.info.encode_to_vec().into() };
    seen.push(("CancelQuery", outcome(thief.act("CancelQuery", cancel.as_any().encode_to_vec()).await)));
    let renew = RenewFlightEndpointRequest { endpoint: given.info.endpoint.first().cloned() };
    seen.push(("RenewFlightEndpoint", outcome(thief.act("RenewFlightEndpoint", renew.encode_to_vec()).await)));

    seen.push(("a query in a transaction", thief.info(&within("SELECT * FROM t")).await.err().and_then(code)));
    let ticket = within("SELECT * FROM t").as_any().encode_to_vec().into();
    seen.push(("DoGet in a transaction", thief.get(ticket).await.err().and_then(code)));
    let update =
        CommandStatementUpdate { query: "DELETE FROM t".into(), transaction_id: Some(given.transaction.clone()) };
    seen.push(("an update in a transaction", thief.put(&update).await.err().and_then(code)));
    let create = ActionCreatePreparedStatementRequest {
        query: "SELECT * FROM t".into(),
        transaction_id: Some(given.transaction.clone()),
    };
    let created = thief.act("CreatePreparedStatement", create.as_any().encode_to_vec()).await;
    seen.push(("CreatePreparedStatement in a transaction", outcome(created)));
    let ingest = CommandStatementIngest {
        table: "t".into(),
        transaction_id: Some(given.transaction.clone()),
        ..CommandStatementIngest::default()
    };
    seen.push(("an ingest in a transaction", thief.put(&ingest).await.err().and_then(code)));
    for action in [EndTransaction::Commit, EndTransaction::Rollback] {
        let ended = thief.act("EndTransaction", end_transaction(given.transaction.clone(), action)).await;
        seen.push(("EndTransaction", outcome(ended)));
    }
    let savepoint = ActionBeginSavepointRequest { transaction_id: given.transaction.clone(), name: "mine".into() };
    let begun = thief.act("BeginSavepoint", savepoint.as_any().encode_to_vec()).await;
    seen.push(("BeginSavepoint", outcome(begun)));
    for action in [1, 2] {
        let end = ActionEndSavepointRequest { savepoint_id: given.savepoint.clone(), action };
        seen.push(("EndSavepoint", outcome(thief.act("EndSavepoint", end.as_any().encode_to_vec()).await)));
    }
    seen
}
