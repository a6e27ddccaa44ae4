//! DoPut: updates, parameters of prepared statements, and bulk ingest.

mod sizes;

use std::{panic::AssertUnwindSafe, sync::Arc};

use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::{
    FlightData,
    decode::{DecodedFlightData, DecodedPayload, FlightDataDecoder},
    error::FlightError,
    sql::{
        Command, CommandPreparedStatementQuery, CommandPreparedStatementUpdate, CommandStatementIngest,
        CommandStatementUpdate, DoPutPreparedStatementResult, DoPutUpdateResult, TableDefinitionOptions,
        TableExistsOption, TableNotExistOption,
    },
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future, stream, stream::BoxStream};
use insula_engine::{Engine, Error, ErrorKind, Held, IngestMode, IngestTarget, Outcome, Plan, batch_bytes};
use prost::Message;
use tonic::{Status, Streaming};

use super::{Service, described, unfold::Unfold, unserved, work::Source};
use sizes::check_rows;

use crate::{
    identity::Caller,
    statements::{Bound, BoundRows, Parameters, Prepared, Statement},
    status,
};

/// Bytes of parameters that are not worth being counted.
const FEW_PARAMETERS: usize = 64 << 10;

pub(crate) type Incoming = BoxStream<'static, Result<FlightData, FlightError>>;

impl Service {
    /// The answer's `app_metadata`.
    /// `user_column`: what the header `x-insula-user-column` says.
    pub(super) async fn put(
        &self,
        caller: &Caller,
        user_column: Option<String>,
        mut incoming: Streaming<FlightData>,
    ) -> Result<Bytes, Status> {
        let mut first = incoming
            .message()
            .await?
            .ok_or_else(|| Status::invalid_argument("DoPut without a message: the first one names the command"))?;
        let descriptor = first
            .flight_descriptor
            .take()
            .ok_or_else(|| Status::invalid_argument("the first message of DoPut lacks its flight_descriptor"))?;
        let messages = stream::iter([Ok(first)])
            .chain(incoming.map_err(FlightError::from))
            // Some clients send the descriptor alone before anything else.
            .try_filter(|data| future::ready(!data.data_header.is_empty()))
            .boxed();
        let count = match described(&descriptor)? {
            Command::CommandStatementIngest(ingest) => self.ingest(caller, ingest, user_column, messages).await?,
            // Otherwise rows meant for many users would silently be the caller's.
            _ if user_column.is_some() => {
                return Err(Status::invalid_argument("x-insula-user-column goes with a bulk ingest and nothing else"));
            }
            Command::CommandStatementUpdate(update) => self.update(caller, update).await?,
            Command::CommandPreparedStatementUpdate(update) => self.prepared_update(caller, update, messages).await?,
            Command::CommandPreparedStatementQuery(query) => return self.bind(caller, query, messages).await,
            command => return Err(unserved(&command, "DoPut")),
        };
        Ok(DoPutUpdateResult { record_count: count }.encode_to_vec().into())
    }

    async fn update(&self, caller: &Caller, update: CommandStatementUpdate) -> Result<i64, Status> {
        let session = self.session(caller, update.transaction_id.as_ref())?;
        let (plan, outcome) = self.execute_sql(caller, &session, update.query).await?;
        self.count(&plan, outcome).await
    }

    async fn prepared_update(
        &self,
        caller: &Caller,
        update: CommandPreparedStatementUpdate,
        messages: Incoming,
    ) -> Result<i64, Status> {
        let prepared = self.prepared(caller, &update.prepared_statement_handle)?;
        let parameters = self.parameters(caller, &prepared.statement, messages).await?;
        let bound = Bound::new(Arc::clone(&prepared.statement), parameters);
        match self.execute(caller, &bound, None).await? {
            Some(done) => self.count(&prepared.statement.plan, done.outcome).await,
            None => Ok(0),
        }
    }

    async fn bind(
        &self,
        caller: &Caller,
        query: CommandPreparedStatementQuery,
        messages: Incoming,
    ) -> Result<Bytes, Status> {
        let prepared: Arc<Prepared> = self.prepared(caller, &query.prepared_statement_handle)?;
        let parameters = self.parameters(caller, &prepared.statement, messages).await?;
        let as_prepared = &prepared.statement;
        let statement = match parameters.as_ref().and_then(|bound| bound.batches.first()) {
            Some(batch) => {
                let plan = Source::Plan(Arc::clone(&as_prepared.plan), as_prepared.run_as.clone());
                let statement = self.describe(caller, &as_prepared.session.now(), plan, Some(batch.schema())).await?;
                // The same as before has its messages ready.
                if statement.is(as_prepared) { Arc::clone(as_prepared) } else { Arc::new(statement) }
            }
            None => Arc::clone(as_prepared),
        };
        prepared.bind(Bound::new(statement, parameters));
        let result = DoPutPreparedStatementResult { prepared_statement_handle: Some(query.prepared_statement_handle) };
        Ok(result.encode_to_vec().into())
    }

