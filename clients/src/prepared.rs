//! A statement that is planned once and run with parameters, as JDBC and ADBC drivers run all of theirs.

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use arrow_flight::{
    FlightData,
    encode::FlightDataEncoderBuilder,
    sql::{
        ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, Any, CommandPreparedStatementQuery,
        CommandPreparedStatementUpdate, DoPutPreparedStatementResult, ProstMessageExt,
    },
};
use bytes::Bytes;
use futures::{StreamExt, future, stream};
use insula_proto::flight::sql::ActionCreatePreparedStatementResult;
use prost::Message;

use crate::{
    Client, Error, Result, Rows,
    client::{decode_schema, descriptor, updated},
};

/// A prepared statement; usable any number of times until [`Prepared::close`].
#[derive(Debug)]
pub struct Prepared {
    client: Client,
    handle: Bytes,
    schema: SchemaRef,
    parameters: SchemaRef,
    is_update: bool,
}

impl Prepared {
    pub(crate) async fn create(client: Client, sql: &str) -> Result<Self> {
        let request = ActionCreatePreparedStatementRequest { query: sql.to_owned(), transaction_id: None };
        let results = client.action("CreatePreparedStatement", request.as_any().encode_to_vec()).await?;
        let body = results.into_iter().next().ok_or_else(|| Error::protocol("no prepared statement came back"))?;
        let created = ActionCreatePreparedStatementResult::decode(Any::decode(body)?.value)?;
        let schema = decode_schema(created.dataset_schema.into())?;
        // Servers older than the field tell an update by its empty schema.
        let is_update = created.is_update.unwrap_or_else(|| schema.fields().is_empty());
        let parameters = decode_schema(created.parameter_schema.into())?;
        Ok(Self { client, handle: created.prepared_statement_handle.into(), schema, parameters, is_update })
    }

    /// Of the rows; without fields for an update.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// One field per parameter, `$1` first.
    pub fn parameters(&self) -> &SchemaRef {
        &self.parameters
    }

    /// It changes rows or definitions and returns a count.
    pub fn is_update(&self) -> bool {
        self.is_update
    }

    /// What names the statement to the server. Another user can do nothing with it.
    pub fn handle(&self) -> &Bytes {
        &self.handle
    }

    /// Runs a query, once for each row of parameters.
    pub async fn query(&mut self, parameters: Option<RecordBatch>) -> Result<Rows> {
        let command = CommandPreparedStatementQuery { prepared_statement_handle: self.handle.clone() };
        if let Some(batch) = parameters {
            let answer = self.client.put(stream::iter(self.encode(&command, batch).await?)).await?;
            // The server may keep the parameters in a new handle, which then stands for the old one.
            if let Some(result) = answer {
                let bound = DoPutPreparedStatementResult::decode(result.app_metadata.as_ref())?;
                self.handle =
                    bound.prepared_statement_handle.filter(|bytes| !bytes.is_empty()).unwrap_or(self.handle.clone());
            }
        }
        let command = CommandPreparedStatementQuery { prepared_statement_handle: self.handle.clone() };
        self.client.command(&command).await
    }

    /// Runs an update, once for each row of parameters, and returns the sum of the rows changed.
    pub async fn update(&mut self, parameters: Option<RecordBatch>) -> Result<i64> {
        let command = CommandPreparedStatementUpdate { prepared_statement_handle: self.handle.clone() };
        let messages = match parameters {
            Some(batch) => self.encode(&command, batch).await?,
            None => vec![FlightData { flight_descriptor: Some(descriptor(&command)), ..Default::default() }],
        };
        updated(self.client.put(stream::iter(messages)).await?.as_ref())
    }

    /// Frees the statement on the server.
    pub async fn close(self) -> Result<()> {
        let request = ActionClosePreparedStatementRequest { prepared_statement_handle: self.handle };
        self.client.action("ClosePreparedStatement", request.as_any().encode_to_vec()).await?;
        Ok(())
    }

    /// Encoded before anything is sent, so that a batch which cannot be encoded reaches no server.
    async fn encode(&self, command: &impl ProstMessageExt, batch: RecordBatch) -> Result<Vec<FlightData>> {
        let encoder = FlightDataEncoderBuilder::new()
            .with_flight_descriptor(Some(descriptor(command)))
            .with_schema(batch.schema())
            .build(stream::once(future::ready(Ok(batch))));
        let encoded: Vec<_> = encoder.collect().await;
        Ok(encoded.into_iter().collect::<Result<_, _>>()?)
    }
}
