//! Subqueries in VALUES: such rows become projections, one after the other.

use datafusion::{
    common::{
        DFSchema,
        tree_node::{Transformed, TreeNode},
    },
    error::Result,
    logical_expr::{ExprSchemable, LogicalPlan, LogicalPlanBuilder, Values},
};

use crate::statement::many;

pub(super) fn settle(values: Values) -> Result<Transformed<LogicalPlan>> {
    for value in values.values.iter().flatten() {
        if value.exists(|expr| Ok(many::is_subquery(expr)))? {
            return projected(&values).map(Transformed::yes);
        }
    }
    Ok(Transformed::no(LogicalPlan::Values(values)))
}

pub(crate) fn projected(values: &Values) -> Result<LogicalPlan> {
    let mut all: Option<LogicalPlanBuilder> = None;
    for row in &values.values {
        let fields = row.iter().zip(values.schema.fields());
        let columns = fields
            .map(|(expr, field)| Ok(expr.clone().cast_to(field.data_type(), &DFSchema::empty())?.alias(field.name())));
        let row = LogicalPlanBuilder::empty(true).project(columns.collect::<Result<Vec<_>>>()?)?;
        all = Some(match all {
            None => row,
            Some(all) => all.union(row.build()?)?,
        });
    }
    all.unwrap_or_else(|| LogicalPlanBuilder::empty(false)).build()
}
