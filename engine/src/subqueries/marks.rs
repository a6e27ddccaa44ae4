//! `EXISTS` and `IN` where they are values rather than conditions: each becomes a column of a join that marks the rows
//! of its left side. DataFusion has such joins, but makes them for an OR in a WHERE only, and its mark of an `IN` is false
//! where SQL says unknown.

use std::sync::Arc;

use datafusion::{
    common::{
        Column, ScalarValue,
        tree_node::{Transformed, TreeNode},
    },
    error::Result,
    functions_aggregate::expr_fn::count,
    logical_expr::{
        BinaryExpr, Expr, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder, Operator, Projection, Subquery,
        expr::{Exists, InSubquery},
        expr_rewriter::NamePreserver,
        lit, not,
        utils::{conjunction, split_conjunction_owned},
        when,
    },
    optimizer::{
        ApplyOrder, OptimizerConfig, OptimizerRule, decorrelate_predicate_subquery::DecorrelatePredicateSubquery,
    },
};

use super::{is_correlated, subquery_of};

/// What the column of an `IN` is called in its join.
const VALUE: &str = "__value";

/// To be run before DataFusion's own.
#[derive(Debug)]
pub(crate) struct Marks;

impl OptimizerRule for Marks {
    fn name(&self) -> &str {
        "marks"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Projection(projection) if projection.expr.iter().any(holds_predicate) => {
                marked_projection(projection, config)
            }
            LogicalPlan::Filter(filter) if holds_predicate(&filter.predicate) => marked_filter(filter, config),
            other => Ok(Transformed::no(other)),
        }
    }
}

fn marked_projection(projection: Projection, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
    let names = NamePreserver::new_for_projection();
    let mut marking = Marking::new(&projection.input, config);
    let exprs = projection.expr.iter().map(|expr| {
        let name = names.save(expr);
        Ok(name.restore(marking.mark(expr.clone())?))
    });
    let exprs = exprs.collect::<Result<Vec<_>>>()?;
    if !marking.has_marked {
        return Ok(Transformed::no(LogicalPlan::Projection(projection)));
    }
    let input = Arc::new(marking.input);
    Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(exprs, input)?)))
}

fn marked_filter(filter: Filter, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
    let columns: Vec<Expr> = filter.input.schema().iter().map(|column| Expr::Column(Column::from(column))).collect();
    let mut marking = Marking::new(&filter.input, config);
    let conditions = split_conjunction_owned(filter.predicate.clone()).into_iter();
    let conditions = conditions.map(|condition| match is_planned(&condition) {
        true => Ok(condition),
        false => {
            marking.knows_unknown = !is_positive(&condition);
            marking.mark(condition)
        }
    });
    let predicate = conjunction(conditions.collect::<Result<Vec<_>>>()?);
    let Some(predicate) = predicate.filter(|_| marking.has_marked) else {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    };
    Ok(Transformed::yes(LogicalPlanBuilder::from(marking.input).filter(predicate)?.project(columns)?.build()?))
}

fn is_predicate(expr: &Expr) -> bool {
    matches!(expr, Expr::InSubquery(_) | Expr::Exists(_))
}

fn holds_predicate(expr: &Expr) -> bool {
    expr.exists(|expr| Ok(is_predicate(expr))).unwrap_or(false)
}

/// Does DataFusion make the right join of it, as a condition of a WHERE? An anti join for `NOT IN` knows NULL by one key
/// alone, so by no further condition.
fn is_planned(condition: &Expr) -> bool {
    let is_join = |within: &InSubquery, negated: bool| {
        let is_anti_by_more = within.negated != negated && is_correlated(&within.subquery);
        !is_anti_by_more && !holds_predicate(&within.expr)
    };
    match condition {
        Expr::Exists(_) => true,
        Expr::InSubquery(within) => is_join(within, false),
        Expr::Not(inner) => match inner.as_ref() {
            Expr::Exists(_) => true,
            Expr::InSubquery(within) => is_join(within, true),
            inner => !holds_predicate(inner),
        },
        other => !holds_predicate(other),
    }
}

/// Whether unknown is as good as false for each `IN` of a condition.
fn is_positive(condition: &Expr) -> bool {
    match condition {
        Expr::InSubquery(within) => !within.negated && !holds_predicate(&within.expr),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And | Operator::Or, right }) => {
            is_positive(left) && is_positive(right)
        }
        Expr::Exists(_) => true,
        other => !holds_predicate(other),
    }
}

