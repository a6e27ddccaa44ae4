//! The service `insula.v1.Admin`: maintenance, and a view of what runs, for those who come with grpcurl.
//!
//! It stands behind the same layer as Flight, and its maintenance is the SQL statement that does the same, so that one
//! place decides who may do what and who is told how much.

use std::{
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::Int64Type,
};
use futures::TryStreamExt;
use insula_engine::{Engine, Outcome, Role};
use insula_proto::admin::{
    CompactRequest, CompactResponse, FlushRequest, FlushResponse, KillQueryRequest, KillQueryResponse,
    KillSessionRequest, KillSessionResponse, ListQueriesRequest, ListQueriesResponse, ListSessionsRequest,
    ListSessionsResponse, StatsRequest, StatsResponse, admin_server::Admin, flush_response::Table,
    list_queries_response::Query, list_sessions_response::Session,
};
use tonic::{Request, Response, Status};

use crate::{
    executor::Executor,
    identity::{Authenticator, Caller},
    service::caller,
    status,
};

type Answer<T> = Result<Response<T>, Status>;

pub struct AdminService {
    engine: Arc<Engine>,
    executor: Arc<Executor>,
    authenticator: Arc<Authenticator>,
    started: Instant,
}

impl AdminService {
    pub fn new(engine: Arc<Engine>, executor: Arc<Executor>, authenticator: Arc<Authenticator>) -> Self {
        Self { engine, executor, authenticator, started: Instant::now() }
    }

    /// Runs a statement whose rows are few, as the caller.
    async fn run(&self, caller: &Caller, sql: String) -> Result<Vec<RecordBatch>, Status> {
        let (engine, user, session) = (Arc::clone(&self.engine), caller.identity.clone(), Arc::clone(&caller.session));
        let work = async move {
            match engine.execute(&user, &session, &sql, Vec::new()).await? {
                Outcome::Rows { rows, .. } => rows.try_collect().await,
                Outcome::Count(_) => Ok(Vec::new()),
            }
        };
        caller.deadline.run(async { self.executor.run(work).await?.map_err(status::of) }).await
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn flush(&self, request: Request<FlushRequest>) -> Answer<FlushResponse> {
        let caller = caller(&request)?;
        let sql = match request.get_ref().table.as_str() {
            "" => "FLUSH ALL".to_owned(),
            table => format!("FLUSH TABLE {}", quoted(table)),
        };
        let mut tables = Vec::new();
        for batch in self.run(&caller, sql).await? {
            for row in 0..batch.num_rows() {
                tables.push(Table {
                    namespace: text(&batch, "namespace", row)?,
                    table: text(&batch, "table", row)?,
                    rows: number(&batch, "rows", row)?,
                    files: number(&batch, "files", row)?,
                    bytes: number(&batch, "bytes", row)?,
                });
            }
        }
        Ok(Response::new(FlushResponse { tables }))
    }

    async fn compact(&self, request: Request<CompactRequest>) -> Answer<CompactResponse> {
        let caller = caller(&request)?;
        let batches = self.run(&caller, format!("COMPACT TABLE {}", quoted(&request.get_ref().table))).await?;
        let batch = batches.first().ok_or_else(|| status::internal("COMPACT TABLE returned no row"))?;
        Ok(Response::new(CompactResponse {
            rows: number(batch, "rows", 0)?,
            removed: number(batch, "removed", 0)?,
            files_before: number(batch, "files_before", 0)?,
            files: number(batch, "files", 0)?,
            bytes_before: number(batch, "bytes_before", 0)?,
            bytes: number(batch, "bytes", 0)?,
        }))
    }

    /// How busy the server is tells of other users.
    async fn stats(&self, request: Request<StatsRequest>) -> Answer<StatsResponse> {
        let caller = caller(&request)?;
        if caller.identity.role != Role::Admin {
            return Err(Status::permission_denied("Stats needs the role admin"));
        }
        let (reserved, limit) = self.engine.memory();
        Ok(Response::new(StatsResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.started.elapsed().as_secs().cast_signed(),
            tables: count(
                self.engine.tables(&caller.identity).iter().filter(|table| table.table_type == "TABLE").count(),
            ),
            sessions: count(self.authenticator.sessions(None).len()),
            queries: count(self.engine.running(&caller.identity).len()),
            memory_reserved_bytes: count(reserved),
            memory_limit_bytes: count(limit),
        }))
    }

    async fn list_sessions(&self, request: Request<ListSessionsRequest>) -> Answer<ListSessionsResponse> {
        let caller = caller(&request)?;
        let all = caller.identity.role == Role::Admin;
        let sessions = self.authenticator.sessions((!all).then_some(caller.identity.no));
        let known = sessions.into_iter().filter_map(|session| {
            // A user who was dropped has no name any more, and soon no session.
            let user = self.engine.identity(session.user).ok()?.name.to_string();
            let idle_micros = i64::try_from(session.idle.as_micros()).unwrap_or(i64::MAX);
            let (session_id, began_micros) = (session.id.to_string(), micros(session.began));
            Some(Session { user, by_token: session.by_token, began_micros, idle_micros, session_id })
        });
        Ok(Response::new(ListSessionsResponse { sessions: known.collect() }))
    }

    async fn list_queries(&self, request: Request<ListQueriesRequest>) -> Answer<ListQueriesResponse> {
        let caller = caller(&request)?;
        let queries = self.engine.running(&caller.identity).into_iter().map(|query| Query {
            query_id: query.id,
            user: query.user.to_string(),
            text: query.text.map(|text| text.to_string()),
            text_hash: query.text_hash,
            began_micros: micros(query.began),
            elapsed_micros: query.elapsed_micros.cast_signed(),
            rows: query.rows.cast_signed(),
            state: query.state.to_owned(),
            tables: query.tables.iter().map(ToString::to_string).collect(),
        });
        Ok(Response::new(ListQueriesResponse { queries: queries.collect() }))
    }

    async fn kill_query(&self, request: Request<KillQueryRequest>) -> Answer<KillQueryResponse> {
        let caller = caller(&request)?;
        self.engine.kill(&caller.identity, &request.get_ref().query_id).map_err(status::of)?;
        Ok(Response::new(KillQueryResponse {}))
    }

    async fn kill_session(&self, request: Request<KillSessionRequest>) -> Answer<KillSessionResponse> {
        let caller = caller(&request)?;
        self.authenticator.kill_session(&caller.identity, &request.get_ref().session_id)?;
        // Who has ended sessions may rely on it that this is written down.
        self.engine.trail().settled().await;
        Ok(Response::new(KillSessionResponse {}))
    }
}

/// Each part of a name in quotation marks, so that it is a name and nothing else.
fn quoted(name: &str) -> String {
    name.split('.').map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect::<Vec<_>>().join(".")
}

fn text(batch: &RecordBatch, column: &str, row: usize) -> Result<String, Status> {
    let found = batch.column_by_name(column).and_then(|column| column.as_string_opt::<i32>());
    found.map(|values| values.value(row).to_owned()).ok_or_else(|| status::internal(format!("no column {column}")))
}

/// `None`: the caller is not told.
fn number(batch: &RecordBatch, column: &str, row: usize) -> Result<Option<i64>, Status> {
    let found = batch.column_by_name(column).and_then(|column| column.as_primitive_opt::<Int64Type>());
    let values = found.ok_or_else(|| status::internal(format!("no column {column}")))?;
    Ok(values.is_valid(row).then(|| values.value(row)))
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
