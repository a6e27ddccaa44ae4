//! Rows of any version of a table brought to one definition, by the stable names of their columns: the one function
//! behind hot rows, flushes and compactions. (Scans of Parquet files say the same to DataFusion in its own terms.)

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions},
    datatypes::{Schema, SchemaRef},
};

use super::{
    TableDef,
    initial::{absent, widen},
};
use crate::{Error, ErrorKind, Result, cold::parquet_type};

/// `rows` under `schema`, which is [`TableDef::stored_schema`] of `table` or a projection of it. `rows` name their
/// columns as stored (`c<id>`): those that the table dropped are left out, those that it added since hold their
/// initial value, and those that it widened are cast. Rows read from a Parquet file get their stored types back.
pub(crate) fn conform(table: &TableDef, rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if rows.schema_ref() == schema {
        return Ok(rows.clone());
    }
    let columns = (0..schema.fields().len()).map(|i| column(table, rows, schema, i)).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(|e| {
        let message = format!("rows of table \"{}\" do not fit its definition", table.full_name());
        Error::new(ErrorKind::DataLoss, message).with_source(e)
    })
}

fn column(table: &TableDef, rows: &RecordBatch, schema: &Schema, i: usize) -> Result<ArrayRef> {
    let field = schema.field(i);
    let to = field.data_type();
    let Some(values) = rows.column_by_name(field.name()) else {
        let column = table.columns.iter().find(|column| column.stored_name() == *field.name());
        let missing = || {
            let message = format!("rows of table \"{}\" lack the column {}", table.full_name(), field.name());
            Error::new(ErrorKind::DataLoss, message)
        };
        return absent(column.ok_or_else(missing)?.initial.as_ref(), to, rows.num_rows());
    };
    if values.data_type() == to {
        return Ok(Arc::clone(values));
    }
    if to.is_nested() || parquet_type::file_type(to) == *values.data_type() {
        return parquet_type::restore_column(values, to);
    }
    widen(values, to)
}
