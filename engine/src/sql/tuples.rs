//! Rows of values in conditions: `(a, b) IN (SELECT x, y …)`, `(a, b) IN ((1, 2), (3, 4))`, `(a, b) = (1, 2)`. DataFusion
//! takes them for structs, which are never unknown and have no subqueries; so they become conditions on their values.
//!
//! That of a subquery is `EXISTS` over those of its rows that are equal. Where it matters that the answer may be unknown,
//! for a row of the subquery that is equal as far as it is not NULL, those rows are asked for, too.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::{
    ast::{
        BinaryOperator, Expr, JoinConstraint, JoinOperator, Query, Select, SelectItem, SetExpr, Statement, TableFactor,
        UnaryOperator, Value, VisitMut, VisitorMut,
    },
    dialect::GenericDialect,
    parser::Parser,
};

use super::quoted;
use crate::{Error, Result};

/// What the subquery is called in `EXISTS`, and how the names of its columns begin. The values that are compared with them
/// stand beside nothing else, so all that they name is of the query around.
const ROWS: &str = "__rows";
/// So many bytes of text are copied at most.
const MOST_COPIED: usize = 1 << 20;

pub(super) fn settle(statement: &mut Statement) -> Result<()> {
    let condition = match statement {
        Statement::Update(update) => update.selection.as_mut(),
        Statement::Delete(delete) => delete.selection.as_mut(),
        _ => None,
    };
    if let Some(condition) = condition {
        settle_condition(condition, true)?;
    }
    match statement.visit(&mut Tuples::default()) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

#[derive(Default)]
struct Tuples {
    /// Of the text, in bytes.
    copied: usize,
}

impl VisitorMut for Tuples {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        flow(settle_body(&mut query.body))
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        flow(self.settle_value(expr))
    }
}

fn flow(settled: Result<()>) -> ControlFlow<Error> {
    settled.map_or_else(ControlFlow::Break, ControlFlow::Continue)
}

fn settle_body(body: &mut SetExpr) -> Result<()> {
    match body {
        SetExpr::Select(select) => settle_select(select),
        SetExpr::SetOperation { left, right, .. } => {
            settle_body(left)?;
            settle_body(right)
        }
        _ => Ok(()),
    }
}

fn settle_select(select: &mut Select) -> Result<()> {
    let filters = select.selection.iter_mut().chain(&mut select.having);
    let joins = select.from.iter_mut().flat_map(|item| &mut item.joins);
    let joined = joins.filter_map(|join| match &mut join.join_operator {
        JoinOperator::Join(JoinConstraint::On(on)) | JoinOperator::Inner(JoinConstraint::On(on)) => Some(on),
        _ => None,
    });
    filters.chain(joined).try_for_each(|condition| settle_condition(condition, true))
}

/// Of a condition of which only matters whether it is true (or, where it stands below a NOT, whether it is false).
fn settle_condition(expr: &mut Expr, positive: bool) -> Result<()> {
    match expr {
        Expr::Nested(inner) => settle_condition(inner, positive),
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => settle_condition(expr, !positive),
        Expr::BinaryOp { left, op: BinaryOperator::And | BinaryOperator::Or, right } => {
            settle_condition(left, positive)?;
            settle_condition(right, positive)
        }
        Expr::InSubquery { expr: tuple, subquery, negated } => {
            let Expr::Tuple(values) = tuple.as_ref() else { return Ok(()) };
            let rows = if positive != *negated { Rows::Equal } else { Rows::NotUnequal };
            *expr = exists(values, subquery, *negated, rows)?;
            Ok(())
        }
        _ => Ok(()),
    }
}

impl Tuples {
    /// Of anything whose value matters.
    fn settle_value(&mut self, expr: &mut Expr) -> Result<()> {
        let settled = match expr {
            Expr::InSubquery { expr: tuple, subquery, negated } => {
                let Expr::Tuple(values) = tuple.as_ref() else { return Ok(()) };
                self.copy(subquery.to_string().len())?;
                let mut value = parse("CASE WHEN a THEN TRUE WHEN b THEN NULL ELSE FALSE END")?;
                if let Expr::Case { conditions, .. } = &mut value {
                    for (when, rows) in conditions.iter_mut().zip([Rows::Equal, Rows::NotUnequal]) {
                        when.condition = exists(values, subquery, false, rows)?;
                    }
                }
                if *negated { not(value) } else { value }
            }
            Expr::InList { expr: tuple, list, negated } => {
                let Expr::Tuple(values) = tuple.as_ref() else { return Ok(()) };
                self.copy(tuple.to_string().len().saturating_mul(list.len()))?;
                let any = list.iter().map(|item| match item {
                    Expr::Tuple(others) => equal(values, others),
                    _ => Err(Error::invalid(format!(
                        "{} is compared with a single value; write rows there, as in IN ((1, 2), (3, 4))",
                        row(values)
                    ))),
                });
                let any = balanced(any.collect::<Result<Vec<_>>>()?, &BinaryOperator::Or);
                if *negated { not(any) } else { any }
            }
            Expr::BinaryOp { left, op, right } => match (left.as_ref(), op, right.as_ref()) {
                (Expr::Tuple(left), BinaryOperator::Eq, Expr::Tuple(right)) => equal(left, right)?,
                (Expr::Tuple(left), BinaryOperator::NotEq, Expr::Tuple(right)) => not(equal(left, right)?),
                _ => return Ok(()),
            },
            _ => return Ok(()),
        };
        *expr = settled;
        Ok(())
    }

