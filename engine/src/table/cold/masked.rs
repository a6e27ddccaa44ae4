//! Drops cold rows by their place: those that a deletion vector names where it leaves too many small ranges to skip
//! between them, and those that hot rows shadow where their places are known.

use std::{fmt, sync::Arc};

use arrow::{
    array::{AsArray, BooleanArray, RecordBatch},
    buffer::BooleanBuffer,
    compute::filter_record_batch,
    datatypes::{DataType, Field, FieldRef, Int64Type, UInt32Type},
};
use datafusion::{
    error::Result,
    execution::TaskContext,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties, SendableRecordBatchStream,
        projection::ProjectionExec, stream::RecordBatchStreamAdapter,
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
type Hidden = Arc<[Bits]>;

#[derive(Debug)]
pub(super) struct Masked {
    input: Arc<dyn ExecutionPlan>,
    hidden: Hidden,
    /// Indices of both columns in the input.
    place: [usize; 2],
}

impl Masked {
    pub fn new(input: Arc<dyn ExecutionPlan>, hidden: Hidden, place: [usize; 2]) -> Self {
        Self { input, hidden, place }
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> Self {
        Self::new(input, Arc::clone(&self.hidden), self.place)
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
        let over = |input, place: &[usize]| match *place {
            [file, row] => Ok(Arc::new(Self::new(input, Arc::clone(&self.hidden), [file, row])) as _),
            _ => Err(Error::internal("a place has two columns").into()),
        };
        narrowed(&self.input, &self.place, projection, over)
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let (schema, hidden, place) = (input.schema(), Arc::clone(&self.hidden), self.place);
        let rows = input.map(move |batch| seen(batch?, &hidden, place));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

fn seen(batch: RecordBatch, hidden: &[Bits], [file, row]: [usize; 2]) -> Result<RecordBatch> {
    let missing = || Error::internal("a scan does not tell the places of its rows");
    let files = batch.column(file).as_primitive_opt::<UInt32Type>().ok_or_else(missing)?.values();
    let rows = batch.column(row).as_primitive_opt::<Int64Type>().ok_or_else(missing)?.values();
    if files.iter().any(|file| *file as usize >= hidden.len()) {
        return Err(missing().into());
    }
    let is_seen = |at: usize| !hidden[files[at] as usize].contains(rows[at].cast_unsigned());
    let seen = BooleanBuffer::collect_bool(batch.num_rows(), is_seen);
    if seen.count_set_bits() == seen.len() {
        return Ok(batch);
    }
    Ok(filter_record_batch(&batch, &BooleanArray::new(seen, None))?)
}

#[cfg(test)]
mod tests;
