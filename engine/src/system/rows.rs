//! From things to batches: columns made of a slice of them, a batch at a time.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::SchemaRef,
};
use futures::{StreamExt, stream};

use crate::{Result, RowStream};

/// Rows of a batch.
const BATCH: usize = 1024;

/// A row for each item; columns are made when the batch is read.
pub(super) fn of<T: Send + Sync + 'static>(
    items: Vec<T>,
    schema: SchemaRef,
    columns: impl Fn(&[T]) -> Vec<ArrayRef> + Send + 'static,
) -> RowStream {
    let starts = (0..items.len()).step_by(BATCH);
    let batch = move |start: usize| {
        let part = &items[start..items.len().min(start + BATCH)];
        Ok(RecordBatch::try_new(Arc::clone(&schema), columns(part))?)
    };
    stream::iter(starts.map(batch)).boxed()
}

/// The same of items that have to be found out one after the other.
pub(super) fn of_each<T: Send + 'static>(
    items: impl futures::Stream<Item = Result<T>> + Send + 'static,
    schema: SchemaRef,
    columns: impl Fn(&[T]) -> Vec<ArrayRef> + Send + 'static,
) -> RowStream {
    let batch = move |part: Vec<Result<T>>| {
        let part = part.into_iter().collect::<Result<Vec<T>>>()?;
        Ok(RecordBatch::try_new(Arc::clone(&schema), columns(&part))?)
    };
    // Few at a time: each may cost a look into many files.
    items.chunks(BATCH / 16).map(batch).boxed()
}

/// What could not begin is its one item.
pub(super) fn attempt(begin: impl FnOnce() -> Result<RowStream>) -> RowStream {
    begin().unwrap_or_else(|error| stream::iter([Err(error)]).boxed())
}

pub(super) fn texts<'a, T>(items: &'a [T], of: impl Fn(&'a T) -> &'a str) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(items.iter().map(of)))
}

pub(super) fn made<T>(items: &[T], of: impl Fn(&T) -> String) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(items.iter().map(of)))
}

pub(super) fn maybe_texts<T, S: AsRef<str>>(items: &[T], of: impl Fn(&T) -> Option<S>) -> ArrayRef {
    Arc::new(items.iter().map(of).collect::<StringArray>())
}

/// The same text in each row.
pub(super) fn all<T>(items: &[T], text: &str) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, items.len())))
}

pub(super) fn no_texts<T>(items: &[T]) -> ArrayRef {
    Arc::new(StringArray::new_null(items.len()))
}

/// Counts beyond the range are as large as can be.
pub(super) fn numbers<T>(items: &[T], of: impl Fn(&T) -> u64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(items.iter().map(|item| signed(of(item)))))
}

pub(super) fn maybe_numbers<T>(items: &[T], of: impl Fn(&T) -> Option<u64>) -> ArrayRef {
    Arc::new(items.iter().map(|item| of(item).map(signed)).collect::<Int64Array>())
}

pub(super) fn flags<T>(items: &[T], of: impl Fn(&T) -> bool) -> ArrayRef {
    Arc::new(items.iter().map(|item| Some(of(item))).collect::<BooleanArray>())
}

/// Microseconds since 1970.
pub(super) fn times<T>(items: &[T], of: impl Fn(&T) -> Option<i64>) -> ArrayRef {
    Arc::new(items.iter().map(of).collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