    /// Without a schema, or with one that has no columns, nothing is bound: the statement runs once as it stands.
    async fn parameters(
        &self,
        caller: &Caller,
        statement: &Statement,
        messages: Incoming,
    ) -> Result<Parameters, Status> {
        let Some((schema, mut batches)) = self.batches(caller, messages).await? else { return Ok(None) };
        let (given, wanted) = (schema.fields().len(), statement.description.parameters.fields().len());
        if given == 0 {
            return Ok(None);
        }
        if given != wanted {
            let text = format!("the statement has {wanted} parameters, but {given} columns were bound");
            return Err(Status::invalid_argument(text));
        }
        let (mut bound, mut bytes, mut held) = (Vec::new(), 0, None);
        while let Some(batch) = batches.try_next().await.map_err(status::of)? {
            let more = usize::try_from(batch_bytes(&batch)).unwrap_or(usize::MAX);
            bytes += more;
            match &held {
                None if bytes <= FEW_PARAMETERS => {}
                None => held = Some(self.engine.hold(&caller.identity, "parameters", bytes).map_err(status::of)?),
                Some(held) => Held::grow(held, more).map_err(status::of)?,
            }
            if bytes > self.limits.parameters {
                let text =
                    format!("parameters take more than {} bytes; bind fewer rows at once", self.limits.parameters);
                return Err(Status::resource_exhausted(text));
            }
            bound.push(batch);
        }
        Ok(Some(Arc::new(BoundRows::new(bound, held))))
    }

    async fn ingest(
        &self,
        caller: &Caller,
        ingest: CommandStatementIngest,
        user_column: Option<String>,
        messages: Incoming,
    ) -> Result<i64, Status> {
        let session = self.session(caller, ingest.transaction_id.as_ref())?;
        let target = target(ingest, user_column)?;
        let (schema, rows) = self
            .batches(caller, messages)
            .await?
            .ok_or_else(|| Status::invalid_argument("the ingest stream ended before its schema"))?;
        let stored = self.store(caller, &session, target, schema, rows).await?;
        Ok(i64::try_from(stored).unwrap_or(i64::MAX))
    }

    async fn batches(
        &self,
        caller: &Caller,
        messages: Incoming,
    ) -> Result<Option<(SchemaRef, insula_engine::RowStream)>, Status> {
        let (engine, user) = (Arc::clone(&self.engine), caller.identity.clone());
        let hold = move |bytes| engine.hold(&user, "a message of rows", bytes);
        batches(messages, self.limits.message, hold).await
    }

    /// Rows changed. -1, "unknown", for a statement that returned rows instead, unless they are those that it changed.
    async fn count(&self, plan: &Plan, outcome: Outcome) -> Result<i64, Status> {
        match outcome {
            Outcome::Count(count) => Ok(i64::try_from(count).unwrap_or(i64::MAX)),
            Outcome::Rows { rows, .. } => {
                let count = self.exhaust(rows).await?;
                Ok(if plan.is_write() { i64::try_from(count).unwrap_or(i64::MAX) } else { -1 })
            }
        }
    }
}

/// The messages of a client, decoded. Arrow's reader takes more for granted than it should of messages from outside, and
/// panics; what would make it allocate is refused before.
/// `most`: bytes that one message may unfold to; `hold`: keeps memory for them.
pub(crate) fn decoded<T: Send + 'static>(
    messages: Incoming,
    most: u64,
    hold: impl FnMut(usize) -> Result<T, Error> + Send + 'static,
) -> BoxStream<'static, Result<DecodedFlightData, FlightError>> {
    let mut unfold = Unfold::new(most, hold);
    let checked = messages.map(move |data| {
        let data = data?;
        unfold.check(&data).map_err(|error| FlightError::ExternalError(Box::new(error)))?;
        Ok(data)
    });
    let decoder = AssertUnwindSafe(FlightDataDecoder::new(checked)).catch_unwind();
    let malformed = || Err(FlightError::DecodeError("it says of itself what is not so".to_owned()));
    decoder.map(move |item| item.unwrap_or_else(|_| malformed())).boxed()
}

