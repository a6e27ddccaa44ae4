//! Casts that a name has to tell. DataFusion names `CAST(v AS INT)` as it names `v`, and refuses what has one name twice
//! among the columns of a result, the keys of a group, the aggregates and the windows: neither `SELECT v, v::INT` nor
//! `max(v), max(v::INT)` could be asked. So where two expressions of a SELECT are alike but for their casts, its casts are
//! put into a function whose name tells the type, and which is gone as soon as the plan is optimized.

use std::{collections::HashMap, mem, ops::ControlFlow};

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, GroupByExpr, Ident,
    ObjectName, OrderBy, Query, Select, SelectItem, SetExpr, Statement, Value, Visit, VisitMut, VisitorMut,
    visit_expressions, visit_expressions_mut,
};

use super::repeated::folded;
use crate::functions::TypedCast;

pub(super) fn name(statement: &mut Statement) {
    let _ = VisitMut::visit(statement, &mut Queries);
}

struct Queries;

impl VisitorMut for Queries {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        name_in(&mut query.body, query.order_by.as_mut());
        ControlFlow::Continue(())
    }
}

fn name_in(body: &mut SetExpr, order: Option<&mut OrderBy>) {
    match body {
        SetExpr::Select(select) => {
            if are_mixed_up(select, order.as_deref()) {
                wrap_in(select, order);
            }
        }
        SetExpr::SetOperation { left, right, .. } => {
            // What orders the rows of both names columns of the result.
            name_in(left, None);
            name_in(right, None);
        }
        _ => {}
    }
}

/// Whether expressions that need names of their own differ by their casts only.
fn are_mixed_up(select: &Select, order: Option<&OrderBy>) -> bool {
    let mut told = Told::default();
    let lists_all = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    let has_wildcard = select.projection.iter().any(lists_all);
    let keys = match &select.group_by {
        GroupByExpr::Expressions(keys, _) => keys.as_slice(),
        GroupByExpr::All(_) => &[],
    };
    let is_grouped = !keys.is_empty() || matches!(select.group_by, GroupByExpr::All(_));
    for item in &select.projection {
        match item {
            SelectItem::UnnamedExpr(expr) => {
                told.note(expr);
                told.mixed_up |= has_wildcard && is_cast(expr) && matches!(bare(expr), Expr::Identifier(_));
            }
            // A key may be told by the name of what is selected, or by its place, and is then called as what it is.
            SelectItem::ExprWithAlias { expr, .. } if is_grouped => told.note(expr),
            _ => {}
        }
    }
    keys.iter().for_each(|key| told.note(key));
    told.note_calls(&select.projection);
    told.note_calls(&select.having);
    told.note_calls(&select.qualify);
    if let Some(order) = order {
        told.note_calls(order);
    }
    told.mixed_up
}

/// The texts of expressions, by what they are without their casts.
#[derive(Default)]
struct Told {
    texts: HashMap<String, String>,
    mixed_up: bool,
}

impl Told {
    fn note(&mut self, expr: &Expr) {
        let text = folded(expr);
        let known = self.texts.entry(folded(&bare(expr))).or_insert_with(|| text.clone());
        self.mixed_up |= *known != text;
    }

    /// Aggregates and windows stand anywhere within an expression. What other functions are called does no harm.
    fn note_calls(&mut self, within: &impl Visit) {
        let _: ControlFlow<()> = visit_expressions(within, |expr| {
            if matches!(expr, Expr::Function(_)) {
                self.note(expr);
            }
            ControlFlow::Continue(())
        });
    }
}

fn is_cast(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_cast(inner),
        expr => matches!(expr, Expr::Cast { .. } | Expr::TypedString(_)),
    }
}

/// Without its casts, parentheses, and the tables of its columns.
fn bare(expr: &Expr) -> Expr {
    let mut bare = expr.clone();
    let _: ControlFlow<()> = visit_expressions_mut(&mut bare, |expr| {
        *expr = match mem::replace(expr, nothing()) {
            Expr::Cast { expr, .. } | Expr::Nested(expr) => *expr,
            Expr::TypedString(typed) => Expr::Value(typed.value),
            Expr::CompoundIdentifier(mut parts) => parts.pop().map_or_else(nothing, Expr::Identifier),
            other => other,
        };
        ControlFlow::Continue(())
    });
    bare
}

fn nothing() -> Expr {
    Expr::Value(Value::Null.into())
}

/// All that the names in question are made of. Conditions and joins have none.
fn wrap_in(select: &mut Select, order: Option<&mut OrderBy>) {
    wrap(&mut select.distinct);
    wrap(&mut select.projection);
    wrap(&mut select.group_by);
    wrap(&mut select.having);
    wrap(&mut select.qualify);
    wrap(&mut select.named_window);
    if let Some(order) = order {
        wrap(order);
    }
}

fn wrap(within: &mut impl VisitMut) {
    let _ = within.visit(&mut Casts);
}

struct Casts;

impl VisitorMut for Casts {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if matches!(expr, Expr::Cast { .. } | Expr::TypedString(_)) {
            let cast = mem::replace(expr, nothing());
            *expr = Expr::Function(Function {
                name: ObjectName::from(vec![Ident::with_quote('"', TypedCast::NAME)]),
                uses_odbc_syntax: false,
                parameters: FunctionArguments::None,
                args: FunctionArguments::List(FunctionArgumentList {
                    duplicate_treatment: None,
                    args: vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(cast))],
                    clauses: Vec::new(),
                }),
                filter: None,
                null_treatment: None,
                over: None,
                within_group: Vec::new(),
            });
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests;
