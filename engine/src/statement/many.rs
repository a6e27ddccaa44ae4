//! Many rows of parameters for one statement: the rows as a table, and one query over them instead of a query for each
//! where that is the same. Here for `INSERT … VALUES`; for changes by key see `write/by_key.rs`.
//!
//! Drivers send a batch of a thousand rows this way, and planning costs a thousand times what a row does.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::Schema};
use datafusion::{
    catalog::MemTable,
    common::{
        Column,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    datasource::provider_as_source,
    logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Values, cast},
};

use crate::Result;

/// No table of a statement has this name.
const PARAMETERS: &str = "(parameters)";

/// The plan over all rows at once, where its parameters stand in nothing but the single row of its VALUES.
pub(crate) fn over_rows(plan: &LogicalPlan, rows: &[RecordBatch]) -> Result<Option<LogicalPlan>> {
    if rows.iter().map(RecordBatch::num_rows).sum::<usize>() < 2 || !is_projected_row(plan)? {
        return Ok(None);
    }
    let plan = plan.clone().transform_down(|node| match node {
        LogicalPlan::Values(values) => Ok(Transformed::yes(of_rows(&values, rows)?)),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(Some(plan.data))
}

/// Projections without parameters over a VALUES of one row.
fn is_projected_row(plan: &LogicalPlan) -> Result<bool> {
    let mut node = plan;
    while let LogicalPlan::Projection(projection) = node {
        for expr in &projection.expr {
            if holds(expr, |expr| is_parameter(expr) || is_subquery(expr))? {
                return Ok(false);
            }
        }
        node = &projection.input;
    }
    let LogicalPlan::Values(Values { values, .. }) = node else { return Ok(false) };
    let [row] = values.as_slice() else { return Ok(false) };
    for expr in row {
        if holds(expr, is_subquery)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn of_rows(values: &Values, rows: &[RecordBatch]) -> datafusion::error::Result<LogicalPlan> {
    let scan = LogicalPlanBuilder::from(scan(rows)?);
    let row = values.values.first().into_iter().flatten().zip(values.schema.fields());
    let columns =
        row.map(|(expr, field)| Ok(cast(as_columns(expr.clone())?, field.data_type().clone()).alias(field.name())));
    scan.project(columns.collect::<datafusion::error::Result<Vec<_>>>()?)?.build()
}

/// The rows of parameters as a table.
pub(crate) fn scan(rows: &[RecordBatch]) -> datafusion::error::Result<LogicalPlan> {
    let schema = rows.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
    let table = MemTable::try_new(schema, vec![rows.to_vec()])?;
    LogicalPlanBuilder::scan(PARAMETERS, provider_as_source(Arc::new(table)), None)?.build()
}

/// The expression with columns of that table in the place of its parameters.
pub(crate) fn as_columns(expr: Expr) -> datafusion::error::Result<Expr> {
    let named = expr.transform_up(|expr| match expr {
        Expr::Placeholder(parameter) => Ok(Transformed::yes(Expr::Column(Column::new(Some(PARAMETERS), parameter.id)))),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(named.data)
}

pub(crate) fn is_parameter(expr: &Expr) -> bool {
    matches!(expr, Expr::Placeholder(_))
}

pub(crate) fn is_subquery(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_))
}

pub(crate) fn holds(expr: &Expr, what: impl Fn(&Expr) -> bool) -> Result<bool> {
    let mut found = false;
    expr.apply(|expr| {
        found |= what(expr);
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}
