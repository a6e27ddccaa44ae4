//! The client: Flight SQL's commands over one shared connection, each request carrying the user's identity.
//!
//! It speaks to the plain Flight client rather than to arrow-flight's `FlightSqlServiceClient`, which panics on an
//! empty reply, hides the code of a refused Handshake, and stores half of an ingest whose source fails.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::{
    Action, FlightData, FlightDescriptor, FlightInfo, IpcMessage, PutResult,
    decode::FlightRecordBatchStream,
    flight_service_client::FlightServiceClient,
    sql::{CommandStatementQuery, CommandStatementUpdate, DoPutUpdateResult, ProstMessageExt},
};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use insula_proto::admin::admin_client::AdminClient;
use prost::Message;
use tonic::{
    Request,
    metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap},
    transport::Channel,
};

use crate::{Answer, Connection, Credentials, Error, Prepared, Result, Rows, connect};

/// A user's connection to a server. Clones share the connection and the session.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    flight: FlightServiceClient<Channel>,
    metadata: MetadataMap,
}

impl Client {
    /// Connects and logs in.
    pub async fn connect(url: &str, credentials: &Credentials) -> Result<Self> {
        Self::open(&Connection::new(url), credentials).await
    }

    /// [`Client::connect`] with more to say about the connection.
    pub async fn open(connection: &Connection, credentials: &Credentials) -> Result<Self> {
        let channel = connection.open().await?;
        // One row cannot be split over messages, so the size of a message is the server's to bound.
        let flight = FlightServiceClient::new(channel.clone()).max_decoding_message_size(usize::MAX);
        let metadata = connect::authenticate(&flight, credentials).await?;
        Ok(Self { channel, flight, metadata })
    }

    /// The same client, whose requests carry one more header.
    pub fn with_header(mut self, name: &str, value: &str) -> Result<Self> {
        let name: AsciiMetadataKey =
            name.parse().map_err(|_| Error::Usage(format!("`{name}` is no name for a header")))?;
        let value: AsciiMetadataValue =
            value.parse().map_err(|_| Error::Usage(format!("header `{name}`: a value that no header can carry")))?;
        self.metadata.insert(name, value);
        Ok(self)
    }

    /// The client beneath, for calls that have no method here; see [`Client::request`].
    pub fn flight(&self) -> FlightServiceClient<Channel> {
        self.flight.clone()
    }

