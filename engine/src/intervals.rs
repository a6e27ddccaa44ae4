//! Intervals in order. Arrow compares months, then days, then nanoseconds, by which 40 days are less than a month and
//! 49 hours, as the difference of two timestamps is given, less than a day. This rule compares how long intervals are,
//! as PostgreSQL does: a month is 30 days, and a day is 24 hours.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::{
    common::{
        DFSchema,
        config::ConfigOptions,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    error::Result,
    logical_expr::{
        AggregateUDF, Between, BinaryExpr, Case, Expr, ExprSchemable, LogicalPlan, ScalarUDF, WindowFrame,
        WindowFrameUnits, WindowFunctionDefinition,
        expr::{AggregateFunction, InList, Sort, WindowFunction},
        expr_rewriter::NamePreserver,
        utils::merge_schema,
    },
    optimizer::AnalyzerRule,
};

use crate::moments::is_comparison;
use extremes::Extreme;
use length::Length;

mod extremes;
mod length;

/// To be run twice: before type coercion for windows alone, since it refuses those that are ordered by an interval, and
/// after it, when all sides of a comparison have one type.
#[derive(Debug)]
pub(crate) struct OrderedIntervals {
    coerced: bool,
    length: Arc<ScalarUDF>,
    min: Arc<AggregateUDF>,
    max: Arc<AggregateUDF>,
}

impl OrderedIntervals {
    pub fn before_coercion() -> Self {
        Self::new(false)
    }

    pub fn after_coercion() -> Self {
        Self::new(true)
    }

    fn new(coerced: bool) -> Self {
        Self { coerced, length: Length::function(), min: Extreme::min(), max: Extreme::max() }
    }
}

impl AnalyzerRule for OrderedIntervals {
    fn name(&self) -> &str {
        if self.coerced { "ordered_intervals" } else { "windows_by_intervals" }
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(|plan| self.rewrite(plan))?.data)
    }
}

impl OrderedIntervals {
    fn rewrite(&self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let sorts = self.coerced && matches!(plan, LogicalPlan::Sort(_));
        let names = NamePreserver::new(&plan);
        // Most plans order nothing but numbers and text, and ask for no types.
        let mut concerned = sorts;
        plan.apply_expressions(|expr| {
            concerned = concerned || expr.exists(|expr| Ok(self.concerns(expr)))?;
            Ok(if concerned { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })?;
        if !concerned {
            return Ok(Transformed::no(plan));
        }
        let mut schema = merge_schema(&plan.inputs());
        // The filters of a scan name the columns of its own output.
        schema.merge(plan.schema());
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let mut rewritten = expr.transform_up(|expr| Ok(self.ordered(expr, &schema)))?;
            if sorts {
                rewritten = rewritten.transform_data(|expr| Ok(self.measured(expr, &schema)))?;
            }
            Ok(rewritten.update_data(|expr| name.restore(expr)))
        })
    }

    fn concerns(&self, expr: &Expr) -> bool {
        (self.coerced || matches!(expr, Expr::WindowFunction(_))) && may_order(expr)
    }

