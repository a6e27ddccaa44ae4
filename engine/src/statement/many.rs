//! Many rows of parameters for one `INSERT … VALUES`: one query over the rows, instead of a query for each.
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

/// The plan over all rows at once, where its parameters stand in nothing but the single row of its VALUES.
pub(super) fn over_rows(plan: &LogicalPlan, rows: &[RecordBatch]) -> Result<Option<LogicalPlan>> {
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
    let schema = rows.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
    let table = MemTable::try_new(schema, vec![rows.to_vec()])?;
    let scan = LogicalPlanBuilder::scan("parameters", provider_as_source(Arc::new(table)), None)?;
    let row = values.values.first().into_iter().flatten().zip(values.schema.fields());
    let columns = row.map(|(expr, field)| {
        let expr = expr.clone().transform_up(|expr| match expr {
            Expr::Placeholder(parameter) => {
                Ok(Transformed::yes(Expr::Column(Column::new(Some("parameters"), parameter.id))))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(cast(expr.data, field.data_type().clone()).alias(field.name()))
    });
    scan.project(columns.collect::<datafusion::error::Result<Vec<_>>>()?)?.build()
}

fn is_parameter(expr: &Expr) -> bool {
    matches!(expr, Expr::Placeholder(_))
}

fn is_subquery(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_))
}

fn holds(expr: &Expr, what: impl Fn(&Expr) -> bool) -> Result<bool> {
    let mut found = false;
    expr.apply(|expr| {
        found |= what(expr);
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}