    /// Insula's service for maintenance and for a view of what runs, over the same connection; see [`Client::request`].
    pub fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(self.channel.clone())
    }

    /// A request with the user's identity.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.metadata.clone();
        request
    }

    /// Runs a statement and streams its rows; a statement that returns none gives an empty stream.
    pub async fn query(&self, sql: &str) -> Result<Rows> {
        self.command(&statement_query(sql)).await
    }

    /// Runs a statement and returns the number of rows it changed.
    pub async fn update(&self, sql: &str) -> Result<i64> {
        let command = CommandStatementUpdate { query: sql.to_owned(), transaction_id: None };
        let message = FlightData { flight_descriptor: Some(descriptor(&command)), ..Default::default() };
        updated(self.put(stream::iter([message])).await?.as_ref())
    }

    /// Runs a statement of either kind, once.
    pub async fn run(&self, sql: &str) -> Result<Answer> {
        let mut statement = self.prepare(sql).await?;
        let answer = if statement.is_update() {
            statement.update(None).await.map(Answer::Count)
        } else {
            statement.query(None).await.map(Answer::Rows)
        };
        // The rows keep flowing without the handle. That it lingers matters to nobody but the server, which expires it.
        let _ = statement.close().await;
        answer
    }

    /// The schema of a statement's rows. Nothing is run.
    pub async fn describe(&self, sql: &str) -> Result<SchemaRef> {
        schema_of(&self.info(&statement_query(sql)).await?)
    }

    /// Plans a statement whose parameters (`?` or `$1`, `$2`, …) are given later.
    pub async fn prepare(&self, sql: &str) -> Result<Prepared> {
        Prepared::create(self.clone(), sql).await
    }

    /// Runs any Flight SQL command that answers with rows, those of the metadata above all.
    pub async fn command(&self, command: &impl ProstMessageExt) -> Result<Rows> {
        let info = self.info(command).await?;
        self.fetch(&info).await
    }

    /// GetFlightInfo of a Flight SQL command.
    pub async fn info(&self, command: &impl ProstMessageExt) -> Result<FlightInfo> {
        let request = self.request(descriptor(command));
        Ok(self.flight().get_flight_info(request).await?.into_inner())
    }

    /// DoGet of every endpoint, one after the other. The first is asked at once, so that its refusal is seen here.
    pub async fn fetch(&self, info: &FlightInfo) -> Result<Rows> {
        let schema = schema_of(info)?;
        let mut tickets = Vec::new();
        for endpoint in &info.endpoint {
            let ticket = endpoint.ticket.clone();
            tickets.push(ticket.ok_or_else(|| Error::protocol("an endpoint without a ticket"))?);
        }
        let mut tickets = tickets.into_iter();
        let first = match tickets.next() {
            Some(ticket) => self.ticket(ticket).await?.boxed(),
            None => stream::empty().boxed(),
        };
        let client = self.clone();
        let rest = stream::iter(tickets).then(move |ticket| {
            let client = client.clone();
            async move { client.ticket(ticket).await }
        });
        Ok(Rows::new(schema, first.chain(rest.try_flatten()).boxed()))
    }

    /// DoGet of one ticket.
    pub async fn ticket(
        &self,
        ticket: arrow_flight::Ticket,
    ) -> Result<impl Stream<Item = Result<arrow::array::RecordBatch>> + Send + use<>> {
        let data = self.flight().do_get(self.request(ticket)).await?.into_inner();
        let batches = FlightRecordBatchStream::new_from_flight_data(data.map_err(Into::into));
        Ok(batches.map_err(Error::from))
    }

    /// DoPut; the server's first answer, if it gave one.
    pub async fn put(&self, messages: impl Stream<Item = FlightData> + Send + 'static) -> Result<Option<PutResult>> {
        let mut results = self.flight().do_put(self.request(messages)).await?.into_inner();
        let first = results.try_next().await?;
        // An error may follow the answer, so the stream is read to its end.
        while results.try_next().await?.is_some() {}
        Ok(first)
    }

    /// DoAction; the bodies of its results.
    pub async fn action(&self, name: &str, body: impl Into<Bytes>) -> Result<Vec<Bytes>> {
        let action = Action { r#type: name.to_owned(), body: body.into() };
        let results = self.flight().do_action(self.request(action)).await?.into_inner();
        Ok(results.map_ok(|result| result.body).try_collect().await?)
    }
}

fn statement_query(sql: &str) -> CommandStatementQuery {
    CommandStatementQuery { query: sql.to_owned(), transaction_id: None }
}

pub(crate) fn descriptor(command: &impl ProstMessageExt) -> FlightDescriptor {
    FlightDescriptor::new_cmd(command.as_any().encode_to_vec())
}

/// An answer to an update: the rows changed.
pub(crate) fn updated(result: Option<&PutResult>) -> Result<i64> {
    let result = result.ok_or_else(|| Error::protocol("an update that was not answered with a count"))?;
    Ok(DoPutUpdateResult::decode(result.app_metadata.as_ref())?.record_count)
}

/// An empty message stands for a schema without columns.
pub(crate) fn decode_schema(bytes: Bytes) -> Result<SchemaRef> {
    if bytes.is_empty() {
        return Ok(Arc::new(Schema::empty()));
    }
    Ok(Arc::new(Schema::try_from(IpcMessage(bytes))?))
}

fn schema_of(info: &FlightInfo) -> Result<SchemaRef> {
    decode_schema(info.schema.clone())
}
