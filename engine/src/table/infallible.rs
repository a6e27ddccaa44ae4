//! Filters that evaluate without error on any row. Only these may run before rows are hidden: the division by zero of
//! a row that was deleted, or of a version that was replaced, is no error of the statement.

use std::sync::Arc;

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    logical_expr::Operator,
    physical_expr::expressions::{
        BinaryExpr, Column, DynamicFilterPhysicalExpr, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal,
        NotExpr, TryCastExpr,
    },
    physical_plan::PhysicalExpr,
};

/// A list of what is known to be safe; anything else might fail.
pub(super) fn cannot_fail(filter: &Arc<dyn PhysicalExpr>) -> bool {
    let mut safe = true;
    let walked = filter.apply(|expr| {
        safe &= is_safe(expr.as_ref());
        Ok(if safe { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    walked.is_ok() && safe
}

fn is_safe(expr: &dyn PhysicalExpr) -> bool {
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        return matches!(binary.op(), Operator::And | Operator::Or) || is_comparison(*binary.op());
    }
    expr.is::<Column>()
        || expr.is::<Literal>()
        || expr.is::<NotExpr>()
        || expr.is::<IsNullExpr>()
        || expr.is::<IsNotNullExpr>()
        || expr.is::<InListExpr>()
        || expr.is::<LikeExpr>()
        || expr.is::<TryCastExpr>()
        // Bounds and keys of a TopK or a join; its children are columns of this scan.
        || expr.is::<DynamicFilterPhysicalExpr>()
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}
