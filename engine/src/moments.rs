//! Timestamps beside text and dates. DataFusion compares them as nanoseconds, which end in 2262: a row of 9999-12-31, or
//! the text of one, then fails the statement. This rule brings the other side to microseconds before DataFusion decides.

use std::{cell::OnceCell, sync::Arc};

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::{
    common::{DFSchema, ScalarValue, config::ConfigOptions, tree_node::Transformed, tree_node::TreeNode},
    error::Result,
    logical_expr::{
        Between, BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, cast, expr::InList,
        expr_rewriter::NamePreserver, utils::merge_schema,
    },
    optimizer::AnalyzerRule,
};

use crate::sql::types::{DEFAULT_PRECISION, digits_of_second};

/// To be run before type coercion.
#[derive(Default, Debug)]
pub(crate) struct ComparedMoments;

impl AnalyzerRule for ComparedMoments {
    fn name(&self) -> &str {
        "compared_moments"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(rewrite)?.data)
    }
}

fn rewrite(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    // Most plans compare numbers alone, and ask for no types.
    let schema = OnceCell::new();
    let types = |plan: &LogicalPlan| {
        let mut schema = merge_schema(&plan.inputs());
        schema.merge(plan.schema());
        schema
    };
    let (names, held) = (NamePreserver::new(&plan), plan.clone());
    plan.map_expressions(|expr| {
        if !expr.exists(|expr| Ok(may_compare(expr)))? {
            return Ok(Transformed::no(expr));
        }
        let name = names.save(&expr);
        let schema = schema.get_or_init(|| types(&held));
        let rewritten = expr.transform_up(|expr| Ok(compared(expr, schema)))?;
        Ok(rewritten.update_data(|expr| name.restore(expr)))
    })
}

/// A comparison with text or a date in it, as far as can be seen without types.
fn may_compare(expr: &Expr) -> bool {
    let may_be = |expr: &Expr| match expr {
        Expr::Literal(value, _) => is_coarse(&value.data_type()) || is_moment(&value.data_type()).is_some(),
        Expr::Placeholder(_) => false,
        _ => true,
    };
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => is_comparison(*op) && may_be(left) && may_be(right),
        Expr::Between(Between { low, high, .. }) => may_be(low) || may_be(high),
        Expr::InList(InList { list, .. }) => list.iter().any(may_be),
        _ => false,
    }
}

pub(crate) fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

fn compared(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    if !may_compare(&expr) {
        return Transformed::no(expr);
    }
    // All sides of the comparison; the first of them that is a timestamp says in which zone.
    let zone = |sides: &[&Expr]| {
        let types: Option<Vec<DataType>> = sides.iter().map(|side| side.get_type(schema).ok()).collect();
        let types = types.filter(|types| types.iter().any(is_coarse))?;
        types.iter().find_map(is_moment)
    };
    let finer = |side: &mut Expr, zone: &Option<Arc<str>>| {
        if side.get_type(schema).is_ok_and(|of| is_coarse(&of)) && !has_more_digits(side) {
            let to = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
            *side = cast(std::mem::take(side), to);
        }
    };
    match expr {
        Expr::BinaryExpr(mut binary) => {
            let Some(zone) = zone(&[&binary.left, &binary.right]) else {
                return Transformed::no(Expr::BinaryExpr(binary));
            };
            finer(&mut binary.left, &zone);
            finer(&mut binary.right, &zone);
            Transformed::yes(Expr::BinaryExpr(binary))
        }
        Expr::Between(mut between) => {
            let Some(zone) = zone(&[&between.expr, &between.low, &between.high]) else {
                return Transformed::no(Expr::Between(between));
            };
            for side in [&mut between.expr, &mut between.low, &mut between.high] {
                finer(side, &zone);
            }
            Transformed::yes(Expr::Between(between))
        }
        Expr::InList(mut list) => {
            let sides: Vec<&Expr> = std::iter::once(list.expr.as_ref()).chain(&list.list).collect();
            let Some(zone) = zone(&sides) else { return Transformed::no(Expr::InList(list)) };
            finer(&mut list.expr, &zone);
            list.list.iter_mut().for_each(|side| finer(side, &zone));
            Transformed::yes(Expr::InList(list))
        }
        other => Transformed::no(other),
    }
}

/// Text or a date.
fn is_coarse(of: &DataType) -> bool {
    matches!(of, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Date32 | DataType::Date64)
}

/// The zone of a timestamp, if that is not of nanoseconds itself.
#[expect(clippy::option_option, reason = "a timestamp without a zone is one all the same")]
fn is_moment(of: &DataType) -> Option<Option<Arc<str>>> {
    match of {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => None,
        DataType::Timestamp(_, zone) => Some(zone.clone()),
        _ => None,
    }
}

/// A text that says more than microseconds would keep.
fn has_more_digits(expr: &Expr) -> bool {
    let Expr::Literal(
        ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)),
        _,
    ) = expr
    else {
        return false;
    };
    digits_of_second(text) > DEFAULT_PRECISION
}

#[cfg(test)]
mod tests;
