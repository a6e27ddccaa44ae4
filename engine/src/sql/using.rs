//! The column that `RIGHT JOIN … USING` and `FULL JOIN … USING` merge. DataFusion takes the left side's for it, which is
//! nothing where a row is the right side's alone; as the standard has it, it is the right side's, or whichever of the two
//! there is. So where the column is named without its table, the expression that it stands for is put.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::{
    ast::{
        Distinct, ExcludeSelectItem, Expr, GroupByExpr, Ident, JoinConstraint, JoinOperator, NamedWindowDefinition,
        ObjectName, OrderByKind, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Statement,
        TableFactor, TableWithJoins, VisitMut, VisitorMut, WildcardAdditionalOptions,
    },
    dialect::GenericDialect,
    parser::Parser,
};

use super::{normalize, quoted};
use crate::{Error, Result};

pub(super) fn merge(statement: &mut Statement) -> Result<()> {
    match statement.visit(&mut Queries) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Queries;

impl VisitorMut for Queries {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        match merge_in(query) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

fn merge_in(query: &mut Query) -> Result<()> {
    let mut merged = Vec::new();
    merge_in_body(&mut query.body, &mut merged)?;
    // An ORDER BY that names an output finds it there; else it names a column of this query's tables.
    if let (SetExpr::Select(select), Some(order)) = (query.body.as_ref(), &mut query.order_by)
        && let OrderByKind::Expressions(order) = &mut order.kind
    {
        let outputs = outputs(select);
        let mut names = Names { merged, within: 0 };
        names.merged.retain(|merged| !outputs.contains(&merged.name));
        order.iter_mut().for_each(|by| names.put(&mut by.expr));
    }
    Ok(())
}

/// Of each query of a set operation by itself.
fn merge_in_body(body: &mut SetExpr, merged: &mut Vec<Merged>) -> Result<()> {
    match body {
        SetExpr::Select(select) => *merged = merge_in_select(select)?,
        SetExpr::SetOperation { left, right, .. } => {
            merge_in_body(left, &mut Vec::new())?;
            merge_in_body(right, &mut Vec::new())?;
        }
        _ => {}
    }
    Ok(())
}

/// A column of USING, and what it is.
struct Merged {
    name: String,
    value: Expr,
}

fn merge_in_select(select: &mut Select) -> Result<Vec<Merged>> {
    if select.from.iter().any(holds_outer) {
        return Err(Error::unimplemented(
            "RIGHT JOIN … USING and FULL JOIN … USING do not stand in parentheses; write ON a.id = b.id there",
        ));
    }
    let joins = || select.from.iter().flat_map(|item| &item.joins);
    let Some((constraint, is_full)) = joins().find_map(|join| outer(&join.join_operator)) else {
        return Ok(Vec::new());
    };
    let JoinConstraint::Using(columns) = constraint else {
        return Err(Error::unimplemented(
            "NATURAL RIGHT JOIN and NATURAL FULL JOIN are not there: name the columns, as in FULL JOIN … USING (id)",
        ));
    };
    if joins().count() != 1 || select.from.len() != 1 {
        return Err(Error::unimplemented(
            "RIGHT JOIN … USING and FULL JOIN … USING stand between two tables only; with more of them write ON a.id = b.id",
        ));
    }
    let sides = [&select.from[0].relation, &select.from[0].joins[0].relation].map(qualifier);
    let [Some(left), Some(right)] = sides else {
        return Err(Error::invalid("both sides of RIGHT JOIN … USING and FULL JOIN … USING need a name: AS a"));
    };
    let names: Vec<String> =
        columns.iter().filter_map(|column| Some(normalize(column.0.last()?.as_ident()?))).collect();
    let merged = names.into_iter().map(|name| {
        let of = |side: &ObjectName| format!("{side}.{}", quoted(&name));
        let value = match is_full {
            true => format!("coalesce({}, {})", of(&left), of(&right)),
            false => of(&right),
        };
        let value = Parser::new(&GenericDialect {}).try_with_sql(&value).and_then(|mut parser| parser.parse_expr());
        Ok(Merged { name, value: value.map_err(|_| Error::internal("a merged column is no expression"))? })
    });
    let merged = merged.collect::<Result<Vec<_>>>()?;
    let mut names = Names { merged, within: 0 };
    names.put_in_projection(select, [&left, &right]);
    select.selection.iter_mut().chain(&mut select.having).chain(&mut select.qualify).for_each(|expr| names.put(expr));
    if let GroupByExpr::Expressions(by, _) = &mut select.group_by {
        by.iter_mut().for_each(|expr| names.put(expr));
    }
    if let Some(Distinct::On(by)) = &mut select.distinct {
        by.iter_mut().for_each(|expr| names.put(expr));
    }
    for NamedWindowDefinition(_, window) in &mut select.named_window {
        let _ = window.visit(&mut names);
    }
    Ok(names.merged)
}

/// Whether such a join stands in parentheses.
fn holds_outer(item: &TableWithJoins) -> bool {
    std::iter::once(&item.relation).chain(item.joins.iter().map(|join| &join.relation)).any(|factor| match factor {
        TableFactor::NestedJoin { table_with_joins: inner, .. } => {
            inner.joins.iter().any(|join| outer(&join.join_operator).is_some()) || holds_outer(inner)
        }
        _ => false,
    })
}

/// Of a join that may have rows without a left side and merges columns; and whether it may also have some without a right one.
fn outer(operator: &JoinOperator) -> Option<(&JoinConstraint, bool)> {
    let (constraint, is_full) = match operator {
        JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => (constraint, false),
        JoinOperator::FullOuter(constraint) => (constraint, true),
        _ => return None,
    };
    matches!(constraint, JoinConstraint::Using(_) | JoinConstraint::Natural).then_some((constraint, is_full))
}

fn qualifier(factor: &TableFactor) -> Option<ObjectName> {
    match factor {
        TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
            Some(ObjectName::from(alias.name.clone()))
        }
        TableFactor::Table { name, args: None, .. } => Some(name.clone()),
        _ => None,
    }
}

/// Names of what a query lists.
fn outputs(select: &Select) -> Vec<String> {
    let name = |item: &SelectItem| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(normalize(alias)),
        _ => None,
    };
    select.projection.iter().filter_map(name).collect()
}

