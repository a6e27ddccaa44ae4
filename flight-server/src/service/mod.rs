//! The Flight service: takes each RPC apart and hands its command to the module that answers it.
//!
//! It implements `FlightService` itself: arrow-flight's `FlightSqlService` would answer GetSchema, PollFlightInfo and
//! unknown actions on its own, and wrongly. [`crate::identity::layer`] has put a [`Caller`] into every request.

mod acting;
mod action;
mod cancel;
mod columns;
mod flights;
mod info;
mod metadata;
mod poll;
mod put;
mod query;
mod transaction;
mod unfold;
mod work;
mod xdbc;

use std::sync::Arc;

use arrow::error::ArrowError;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, SchemaResult, Ticket,
    flight_descriptor::DescriptorType,
    flight_service_server::FlightService,
    sql::{
        Any, Command,
        metadata::{SqlInfoData, XdbcTypeInfoData},
    },
};
use futures::{StreamExt, stream, stream::BoxStream};
use insula_engine::Engine;
use prost::Message;
use tonic::{
    Request, Response, Status, Streaming,
    metadata::{AsciiMetadataValue, MetadataMap},
};

use crate::{
    encode::{DataStream, schema_message},
    executor::{Course, Executor},
    identity::{Authenticator, Caller},
    seal::Seal,
    statements::Statements,
    status,
};

pub(crate) use put::decoded;
use query::Rows;

type Answer<T> = Result<Response<BoxStream<'static, Result<T, Status>>>, Status>;

pub struct Service {
    engine: Arc<Engine>,
    executor: Arc<Executor>,
    authenticator: Arc<Authenticator>,
    statements: Arc<Statements>,
    seal: Seal,
    sql_info: SqlInfoData,
    type_info: XdbcTypeInfoData,
    limits: Limits,
}

/// Sizes in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// That one message of a client may unfold to.
    pub message: u64,
    /// Of the parameters that one prepared statement may hold.
    pub parameters: usize,
    /// That a message with rows aims at.
    pub result_message: usize,
    /// That the rows of one DoGet may have, as they are sent.
    pub result: u64,
}

impl Service {
    pub fn new(
        engine: Arc<Engine>,
        executor: Arc<Executor>,
        authenticator: Arc<Authenticator>,
        statements: Arc<Statements>,
        limits: Limits,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let sql_info = info::sql_info(engine.functions(), engine.transaction_limits().idle)?;
        let seal = Seal::new().map_err(|e| format!("no random key for tickets: {e}"))?;
        let type_info = xdbc::type_info()?;
        Ok(Self { engine, executor, authenticator, statements, seal, sql_info, type_info, limits })
    }
}

/// The layer puts it there; without it the service would be mounted wrongly, and must not answer.
pub(crate) fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    request.extensions().get::<Caller>().cloned().ok_or_else(|| status::internal("a request without a caller"))
}

/// The column that holds each row's user, as a client says that cannot set options of an ingest.
fn user_column(metadata: &MetadataMap) -> Result<Option<String>, Status> {
    let text = |value: &AsciiMetadataValue| value.to_str().map(str::to_owned);
    let name = metadata.get("x-insula-user-column").map(text).transpose();
    name.map_err(|_| Status::invalid_argument("x-insula-user-column is not ASCII; use the ingest option user_column"))
}

fn message_bytes(message: &FlightData) -> usize {
    message.data_header.len() + message.data_body.len()
}

/// The Flight SQL command in a descriptor or ticket.
pub(crate) fn command(bytes: &[u8], place: &str) -> Result<Command, Status> {
    let malformed =
        |e: &dyn std::fmt::Display| Status::invalid_argument(format!("malformed {place}: no Flight SQL command ({e})"));
    let any = Any::decode(bytes).map_err(|e| malformed(&e))?;
    if any.type_url.is_empty() {
        return Err(malformed(&"without a type"));
    }
    Command::try_from(any).map_err(|e: ArrowError| malformed(&e))
}

