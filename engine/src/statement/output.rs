//! What a result looks like from outside: one schema, declared before the statement runs, to which every batch is
//! brought. How it travels (drivers fail on views and dictionaries) is decided where clients are known.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, RecordBatch, RecordBatchOptions},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use datafusion::{
    common::config::ConfigOptions,
    logical_expr::LogicalPlan,
    optimizer::{AnalyzerRule, analyzer::type_coercion::TypeCoercion},
};

use crate::{Result, sql::repeated, types::plain_type};

/// The schema of a plan's rows.
pub(crate) fn schema(plan: &LogicalPlan) -> SchemaRef {
    with_types(plan, DataType::clone)
}

/// The schema that a table has which keeps a plan's rows. A column of nothing but NULL is one of text, as in PostgreSQL.
pub(crate) fn plain_schema(plan: &LogicalPlan) -> SchemaRef {
    with_types(plan, |kept| match plain_type(kept) {
        DataType::Null => DataType::Utf8,
        plain => plain,
    })
}

fn with_types(plan: &LogicalPlan, kept: impl Fn(&DataType) -> DataType) -> SchemaRef {
    let coerced = coerced(plan);
    let types = coerced.as_ref().map_or(plan.schema(), LogicalPlan::schema).fields();
    let names = repeated::names(plan.schema().fields().iter().map(|field| field.name()));
    let fields = plan.schema().fields().iter().zip(types).zip(names);
    let fields = fields.map(|((field, of), name)| Field::new(name, kept(of.data_type()), field.is_nullable()));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The plan as it is run. Until its types are coerced, a UNION or CASE says that it has the type of its first branch, and
/// rows would be cut down to that. `None`: it has no other types, or running it will say what is wrong with them.
fn coerced(plan: &LogicalPlan) -> Option<LogicalPlan> {
    let width = plan.schema().fields().len();
    let coerced = TypeCoercion::new().analyze(plan.clone(), &ConfigOptions::default());
    coerced.ok().filter(|coerced| coerced.schema().fields().len() == width)
}

/// The batch with exactly this schema.
pub(crate) fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), cast(batch.columns().to_vec(), schema)?, &rows)?)
}

/// Columns cast to the types of a schema that has at least one.
pub(crate) fn conform_columns(columns: Vec<ArrayRef>, schema: &SchemaRef) -> Result<RecordBatch> {
    Ok(RecordBatch::try_new(Arc::clone(schema), cast(columns, schema)?)?)
}

/// A value that does not fit its new type is an error, never NULL.
fn cast(columns: Vec<ArrayRef>, schema: &SchemaRef) -> Result<Vec<ArrayRef>> {
    let strict = CastOptions { safe: false, ..Default::default() };
    let pairs = columns.into_iter().zip(schema.fields());
    pairs
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                Ok(column)
            } else {
                Ok(cast_with_options(&column, field.data_type(), &strict)?)
            }
        })
        .collect()
}
