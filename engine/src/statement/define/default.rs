//! Defaults of columns, checked when they are declared: one that no row could take would be found by those who insert.

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    datatypes::{DataType, Schema},
};
use datafusion::{
    common::{DFSchema, tree_node::TreeNode},
    logical_expr::{Expr as Planned, ExprSchemable, LogicalPlanBuilder},
    sql::sqlparser::ast::Expr,
};

use crate::{Error, Result, context::Context};

/// Refuses what is no expression of one row, or has no value of the column's type.
pub(super) fn check(context: &Context, ast: Expr, data_type: &DataType) -> Result<()> {
    let value = context.plan_constant_ast(ast)?;
    let mut refused = None;
    value.exists(|part| {
        refused = refused.or(no_value_of_a_row(part));
        Ok(refused.is_some())
    })?;
    if let Some(what) = refused {
        return Err(Error::invalid(format!("{what} is no default: it must have one value for each new row")));
    }
    let value = value.cast_to(data_type, &DFSchema::empty())?.alias("value");
    // The optimizer gives now() its time.
    let plan = context.state().optimize(&LogicalPlanBuilder::empty(true).project([value])?.build()?)?;
    let Some(value) = plan.expressions().pop() else { return Ok(()) };
    let value = context.state().create_physical_expr(value.unalias(), &DFSchema::empty())?;
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Schema::empty().into(), Vec::new(), &options)?;
    value.evaluate(&row)?;
    Ok(())
}

fn no_value_of_a_row(part: &Planned) -> Option<&'static str> {
    match part {
        Planned::AggregateFunction(_) => Some("an aggregate"),
        Planned::WindowFunction(_) => Some("a window function"),
        Planned::ScalarSubquery(_) | Planned::Exists(_) | Planned::InSubquery(_) | Planned::SetComparison(_) => {
            Some("a subquery")
        }
        Planned::Placeholder(_) => Some("a parameter"),
        Planned::Unnest(_) => Some("unnest"),
        _ => None,
    }
}
