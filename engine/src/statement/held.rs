//! Text in what holds many rows for long: sorts and windows take it as values, not as views.
//!
//! A view keeps alive the whole buffers that it points into, pages of Parquet among them, and what a window drops it
//! never gives back. So a sort of wide rows held several times what the memory pool counted. What looks at rows once, or
//! keeps few of them (a sort with a limit, an aggregation), is faster with views.

use arrow::datatypes::DataType;
use datafusion::{
    common::tree_node::{Transformed, TreeNode},
    error::Result,
    logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast},
};

use crate::types::plain_type;

#[cfg(test)]
mod tests;

/// The plan, as it comes from the planner, with casts where rows begin to be held. What stands above gets its types
/// anew; the analyzer brings them together.
pub(crate) fn text(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(settle(plan, false)?.data)
}

/// `limited`: no more rows than a limit says are asked of the plan.
fn settle(plan: LogicalPlan, limited: bool) -> Result<Transformed<LogicalPlan>> {
    let below = match &plan {
        LogicalPlan::Limit(limit) => limit.fetch.is_some(),
        LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => limited,
        _ => false,
    };
    let holds = match &plan {
        LogicalPlan::Sort(sort) => sort.fetch.is_none() && !limited && yields_rows_of_tables(&sort.input),
        LogicalPlan::Window(window) => yields_rows_of_tables(&window.input),
        _ => false,
    };
    let settled = plan.map_children(|input| {
        let input = settle(input, below)?;
        if holds { input.transform_data(plain) } else { Ok(input) }
    })?;
    if settled.transformed { settled.map_data(LogicalPlan::recompute_schema) } else { Ok(settled) }
}

/// Rows of a table come through as they are; what an aggregation yields is its own.
fn yields_rows_of_tables(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(_) => true,
        LogicalPlan::Aggregate(_) => false,
        plan => plan.inputs().into_iter().any(yields_rows_of_tables),
    }
}

/// The same rows with their views as values.
fn plain(input: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let is_view = |data_type: &DataType| matches!(data_type, DataType::Utf8View | DataType::BinaryView);
    if !input.schema().fields().iter().any(|field| is_view(field.data_type())) {
        return Ok(Transformed::no(input));
    }
    let columns: Vec<Expr> = input
        .schema()
        .iter()
        .map(|(qualifier, field)| {
            let column = Expr::Column((qualifier, field).into());
            match is_view(field.data_type()) {
                true => cast(column, plain_type(field.data_type())).alias_qualified(qualifier.cloned(), field.name()),
                false => column,
            }
        })
        .collect();
    LogicalPlanBuilder::from(input).project(columns)?.build().map(Transformed::yes)
}