struct Marking<'a> {
    input: LogicalPlan,
    config: &'a dyn OptimizerConfig,
    has_marked: bool,
    /// An `IN` is unknown where SQL says so, and not false.
    knows_unknown: bool,
}

impl<'a> Marking<'a> {
    fn new(input: &Arc<LogicalPlan>, config: &'a dyn OptimizerConfig) -> Self {
        Self { input: input.as_ref().clone(), config, has_marked: false, knows_unknown: true }
    }

    /// The expression with marks in place of its subqueries, as far as that is possible.
    fn mark(&mut self, expr: Expr) -> Result<Expr> {
        let marked = expr.transform_up(|expr| {
            let mark = match &expr {
                Expr::Exists(Exists { subquery, negated }) => {
                    let found = self.exists(subquery)?;
                    found.map(|found| if *negated { not(found) } else { found })
                }
                Expr::InSubquery(within) => self.found(within)?,
                _ => return Ok(Transformed::no(expr)),
            };
            Ok(mark.map_or_else(|| Transformed::no(expr), Transformed::yes))
        })?;
        self.has_marked |= marked.transformed;
        Ok(marked.data)
    }

    /// True where a row of the subquery has the value; else unknown if the value or one of the rows is NULL; else false.
    fn found(&mut self, within: &InSubquery) -> Result<Option<Expr>> {
        let InSubquery { expr: value, subquery, negated } = within;
        // By a name of its own: DataFusion would take it twice where it is an aggregate's, and not at all from VALUES.
        let rows = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone());
        let first = Expr::Column(Column::from(subquery.subquery.schema().qualified_field(0)));
        let rows = rows.project([first.alias(VALUE)])?.build()?;
        let column = Expr::Column(Column::new_unqualified(VALUE));
        let may_be_null = self.knows_unknown && rows.schema().field(0).is_nullable();
        let is_nullable = self.knows_unknown && value.nullable(self.input.schema().as_ref())?;
        let unknown_rows = may_be_null.then(|| -> Result<Subquery> {
            let rows = LogicalPlanBuilder::from(rows.clone()).filter(column.is_null())?;
            Ok(subquery_of(rows.build()?, subquery))
        });
        let equal = InSubquery { expr: value.clone(), subquery: subquery_of(rows, subquery), negated: false };
        let Some(equal) = self.join(Expr::InSubquery(equal))? else { return Ok(None) };
        let mut unknown: Option<Expr> = None;
        if let Some(rows) = unknown_rows.transpose()? {
            let Some(any) = self.exists(&rows)? else { return Ok(None) };
            unknown = Some(any);
        }
        if is_nullable {
            let Some(any) = self.exists(subquery)? else { return Ok(None) };
            let by_value = value.as_ref().clone().is_null().and(any);
            unknown = Some(match unknown {
                Some(by_row) => by_row.or(by_value),
                None => by_value,
            });
        }
        let found = match unknown {
            Some(unknown) => {
                when(equal, lit(true)).when(unknown, lit(ScalarValue::Boolean(None))).otherwise(lit(false))?
            }
            None => equal,
        };
        Ok(Some(if *negated { not(found) } else { found }))
    }

    fn exists(&mut self, subquery: &Subquery) -> Result<Option<Expr>> {
        if is_correlated(subquery) {
            return self.join(Expr::Exists(Exists { subquery: subquery.clone(), negated: false }));
        }
        // Found out once, rather than for each row.
        let rows = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone()).limit(0, Some(1))?;
        let rows = rows.aggregate(Vec::<Expr>::new(), vec![count(lit(1_i64))])?.build()?;
        Ok(Some(Expr::ScalarSubquery(subquery_of(rows, subquery)).gt(lit(0_i64))))
    }

    /// DataFusion makes the join, of a condition that is no semi join to it.
    fn join(&mut self, predicate: Expr) -> Result<Option<Expr>> {
        let filter = Filter::try_new(predicate.is_true(), Arc::new(self.input.clone()))?;
        let joined = DecorrelatePredicateSubquery::new().rewrite(LogicalPlan::Filter(filter), self.config)?.data;
        let LogicalPlan::Projection(Projection { input, .. }) = joined else { return Ok(None) };
        let LogicalPlan::Filter(filter) = Arc::unwrap_or_clone(input) else { return Ok(None) };
        if holds_predicate(&filter.predicate) {
            return Ok(None);
        }
        self.input = Arc::unwrap_or_clone(filter.input);
        Ok(Some(filter.predicate))
    }
}
