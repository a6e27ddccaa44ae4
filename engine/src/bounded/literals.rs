//! Long literals, which expressions lay out once for each row of a batch: of `SELECT '…' FROM t` with a megabyte
//! between the quotes, that would be gigabytes. Folding makes such literals of calls, too.

use datafusion::{
    common::{
        ScalarValue,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    error::Result,
    logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator},
    optimizer::{OptimizerConfig, OptimizerRule},
};

use super::{Bounded, Room};

/// Refuses plans whose literals, laid out, would be more than a batch may be.
#[derive(Debug)]
pub(crate) struct BigLiterals {
    pub room: Room,
    /// Rows of a batch.
    pub rows: usize,
}

impl OptimizerRule for BigLiterals {
    fn name(&self) -> &str {
        "big_literals"
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        plan.apply_with_subqueries(|node| {
            if matches!(node, LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_) | LogicalPlan::Window(_)) {
                let most = node.inputs().first().and_then(|input| input.max_rows()).unwrap_or(usize::MAX);
                let rows = most.min(self.rows) as u64;
                node.apply_expressions(|expr| expr.apply(|expr| self.check(expr, rows)))?;
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(Transformed::no(plan))
    }
}

impl BigLiterals {
    fn check(&self, expr: &Expr, rows: u64) -> Result<TreeNodeRecursion> {
        match expr {
            // Comparisons lay nothing out, and bounded functions count for themselves.
            Expr::BinaryExpr(BinaryExpr { op, .. }) if *op != Operator::StringConcat => {
                return Ok(TreeNodeRecursion::Jump);
            }
            Expr::Like(_) | Expr::InList(_) => return Ok(TreeNodeRecursion::Jump),
            Expr::ScalarFunction(call) if Bounded::is_one(&call.func) => return Ok(TreeNodeRecursion::Jump),
            Expr::Literal(value, _) => {
                let bytes = size(value).saturating_mul(rows);
                if bytes > self.room.batch {
                    return Err(Room::refuse("a long value in every row", bytes, self.room.batch).into());
                }
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    }
}

/// Of small values it does not matter.
fn size(value: &ScalarValue) -> u64 {
    value.size().saturating_sub(size_of::<ScalarValue>()) as u64
}
