//! Reads a user's hot rows: a blocking scan of RocksDB on a thread of its own, streamed in batches.

use std::{fmt, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    error::Result,
    execution::TaskContext,
    physical_expr::EquivalenceProperties,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SendableRecordBatchStream,
        execution_plan::{Boundedness, EmissionType},
        metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet},
        stream::RecordBatchReceiverStreamBuilder,
    },
};
use insula_storage::TableSlice;

use super::{provider::Column, wrapper::leaf_plan};
use crate::Error;

/// Batches that the scan may be ahead of its reader.
const AHEAD: usize = 2;

pub(super) struct HotExec {
    slice: TableSlice,
    /// Indices in the stored schema.
    projection: Vec<usize>,
    schema: SchemaRef,
    /// Soft-deleted rows too.
    deleted: bool,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl HotExec {
    pub fn new(slice: TableSlice, columns: Vec<Column>, schema: SchemaRef, deleted: bool) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        let projection = columns.iter().map(|c| c.stored).collect();
        Self { slice, projection, schema, deleted, properties, metrics: ExecutionPlanMetricsSet::new() }
    }
}

impl fmt::Debug for HotExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HotExec").field("projection", &self.projection).finish_non_exhaustive()
    }
}

impl DisplayAs for HotExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        write!(f, "HotExec: table={}, projection=[{}]", self.slice.table().name, names.join(", "))
    }
}

impl ExecutionPlan for HotExec {
    leaf_plan!("HotExec");

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let batch_rows = context.session_config().batch_size();
        let (slice, projection, deleted) = (self.slice.clone(), self.projection.clone(), self.deleted);
        let schema = Arc::clone(&self.schema);
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let mut builder = RecordBatchReceiverStreamBuilder::new(Arc::clone(&schema), AHEAD);
        let sender = builder.tx();
        builder.spawn_blocking(move || {
            let mut scan = slice.hot(&projection, batch_rows, deleted).map_err(Error::from)?;
            loop {
                let timer = metrics.elapsed_compute().timer();
                let Some(batch) = scan.next() else { break };
                let batch = renamed(batch.map_err(Error::from)?, &schema)?;
                timer.done();
                metrics.record_output(batch.num_rows());
                if sender.blocking_send(Ok(batch)).is_err() {
                    break; // Nobody reads any more.
                }
            }
            Ok(())
        });
        Ok(builder.build())
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// Storage names columns by id; the statement knows them by their declared names.
fn renamed(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let rows = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), batch.columns().to_vec(), &rows)?)
}
