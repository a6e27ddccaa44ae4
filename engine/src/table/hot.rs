//! Reads a user's hot rows: those of a few keys or from memory at once, others by a blocking scan of RocksDB on a
//! thread of its own, streamed in batches.

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
        stream::{RecordBatchReceiverStreamBuilder, RecordBatchStreamAdapter},
    },
};
use insula_storage::{HotScan, KeyBounds, TableSlice};

use super::{provider::Column, wrapper::leaf_plan};
use crate::{Error, statement::output::conform};

/// Batches that the scan may be ahead of its reader.
const AHEAD: usize = 2;

pub(super) struct HotExec {
    slice: TableSlice,
    /// What the filters say of the key.
    wanted: KeyBounds,
    /// Indices in the stored schema.
    projection: Vec<usize>,
    schema: SchemaRef,
    /// Soft-deleted rows too.
    deleted: bool,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl HotExec {
    pub fn new(slice: TableSlice, wanted: KeyBounds, columns: Vec<Column>, schema: SchemaRef, deleted: bool) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        let projection = columns.iter().map(|c| c.stored).collect();
        Self { slice, wanted, projection, schema, deleted, properties, metrics: ExecutionPlanMetricsSet::new() }
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
        let schema = Arc::clone(&self.schema);
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let scan = self.slice.hot_within(&self.wanted, &self.projection, batch_rows, self.deleted);
        let mut batches = Batches { scan: scan.map_err(Error::from)?, schema: Arc::clone(&schema), metrics };
        if batches.scan.is_quick() {
            return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(batches))));
        }
        let mut builder = RecordBatchReceiverStreamBuilder::new(schema, AHEAD);
        let sender = builder.tx();
        builder.spawn_blocking(move || {
            // An error means that nobody reads any more.
            while batches.next().is_some_and(|batch| sender.blocking_send(batch).is_ok()) {}
            Ok(())
        });
        Ok(builder.build())
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// The scan's batches as the statement knows them.
struct Batches {
    scan: HotScan,
    schema: SchemaRef,
    metrics: BaselineMetrics,
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let _timer = self.metrics.elapsed_compute().timer();
        let batch = self.scan.next()?.map_err(|e| Error::from(e).into());
        let batch = batch.and_then(|batch| renamed(batch, &self.schema));
        batch.iter().for_each(|batch| {
            self.metrics.record_output(batch.num_rows());
        });
        Some(batch)
    }
}

/// Storage names columns by id; the statement knows them by their declared names, and their text as views.
fn renamed(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    Ok(conform(&batch, schema)?)
}
