//! Defaults of columns, checked when they are declared: one that no row could take would be found by those who insert.

use std::sync::Arc;

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    datatypes::{DataType, Schema},
};
use datafusion::{
    common::{DFSchema, tree_node::TreeNode},
    logical_expr::{Expr as Planned, ExprSchemable, simplify::SimplifyContext},
    optimizer::simplify_expressions::ExprSimplifier,
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
    let empty = Arc::new(DFSchema::empty());
    let value = value.cast_to(data_type, &empty)?;
    // As the optimizer would: it is that which gives now() its time.
    let moment = SimplifyContext::builder().with_schema(Arc::clone(&empty));
    let moment = moment.with_config_options(Arc::clone(context.state().config_options())).with_current_time().build();
    let simplifier = ExprSimplifier::new(moment);
    let value = simplifier.simplify(simplifier.coerce(value, &empty)?)?;
    let value = context.state().create_physical_expr(value, &empty)?;
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
