//! `INTERSECT ALL` and `EXCEPT ALL`: of a row that is there n times on the left and m times on the right, min(n, m) and
//! max(n - m, 0) are left. DataFusion plans both as joins that keep all n or none; so the rows of the left side are
//! numbered, each kind of row by itself, and a row meets those of the right side only up to how many there are.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::{
    common::{
        Column, JoinType, NullEquality,
        config::ConfigOptions,
        tree_node::{Transformed, TreeNodeRecursion},
    },
    error::Result,
    functions_aggregate::expr_fn::count,
    functions_window::expr_fn::row_number,
    logical_expr::{Expr, ExprFunctionExt, Join, LogicalPlan, LogicalPlanBuilder, cast, col, lit},
    optimizer::AnalyzerRule,
};

/// Which of the rows that are alike on the left it is,
const NUMBER: &str = "__number";
/// and how many of them there are on the right.
const COUNT: &str = "__count";

#[derive(Debug)]
pub(crate) struct Multisets;

impl AnalyzerRule for Multisets {
    fn name(&self) -> &str {
        "multisets"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        // Most plans have none, and are not copied for it.
        if !has_one(&plan)? {
            return Ok(plan);
        }
        let counted = |plan| match plan {
            LogicalPlan::Join(join) if is_multiset(&join) => Ok(Transformed::yes(counted(join)?)),
            other => Ok(Transformed::no(other)),
        };
        Ok(plan.transform_up_with_subqueries(counted)?.data)
    }
}

fn has_one(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found |= matches!(node, LogicalPlan::Join(join) if is_multiset(join));
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// No syntax but that of set operations makes a join which takes NULLs for equal. Without ALL the left side is distinct,
/// and of rows that are there once the join keeps the right ones.
fn is_multiset(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && join.filter.is_none()
        && !matches!(join.left.as_ref(), LogicalPlan::Distinct(_))
}

fn counted(join: Join) -> Result<LogicalPlan> {
    let columns =
        |side: &LogicalPlan| side.schema().iter().map(|column| Expr::Column(Column::from(column))).collect::<Vec<_>>();
    let (of_left, of_right) = (columns(&join.left), columns(&join.right));
    let number = row_number().partition_by(of_left.clone()).build()?;
    let numbered = LogicalPlanBuilder::from(Arc::unwrap_or_clone(join.left)).window(vec![number.clone()])?;
    let number = col(Column::from_name(number.schema_name().to_string()));
    let mut kept = of_left.clone();
    kept.push(cast(number, DataType::Int64).alias(NUMBER));
    let right = LogicalPlanBuilder::from(Arc::unwrap_or_clone(join.right))
        .aggregate(of_right.clone(), vec![count(lit(1)).alias(COUNT)])?
        .build()?;
    let keys = of_left.iter().cloned().zip(of_right).collect();
    let met = Join::try_new(
        Arc::new(numbered.project(kept)?.build()?),
        Arc::new(right),
        keys,
        Some(col(NUMBER).lt_eq(col(COUNT))),
        join.join_type,
        join.join_constraint,
        NullEquality::NullEqualsNull,
        false,
    )?;
    LogicalPlanBuilder::from(LogicalPlan::Join(met)).project(of_left)?.build()
}

#[cfg(test)]
mod tests;
