//! The floor of what a Flight SQL server can cost: arrow-flight and tonic with constant batches from memory, no users, no
//! SQL, no storage. The benchmarks ask it the same questions as Insula, through the same clients.
//!
//! A query that names `floor_rows` gets as many rows as the last number in it says, of ten 64-bit columns; any other gets
//! one row of flights. It prints its address and runs until it is killed.

use std::{io::Write, pin::Pin, sync::Arc};

use arrow::{
    array::{ArrayRef, Int16Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
    ipc::writer::IpcWriteOptions,
};
use arrow_flight::{
    Action, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse, IpcMessage, SchemaAsIpc,
    Ticket,
    encode::FlightDataEncoderBuilder,
    flight_service_server::{FlightService, FlightServiceServer},
    sql::{
        ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
        CommandPreparedStatementQuery, CommandStatementQuery, DoPutPreparedStatementResult, ProstMessageExt, SqlInfo,
        TicketStatementQuery,
        server::{FlightSqlService, PeekableFlightDataStream},
    },
};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use prost::Message;
use tonic::{Request, Response, Status, Streaming, transport::Server};

/// Rows of a batch, as DataFusion makes them.
const BATCH: usize = 8192;
const COLUMNS: usize = 10;

#[derive(Clone)]
struct Floor {
    many: RecordBatch,
    one: RecordBatch,
}

impl Floor {
    fn new() -> Self {
        let numbers = |column: usize| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values((0..BATCH as i64).map(|row| row * 31 + column as i64)))
        };
        let many = batch((0..COLUMNS).map(|column| (format!("c{column}"), numbers(column))).collect());
        Self { many, one: flight() }
    }

    fn schema(&self, query: &[u8]) -> SchemaRef {
        if rows(query).is_some() { self.many.schema() } else { self.one.schema() }
    }

    fn info(&self, descriptor: FlightDescriptor, query: &[u8]) -> Result<Response<FlightInfo>, Status> {
        let handle = TicketStatementQuery { statement_handle: query.to_vec().into() };
        let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(handle.as_any().encode_to_vec()));
        let info = FlightInfo::new().with_descriptor(descriptor).with_endpoint(endpoint);
        Ok(Response::new(info.try_with_schema(&self.schema(query)).map_err(internal)?))
    }

    fn stream(&self, query: &[u8]) -> Response<<Self as FlightService>::DoGetStream> {
        let batch = if rows(query).is_some() { self.many.clone() } else { self.one.clone() };
        let mut left = rows(query).unwrap_or(1);
        let batches = std::iter::from_fn(move || {
            let now = left.min(batch.num_rows());
            left -= now;
            (now > 0).then(|| Ok(batch.slice(0, now)))
        });
        let encoder = FlightDataEncoderBuilder::new().with_schema(self.schema(query));
        Response::new(encoder.build(stream::iter(batches)).map_err(Status::from).boxed())
    }
}

/// A row with the columns and types of the table of flights that Insula is asked for, since clients take their time with
/// each column, too.
fn flight() -> RecordBatch {
    let small = |value: i16| -> ArrayRef { Arc::new(Int16Array::from(vec![value])) };
    let text = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
    let hour = TimestampMicrosecondArray::from(vec![1_357_034_400_000_000]).with_timezone("UTC");
    let columns: [(&str, ArrayRef); 20] = [
        ("id", Arc::new(Int64Array::from(vec![0]))),
        ("year", small(2013)),
        ("month", small(1)),
        ("day", small(1)),
        ("dep_time", small(542)),
        ("sched_dep_time", small(540)),
        ("dep_delay", small(2)),
        ("arr_time", small(923)),
        ("sched_arr_time", small(850)),
        ("arr_delay", small(33)),
        ("carrier", text("AA")),
        ("flight", Arc::new(Int32Array::from(vec![1141]))),
        ("tailnum", text("N619AA")),
        ("origin", text("JFK")),
        ("dest", text("MIA")),
        ("air_time", small(160)),
        ("distance", small(1089)),
        ("hour", small(5)),
        ("minute", small(40)),
        ("time_hour", Arc::new(hour)),
    ];
    batch(columns.map(|(name, values)| (name.to_owned(), values)).to_vec())
}

fn batch(columns: Vec<(String, ArrayRef)>) -> RecordBatch {
    let fields: Vec<_> =
        columns.iter().map(|(name, values)| Field::new(name, values.data_type().clone(), true)).collect();
    let columns = columns.into_iter().map(|(_, values)| values).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("columns of one length")
}

/// The last number of a query that names `floor_rows`.
fn rows(query: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(query).ok().filter(|text| text.contains("floor_rows"))?;
    text.rsplit(|character: char| !character.is_ascii_digit()).find_map(|number| number.parse().ok())
}

fn internal(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}

#[tonic::async_trait]
impl FlightSqlService for Floor {
    type FlightService = Floor;

    async fn do_handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Pin<Box<dyn Stream<Item = Result<HandshakeResponse, Status>> + Send>>>, Status> {
        let mut response = Response::new(stream::iter([Ok(HandshakeResponse::default())]).boxed() as Pin<Box<_>>);
        response.metadata_mut().insert("authorization", "Bearer floor".parse().map_err(internal)?);
        Ok(response)
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.info(request.into_inner(), query.query.as_bytes())
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.info(request.into_inner(), &query.prepared_statement_handle)
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        _: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        Ok(self.stream(&ticket.statement_handle))
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        _: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        Ok(self.stream(&query.prepared_statement_handle))
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        request.into_inner().into_inner().try_for_each(|_| async { Ok(()) }).await?;
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(query.prepared_statement_handle) })
    }

    /// The handle is the text itself.
    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        _: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let message = |schema: &Schema| {
            let options = IpcWriteOptions::default();
            IpcMessage::try_from(SchemaAsIpc::new(schema, &options)).map(|message| message.0).map_err(internal)
        };
        let parameters = query.query.matches('$').map(|_| Field::new("$1", DataType::Int64, true)).collect::<Vec<_>>();
        Ok(ActionCreatePreparedStatementResult {
            dataset_schema: message(&self.schema(query.query.as_bytes()))?,
            parameter_schema: message(&Schema::new(parameters))?,
            prepared_statement_handle: query.query.into(),
        })
    }

    async fn do_action_close_prepared_statement(
        &self,
        _: ActionClosePreparedStatementRequest,
        _: Request<Action>,
    ) -> Result<(), Status> {
        Ok(())
    }

    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {}
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("insula listening on grpc://{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    let service = FlightServiceServer::new(Floor::new()).max_decoding_message_size(usize::MAX);
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    Ok(Server::builder().add_service(service).serve_with_incoming(incoming).await?)
}
