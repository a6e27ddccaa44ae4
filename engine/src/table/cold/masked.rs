//! Drops cold rows by their place: those that a deletion vector names where it leaves too many small ranges to skip
//! between them, and those that hot rows shadow where their places are known.

use std::{fmt, sync::Arc};

use arrow::{
    array::{AsArray, BooleanArray, RecordBatch},
    buffer::BooleanBuffer,
    compute::filter_record_batch,
    datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef, UInt32Type},
};
use datafusion::{
    common::internal_err,
    error::Result,
    execution::{TaskContext, memory_pool::MemoryConsumer},
    physical_expr::EquivalenceProperties,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PhysicalExpr, PlanProperties,
        SendableRecordBatchStream, projection::ProjectionExec, stream::RecordBatchStreamAdapter,
    },
};
use futures::StreamExt;
use insula_storage::Bits;
use parquet::arrow::RowNumber;

use super::super::{
    infallible::cannot_fail,
    wrapper::{narrowed, row_plan},
};
use crate::Error;

/// Of each row, its file's index in the scan. No column that is stored has such a name.
pub(super) fn file_field() -> FieldRef {
    Arc::new(Field::new("_file", DataType::UInt32, false))
}

/// Of each row, its number in the file.
pub(super) fn row_field() -> FieldRef {
    Arc::new(Field::new("_row", DataType::Int64, false).with_extension_type(RowNumber))
}

/// By file, the rows that are not to be seen.
type Hidden = Arc<[Arc<Bits>]>;

/// The last two columns of its input are the places; it does not yield them.
#[derive(Debug)]
pub(super) struct Masked {
    input: Arc<dyn ExecutionPlan>,
    hidden: Hidden,
    properties: Arc<PlanProperties>,
}

impl Masked {
    pub fn new(input: Arc<dyn ExecutionPlan>, hidden: Hidden) -> Result<Self> {
        let schema = input.schema();
        let Some((fields, _)) = schema.fields().split_last_chunk::<2>() else {
            return internal_err!("a scan does not tell the places of its rows");
        };
        let schema = Arc::new(Schema::new(fields.to_vec()));
        Ok(Self { properties: properties(schema, &input), input, hidden })
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> Self {
        // An input of the same columns.
        let properties = properties(self.schema(), &input);
        Self { input, hidden: Arc::clone(&self.hidden), properties }
    }

    fn place(&self) -> [usize; 2] {
        let columns = self.schema().fields().len();
        [columns, columns + 1]
    }

    /// A filter that could fail must not see a row that is hidden here.
    fn passes(&self, filter: &Arc<dyn PhysicalExpr>) -> bool {
        cannot_fail(filter)
    }
}

impl DisplayAs for Masked {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Masked: cold rows that no newer version replaces")
    }
}

impl ExecutionPlan for Masked {
    row_plan!("Masked", keeps_all = false);

    fn try_swapping_with_projection(&self, projection: &ProjectionExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let over = |input, _: &[usize]| Ok(Arc::new(Self::new(input, Arc::clone(&self.hidden))?) as _);
        narrowed(&self.input, &self.place(), projection, over)
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let memory = MemoryConsumer::new("Masked").register(context.memory_pool());
        let bytes: usize = self.hidden.iter().map(|rows| rows.memory()).sum();
        memory.try_grow(bytes / self.properties.partitioning.partition_count().max(1))?;
        let input = self.input.execute(partition, context)?;
        let (schema, hidden) = (self.schema(), Arc::clone(&self.hidden));
        let rows = input.map(move |batch| {
            // Held as long as the rows are asked for.
            let _ = &memory;
            seen(&batch?, &hidden)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

/// The orders of the rows are of stored columns.
fn properties(schema: SchemaRef, input: &Arc<dyn ExecutionPlan>) -> Arc<PlanProperties> {
    let orderings = input.equivalence_properties().oeq_class().iter().cloned();
    Arc::new(PlanProperties::new(
        EquivalenceProperties::new_with_orderings(schema, orderings),
        input.output_partitioning().clone(),
        input.pipeline_behavior(),
        input.boundedness(),
    ))
}

fn seen(batch: &RecordBatch, hidden: &[Arc<Bits>]) -> Result<RecordBatch> {
    let missing = || Error::internal("a scan does not tell the places of its rows");
    let (columns, place) = batch.columns().split_last_chunk::<2>().ok_or_else(missing)?;
    let files = place[0].as_primitive_opt::<UInt32Type>().ok_or_else(missing)?.values();
    let rows = place[1].as_primitive_opt::<Int64Type>().ok_or_else(missing)?.values();
    if files.iter().any(|file| *file as usize >= hidden.len()) {
        return Err(missing().into());
    }
    let is_seen = |at: usize| !hidden[files[at] as usize].contains(rows[at].cast_unsigned());
    let seen = BooleanBuffer::collect_bool(batch.num_rows(), is_seen);
    let batch = batch.project(&(0..columns.len()).collect::<Vec<_>>())?;
    if seen.count_set_bits() == seen.len() {
        return Ok(batch);
    }
    Ok(filter_record_batch(&batch, &BooleanArray::new(seen, None))?)
}

#[cfg(test)]
mod tests;
