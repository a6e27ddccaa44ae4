//! Cold rows of single keys, without a scan: storage finds them in the decoded blocks that it remembers.

use std::{fmt, sync::Arc};

use arrow::datatypes::SchemaRef;
use datafusion::{
    error::Result,
    execution::TaskContext,
    physical_expr::EquivalenceProperties,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SendableRecordBatchStream,
        execution_plan::{Boundedness, EmissionType},
        stream::RecordBatchStreamAdapter,
    },
};
use insula_storage::{KeyBounds, KeyRows, TableSlice};

use super::{
    super::{guard, provider::Column, wrapper::leaf_plan},
    USER_NO,
};
use crate::{Error, statement::output::conform};

/// Keys up to which looking them up is better than scanning: each may cost a block of rows.
const FEW_KEYS: usize = 16;

#[derive(Clone)]
pub(in crate::table) struct KeyedExec {
    slice: TableSlice,
    keys: Arc<KeyRows>,
    /// Some of the keys may be hot, and then shadow the cold ones.
    shadowed: bool,
    /// Whose rows they are, for the guard, then what is asked for.
    projection: Vec<usize>,
    schema: SchemaRef,
    /// Soft-deleted rows too.
    deleted: bool,
    properties: Arc<PlanProperties>,
}

impl KeyedExec {
    /// `None`: the keys are too many, or none are named.
    pub fn of(
        slice: &TableSlice,
        wanted: &KeyBounds,
        columns: &[Column],
        schema: &SchemaRef,
        deleted: bool,
        shadowed: bool,
    ) -> Option<Self> {
        let KeyBounds::Keys(keys) = wanted else { return None };
        if keys.len() > FEW_KEYS {
            return None;
        }
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(schema)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        let projection = std::iter::once(USER_NO).chain(columns.iter().map(|column| column.stored)).collect();
        let (slice, keys, schema) = (slice.clone(), Arc::clone(keys), Arc::clone(schema));
        Some(Self { slice, keys, shadowed, projection, schema, deleted, properties })
    }

    async fn rows(self) -> Result<arrow::array::RecordBatch> {
        let keys = match self.shadowed {
            true => {
                let hot = self.slice.hot_keys_within(&KeyBounds::Keys(Arc::clone(&self.keys))).map_err(Error::from)?;
                Arc::new(hot.without(&self.keys))
            }
            false => self.keys,
        };
        let rows = self.slice.cold_keys(&keys, &self.projection, self.deleted).await.map_err(Error::from)?;
        let mut rows = guard::check(rows, 0, self.slice.user())?;
        rows.remove_column(0);
        Ok(conform(&rows, &self.schema)?)
    }
}

impl fmt::Debug for KeyedExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedExec").field("projection", &self.projection).finish_non_exhaustive()
    }
}

impl DisplayAs for KeyedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let (table, keys) = (&self.slice.table().name, self.keys.len());
        write!(f, "KeyedExec: table={table}, keys={keys}, projection=[{}]", names.join(", "))
    }
}

impl ExecutionPlan for KeyedExec {
    leaf_plan!("KeyedExec");

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = futures::stream::once(self.clone().rows());
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows)))
    }
}
