//! Guards that guard: `CASE WHEN a <> 0 THEN 10 / a > 1 END` and `a <> 0 AND 10 / a > 1` must not divide by the zeros
//! that they rule out.
//!
//! A CASE evaluates each branch for its own rows only, but the optimizer makes ANDs and ORs of one that yields booleans,
//! and those evaluate both sides for all rows, or are taken apart and pushed into scans. So such a CASE yields numbers
//! until it has been evaluated, and what may fail by a value on the right of an AND or OR is put into one.

use datafusion::{
    common::{
        Column, DFSchema, ScalarValue,
        config::ConfigOptions,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    error::Result,
    logical_expr::{
        BinaryExpr, Case, Expr, ExprSchemable, LogicalPlan, Operator, cast, expr::ScalarFunction,
        expr_rewriter::NamePreserver, lit, not, utils::merge_schema,
    },
    optimizer::AnalyzerRule,
};

use arrow::datatypes::DataType;

/// To be run when types are settled, and before operators are made functions that check.
#[derive(Debug)]
pub(crate) struct Guards;

impl AnalyzerRule for Guards {
    fn name(&self) -> &str {
        "guards"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        if !may_need_guards(&plan)? {
            return Ok(plan);
        }
        Ok(plan.transform_up_with_subqueries(rewrite)?.data)
    }
}

/// Most plans do not, and are not copied for it.
fn may_need_guards(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found |= expr.exists(|expr| {
                Ok(match expr {
                    Expr::BinaryExpr(BinaryExpr { op, .. }) => matches!(op, Operator::Divide | Operator::Modulo),
                    Expr::Case(_) | Expr::Cast(_) => true,
                    Expr::ScalarFunction(call) => call.func.short_circuits(),
                    _ => false,
                })
            })?;
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

fn rewrite(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let mut schema = merge_schema(&plan.inputs());
    // The filters of a scan name the columns of its own output.
    schema.merge(plan.schema());
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let rewritten = expr.transform_up(|expr| guarded(expr, &schema))?;
        Ok(rewritten.update_data(|expr| name.restore(expr)))
    })
}

fn guarded(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::Case(case) if yields_fallible_booleans(case_results(&case), schema)? => {
            let number = |expr: Box<Expr>| Box::new(cast(*expr, DataType::Int8));
            Ok(Transformed::yes(truth(Expr::Case(Case {
                expr: case.expr,
                when_then_expr: case.when_then_expr.into_iter().map(|(when, then)| (when, number(then))).collect(),
                else_expr: case.else_expr.map(number),
            }))))
        }
        // The optimizer makes CASE of them.
        Expr::ScalarFunction(ScalarFunction { func, args })
            if func.short_circuits() && yields_fallible_booleans(args.iter(), schema)? =>
        {
            let args = args.into_iter().map(|arg| cast(arg, DataType::Int8)).collect();
            Ok(Transformed::yes(truth(Expr::ScalarFunction(ScalarFunction { func, args }))))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right })
            if fails_by_value(&right, schema)? =>
        {
            let Some(guard) = guard(&left, op, &right, schema)? else {
                return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })));
            };
            let (decided, value) = if op == Operator::And { (not(guard), 0_i8) } else { (guard, 1_i8) };
            let right = truth(Expr::Case(Case {
                expr: None,
                when_then_expr: vec![(Box::new(decided), Box::new(lit(value)))],
                else_expr: Some(Box::new(cast(*right, DataType::Int8))),
            }));
            Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right: Box::new(right) })))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// A number as the boolean that it was.
fn truth(number: Expr) -> Expr {
    number.not_eq(lit(0_i8))
}

fn case_results(case: &Case) -> impl Iterator<Item = &Expr> {
    case.when_then_expr.iter().map(|(_, then)| then.as_ref()).chain(case.else_expr.as_deref())
}

fn yields_fallible_booleans<'a>(results: impl Iterator<Item = &'a Expr>, schema: &DFSchema) -> Result<bool> {
    let mut fallible = false;
    for result in results {
        if !matches!(result.get_type(schema)?, DataType::Boolean | DataType::Null) {
            return Ok(false);
        }
        fallible |= result.exists(|expr| Ok(is_checked(expr) || is_fallible(expr, schema)))?;
    }
    Ok(fallible)
}

/// Functions may refuse their arguments, and so do what operators are made to be.
fn is_checked(expr: &Expr) -> bool {
    use Operator::{Minus, Multiply, Plus, StringConcat};
    match expr {
        Expr::ScalarFunction(_) => true,
        Expr::BinaryExpr(BinaryExpr { op, .. }) => matches!(op, Plus | Minus | Multiply | StringConcat),
        _ => false,
    }
}

/// May it fail for some values of a column? Sums and products that overflow do too; those are left alone, for there are
/// many of them, and few that a condition beside them guards.
fn fails_by_value(expr: &Expr, schema: &DFSchema) -> Result<bool> {
    expr.exists(|expr| Ok(is_fallible(expr, schema)))
}

fn is_fallible(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        Expr::BinaryExpr(BinaryExpr { op: Operator::Divide | Operator::Modulo, right, .. }) => {
            !matches!(right.as_ref(), Expr::Literal(value, _) if !is_zero(value))
        }
        Expr::Cast(cast) => {
            let reads_text = cast.expr.get_type(schema).is_ok_and(|kind| kind.is_string());
            reads_text && !cast.field.data_type().is_string() && cast.expr.any_column_refs()
        }
        _ => false,
    }
}

fn is_zero(value: &ScalarValue) -> bool {
    ScalarValue::new_zero(&value.data_type()).map_or(true, |zero| zero == *value)
}

/// What the left side says before the right one is looked at, of the relations that the right one reads: another
/// relation's columns would keep it above a join.
fn guard(left: &Expr, op: Operator, right: &Expr, schema: &DFSchema) -> Result<Option<Expr>> {
    let relations =
        |expr: &Expr| expr.column_refs().into_iter().map(|c: &Column| c.relation.clone()).collect::<Vec<_>>();
    let read = relations(right);
    let mut guard: Option<Expr> = None;
    for part in parts(left, op) {
        let of = relations(part);
        let holds_query = part.exists(|expr| {
            Ok(matches!(expr, Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_)))
        })?;
        let unfit = of.is_empty() || holds_query || part.is_volatile() || fails_by_value(part, schema)?;
        if unfit || !of.iter().all(|relation| read.contains(relation)) {
            continue;
        }
        guard = Some(match (guard, op) {
            (None, _) => part.clone(),
            (Some(guard), Operator::And) => guard.and(part.clone()),
            (Some(guard), _) => guard.or(part.clone()),
        });
    }
    Ok(guard)
}

fn parts(expr: &Expr, op: Operator) -> Vec<&Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: inner, right }) if *inner == op => {
            let mut parts = self::parts(left, op);
            parts.extend(self::parts(right, op));
            parts
        }
        other => vec![other],
    }
}
