//! Runs a plan that returns rows, once per row of parameters, as one stream.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::{
    common::tree_node::{Transformed, TreeNode},
    logical_expr::LogicalPlan,
    physical_plan::{ExecutionPlan, coop::CooperativeExec, execute_stream},
};
use futures::{StreamExt, TryStreamExt, stream};

use super::{direct, explain, output, parameters};
use crate::{Error, Outcome, Result, RowStream, context::Context};

pub(super) async fn run(context: Context, plan: LogicalPlan, params: Vec<RecordBatch>) -> Result<Outcome> {
    let bound = params.first().map(RecordBatch::schema);
    let declared = parameters::schema(&plan, bound.as_deref())?;
    let schema = output::schema(&parameters::with_types(&plan, &declared)?);
    let mut executions = parameters::executions(&plan, &params)?.into_iter();
    let context = Arc::new(context);
    // The first one is planned before the call returns, so that its errors are the statement's and not the stream's.
    let first = match executions.next() {
        Some(plan) => rows(&context, &plan).await?,
        None => stream::empty().boxed(),
    };
    let rest = stream::iter(executions).then(move |plan| {
        let context = Arc::clone(&context);
        async move { rows(&context, &plan).await }
    });
    let conformed = Arc::clone(&schema);
    let is_analyze = matches!(plan, LogicalPlan::Analyze(_));
    let all = first.chain(rest.try_flatten()).map(move |batch| {
        let batch = output::conform(&batch?, &conformed)?;
        if is_analyze { explain::without_foreign_counts(&batch) } else { Ok(batch) }
    });
    Ok(Outcome::Rows { schema, rows: all.boxed() })
}

/// The rows of one plan. Physical plans are made anew each time: one with a repartition panics when run twice.
pub(crate) async fn rows(context: &Arc<Context>, plan: &LogicalPlan) -> Result<RowStream> {
    let optimized = context.state().optimize(plan)?;
    let physical = cooperative(direct::plan(context, &optimized).await?)?;
    let batches = execute_stream(physical, context.task())?;
    // The context holds the read view, and with it the files that the rows come from.
    let held = Arc::clone(context);
    Ok(batches
        .map(move |batch| {
            let _ = &held;
            batch.map_err(Error::from)
        })
        .boxed())
}

/// Joins without keys compute for minutes from input that is always ready, and DataFusion makes only scans and
/// exchanges yield. Without this, such a statement keeps its thread, and cannot be cancelled.
fn cooperative(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let wrapped = plan.transform_up(|node| {
        let busy = ["CrossJoinExec", "NestedLoopJoinExec", "HashJoinExec", "PiecewiseMergeJoinExec"];
        Ok(if busy.contains(&node.name()) {
            Transformed::yes(Arc::new(CooperativeExec::new(node)) as _)
        } else {
            Transformed::no(node)
        })
    })?;
    Ok(wrapped.data)
}
