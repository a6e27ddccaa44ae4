//! Subqueries where DataFusion has no plan for them. It makes joins of those in a WHERE, and of scalar ones among the
//! columns if they aggregate; PostgreSQL's users write them anywhere:
//!
//! - `EXISTS` and `IN` among the columns, in a CASE, below a NOT: [`Marks`];
//! - scalar ones that look up a single row, by a key or with `ORDER BY … LIMIT 1`: [`single`];
//! - any of them within an aggregate, a window, an ORDER BY or the condition of a join: [`lift`];
//! - and in VALUES: [`values`].
//!
//! What DataFusion cannot take out of its subquery afterwards (columns of the outer query in other places than a
//! condition, or in other conditions than equality below an aggregate) is refused when the plan is made.

mod lift;
mod marks;
mod single;
mod values;

use std::sync::Arc;

use datafusion::{
    common::{
        config::ConfigOptions,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    error::Result,
    logical_expr::{Expr, LogicalPlan, Subquery, expr_rewriter::NamePreserver, utils::merge_schema},
    optimizer::AnalyzerRule,
};

pub(crate) use marks::Marks;
pub(crate) use values::projected;

/// To be run before types are coerced.
#[derive(Debug)]
pub(crate) struct Subqueries;

impl AnalyzerRule for Subqueries {
    fn name(&self) -> &str {
        "subqueries"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        // Most plans have none, and are not copied for it.
        if !plan.exists(holds_subquery)? {
            return Ok(plan);
        }
        Ok(plan.transform_up_with_subqueries(rewrite)?.data)
    }
}

fn rewrite(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let looks_up = holds(&plan, |expr| matches!(expr, Expr::ScalarSubquery(_)))?;
    let settled = if looks_up { looked_up(plan)? } else { Transformed::no(plan) };
    settled.transform_data(|plan| match plan {
        LogicalPlan::Values(values) => values::settle(values),
        plan => lift::settle(plan),
    })
}

fn holds_subquery(node: &LogicalPlan) -> Result<bool> {
    holds(node, |expr| {
        matches!(expr, Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_))
    })
}

fn holds(node: &LogicalPlan, what: fn(&Expr) -> bool) -> Result<bool> {
    let mut found = false;
    node.apply_expressions(|expr| {
        found |= expr.exists(|expr| Ok(what(expr)))?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

fn looked_up(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let (names, schema) = (NamePreserver::new(&plan), merge_schema(&plan.inputs()));
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let settled = expr.transform_up(|expr| match expr {
            Expr::ScalarSubquery(subquery) if is_correlated(&subquery) => single::settle(subquery, &schema),
            other => Ok(Transformed::no(other)),
        })?;
        Ok(settled.update_data(|expr| name.restore(expr)))
    })
}

/// Does it name columns of a query around it?
fn is_correlated(subquery: &Subquery) -> bool {
    !subquery.subquery.all_out_ref_exprs().is_empty()
}

fn subquery_of(plan: LogicalPlan, like: &Subquery) -> Subquery {
    let outer_ref_columns = plan.all_out_ref_exprs();
    Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: like.spans.clone() }
}

/// Is there no plan for it but among the columns of a projection?
fn needs_projection(expr: &Expr) -> bool {
    match expr {
        Expr::Exists(_) | Expr::InSubquery(_) => true,
        Expr::ScalarSubquery(subquery) => is_correlated(subquery),
        _ => false,
    }
}
