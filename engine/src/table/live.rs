//! Drops the cold rows that are soft-deleted, of statements that do not ask for them.

use std::{fmt, sync::Arc};

use arrow::{
    array::{AsArray, RecordBatch},
    compute::{filter_record_batch, not},
};
use datafusion::{
    error::Result,
    execution::TaskContext,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties, SendableRecordBatchStream,
        stream::RecordBatchStreamAdapter,
    },
};
use futures::StreamExt;

use super::{infallible::cannot_fail, wrapper::row_plan};
use crate::Error;

#[derive(Debug)]
pub(super) struct Live {
    input: Arc<dyn ExecutionPlan>,
    /// Index of the column `_deleted` in the input.
    column: usize,
}

impl Live {
    pub fn new(input: Arc<dyn ExecutionPlan>, column: usize) -> Self {
        Self { input, column }
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> Self {
        Self { input, column: self.column }
    }

    /// A filter that could fail must not see a row that is hidden here. (This is why `FilterExec` does not do: it
    /// evaluates what it cannot push down together with its own predicate.)
    fn passes(&self, filter: &Arc<dyn PhysicalExpr>) -> bool {
        cannot_fail(filter)
    }
}

impl DisplayAs for Live {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Live: rows that are not deleted")
    }
}

impl ExecutionPlan for Live {
    row_plan!("Live", keeps_all = false);

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let (schema, column) = (input.schema(), self.column);
        let rows = input.map(move |batch| live(batch?, column));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

fn live(batch: RecordBatch, column: usize) -> Result<RecordBatch> {
    let deleted = batch.column(column).as_boolean_opt().ok_or_else(|| Error::internal("_deleted is no boolean"))?;
    if deleted.true_count() == 0 {
        return Ok(batch);
    }
    Ok(filter_record_batch(&batch, &not(deleted)?)?)
}