/// Puts values in the place of names, of one query and not of those within it, which have names of their own.
struct Names {
    merged: Vec<Merged>,
    within: usize,
}

impl Names {
    fn put(&mut self, expr: &mut Expr) {
        let _ = expr.visit(self);
    }

    fn put_in_projection(&mut self, select: &mut Select, [left, right]: [&ObjectName; 2]) {
        for item in std::mem::take(&mut select.projection) {
            match item {
                SelectItem::UnnamedExpr(Expr::Identifier(ident)) if self.value(&ident).is_some() => {
                    let expr = self.value(&ident).unwrap_or(Expr::Identifier(ident.clone()));
                    select.projection.push(SelectItem::ExprWithAlias { expr, alias: quoted(&normalize(&ident)) });
                }
                SelectItem::Wildcard(options) if options == WildcardAdditionalOptions::default() => {
                    for Merged { name, value } in &self.merged {
                        let (expr, alias) = (value.clone(), quoted(name));
                        select.projection.push(SelectItem::ExprWithAlias { expr, alias });
                    }
                    select.projection.extend([left, right].map(|side| self.others(side)));
                }
                SelectItem::UnnamedExpr(mut expr) => {
                    self.put(&mut expr);
                    select.projection.push(SelectItem::UnnamedExpr(expr));
                }
                SelectItem::ExprWithAlias { mut expr, alias } => {
                    self.put(&mut expr);
                    select.projection.push(SelectItem::ExprWithAlias { expr, alias });
                }
                other => select.projection.push(other),
            }
        }
    }

    /// All columns of a side but the merged ones.
    fn others(&self, side: &ObjectName) -> SelectItem {
        let merged = self.merged.iter().map(|merged| ObjectName::from(quoted(&merged.name))).collect();
        let options =
            WildcardAdditionalOptions { opt_exclude: Some(ExcludeSelectItem::Multiple(merged)), ..Default::default() };
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(side.clone()), options)
    }

    fn value(&self, ident: &Ident) -> Option<Expr> {
        let name = normalize(ident);
        self.merged.iter().find(|merged| merged.name == name).map(|merged| merged.value.clone())
    }
}

impl VisitorMut for Names {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.within += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.within -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.within == 0
            && let Expr::Identifier(ident) = expr
            && let Some(value) = self.value(ident)
        {
            *expr = value;
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests;
