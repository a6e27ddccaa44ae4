//! Columns of a result with one name, as in `SELECT id, id`, `SELECT *, id` or `SELECT count(*), count(*)`. SQL allows
//! them and Arrow does, but DataFusion's projections do not; so what repeats a name is given one that is unlike any other,
//! from which [`names`] makes the one that it has outside.
//!
//! In the query whose rows are the result, or are inserted, the first column keeps its name. In one that others read, below
//! FROM or in WITH, none of that name does: whoever names it there cannot mean one of them, and is told so.

mod within;

use std::{collections::HashMap, ops::ControlFlow};

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, OrderByKind, Query, Select, SelectItem, SetExpr, Statement, visit_expressions_mut,
};

use super::{is_system_column, normalize, quoted};
use crate::{Error, Result};

/// Begins the names that are made here. Whoever writes one has the name that it stands for.
const MARK: char = '\u{1}';

/// Gives what repeats a name one of its own.
pub(super) fn rename(statement: &mut Statement) {
    rename_outermost(statement);
    within::rename(statement);
}

fn rename_outermost(statement: &mut Statement) {
    let mut first = Renaming { keeps_first: true, made: 0, mark: "" };
    match statement {
        Statement::Query(query) => first.rename(query),
        Statement::Explain { statement, .. } => rename_outermost(statement),
        // Its columns are taken by their places.
        Statement::Insert(insert) => insert.source.iter_mut().for_each(|source| first.rename(source)),
        _ => {}
    }
}

struct Renaming {
    keeps_first: bool,
    /// Names so far: no two of a statement are alike.
    made: usize,
    mark: &'static str,
}

/// What an item is called, as far as the text tells.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Name(String),
    /// Of an expression without a name: the same text has the same one, whether its columns are named with their tables or not.
    Text(String),
}

impl Renaming {
    fn rename(&mut self, query: &mut Query) {
        self.rename_in_body(&mut query.body);
    }

    fn rename_in_body(&mut self, body: &mut SetExpr) {
        match body {
            SetExpr::Select(select) => self.rename_in_select(select),
            SetExpr::Query(query) => self.rename(query),
            // A set operation has the names of its first query.
            SetExpr::SetOperation { left, right, .. } => {
                self.rename_in_body(left);
                self.rename_in_body(right);
            }
            _ => {}
        }
    }

    fn rename_in_select(&mut self, select: &mut Select) {
        let lists_all = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
        let has_wildcard = select.projection.iter().any(lists_all);
        let mut seen: HashMap<Key, Vec<(usize, Columns)>> = HashMap::new();
        for at in 0..select.projection.len() {
            let item = &select.projection[at];
            if lists_all(item) {
                // How many columns it stands for is not known here: what lies behind it cannot point to what lies before.
                seen.retain(|key, _| matches!(key, Key::Name(_)));
                continue;
            }
            let Some((key, columns)) = key(item) else { continue };
            let alike = seen.entry(key).or_default();
            let first = alike.iter().find(|(_, others)| may_be_same(&columns, others)).map(|(first, _)| *first);
            let Some(first) = first else {
                alike.push((at, columns));
                // A wildcard lists no system column.
                let is_column =
                    matches!(item, SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)));
                if self.keeps_first
                    && has_wildcard
                    && is_column
                    && !named(item).is_some_and(|name| is_system_column(&name))
                {
                    self.put(&mut select.projection[at], 0);
                }
                continue;
            };
            if !self.keeps_first && !is_marked(&select.projection[first]) && named(item).is_some() {
                self.put(&mut select.projection[first], 0);
            }
            self.put(&mut select.projection[at], at - first);
        }
    }

    /// `back`: how far before it the item lies whose name it has, if it is not said.
    fn put(&mut self, item: &mut SelectItem, back: usize) {
        let name = match named(item) {
            Some(name) => format!("={}", said(&name).unwrap_or(&name)),
            None => format!("{back}"),
        };
        self.made += 1;
        let alias = quoted(&format!("{MARK}{}{}{MARK}{name}", self.mark, self.made));
        *item = match std::mem::replace(item, SelectItem::Wildcard(Default::default())) {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                SelectItem::ExprWithAlias { expr, alias }
            }
            other => other,
        };
    }
}

