//! Arrow batches on their way out, in types that every Flight SQL client reads.
//!
//! Older Java, JS and C# clients know no views, and few know dictionaries or run-end encoding; so a result's *wire
//! schema* has none, unless its client asked for them ([`crate::format`]). FlightInfo, GetSchema, prepared statements
//! and DoGet all take it from here, since clients compare.

use std::sync::{Arc, OnceLock};

use arrow::{
    array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions},
    compute::cast,
    datatypes::{DataType, FieldRef, Schema, SchemaRef},
    error::ArrowError,
    ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions},
};
use arrow_flight::{FlightData, IpcMessage, SchemaAsIpc, utils::batches_to_flight_data};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future::ready, stream, stream::BoxStream};
use insula_engine::RowStream;
use tonic::Status;

use crate::{
    format::{Format, Types},
    status,
};
use messages::Messages;

mod messages;
#[cfg(test)]
mod tests;

pub type DataStream = BoxStream<'static, Result<FlightData, Status>>;

/// How rows are put into messages.
#[derive(Clone, Copy, Debug)]
pub struct Encoding {
    pub format: Format,
    /// Bytes that a message aims at; a row is never cut.
    pub message_size: usize,
}

/// The schema under which rows of this schema travel. Names, nullability and metadata stay.
pub fn wire_schema(schema: &Schema, types: Types) -> SchemaRef {
    let fields: Vec<_> = schema.fields().iter().map(|field| wire_field(field, types)).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn wire_field(field: &FieldRef, types: Types) -> FieldRef {
    match wire_type(field.data_type(), types) {
        Some(data_type) => Arc::new(field.as_ref().clone().with_data_type(data_type)),
        None => Arc::clone(field),
    }
}

/// `None`: as it is.
fn wire_type(data_type: &DataType, types: Types) -> Option<DataType> {
    let plain = |data_type: &DataType| wire_type(data_type, types).unwrap_or_else(|| data_type.clone());
    let nested = |field: &FieldRef| wire_type(field.data_type(), types).map(|_| wire_field(field, types));
    match data_type {
        DataType::Utf8View | DataType::BinaryView if types.views => None,
        DataType::Dictionary(key, values) if types.dictionaries => {
            wire_type(values, types).map(|values| DataType::Dictionary(key.clone(), Box::new(values)))
        }
        DataType::Utf8View => Some(DataType::Utf8),
        DataType::BinaryView => Some(DataType::Binary),
        DataType::Dictionary(_, values) => Some(plain(values)),
        DataType::RunEndEncoded(_, values) => Some(plain(values.data_type())),
        DataType::List(item) => nested(item).map(DataType::List),
        // The Flight encoder would announce a large list as a list without making it one.
        DataType::LargeList(item) | DataType::ListView(item) | DataType::LargeListView(item) => {
            Some(DataType::List(wire_field(item, types)))
        }
        DataType::FixedSizeList(item, size) => nested(item).map(|item| DataType::FixedSizeList(item, *size)),
        DataType::Map(entries, sorted) => nested(entries).map(|entries| DataType::Map(entries, *sorted)),
        DataType::Struct(fields) => {
            let changed = fields.iter().any(|field| wire_type(field.data_type(), types).is_some());
            changed.then(|| DataType::Struct(fields.iter().map(|field| wire_field(field, types)).collect()))
        }
        _ => None,
    }
}

/// An empty message stands for no fields, by which older clients tell updates from queries.
pub fn schema_or_nothing(schema: &Schema) -> Result<Bytes, Status> {
    if schema.fields().is_empty() { Ok(Bytes::new()) } else { schema_message(schema) }
}

/// The IPC message of a schema.
pub fn schema_message(schema: &Schema) -> Result<Bytes, Status> {
    let options = IpcWriteOptions::default();
    let IpcMessage(bytes) =
        SchemaAsIpc::new(schema, &options).try_into().map_err(|e: ArrowError| status::internal(e))?;
    Ok(bytes)
}

/// `wire` is the wire schema of the rows. The schema goes first, also where no row follows.
pub fn rows(wire: SchemaRef, encoding: Encoding, rows: RowStream) -> Result<DataStream, Status> {
    let mut messages = Messages::new(encoding).map_err(status::internal)?;
    let header = messages.schema(&wire);
    let encoded = rows.map(move |batch| {
        let batch = to_wire(&batch.map_err(status::of)?, &wire).map_err(status::internal)?;
        let of_batch = messages.of(&batch).map_err(status::internal)?;
        Ok::<_, Status>(stream::iter(of_batch.into_iter().map(Ok)))
    });
    Ok(stream::once(ready(Ok(header))).chain(encoded.try_flatten()).boxed())
}

/// Of a whole result. One that has batches and no rows is sent as an empty batch, for clients that take a stream without
/// any for one that was cut off; the encoder leaves empty batches out.
pub fn batches(wire: SchemaRef, encoding: Encoding, batches: Vec<RecordBatch>) -> Result<DataStream, Status> {
    if !batches.is_empty() && batches.iter().all(|batch| batch.num_rows() == 0) {
        let empty = RecordBatch::new_empty(Arc::clone(&wire));
        let messages = batches_to_flight_data(&wire, vec![empty]).map_err(status::internal)?;
        return Ok(stream::iter(messages.into_iter().map(Ok)).boxed());
    }
    rows(wire, encoding, stream::iter(batches.into_iter().map(Ok)).boxed())
}

/// What goes before the rows of a statement, made once for all its runs.
#[derive(Default)]
pub struct Header {
    message: OnceLock<FlightData>,
    schema: OnceLock<Bytes>,
}

impl Header {
    /// The IPC message of the statement's schema.
    pub fn schema(&self, wire: &Schema) -> Result<Bytes, Status> {
        if let Some(known) = self.schema.get() {
            return Ok(known.clone());
        }
        let message = schema_message(wire)?;
        Ok(self.schema.get_or_init(|| message).clone())
    }

    /// A whole result of one row or of none. `None`: its types take the long way.
    pub fn message(
        &self,
        wire: &SchemaRef,
        encoding: Encoding,
        row: &[ArrayRef],
    ) -> Result<Option<Vec<FlightData>>, Status> {
        // Dictionaries are messages of their own.
        if encoding.format.types.dictionaries {
            return Ok(None);
        }
        let options = IpcWriteOptions::default().try_with_compression(encoding.format.compression);
        let options = options.map_err(status::internal)?;
        let header = self.message.get_or_init(|| SchemaAsIpc::new(wire, &options).into()).clone();
        let rows = row.first().map_or(0, |column| column.len());
        let batch = columns_to_wire(row, rows, wire).map_err(status::internal)?;
        let mut dictionaries = DictionaryTracker::new(false);
        let encoded =
            IpcDataGenerator::default().encode(&batch, &mut dictionaries, &options, &mut IpcWriteContext::default());
        let (_, message) = encoded.map_err(status::internal)?;
        Ok(Some(vec![header, message.into()]))
    }
}

fn to_wire(batch: &RecordBatch, wire: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    columns_to_wire(batch.columns(), batch.num_rows(), wire)
}

fn columns_to_wire(columns: &[ArrayRef], rows: usize, wire: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    if columns.len() != wire.fields().len() {
        return Err(ArrowError::SchemaError("a batch does not have the columns that were announced".into()));
    }
    let columns = columns.iter().zip(wire.fields()).map(|(column, field)| match field.data_type() {
        same if same == column.data_type() => without_rest(column),
        other => without_rest(&cast(column, other)?),
    });
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(wire), columns.collect::<Result<_, _>>()?, &options)
}

/// The column with nothing behind its views but its own values. Views point into the pages that were decoded, where rows
/// of other users lie beside them, and a message of views carries whole buffers.
fn without_rest(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match column.data_type() {
        DataType::Utf8View => Ok(Arc::new(column.as_string_view().gc())),
        DataType::BinaryView => Ok(Arc::new(column.as_binary_view().gc())),
        nested if has_views(nested) => {
            let plain = wire_type(nested, Types { views: false, dictionaries: true });
            plain.map_or_else(|| Ok(Arc::clone(column)), |plain| cast(&cast(column, &plain)?, nested))
        }
        _ => Ok(Arc::clone(column)),
    }
}

fn has_views(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8View | DataType::BinaryView => true,
        DataType::Dictionary(_, values) => has_views(values),
        DataType::RunEndEncoded(_, values) => has_views(values.data_type()),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => has_views(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_views(field.data_type())),
        _ => false,
    }
}
