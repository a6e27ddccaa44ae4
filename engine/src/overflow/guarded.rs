//! Conditions that keep zero from dividing, as in `n <> 0 AND total / n > 5`. Both sides of AND and OR are computed for
//! all rows of a batch, so the division would fail for those that the left side has sorted out. Here these rows are
//! given a divisor of nothing, which changes no answer: what the right side is does not matter for them.

use datafusion::{
    common::tree_node::{Transformed, TreeNode},
    error::Result,
    logical_expr::{BinaryExpr, Expr, Operator, expr_fn::when, utils::split_binary},
};

/// An expression whose divisions are guarded by the conditions to their left.
pub(super) fn guarded(expr: Expr) -> Result<Transformed<Expr>> {
    if !expr.exists(|expr| Ok(divisor(expr).is_some()))? {
        return Ok(Transformed::no(expr));
    }
    expr.transform_up(|expr| match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            let right = right.transform_up(|expr| guard(expr, &left, op))?;
            Ok(right.update_data(|right| Expr::BinaryExpr(BinaryExpr::new(left, op, Box::new(right)))))
        }
        other => Ok(Transformed::no(other)),
    })
}

/// What divides, if that can be zero.
fn divisor(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { op: Operator::Divide | Operator::Modulo, right, .. }) => {
            Some(right.as_ref()).filter(|right| !right.column_refs().is_empty())
        }
        _ => None,
    }
}

fn guard(expr: Expr, conditions: &Expr, op: Operator) -> Result<Transformed<Expr>> {
    let Some(by) = divisor(&expr) else { return Ok(Transformed::no(expr)) };
    // Only those that tell something of the divisor, and say the same when they are asked again.
    let columns = by.column_refs();
    let told = split_binary(conditions, op).into_iter().filter(|condition| {
        !condition.is_volatile()
            && !condition.exists(|part| Ok(is_subquery(part))).unwrap_or(true)
            && condition.column_refs().iter().any(|column| columns.contains(column))
    });
    let told =
        told.cloned().reduce(|left, right| Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))));
    let Some(told) = told else { return Ok(Transformed::no(expr)) };
    let matters = if op == Operator::And { told.is_not_false() } else { told.is_not_true() };
    let Expr::BinaryExpr(mut division) = expr else { return Ok(Transformed::no(expr)) };
    *division.right = when(matters, std::mem::take(division.right.as_mut())).end()?;
    Ok(Transformed::yes(Expr::BinaryExpr(division)))
}

fn is_subquery(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_))
}