fn described(descriptor: &FlightDescriptor) -> Result<Command, Status> {
    match descriptor.r#type() {
        DescriptorType::Cmd => command(&descriptor.cmd, "descriptor"),
        DescriptorType::Path | DescriptorType::Unknown => {
            Err(Status::invalid_argument("the descriptor must hold a Flight SQL command (type CMD), not a path"))
        }
    }
}

fn unserved(command: &Command, rpc: &str) -> Status {
    let name = command.type_url().rsplit('.').next().unwrap_or_default().to_owned();
    Status::unimplemented(format!("{rpc} does not serve the command {name}"))
}

#[tonic::async_trait]
impl FlightService for Service {
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>;
    type DoGetStream = DataStream;
    type DoPutStream = BoxStream<'static, Result<PutResult, Status>>;
    type DoActionStream = BoxStream<'static, Result<arrow_flight::Result, Status>>;
    type ListActionsStream = BoxStream<'static, Result<ActionType, Status>>;
    type DoExchangeStream = DataStream;

    /// The layer has checked the credentials; the token goes back in the metadata, by the layer, and as payload.
    async fn handshake(&self, request: Request<Streaming<HandshakeRequest>>) -> Answer<HandshakeResponse> {
        let token = caller(&request)?.new_token;
        let payload = token.map(|token| token.as_bytes().to_vec().into()).unwrap_or_default();
        let answer = HandshakeResponse { protocol_version: 0, payload };
        Ok(Response::new(stream::iter([Ok(answer)]).boxed()))
    }

    async fn list_flights(&self, request: Request<Criteria>) -> Answer<FlightInfo> {
        let caller = caller(&request)?;
        let flights = self.flights(&caller, request.get_ref())?;
        Ok(Response::new(stream::iter(flights.into_iter().map(Ok)).boxed()))
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        let caller = caller(&request)?;
        let info = caller.deadline.run(self.flight_info(&caller, request.into_inner())).await?;
        Ok(Response::new(info))
    }

    async fn poll_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        let caller = caller(&request)?;
        let info = caller.deadline.run(self.poll(&caller, request.into_inner())).await?;
        Ok(Response::new(info))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        let caller = caller(&request)?;
        let schema = caller.deadline.run(self.schema_of(&caller, &described(request.get_ref())?)).await?;
        Ok(Response::new(SchemaResult { schema: schema_message(&schema)? }))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        let caller = caller(&request)?;
        let command = command(&request.get_ref().ticket, "ticket")?;
        let (data, stop, pace) = match caller.deadline.run(self.rows_of(&caller, command)).await? {
            Rows::Ready(messages) => return Ok(Response::new(stream::iter(messages.into_iter().map(Ok)).boxed())),
            Rows::Coming { data, stop, pace } => (data, stop, pace),
        };
        let deadline = caller.deadline;
        let stop = async move {
            tokio::select! {
                () = stop => Status::cancelled("the statement was cancelled"),
                status = deadline.expired() => status,
            }
        };
        let course = Course { pace, size: message_bytes, most: self.limits.result };
        // The network side keeps the time too: statements may have taken all threads of the executor.
        Ok(Response::new(deadline.stream(self.executor.stream(data, stop, course)?)))
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Answer<PutResult> {
        let caller = caller(&request)?;
        let user_column = user_column(request.metadata())?;
        let result = caller.deadline.run(self.put(&caller, user_column, request.into_inner())).await?;
        Ok(Response::new(stream::iter([Ok(PutResult { app_metadata: result })]).boxed()))
    }

    async fn do_action(&self, request: Request<Action>) -> Answer<arrow_flight::Result> {
        let caller = caller(&request)?;
        let body = caller.deadline.run(self.act(&caller, request.into_inner())).await?;
        let results = body.map(|body| Ok(arrow_flight::Result { body }));
        Ok(Response::new(stream::iter(results).boxed()))
    }

    async fn list_actions(&self, _: Request<Empty>) -> Answer<ActionType> {
        Ok(Response::new(stream::iter(action::types().map(Ok)).boxed()))
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Answer<FlightData> {
        Err(Status::unimplemented("DoExchange: Flight SQL has no command for it; use DoGet to read, DoPut to write"))
    }
}