    fn ordered(&self, expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
        if !self.concerns(&expr) {
            return Transformed::no(expr);
        }
        match expr {
            Expr::BinaryExpr(mut binary) if is_interval(&binary.left, schema) && is_interval(&binary.right, schema) => {
                self.measure(&mut binary.left);
                self.measure(&mut binary.right);
                Transformed::yes(Expr::BinaryExpr(binary))
            }
            Expr::Between(mut between) if is_interval(&between.expr, schema) => {
                for side in [&mut between.expr, &mut between.low, &mut between.high] {
                    self.measure(side);
                }
                Transformed::yes(Expr::Between(between))
            }
            Expr::InList(mut list) if is_interval(&list.expr, schema) => {
                self.measure(&mut list.expr);
                list.list.iter_mut().for_each(|side| self.measure(side));
                Transformed::yes(Expr::InList(list))
            }
            Expr::Case(Case { expr: Some(mut base), mut when_then_expr, else_expr }) if is_interval(&base, schema) => {
                self.measure(&mut base);
                when_then_expr.iter_mut().for_each(|(when, _)| self.measure(when));
                Transformed::yes(Expr::Case(Case { expr: Some(base), when_then_expr, else_expr }))
            }
            Expr::AggregateFunction(mut aggregate) => {
                let sorted = self.sort(&mut aggregate.params.order_by, schema);
                let replaced = self.extreme(&aggregate.func, &aggregate.params.args, schema);
                let changed = sorted || replaced.is_some();
                aggregate.func = replaced.unwrap_or(aggregate.func);
                Transformed::new_transformed(Expr::AggregateFunction(aggregate), changed)
            }
            Expr::WindowFunction(mut window) => {
                let params = &mut window.params;
                // An offset, as in RANGE '1 day' PRECEDING, is added to the interval itself.
                let sorted = !has_offset(&params.window_frame) && self.sort(&mut params.order_by, schema);
                let replaced = match &window.fun {
                    WindowFunctionDefinition::AggregateUDF(of) => self.extreme(of, &window.params.args, schema),
                    WindowFunctionDefinition::WindowUDF(_) => None,
                };
                let changed = sorted || replaced.is_some();
                window.fun = replaced.map_or(window.fun, WindowFunctionDefinition::AggregateUDF);
                Transformed::new_transformed(Expr::WindowFunction(window), changed)
            }
            other => Transformed::no(other),
        }
    }

    fn measure(&self, side: &mut Expr) {
        *side = self.length.call(vec![std::mem::take(side)]);
    }

    fn measured(&self, expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
        if is_interval(&expr, schema) { Transformed::yes(self.length.call(vec![expr])) } else { Transformed::no(expr) }
    }

    fn sort(&self, by: &mut [Sort], schema: &DFSchema) -> bool {
        let mut changed = false;
        for sort in by.iter_mut().filter(|sort| is_interval(&sort.expr, schema)) {
            self.measure(&mut sort.expr);
            changed = true;
        }
        changed
    }

    fn extreme(&self, of: &AggregateUDF, args: &[Expr], schema: &DFSchema) -> Option<Arc<AggregateUDF>> {
        let function = match of.name() {
            "min" => &self.min,
            "max" => &self.max,
            _ => return None,
        };
        args.first().filter(|arg| is_interval(arg, schema)).map(|_| Arc::clone(function))
    }
}

/// Whether intervals may be compared or ordered here, as far as can be seen without types.
fn may_order(expr: &Expr) -> bool {
    let may_be = |expr: &Expr| match expr {
        Expr::Literal(value, _) => matches!(value.data_type(), DataType::Interval(_)),
        Expr::Placeholder(of) => {
            of.field.as_ref().is_some_and(|field| matches!(field.data_type(), DataType::Interval(_)))
        }
        _ => true,
    };
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => is_comparison(*op) && may_be(left) && may_be(right),
        Expr::Between(Between { expr, low, high, .. }) => may_be(expr) && may_be(low) && may_be(high),
        Expr::InList(InList { expr, list, .. }) => may_be(expr) && list.iter().all(may_be),
        Expr::Case(Case { expr: Some(base), when_then_expr, .. }) => {
            may_be(base) && when_then_expr.iter().all(|(when, _)| may_be(when))
        }
        Expr::AggregateFunction(AggregateFunction { func, params }) => {
            !params.order_by.is_empty() || matches!(func.name(), "min" | "max")
        }
        Expr::WindowFunction(window) => {
            let WindowFunction { fun, params, .. } = window.as_ref();
            !params.order_by.is_empty() || matches!(fun.name(), "min" | "max")
        }
        _ => false,
    }
}

fn is_interval(expr: &Expr, schema: &DFSchema) -> bool {
    matches!(expr.get_type(schema), Ok(DataType::Interval(_)))
}

fn has_offset(frame: &WindowFrame) -> bool {
    use datafusion::logical_expr::WindowFrameBound::{Following, Preceding};
    let offset = |bound: &_| matches!(bound, Preceding(by) | Following(by) if !by.is_null());
    frame.units == WindowFrameUnits::Range && (offset(&frame.start_bound) || offset(&frame.end_bound))
}

#[cfg(test)]
mod tests;