    /// What is copied may hold such conditions itself, and be copied for each again.
    fn copy(&mut self, bytes: usize) -> Result<()> {
        self.copied = self.copied.saturating_add(bytes);
        match self.copied > MOST_COPIED {
            true => Err(Error::invalid(
                "the comparisons of rows of values are too long; write joins, or several statements",
            )),
            false => Ok(()),
        }
    }
}

/// Which rows of a subquery are asked for.
#[derive(Clone, Copy)]
enum Rows {
    /// Those that are equal,
    Equal,
    /// those that are, or may be for all that is known.
    NotUnequal,
}

/// `[NOT] EXISTS (SELECT 1 FROM (subquery) AS rows (c0, c1) WHERE a = rows.c0 AND b = rows.c1)`.
fn exists(values: &[Expr], subquery: &Query, negated: bool, rows: Rows) -> Result<Expr> {
    if let Some(columns) = columns(&subquery.body).filter(|columns| *columns != values.len()) {
        return Err(Error::invalid(format!(
            "{} is compared with a query of {columns} columns; it takes one of {}",
            row(values),
            values.len()
        )));
    }
    let name = |i: usize| quoted(&format!("{ROWS}_{i}"));
    let names = (0..values.len()).map(|i| name(i).to_string()).collect::<Vec<_>>().join(", ");
    let mut made = parse(&format!("EXISTS (SELECT 1 FROM (SELECT 1) AS {} ({names}))", quoted(ROWS)))?;
    let conditions = values.iter().enumerate().map(|(i, value)| {
        let equal = compared(value, &Expr::CompoundIdentifier(vec![quoted(ROWS), name(i)]));
        match rows {
            Rows::Equal => equal,
            Rows::NotUnequal => Expr::IsNotFalse(Box::new(equal)),
        }
    });
    if let Expr::Exists { subquery: around, negated: is_negated } = &mut made
        && let SetExpr::Select(select) = around.body.as_mut()
        && let Some(TableFactor::Derived { subquery: inner, .. }) =
            select.from.first_mut().map(|from| &mut from.relation)
    {
        *is_negated = negated;
        **inner = subquery.clone();
        select.selection = Some(balanced(conditions.collect(), &BinaryOperator::And));
    }
    Ok(made)
}

fn equal(left: &[Expr], right: &[Expr]) -> Result<Expr> {
    if left.len() != right.len() {
        return Err(Error::invalid(format!(
            "{} and {} are compared, and have different numbers of values",
            row(left),
            row(right)
        )));
    }
    let values = left.iter().zip(right).map(|(left, right)| compared(left, right)).collect();
    Ok(balanced(values, &BinaryOperator::And))
}

fn compared(left: &Expr, right: &Expr) -> Expr {
    let side = |side: &Expr| Box::new(Expr::Nested(Box::new(side.clone())));
    Expr::Nested(Box::new(Expr::BinaryOp { left: side(left), op: BinaryOperator::Eq, right: side(right) }))
}

/// In a tree that is not deep, however many there are.
fn balanced(mut conditions: Vec<Expr>, operator: &BinaryOperator) -> Expr {
    if conditions.len() < 2 {
        return conditions.pop().unwrap_or_else(|| Expr::value(Value::Null));
    }
    let right = conditions.split_off(conditions.len() / 2);
    let [left, right] = [conditions, right].map(|side| Box::new(balanced(side, operator)));
    Expr::Nested(Box::new(Expr::BinaryOp { left, op: operator.clone(), right }))
}

fn not(condition: Expr) -> Expr {
    Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(Expr::Nested(Box::new(condition))) }
}

fn row(values: &[Expr]) -> String {
    format!("a row of {} values", values.len())
}

fn parse(text: &str) -> Result<Expr> {
    let parsed = Parser::new(&GenericDialect {}).try_with_sql(text).and_then(|mut parser| parser.parse_expr());
    parsed.map_err(|_| Error::internal("the parser does not know a condition"))
}

/// As far as the text tells.
fn columns(body: &SetExpr) -> Option<usize> {
    match body {
        SetExpr::Select(select) => {
            let is_one =
                |item: &SelectItem| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. });
            select.projection.iter().all(is_one).then_some(select.projection.len())
        }
        SetExpr::Query(query) => columns(&query.body),
        SetExpr::SetOperation { left, .. } => columns(left),
        SetExpr::Values(values) => values.rows.first().map(|row| row.content.len()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
