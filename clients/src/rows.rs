//! What a statement gives back.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use futures::{Stream, stream::BoxStream};

use crate::Result;

/// Rows on their way: a stream of batches, all of one schema. Dropping it cancels the statement.
pub struct Rows {
    schema: SchemaRef,
    batches: BoxStream<'static, Result<RecordBatch>>,
}

impl Rows {
    pub(crate) fn new(schema: SchemaRef, batches: BoxStream<'static, Result<RecordBatch>>) -> Self {
        Self { schema, batches }
    }

    /// As announced before the first batch.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }
}

impl Stream for Rows {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.batches.as_mut().poll_next(context)
    }
}

/// The answer to a statement of unknown kind.
pub enum Answer {
    Rows(Rows),
    /// Rows changed; 0 for definitions.
    Count(i64),
}
