//! The short way to a physical plan, for reads of single keys.
//!
//! DataFusion's physical optimizer decides about exchanges, join sides and orders. A projection and a filter over a few
//! rows of one table leave it nothing to decide, and it costs more than the rows do. So such a plan runs as the planner
//! makes it.

use std::sync::Arc;

use datafusion::{
    common::tree_node::TreeNode,
    datasource::source_as_provider,
    error::Result,
    execution::SessionState,
    logical_expr::{Expr, Filter, LogicalPlan, Projection, SubqueryAlias, TableScan},
    physical_plan::ExecutionPlan,
};

use crate::{context::Context, table::UserTable};

/// The physical plan of an optimized logical one.
pub(super) async fn plan(context: &Context, optimized: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
    let state = context.state();
    let state: &SessionState = if reads_keys(optimized)? { context.direct().unwrap_or(state) } else { state };
    state.query_planner().create_physical_plan(optimized, state).await
}

pub(super) fn reads_keys(plan: &LogicalPlan) -> Result<bool> {
    match plan {
        LogicalPlan::Projection(Projection { expr, input, .. }) => {
            Ok(!expr.iter().any(has_subquery) && reads_keys(input)?)
        }
        LogicalPlan::Filter(Filter { predicate, input, .. }) => Ok(!has_subquery(predicate) && reads_keys(input)?),
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, .. }) => reads_keys(input),
        // What is explained is the plan that runs.
        LogicalPlan::Explain(explain) => reads_keys(&explain.plan),
        LogicalPlan::Analyze(analyze) => reads_keys(&analyze.input),
        LogicalPlan::TableScan(scan) => scans_keys(scan),
        _ => Ok(false),
    }
}

/// A subquery is a plan of its own, which may need the optimizer.
fn has_subquery(expr: &Expr) -> bool {
    let is_subquery = |expr: &Expr| {
        Ok(matches!(expr, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_)))
    };
    expr.exists(is_subquery).unwrap_or(true)
}

fn scans_keys(scan: &TableScan) -> Result<bool> {
    // A limit over several partitions needs the optimizer to bring them together.
    if scan.fetch.is_some() || scan.filters.is_empty() {
        return Ok(false);
    }
    let provider = source_as_provider(&scan.source)?;
    let Some(table) = provider.downcast_ref::<UserTable>() else { return Ok(false) };
    table.is_of_keys(&scan.filters)
}