/// Schema and rows of a stream; `None` if it ended before its schema.
async fn batches(
    messages: Incoming,
    most: u64,
    hold: impl FnMut(usize) -> Result<Held, Error> + Send + 'static,
) -> Result<Option<(SchemaRef, insula_engine::RowStream)>, Status> {
    let mut decoder = decoded(messages, most, hold);
    let schema: Arc<Schema> = loop {
        match decoder.try_next().await.map_err(|error| status::of(refusal(error)))? {
            None => return Ok(None),
            Some(data) => match data.payload {
                DecodedPayload::Schema(schema) => break schema,
                DecodedPayload::None => {}
                DecodedPayload::RecordBatch(_) => {
                    return Err(Status::invalid_argument("rows came before their schema"));
                }
            },
        }
    };
    let rows = decoder.filter_map(move |item| {
        future::ready(match item.map(|data| data.payload) {
            Ok(DecodedPayload::RecordBatch(batch)) => Some(check_rows(&batch, most).map(|()| batch)),
            Ok(DecodedPayload::None) => None,
            Ok(DecodedPayload::Schema(_)) => {
                Some(Err(Error::new(ErrorKind::InvalidArgument, "the stream changed its schema half-way")))
            }
            Err(error) => Some(Err(refusal(error))),
        })
    });
    Ok(Some((schema, rows.boxed())))
}

/// A stream that breaks off is the client's end, whatever the transport calls it; all else is a malformed message.
pub(super) fn refusal(error: FlightError) -> Error {
    match error {
        FlightError::ExternalError(error) if error.is::<Error>() => match error.downcast() {
            Ok(error) => *error,
            Err(other) => Error::new(ErrorKind::InvalidArgument, format!("malformed Arrow data: {other}")),
        },
        FlightError::Tonic(status) if status.code() == tonic::Code::OutOfRange => {
            Error::new(ErrorKind::ResourceExhausted, format!("{}; send smaller batches", status.message()))
        }
        FlightError::Tonic(status) => {
            Error::new(ErrorKind::Cancelled, format!("the client's stream broke off: {}", status.message()))
        }
        other => Error::new(ErrorKind::InvalidArgument, format!("malformed Arrow data: {other}")),
    }
}

/// The ingest option of the same meaning as the header `x-insula-user-column`.
const USER_COLUMN: &str = "user_column";

fn target(mut ingest: CommandStatementIngest, header: Option<String>) -> Result<IngestTarget, Status> {
    if ingest.temporary {
        return Err(Status::unimplemented("temporary tables are not supported; ingest into a table, and drop it"));
    }
    let user_column = match (ingest.options.remove(USER_COLUMN), header) {
        (Some(option), Some(header)) if option != header => {
            let text = "the ingest option user_column and the header x-insula-user-column name different columns";
            return Err(Status::invalid_argument(text));
        }
        (option, header) => option.or(header),
    };
    if let Some(option) = ingest.options.keys().next() {
        return Err(Status::invalid_argument(format!("unknown ingest option \"{option}\"; there is user_column")));
    }
    match ingest.catalog.as_deref() {
        None | Some("" | Engine::CATALOG) => {}
        Some(other) => {
            return Err(Status::not_found(format!("catalog \"{other}\" does not exist; there is only insula")));
        }
    }
    if ingest.table.is_empty() {
        return Err(Status::invalid_argument("the ingest names no table"));
    }
    let namespace = ingest.schema.filter(|schema| !schema.is_empty());
    let mode = mode(ingest.table_definition_options.as_ref())?;
    Ok(IngestTarget { namespace, table: ingest.table, mode, user_column })
}

fn mode(options: Option<&TableDefinitionOptions>) -> Result<IngestMode, Status> {
    let options = options.ok_or_else(|| Status::invalid_argument("the ingest lacks table_definition_options"))?;
    match (options.if_not_exist(), options.if_exists()) {
        (TableNotExistOption::Create, TableExistsOption::Fail) => Ok(IngestMode::Create),
        (TableNotExistOption::Create, TableExistsOption::Append) => Ok(IngestMode::CreateAppend),
        (TableNotExistOption::Create, TableExistsOption::Replace) => Ok(IngestMode::Replace),
        (TableNotExistOption::Fail, TableExistsOption::Append) => Ok(IngestMode::Append),
        (TableNotExistOption::Fail, TableExistsOption::Replace) => {
            Err(Status::unimplemented("replacing only an existing table is not supported; let if_not_exist be CREATE"))
        }
        (TableNotExistOption::Fail, TableExistsOption::Fail) => {
            Err(Status::invalid_argument("an ingest that fails whether the table exists or not can never succeed"))
        }
        (TableNotExistOption::Unspecified, _) | (_, TableExistsOption::Unspecified) => {
            Err(Status::invalid_argument("if_not_exist and if_exists of an ingest must be specified"))
        }
    }
}
