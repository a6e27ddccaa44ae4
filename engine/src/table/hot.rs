//! Reads a user's hot rows: those of a few keys at once, those that are remembered by several partitions side by side,
//! others by a blocking scan of RocksDB on a thread of its own, streamed in batches.

use std::{fmt, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    error::Result,
    execution::{TaskContext, config::SessionConfig},
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
/// Remembered batches that are worth a partition of their own.
const BATCHES_A_PARTITION: usize = 2;

pub(super) struct HotExec {
    slice: TableSlice,
    /// What the filters say of the key.
    wanted: KeyBounds,
    /// Indices in the stored schema.
    projection: Vec<usize>,
    schema: SchemaRef,
    /// Soft-deleted rows too.
    deleted: bool,
    /// All of the rows, where storage remembers them.
    recalled: Option<Arc<[RecordBatch]>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl HotExec {
    pub fn new(
        slice: TableSlice,
        wanted: KeyBounds,
        columns: Vec<Column>,
        schema: SchemaRef,
        deleted: bool,
        config: &SessionConfig,
    ) -> Result<Self> {
        let projection: Vec<usize> = columns.iter().map(|c| c.stored).collect();
        // A transaction's own rows, and few keys, are not remembered.
        let recalled = slice.recalled(&wanted, &projection, config.batch_size(), deleted).map_err(Error::from)?;
        let batches = recalled.as_ref().map_or(0, |batches| batches.len());
        // Beside cold rows that are divided among all processors, a partition more would hold up the end.
        let partitions = (batches / BATCHES_A_PARTITION).clamp(1, config.target_partitions());
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        let metrics = ExecutionPlanMetricsSet::new();
        Ok(Self { slice, wanted, projection, schema, deleted, recalled, properties, metrics })
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
        if let Some(recalled) = &self.recalled {
            let (recalled, renaming) = (Arc::clone(recalled), Arc::clone(&schema));
            let own = (partition..recalled.len()).step_by(self.properties.output_partitioning().partition_count());
            let batches = own.map(move |i| {
                let _timer = metrics.elapsed_compute().timer();
                let batch = renamed(recalled[i].clone(), &renaming)?;
                metrics.record_output(batch.num_rows());
                Ok(batch)
            });
            return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(batches))));
        }
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
