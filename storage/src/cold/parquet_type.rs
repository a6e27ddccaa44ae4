//! How stored types lie in Parquet files, where Parquet lacks one.
//!
//! Only intervals of months, days and nanoseconds: Parquet's INTERVAL has milliseconds, so they lie in the file as 16
//! opaque bytes, which are exactly Arrow's in-memory ones. All else is written as it is and comes back by the Arrow
//! schema in the file's footer.

use std::sync::Arc;

use arrow::{
    array::{ArrayData, ArrayRef, RecordBatch, RecordBatchOptions, make_array},
    datatypes::{DataType, Field, FieldRef, IntervalUnit, Schema, SchemaRef},
    error::ArrowError,
};

use crate::{Error, ErrorKind, Result};

const INTERVAL_BYTES: i32 = 16;

/// The schema under which rows of `stored` lie in Parquet files: the same names, and types that differ only where
/// Parquet lacks the stored one.
pub fn file_schema(stored: &Schema) -> SchemaRef {
    Arc::new(Schema::new(stored.fields().iter().map(file_field).collect::<Vec<_>>()))
}

/// Rows as read from a Parquet file, under their stored types: `stored` is the stored schema with the same projection.
/// Copies nothing.
pub fn restore(rows: &RecordBatch, stored: &SchemaRef) -> Result<RecordBatch> {
    relabel_batch(rows, stored).map_err(|error| {
        Error::new(ErrorKind::DataLoss, "rows of a cold file do not have their table's types").with_source(error)
    })
}

/// As [`restore`], for one column.
pub(crate) fn restore_column(values: &ArrayRef, stored: &DataType) -> Result<ArrayRef> {
    relabel(&values.to_data(), stored).map(make_array).map_err(|error| {
        Error::new(ErrorKind::DataLoss, "a column of a cold file has not its table's type").with_source(error)
    })
}

/// As it lies in Parquet files.
pub(crate) fn to_file_column(values: &ArrayRef) -> Result<ArrayRef> {
    relabel(&values.to_data(), &file_type(values.data_type()))
        .map(make_array)
        .map_err(|error| Error::new(ErrorKind::Internal, "a value cannot be laid out as in Parquet").with_source(error))
}

/// Rows under `file`, the [`file_schema`] of their own schema.
pub(super) fn to_file(rows: &RecordBatch, file: &SchemaRef) -> Result<RecordBatch> {
    relabel_batch(rows, file).map_err(|error| {
        Error::new(ErrorKind::Internal, "rows to flush do not have their table's types").with_source(error)
    })
}

fn file_field(field: &FieldRef) -> FieldRef {
    let file = file_type(field.data_type());
    if &file == field.data_type() { Arc::clone(field) } else { Arc::new(Field::clone(field).with_data_type(file)) }
}

pub(crate) fn file_type(stored: &DataType) -> DataType {
    match stored {
        DataType::Interval(IntervalUnit::MonthDayNano) => DataType::FixedSizeBinary(INTERVAL_BYTES),
        DataType::List(item) => DataType::List(file_field(item)),
        DataType::LargeList(item) => DataType::LargeList(file_field(item)),
        DataType::FixedSizeList(item, length) => DataType::FixedSizeList(file_field(item), *length),
        DataType::Map(entries, sorted) => DataType::Map(file_field(entries), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(file_field).collect()),
        other => other.clone(),
    }
}

fn relabel_batch(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = rows.columns().iter().zip(schema.fields()).map(|(column, field)| {
        if column.data_type() == field.data_type() {
            return Ok(Arc::clone(column));
        }
        relabel(&column.to_data(), field.data_type()).map(make_array)
    });
    let columns = columns.collect::<Result<_, _>>()?;
    // The row count is said, because a projection may have no columns.
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

fn relabel(data: &ArrayData, to: &DataType) -> Result<ArrayData, ArrowError> {
    if data.data_type() == to {
        return Ok(data.clone());
    }
    let inner: Vec<&DataType> = match to {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => vec![item.data_type()],
        DataType::Map(entries, _) => vec![entries.data_type()],
        DataType::Struct(fields) => fields.iter().map(|field| field.data_type()).collect(),
        _ => vec![],
    };
    let children = data.child_data().iter().zip(inner).map(|(child, to)| relabel(child, to));
    let children = children.collect::<Result<Vec<_>, _>>()?;
    data.clone().into_builder().data_type(to.clone()).child_data(children).align_buffers(true).build()
}
