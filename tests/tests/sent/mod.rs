//! What a DoGet sends, with the schema as it comes over the wire.

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    datatypes::{Schema, SchemaRef},
};
use arrow_flight::{Ticket, decode::FlightRecordBatchStream};
use futures::TryStreamExt;
use insula_client::Client;

/// DoGet: the schema in the stream, though no batch may follow it, and the batches.
pub async fn wire_schema(client: &Client, ticket: Ticket) -> (SchemaRef, Vec<RecordBatch>) {
    let data = client.flight().do_get(client.request(ticket)).await.expect("a stream").into_inner();
    let mut stream = FlightRecordBatchStream::new_from_flight_data(data.map_err(Into::into));
    let mut batches = Vec::new();
    while let Some(batch) = stream.try_next().await.expect("a batch") {
        batches.push(batch);
    }
    let schema = stream.schema().cloned().unwrap_or_else(|| Arc::new(Schema::empty()));
    (schema, batches)
}
