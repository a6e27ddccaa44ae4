//! What `*` lists. `t.*` of `FROM n.t` is made `n.t.*`, which is what DataFusion takes. And beside a named system column,
//! a plain `*` would list that too, since a table's schema holds the system columns that the statement names; so it is
//! expanded per relation, `a.* EXCLUDE (…), b.*`, because one `* EXCLUDE` over a join is ambiguous where both sides have
//! the column.

use std::{collections::HashSet, ops::ControlFlow};

use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, JoinConstraint, JoinOperator, ObjectName, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, Statement, TableFactor, TableWithJoins, VisitMut, VisitorMut,
    WildcardAdditionalOptions,
};

use super::{SystemColumns, normalize, quoted};
use crate::{Error, Result};

/// Takes the system columns that are named out of every `*` of the statement.
pub(crate) fn expand(statement: &mut Statement, named: SystemColumns) -> Result<()> {
    let mut ctes = CteNames::default();
    let _ = statement.visit(&mut ctes);
    let mut hide = Hide { names: named.names().collect(), ctes: ctes.0 };
    match statement.visit(&mut hide) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

#[derive(Default)]
struct CteNames(HashSet<String>);

impl VisitorMut for CteNames {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.0.insert(normalize(&cte.alias.name));
        }
        ControlFlow::Continue(())
    }
}

struct Hide {
    names: Vec<&'static str>,
    ctes: HashSet<String>,
}

impl VisitorMut for Hide {
    type Break = Error;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        match self.expand(select) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// One relation of a FROM clause, as `q.*` names it.
struct Relation {
    qualifier: ObjectName,
    /// A table of ours, which has system columns; a subquery has what it selects.
    is_table: bool,
    /// Columns of USING that the left side lists already.
    merged: Vec<ObjectName>,
}

impl Relation {
    /// Does `name.*` mean this relation? `t` means `n.t`, as in PostgreSQL.
    fn is_named(&self, name: &ObjectName) -> bool {
        self.qualifier.0.ends_with(&name.0)
    }
}

impl Hide {
    fn expand(&self, select: &mut Select) -> Result<()> {
        let is_wildcard =
            |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
        if !select.projection.iter().any(is_wildcard) {
            return Ok(());
        }
        let Some(relations) = self.relations(&select.from) else { return Ok(()) };
        let relations = relations?;
        let items = std::mem::take(&mut select.projection);
        for item in items {
            match item {
                SelectItem::Wildcard(options)
                    if !self.names.is_empty() && options == WildcardAdditionalOptions::default() =>
                {
                    select.projection.extend(relations.iter().map(|relation| self.listed(relation, true)));
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options)
                    if options == WildcardAdditionalOptions::default() =>
                {
                    let relation = relations.iter().find(|relation| relation.is_named(&name));
                    select.projection.push(match relation {
                        Some(relation) => self.listed(relation, false),
                        None => {
                            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options)
                        }
                    });
                }
                other => select.projection.push(other),
            }
        }
        Ok(())
    }

    fn listed(&self, relation: &Relation, merge: bool) -> SelectItem {
        let mut exclude: Vec<ObjectName> = if merge { relation.merged.clone() } else { Vec::new() };
        if relation.is_table {
            exclude.extend(self.names.iter().map(|name| ObjectName::from(quoted(name))));
        }
        let opt_exclude = (!exclude.is_empty()).then_some(ExcludeSelectItem::Multiple(exclude));
        SelectItem::QualifiedWildcard(
            SelectItemQualifiedWildcardKind::ObjectName(relation.qualifier.clone()),
            WildcardAdditionalOptions { opt_exclude, ..Default::default() },
        )
    }

    /// `None`: a relation cannot be named (a subquery without alias), so `*` is left as it is.
    fn relations(&self, from: &[TableWithJoins]) -> Option<Result<Vec<Relation>>> {
        let mut relations = Vec::new();
        for item in from {
            relations.push(self.relation(&item.relation, Vec::new())?);
            for join in &item.joins {
                let merged = match self.listed_join(&join.join_operator) {
                    Ok(Some(merged)) => merged,
                    Ok(None) => continue,
                    Err(error) => return Some(Err(error)),
                };
                relations.push(self.relation(&join.relation, merged)?);
            }
        }
        Some(Ok(relations))
    }

    fn relation(&self, factor: &TableFactor, merged: Vec<ObjectName>) -> Option<Relation> {
        match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                let is_cte = name.0.len() == 1
                    && name.0[0].as_ident().is_some_and(|ident| self.ctes.contains(&normalize(ident)));
                let qualifier = alias.as_ref().map_or_else(|| name.clone(), |a| ObjectName::from(a.name.clone()));
                Some(Relation { qualifier, is_table: !is_cte, merged })
            }
            TableFactor::Derived { alias: Some(alias), .. } | TableFactor::Table { alias: Some(alias), .. } => {
                Some(Relation { qualifier: ObjectName::from(alias.name.clone()), is_table: false, merged })
            }
            _ => None,
        }
    }

    /// Columns that a join's right side does not list again; `None`: it lists none at all.
    fn listed_join(&self, operator: &JoinOperator) -> Result<Option<Vec<ObjectName>>> {
        use JoinOperator as J;
        let constraint = match operator {
            J::Join(c)
            | J::Inner(c)
            | J::Left(c)
            | J::LeftOuter(c)
            | J::Right(c)
            | J::RightOuter(c)
            | J::FullOuter(c) => c,
            J::CrossJoin(c) | J::StraightJoin(c) => c,
            J::Semi(_) | J::LeftSemi(_) | J::Anti(_) | J::LeftAnti(_) => return Ok(None),
            _ => &JoinConstraint::None,
        };
        match constraint {
            JoinConstraint::Using(columns) => Ok(Some(columns.clone())),
            JoinConstraint::Natural if self.names.is_empty() => Ok(Some(Vec::new())),
            JoinConstraint::Natural => Err(Error::invalid(
                "* over a NATURAL JOIN cannot stand beside a named system column; list the columns, or join with USING",
            )),
            JoinConstraint::On(_) | JoinConstraint::None => Ok(Some(Vec::new())),
        }
    }
}
