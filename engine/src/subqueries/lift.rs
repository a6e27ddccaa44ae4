//! Subqueries that stand where there is no plan for them become columns of a projection below, or conditions above.

use std::sync::Arc;

use datafusion::{
    common::{
        Column, DFSchemaRef, JoinType,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    error::Result,
    logical_expr::{
        Aggregate, Expr, Filter, Join, LogicalPlan, LogicalPlanBuilder, Projection, Sort, Window,
        expr_rewriter::NamePreserver,
        utils::{conjunction, split_conjunction_owned},
    },
};

use super::needs_projection;

pub(super) fn settle(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Aggregate(aggregate) => from_aggregate(aggregate),
        LogicalPlan::Sort(sort) => from_sort(sort),
        LogicalPlan::Window(window) => from_window(window),
        LogicalPlan::Join(join) => from_join(join),
        other => Ok(Transformed::no(other)),
    }
}

fn any_needs_projection<'a>(exprs: impl IntoIterator<Item = &'a Expr>) -> Result<bool> {
    for expr in exprs {
        if expr.exists(|expr| Ok(needs_projection(expr)))? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn from_aggregate(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let has_sets = aggregate.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_)));
    if has_sets || !any_needs_projection(aggregate.group_expr.iter().chain(&aggregate.aggr_expr))? {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let names = NamePreserver::new_for_projection();
    let mut below = Below::new(aggregate.input.schema());
    let mut lift = |exprs: Vec<Expr>| -> Result<Vec<Expr>> {
        let lifted = exprs.into_iter().map(|expr| {
            let name = names.save(&expr);
            Ok(name.restore(below.take(expr)?))
        });
        lifted.collect()
    };
    let (group, aggregates) = (lift(aggregate.group_expr)?, lift(aggregate.aggr_expr)?);
    let input = below.projection(aggregate.input)?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input), group, aggregates)?)))
}

fn from_sort(sort: Sort) -> Result<Transformed<LogicalPlan>> {
    if !any_needs_projection(sort.expr.iter().map(|by| &by.expr))? {
        return Ok(Transformed::no(LogicalPlan::Sort(sort)));
    }
    let columns = columns_of(sort.input.schema());
    let mut below = Below::new(sort.input.schema());
    let mut expr = sort.expr;
    for by in &mut expr {
        by.expr = below.take(std::mem::take(&mut by.expr))?;
    }
    let input = Arc::new(below.projection(sort.input)?);
    let sorted = LogicalPlan::Sort(Sort { expr, input, fetch: sort.fetch });
    Ok(Transformed::yes(LogicalPlanBuilder::from(sorted).project(columns)?.build()?))
}

fn from_window(window: Window) -> Result<Transformed<LogicalPlan>> {
    if !any_needs_projection(&window.window_expr)? {
        return Ok(Transformed::no(LogicalPlan::Window(window)));
    }
    let columns = columns_of(&window.schema);
    let names = NamePreserver::new_for_projection();
    let mut below = Below::new(window.input.schema());
    let exprs = window.window_expr.into_iter().map(|expr| {
        let name = names.save(&expr);
        Ok(name.restore(below.take(expr)?))
    });
    let exprs = exprs.collect::<Result<Vec<_>>>()?;
    let input = Arc::new(below.projection(window.input)?);
    let window = LogicalPlan::Window(Window::try_new(exprs, input)?);
    Ok(Transformed::yes(LogicalPlanBuilder::from(window).project(columns)?.build()?))
}

/// An inner join's condition is as good above it. Of others it decides which rows are joined with NULLs.
fn from_join(join: Join) -> Result<Transformed<LogicalPlan>> {
    let Some(filter) = join.filter.as_ref().filter(|_| join.join_type == JoinType::Inner) else {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    };
    let (above, within): (Vec<_>, Vec<_>) = split_conjunction_owned(filter.clone())
        .into_iter()
        .partition(|condition| condition.exists(|expr| Ok(needs_projection(expr))).unwrap_or(false));
    let Some(above) = conjunction(above) else { return Ok(Transformed::no(LogicalPlan::Join(join))) };
    let joined = LogicalPlan::Join(Join { filter: conjunction(within), ..join });
    Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(above, Arc::new(joined))?)))
}

fn columns_of(schema: &DFSchemaRef) -> Vec<Expr> {
    schema.iter().map(|column| Expr::Column(Column::from(column))).collect()
}

/// Subqueries that become columns below the node that named them.
struct Below {
    schema: DFSchemaRef,
    taken: Vec<(Expr, String)>,
}

impl Below {
    fn new(schema: &DFSchemaRef) -> Self {
        Self { schema: Arc::clone(schema), taken: Vec::new() }
    }

    /// The expression with columns in their place.
    fn take(&mut self, expr: Expr) -> Result<Expr> {
        let taken = expr.transform_down(|expr| {
            if !needs_projection(&expr) {
                return Ok(Transformed::no(expr));
            }
            let known = self.taken.iter().find(|(known, _)| *known == expr).map(|(_, name)| name.clone());
            let name = known.unwrap_or_else(|| {
                let name = self.free_name();
                self.taken.push((expr, name.clone()));
                name
            });
            Ok(Transformed::new(Expr::Column(Column::new_unqualified(name)), true, TreeNodeRecursion::Jump))
        })?;
        Ok(taken.data)
    }

    fn free_name(&self) -> String {
        let is_free = |name: &String| {
            !self.schema.fields().iter().any(|field| field.name() == name)
                && !self.taken.iter().any(|(_, taken)| taken == name)
        };
        (0_usize..).map(|n| format!("__subquery_{n}")).find(is_free).unwrap_or_default()
    }

    fn projection(self, input: Arc<LogicalPlan>) -> Result<LogicalPlan> {
        let columns = columns_of(input.schema()).into_iter();
        let exprs = columns.chain(self.taken.into_iter().map(|(expr, name)| expr.alias(name))).collect();
        Ok(LogicalPlan::Projection(Projection::try_new(exprs, input)?))
    }
}