/// The query with another name for what is called like a column that its `*` lists, if that is what its planning failed
/// of: which these are is known by then only.
pub(crate) fn apart(statement: &Statement, error: &Error) -> Result<Option<Statement>> {
    let Statement::Query(query) = statement else { return Ok(None) };
    let behind = error.message().split_once("unqualified field name ").map(|(_, behind)| behind);
    let repeated = behind.and_then(|behind| behind.split_once(" which would be ambiguous"));
    let Some(repeated) = repeated.map(|(name, _)| name.trim_matches('"')) else { return Ok(None) };
    let mut query = query.clone();
    let SetExpr::Select(select) = query.body.as_mut() else { return Ok(None) };
    let mut renaming = Renaming { keeps_first: true, made: 0, mark: "w" };
    for item in &mut select.projection {
        let SelectItem::ExprWithAlias { alias, .. } = &*item else { continue };
        let name = normalize(alias);
        if name != repeated {
            continue;
        }
        let sorts = query.order_by.iter().any(|order| match &order.kind {
            OrderByKind::Expressions(by) => {
                by.iter().any(|by| matches!(&by.expr, Expr::Identifier(ident) if normalize(ident) == name))
            }
            OrderByKind::All(_) => false,
        });
        if sorts {
            return Err(Error::invalid(format!(
                "ORDER BY {name} is ambiguous: the query lists several columns of that name; name them apart with AS"
            )));
        }
        renaming.put(item, 0);
    }
    Ok((renaming.made > 0).then_some(Statement::Query(query)))
}

/// The names of columns in an expression, part by part.
type Columns = Vec<Vec<String>>;

fn key(item: &SelectItem) -> Option<(Key, Columns)> {
    match (named(item), item) {
        (Some(name), _) => Some((Key::Name(name), Columns::new())),
        (None, SelectItem::UnnamedExpr(expr)) => {
            let (mut expr, mut columns) = (without_parentheses(expr).clone(), Columns::new());
            let _: ControlFlow<()> = visit_expressions_mut(&mut expr, |expr| {
                if let Expr::CompoundIdentifier(parts) = expr {
                    columns.push(parts.iter().map(normalize).collect());
                    if let Some(last) = parts.last().cloned() {
                        *expr = Expr::Identifier(last);
                    }
                } else if let Expr::Identifier(ident) = expr {
                    columns.push(vec![normalize(ident)]);
                }
                ControlFlow::Continue(())
            });
            Some((Key::Text(folded(&expr)), columns))
        }
        _ => None,
    }
}

/// Of expressions that are the same but for the tables before their columns: may these be the same, too?
fn may_be_same(a: &Columns, b: &Columns) -> bool {
    a.iter().zip(b).all(|(a, b)| a.ends_with(b) || b.ends_with(a))
}

fn is_marked(item: &SelectItem) -> bool {
    named(item).is_some_and(|name| said(&name).is_some())
}

/// The name that one made here stands for, if it says it.
pub(crate) fn said(name: &str) -> Option<&str> {
    name.strip_prefix(MARK)?.split_once(MARK)?.1.strip_prefix('=')
}

/// They are no part of a name.
fn without_parentheses(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => without_parentheses(inner),
        expr => expr,
    }
}

/// The text of an expression, the same one whatever the letters of its names: they matter between quotes only.
pub(super) fn folded(expr: &Expr) -> String {
    let text = expr.to_string();
    if text.contains(['\'', '"']) { text } else { text.to_lowercase() }
}

fn named(item: &SelectItem) -> Option<String> {
    let ident: &Ident = match item {
        SelectItem::ExprWithAlias { alias, .. } => alias,
        SelectItem::UnnamedExpr(Expr::Identifier(ident)) => ident,
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => parts.last()?,
        _ => return None,
    };
    Some(normalize(ident))
}

/// The names that columns have outside.
pub(crate) fn names<'a>(of: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in of {
        let made = name.strip_prefix(MARK).and_then(|made| made.split_once(MARK)).map(|(_, said)| said);
        let outside = match made {
            None => name.clone(),
            Some(said) => match said.strip_prefix('=') {
                Some(name) => name.to_owned(),
                None => {
                    let first = said.parse().ok().and_then(|back| names.len().checked_sub(back));
                    first.and_then(|first| names.get(first)).cloned().unwrap_or_else(|| name.clone())
                }
            },
        };
        names.push(outside);
    }
    names
}

#[cfg(test)]
mod tests;
