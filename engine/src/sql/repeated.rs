//! Columns of a result with one name, as in `SELECT id, id`, `SELECT *, id` or `SELECT count(*), count(*)`. SQL allows
//! them and Arrow does, but DataFusion's projections do not; so what repeats a name is given one that is unlike any other,
//! from which [`names`] makes the one that it has outside.
//!
//! Only of the query whose rows are the result, or are inserted: a table, also one that is selected from, tells its columns apart.

use std::collections::HashMap;

use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, Select, SelectItem, SetExpr, Statement};

use super::{is_system_column, normalize, quoted};

/// Begins the names that are made here. Whoever writes one has the name that it stands for.
const MARK: char = '\u{1}';

/// Gives what repeats a name one of its own.
pub(super) fn rename(statement: &mut Statement) {
    match statement {
        Statement::Query(query) => rename_in(query),
        Statement::Explain { statement, .. } => rename(statement),
        // Its columns are taken by their places.
        Statement::Insert(insert) => insert.source.iter_mut().for_each(|source| rename_in(source)),
        _ => {}
    }
}

fn rename_in(query: &mut Query) {
    rename_in_body(&mut query.body);
}

fn rename_in_body(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => rename_in_select(select),
        SetExpr::Query(query) => rename_in(query),
        // A set operation has the names of its first query.
        SetExpr::SetOperation { left, right, .. } => {
            rename_in_body(left);
            rename_in_body(right);
        }
        _ => {}
    }
}

/// What an item is called, as far as the text tells.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Name(String),
    /// Of an expression without a name: the same text has the same one.
    Text(String),
}

fn rename_in_select(select: &mut Select) {
    let lists_all = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    let has_wildcard = select.projection.iter().any(lists_all);
    let (mut seen, mut made) = (HashMap::new(), 0);
    for at in 0..select.projection.len() {
        let item = &select.projection[at];
        if lists_all(item) {
            // How many columns it stands for is not known here: what lies behind it cannot point to what lies before.
            seen.retain(|key, _| matches!(key, Key::Name(_)));
            continue;
        }
        let Some(key) = key(item) else { continue };
        let is_column = matches!(item, SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)));
        let first = *seen.entry(key).or_insert(at);
        // A wildcard lists no system column.
        let may_be_listed = has_wildcard && is_column && !named(item).is_some_and(|name| is_system_column(&name));
        if first == at && !may_be_listed {
            continue;
        }
        let name = match named(item) {
            Some(name) => format!("={name}"),
            None => format!("{}", at - first),
        };
        made += 1;
        let alias = quoted(&format!("{MARK}{made}{MARK}{name}"));
        let item = std::mem::replace(&mut select.projection[at], SelectItem::Wildcard(Default::default()));
        select.projection[at] = match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                SelectItem::ExprWithAlias { expr, alias }
            }
            other => other,
        };
    }
}

fn key(item: &SelectItem) -> Option<Key> {
    match (named(item), item) {
        (Some(name), _) => Some(Key::Name(name)),
        (None, SelectItem::UnnamedExpr(expr)) => Some(Key::Text(text_of(expr))),
        _ => None,
    }
}

/// Parentheses are no part of a name.
fn text_of(expr: &Expr) -> String {
    match expr {
        Expr::Nested(inner) => text_of(inner),
        expr => folded(expr),
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
