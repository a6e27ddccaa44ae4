//! The queries that others read: those below FROM, in WITH and in EXISTS.

use std::{collections::HashSet, ops::ControlFlow};

use datafusion::sql::sqlparser::ast::{
    Expr, JoinConstraint, JoinOperator, Query, SetExpr, SetQuantifier, Statement, TableFactor, TableWithJoins,
    VisitMut, VisitorMut,
};

use super::{super::normalize, Renaming};

pub(super) fn rename(statement: &mut Statement) {
    let mut looked = Looked::default();
    if statement.visit(&mut looked).is_continue() {
        let _: ControlFlow<()> = statement.visit(&mut Within { made: 0, depth: 0, inner: looked.inner });
    }
}

/// Finds what tells columns of two tables by their names alone: there each has to have its own. And the tables that
/// subqueries in expressions read: a name that is none of theirs is sought in the query around, which might have it.
#[derive(Default)]
struct Looked {
    depth: usize,
    inner: HashSet<String>,
}

impl VisitorMut for Looked {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if is_by_name(&query.body) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        self.depth += usize::from(sees_out(factor));
        match factor {
            TableFactor::NestedJoin { table_with_joins, .. } if has_natural(table_with_joins) => ControlFlow::Break(()),
            TableFactor::Table { name, .. } if self.depth > 0 => {
                let last = name.0.last().and_then(|part| part.as_ident());
                self.inner.extend(last.map(normalize));
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        self.depth -= usize::from(sees_out(factor));
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.depth += usize::from(is_subquery(expr));
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.depth -= usize::from(is_subquery(expr));
        ControlFlow::Continue(())
    }
}

fn is_subquery(expr: &Expr) -> bool {
    matches!(expr, Expr::Exists { .. } | Expr::InSubquery { .. } | Expr::Subquery(_))
}

fn sees_out(factor: &TableFactor) -> bool {
    matches!(factor, TableFactor::Derived { lateral: true, .. })
}

fn is_by_name(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => select.from.iter().any(has_natural),
        SetExpr::SetOperation { left, right, set_quantifier, .. } => {
            use SetQuantifier::{AllByName, ByName, DistinctByName};
            matches!(set_quantifier, ByName | AllByName | DistinctByName) || is_by_name(left) || is_by_name(right)
        }
        _ => false,
    }
}

fn has_natural(item: &TableWithJoins) -> bool {
    use JoinOperator::{FullOuter, Inner, Join, Left, LeftOuter, Right, RightOuter};
    item.joins.iter().any(|join| match &join.join_operator {
        Join(constraint)
        | Inner(constraint)
        | Left(constraint)
        | LeftOuter(constraint)
        | Right(constraint)
        | RightOuter(constraint)
        | FullOuter(constraint) => matches!(constraint, JoinConstraint::Natural),
        _ => false,
    })
}

/// Of all queries that others read, as far as these see no names of others around them.
struct Within {
    made: usize,
    depth: usize,
    inner: HashSet<String>,
}

impl Within {
    fn rename(&mut self, query: &mut Query) {
        let mut renaming = Renaming { keeps_first: false, made: self.made, mark: "q" };
        renaming.rename(query);
        self.made = renaming.made;
    }
}

impl VisitorMut for Within {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        for cte in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            if !cte.alias.columns.is_empty() || !self.inner.contains(&normalize(&cte.alias.name)) {
                self.rename(&mut cte.query);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        self.depth += usize::from(sees_out(factor));
        if let TableFactor::Derived { subquery, alias, .. } = factor
            && (self.depth == 0 || alias.as_ref().is_some_and(|alias| !alias.columns.is_empty()))
        {
            self.rename(subquery);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        self.depth -= usize::from(sees_out(factor));
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Exists { subquery, .. } = expr {
            self.rename(subquery);
        }
        self.depth += usize::from(is_subquery(expr));
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.depth -= usize::from(is_subquery(expr));
        ControlFlow::Continue(())
    }
}
