//! Drops the cold rows whose key is present in the user's hot rows, tombstones included. It removes by key, whatever
//! the statement's predicate says; that is why predicates may be pushed into Parquet below it.

use std::{fmt, sync::Arc};

use arrow::{
    array::RecordBatch,
    compute::{cast, filter_record_batch},
};
use datafusion::{
    error::{DataFusionError, Result},
    execution::{TaskContext, memory_pool::MemoryConsumer},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties, SendableRecordBatchStream,
        projection::ProjectionExec, stream::RecordBatchStreamAdapter,
    },
};
use futures::{StreamExt, TryStreamExt};
use insula_storage::{HotKeys, KeyBounds, KeyCodec, TableSlice};
use tokio::sync::OnceCell;

use super::{
    infallible::cannot_fail,
    wrapper::{narrowed, row_plan},
};
use crate::{Error, types::plain_type};

pub(super) struct Shadow {
    input: Arc<dyn ExecutionPlan>,
    slice: TableSlice,
    /// Only rows with such keys are asked for, so only such keys can shadow one.
    wanted: KeyBounds,
    /// Indices of the key's columns in the input, in key order.
    key: Vec<usize>,
    codec: KeyCodec,
    /// Read once, by the first partition that runs.
    hot_keys: Arc<OnceCell<Keys>>,
}

/// The hot keys, and the memory that they are accounted for.
struct Keys {
    keys: Arc<HotKeys>,
    _memory: datafusion::execution::memory_pool::MemoryReservation,
}

impl Shadow {
    pub fn new(input: Arc<dyn ExecutionPlan>, slice: TableSlice, wanted: KeyBounds, key: Vec<usize>) -> Result<Self> {
        let codec = KeyCodec::new(slice.table()).map_err(Error::from)?;
        Ok(Self { input, slice, wanted, key, codec, hot_keys: Arc::default() })
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> Self {
        self.over_columns(input, self.key.clone())
    }

    fn over_columns(&self, input: Arc<dyn ExecutionPlan>, key: Vec<usize>) -> Self {
        let (slice, wanted, codec) = (self.slice.clone(), self.wanted.clone(), self.codec.clone());
        Self { input, slice, wanted, key, codec, hot_keys: Arc::default() }
    }

    /// Rows are removed by their key, so a filter may come first, unless it could fail on a row that is hidden here.
    fn passes(&self, filter: &Arc<dyn PhysicalExpr>) -> bool {
        cannot_fail(filter)
    }
}

impl fmt::Debug for Shadow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shadow").field("key", &self.key).field("input", &self.input).finish_non_exhaustive()
    }
}

impl DisplayAs for Shadow {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shadow: cold rows without newer hot version")
    }
}

impl ExecutionPlan for Shadow {
    row_plan!("Shadow", keeps_all = false);

    fn try_swapping_with_projection(&self, projection: &ProjectionExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        narrowed(&self.input, &self.key, projection, |input, key| Ok(Arc::new(self.over_columns(input, key.to_vec()))))
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let schema = input.schema();
        let (hot_keys, slice, wanted) = (Arc::clone(&self.hot_keys), self.slice.clone(), self.wanted.clone());
        let (key, codec) = (self.key.clone(), self.codec.clone());
        let rows = futures::stream::once(async move {
            hot_keys.get_or_try_init(|| load(slice, wanted, context)).await?;
            Ok::<_, DataFusionError>(input.map(move |batch| {
                let hot = hot_keys.get().ok_or_else(|| Error::internal("hot keys are gone"))?;
                unshadowed(batch?, &key, &codec, &hot.keys)
            }))
        })
        .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

async fn load(slice: TableSlice, wanted: KeyBounds, context: Arc<TaskContext>) -> Result<Keys> {
    let keys = tokio::task::spawn_blocking(move || slice.hot_keys_within(&wanted))
        .await
        .map_err(|e| Error::internal(e.to_string()))?
        .map_err(Error::from)?;
    let memory = MemoryConsumer::new("Shadow").register(context.memory_pool());
    memory.try_grow(keys.memory())?;
    Ok(Keys { keys, _memory: memory })
}

fn unshadowed(batch: RecordBatch, key: &[usize], codec: &KeyCodec, hot: &HotKeys) -> Result<RecordBatch> {
    let columns = key.iter().map(|i| {
        let column = batch.column(*i);
        cast(column, &plain_type(column.data_type()))
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    match hot.unshadowed(codec, &columns).map_err(Error::from)? {
        Some(rows) => Ok(filter_record_batch(&batch, &rows)?),
        None => Ok(batch),
    }
}
