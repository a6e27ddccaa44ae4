//! Subqueries in a row of VALUES: it becomes a projection before anything else looks at the rows.

use datafusion::{
    common::tree_node::{Transformed, TreeNode},
    error::Result,
    logical_expr::{Expr, LogicalPlan},
};

use crate::{statement::many, subqueries::projected};

pub(super) fn settle(query: LogicalPlan) -> Result<LogicalPlan> {
    if !query.exists(lacks_plan)? {
        return Ok(query);
    }
    let settled = query.transform_up(|node| match node {
        LogicalPlan::Values(values) if holds_subquery(values.values.iter().flatten())? => {
            projected(&values).map(Transformed::yes)
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(settled.data)
}

fn lacks_plan(node: &LogicalPlan) -> Result<bool> {
    match node {
        LogicalPlan::Values(values) => holds_subquery(values.values.iter().flatten()),
        _ => Ok(false),
    }
}

fn holds_subquery<'a>(exprs: impl IntoIterator<Item = &'a Expr>) -> Result<bool> {
    for expr in exprs {
        if many::holds(expr, many::is_subquery)? {
            return Ok(true);
        }
    }
    Ok(false)
}
