//! Subqueries where DataFusion has no plan for them, and statements that write have them: `IN` and `EXISTS` among values
//! and in the conditions of clauses, where nothing is filtered, and any of them in a row of VALUES.
//!
//! The first become numbers of rows, which scalar subqueries find; such a row becomes a projection.

use std::sync::Arc;

use datafusion::{
    common::{
        Column, DFSchema, ScalarValue, Spans,
        tree_node::{Transformed, TreeNode},
    },
    error::Result,
    functions_aggregate::expr_fn::count,
    logical_expr::{
        Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Projection, Subquery, Values, expr::InSubquery,
        expr_rewriter::NamePreserver, lit, not, when,
    },
};

use crate::statement::many;

pub(super) fn settle(query: LogicalPlan) -> Result<LogicalPlan> {
    if !query.exists(lacks_plan)? {
        return Ok(query);
    }
    let settled = query.transform_up(|node| match node {
        node if !lacks_plan(&node)? => Ok(Transformed::no(node)),
        LogicalPlan::Projection(projection) => counted(projection).map(Transformed::yes),
        LogicalPlan::Values(values) => projected(&values).map(Transformed::yes),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(settled.data)
}

fn lacks_plan(node: &LogicalPlan) -> Result<bool> {
    match node {
        LogicalPlan::Projection(projection) => holds(&projection.expr, &is_predicate),
        LogicalPlan::Values(values) => holds(values.values.iter().flatten(), &many::is_subquery),
        _ => Ok(false),
    }
}

fn holds<'a>(exprs: impl IntoIterator<Item = &'a Expr>, what: &dyn Fn(&Expr) -> bool) -> Result<bool> {
    for expr in exprs {
        if expr.exists(|expr| Ok(what(expr)))? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_predicate(expr: &Expr) -> bool {
    matches!(expr, Expr::InSubquery(_) | Expr::Exists(_))
}

/// One row after the other.
fn projected(values: &Values) -> Result<LogicalPlan> {
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

fn counted(projection: Projection) -> Result<LogicalPlan> {
    let (names, input) = (NamePreserver::new_for_projection(), projection.input);
    let exprs = projection.expr.into_iter().map(|expr| {
        let name = names.save(&expr);
        let expr = expr.transform_up(|expr| match expr {
            Expr::Exists(exists) => {
                let rows = number(&exists.subquery, None)?;
                Ok(Transformed::yes(if exists.negated { rows.eq(lit(0_i64)) } else { rows.gt(lit(0_i64)) }))
            }
            Expr::InSubquery(within) => found(within, input.schema()).map(Transformed::yes),
            other => Ok(Transformed::no(other)),
        })?;
        Ok(name.restore(expr.data))
    });
    let exprs = exprs.collect::<Result<Vec<_>>>()?;
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, input)?))
}

/// True where a row of the subquery has the value; else unknown if the value or one of the rows is NULL; else false.
fn found(InSubquery { expr: value, subquery, negated }: InSubquery, outer: &DFSchema) -> Result<Expr> {
    let column = Expr::Column(Column::from(subquery.subquery.schema().qualified_field(0)));
    let outside = value.as_ref().clone().transform(|expr| match expr {
        Expr::Column(column) => {
            let field = Arc::clone(outer.qualified_field_from_column(&column)?.1);
            Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    let some = |rows: Expr| rows.gt(lit(0_i64));
    let equal = number(&subquery, Some(column.clone().eq(outside.data)))?;
    let unknown = number(&subquery, Some(column.is_null()))?;
    let among_any = some(number(&subquery, None)?);
    let found = when(some(equal), lit(true))
        .when(some(unknown).or(value.is_null().and(among_any)), lit(ScalarValue::Boolean(None)))
        .otherwise(lit(false))?;
    Ok(if negated { not(found) } else { found })
}

/// How many rows of a subquery there are.
fn number(subquery: &Subquery, filter: Option<Expr>) -> Result<Expr> {
    let mut rows = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone());
    if let Some(filter) = filter {
        rows = rows.filter(filter)?;
    }
    let rows = rows.aggregate(Vec::<Expr>::new(), vec![count(lit(1_i64))])?.build()?;
    let outer_ref_columns = rows.all_out_ref_exprs();
    Ok(Expr::ScalarSubquery(Subquery { subquery: Arc::new(rows), outer_ref_columns, spans: Spans::new() }))
}
