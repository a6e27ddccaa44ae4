//! Bulk load: a stream of batches into one table, all or nothing.

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use arrow_flight::{
    FlightData,
    encode::FlightDataEncoderBuilder,
    sql::{CommandStatementIngest, TableDefinitionOptions, TableExistsOption, TableNotExistOption},
};
use futures::{Stream, StreamExt, channel::oneshot, future, stream};

use crate::{
    Client, Error, Result,
    client::{descriptor, updated},
};

/// What becomes of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IngestMode {
    /// Makes it; fails where it is.
    Create,
    /// Fails where it is not.
    Append,
    /// Drops it first.
    Replace,
    /// Makes it where it is not.
    CreateAppend,
}

/// Where the rows go.
#[derive(Clone, Debug)]
pub struct Ingest {
    /// `None`: the session's current one.
    pub namespace: Option<String>,
    pub table: String,
    pub mode: IngestMode,
    /// The column that names each row's user and is not stored, for `service` and `admin`; `None`: all rows are one's
    /// own.
    pub user_column: Option<String>,
}

impl Ingest {
    fn command(&self) -> CommandStatementIngest {
        let (absent, present) = match self.mode {
            IngestMode::Create => (TableNotExistOption::Create, TableExistsOption::Fail),
            IngestMode::Append => (TableNotExistOption::Fail, TableExistsOption::Append),
            IngestMode::Replace => (TableNotExistOption::Create, TableExistsOption::Replace),
            IngestMode::CreateAppend => (TableNotExistOption::Create, TableExistsOption::Append),
        };
        CommandStatementIngest {
            table_definition_options: Some(TableDefinitionOptions {
                if_not_exist: absent.into(),
                if_exists: present.into(),
            }),
            table: self.table.clone(),
            schema: self.namespace.clone(),
            options: self.user_column.iter().map(|column| ("user_column".to_owned(), column.clone())).collect(),
            ..Default::default()
        }
    }
}

impl Client {
    /// Streams batches of one schema into a table and returns the rows stored. If the stream gives an error, or this
    /// future is dropped, nothing is stored.
    pub async fn ingest<S>(&self, target: &Ingest, schema: SchemaRef, batches: S) -> Result<i64>
    where
        S: Stream<Item = Result<RecordBatch>> + Send + 'static,
    {
        let (failed, failure) = oneshot::channel();
        let messages = encode(target, schema, batches, failed);
        let put = Box::pin(self.put(messages));
        // The failed stream never ends by itself: an orderly end would ask the server to store what came before it.
        // Instead the call is dropped, which the server sees as a cancelled one.
        match future::select(put, failure).await {
            future::Either::Left((answer, _)) => updated(answer?.as_ref()),
            future::Either::Right((Ok(error), _)) => Err(error),
            future::Either::Right((Err(oneshot::Canceled), put)) => updated(put.await?.as_ref()),
        }
    }
}

/// The messages of an ingest; at the first error, that error goes to `failed` and no further message comes.
fn encode<S>(
    target: &Ingest,
    schema: SchemaRef,
    batches: S,
    failed: oneshot::Sender<Error>,
) -> impl Stream<Item = FlightData> + Send + 'static
where
    S: Stream<Item = Result<RecordBatch>> + Send + 'static,
{
    let batches = batches.map(|batch| batch.map_err(into_flight));
    let messages = FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(descriptor(&target.command())))
        .with_schema(schema)
        .build(batches);
    stream::unfold((messages.boxed(), Some(failed)), |(mut messages, mut failed)| async move {
        match messages.next().await {
            Some(Ok(message)) => Some((message, (messages, failed))),
            None => None,
            Some(Err(error)) => {
                if let Some(failed) = failed.take() {
                    let _ = failed.send(from_flight(error));
                }
                future::pending().await
            }
        }
    })
}

/// Carries an error of the source through the encoder, which knows only its own.
fn into_flight(error: Error) -> arrow_flight::error::FlightError {
    arrow_flight::error::FlightError::ExternalError(Box::new(error))
}

fn from_flight(error: arrow_flight::error::FlightError) -> Error {
    match error {
        arrow_flight::error::FlightError::ExternalError(error) => match error.downcast::<Error>() {
            Ok(error) => *error,
            Err(other) => Error::protocol(other.to_string()),
        },
        other => other.into(),
    }
}
