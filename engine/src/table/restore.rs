//! Gives rows of Parquet files their stored types back, where Parquet lacks the type (intervals). Nothing is copied.

use std::{fmt, sync::Arc};

use arrow::datatypes::SchemaRef;
use datafusion::{
    error::Result,
    execution::TaskContext,
    physical_expr::{EquivalenceProperties, LexOrdering, utils::collect_columns},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PhysicalExpr, PlanProperties,
        SendableRecordBatchStream, stream::RecordBatchStreamAdapter,
    },
};
use futures::StreamExt;

use super::wrapper::row_plan;
use crate::Error;

#[derive(Debug)]
pub(super) struct Restore {
    input: Arc<dyn ExecutionPlan>,
    /// The stored schema, projected like the input.
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl Restore {
    pub fn new(input: Arc<dyn ExecutionPlan>, schema: SchemaRef) -> Self {
        let properties = Arc::new(PlanProperties::new(
            // No type that Parquet lacks can be part of a key, and so of an order.
            EquivalenceProperties::new_with_orderings(Arc::clone(&schema), orderings(&input)),
            input.output_partitioning().clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        ));
        Self { input, schema, properties }
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> Self {
        Self::new(input, Arc::clone(&self.schema))
    }

    /// A filter on a restored column means another type than the file holds.
    fn passes(&self, filter: &Arc<dyn PhysicalExpr>) -> bool {
        let file = self.input.schema();
        collect_columns(filter).iter().all(|column| {
            let types = |schema: &SchemaRef| schema.fields().get(column.index()).map(|field| field.data_type().clone());
            types(&file) == types(&self.schema)
        })
    }
}

fn orderings(input: &Arc<dyn ExecutionPlan>) -> Vec<LexOrdering> {
    input.equivalence_properties().oeq_class().iter().cloned().collect()
}

impl DisplayAs for Restore {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Restore: types that Parquet lacks")
    }
}

impl ExecutionPlan for Restore {
    row_plan!("Restore", keeps_all = true);

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let schema = Arc::clone(&self.schema);
        let restored = input.map(move |batch| Ok(insula_storage::restore(&batch?, &schema).map_err(Error::from)?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), restored)))
    }
}
