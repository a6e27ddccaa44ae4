//! What PostgreSQL knows of queries and DataFusion's planner does not: `TABLE t`, `FETCH FIRST n ROWS ONLY`, common
//! tables before a statement that writes.

use std::{collections::HashSet, ops::ControlFlow};

use datafusion::sql::sqlparser::{
    ast::{
        Expr, Fetch, FromTable, Ident, LimitClause, ObjectName, Query, SetExpr, Statement as Ast, TableAlias,
        TableFactor, Value, VisitMut, VisitorMut, With,
    },
    dialect::GenericDialect,
    parser::Parser,
    tokenizer::{Token, TokenWithSpan},
};

use super::{is_word, normalize, significant};
use crate::{Error, Result};

/// Each reference to a common table of a statement that writes is a copy of all of them: so many at most,
const MOST_REFERENCES: usize = 100;
/// and, from the second one on, so many bytes of text.
const MOST_COPIED: usize = 1 << 20;

/// `TABLE t`, where a query stands, becomes `SELECT * FROM t`; sqlparser would swallow what comes behind it.
pub(super) fn select_tables(tokens: &mut Vec<TokenWithSpan>) {
    if !tokens.iter().any(|token| is_word(&token.token, "TABLE")) {
        return;
    }
    let words: Vec<usize> = significant(tokens).map(|(i, _)| i).collect();
    let is = |at: usize, word: &str| words.get(at).is_some_and(|i| is_word(&tokens[*i].token, word));
    let first = words.iter().position(|i| tokens[*i].token != Token::SemiColon).unwrap_or_default();
    let inserts = is(first, "INSERT") || is(first, "REPLACE");
    // The columns of a definition may be called anything, and a definition has a query behind AS only.
    let mut within_query = !["CREATE", "ALTER"].iter().any(|verb| is(first, verb));
    let mut found = Vec::new();
    for at in first..words.len() {
        within_query |= is(at, "AS");
        if !within_query || !is(at, "TABLE") {
            continue;
        }
        let named = words.get(at + 1).is_some_and(|i| matches!(tokens[*i].token, Token::Word(_)));
        let begins = match at.checked_sub(1).filter(|_| at > first) {
            None => true,
            Some(before) => match &tokens[words[before]].token {
                Token::LParen => true,
                Token::RParen => inserts || is(first, "WITH"),
                Token::Word(_) if inserts && before > first => !is(before, "INTO") && !is(before, "OVERWRITE"),
                _ => ["UNION", "INTERSECT", "EXCEPT", "ALL", "DISTINCT", "AS"].iter().any(|word| is(before, word)),
            },
        };
        if named && begins {
            found.push(words[at]);
        }
    }
    for at in found.into_iter().rev() {
        let span = tokens[at].span;
        let select = [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM")];
        tokens.splice(at..=at, select.into_iter().map(|token| TokenWithSpan { token, span }));
    }
}

/// `current_schema` and `current_role` are functions that take no parentheses, as `current_user` is to sqlparser.
pub(super) fn call_without_parentheses(tokens: &mut Vec<TokenWithSpan>) {
    const NAMES: [&str; 2] = ["CURRENT_SCHEMA", "CURRENT_ROLE"];
    if !tokens.iter().any(|token| NAMES.iter().any(|name| is_word(&token.token, name))) {
        return;
    }
    let words: Vec<usize> = significant(tokens).map(|(i, _)| i).collect();
    let is = |at: usize, names: &[&str]| {
        words.get(at).is_some_and(|i| names.iter().any(|name| is_word(&tokens[*i].token, name)))
    };
    // Elsewhere they are names of settings.
    let first = words.iter().position(|i| !matches!(tokens[*i].token, Token::SemiColon | Token::LParen));
    if !is(first.unwrap_or_default(), &["SELECT", "WITH", "VALUES", "INSERT", "UPDATE", "DELETE", "EXPLAIN"]) {
        return;
    }
    let stands_alone = |at: usize| {
        let before = at.checked_sub(1).map(|before| &tokens[words[before]].token);
        let behind = words.get(at + 1).map(|i| &tokens[*i].token);
        let is_part = matches!(before, Some(Token::Period)) || matches!(behind, Some(Token::Period | Token::LParen));
        !is_part && !before.is_some_and(|before| is_word(before, "AS"))
    };
    let found: Vec<usize> = (0..words.len()).filter(|at| is(*at, &NAMES) && stands_alone(*at)).collect();
    for at in found.into_iter().rev() {
        let (place, span) = (words[at] + 1, tokens[words[at]].span);
        let parentheses = [Token::LParen, Token::RParen].map(|token| TokenWithSpan { token, span });
        tokens.splice(place..place, parentheses);
    }
}

/// `SET SCHEMA 'n'` with the equals sign that sqlparser wants, and `RESET TIME ZONE` by one name.
pub(super) fn name_settings(tokens: &mut Vec<TokenWithSpan>) {
    let words: Vec<usize> = significant(tokens).take(3).map(|(i, _)| i).collect();
    let [first, second, third] = words[..] else { return };
    let is = |at: usize, word: &str| is_word(&tokens[at].token, word);
    if is(first, "SET") && is(second, "SCHEMA") && matches!(tokens[third].token, Token::SingleQuotedString(_)) {
        let span = tokens[third].span;
        tokens.insert(third, TokenWithSpan { token: Token::Eq, span });
    } else if is(first, "RESET") && is(second, "TIME") && is(third, "ZONE") {
        tokens[second].token = Token::make_word("timezone", None);
        tokens.remove(third);
    }
}

/// The statement as the planner takes it.
pub(super) fn settle(ast: &mut Ast) -> Result<()> {
    let statement = if let Ast::Explain { statement, .. } = ast { statement.as_mut() } else { &mut *ast };
    if let Ast::Query(query) = statement
        && let Some(written) = written(query).cloned()
    {
        let with = query.with.take();
        *statement = written;
        if let Some(with) = with {
            put_in(with, statement)?;
        }
    }
    match ast.visit(&mut Fetches) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// The statement that writes behind `WITH …`.
fn written(query: &Query) -> Option<&Ast> {
    match query.body.as_ref() {
        SetExpr::Insert(written) | SetExpr::Update(written) | SetExpr::Delete(written) | SetExpr::Merge(written) => {
            Some(written)
        }
        _ => None,
    }
}

/// Puts common tables where they are named: `FROM a` becomes `FROM (WITH a AS … SELECT * FROM a) a`. The table that is
/// written is one of the database, whatever its name.
fn put_in(with: With, statement: &mut Ast) -> Result<()> {
    let target = self::target(statement).cloned();
    let names = with.cte_tables.iter().map(|cte| normalize(&cte.alias.name)).collect();
    let size = with.to_string().len();
    let mut put = PutIn { with, names, size, references: 0 };
    if let ControlFlow::Break(error) = statement.visit(&mut put) {
        return Err(error);
    }
    if let (Some(place), Some(target)) = (self::target(statement), target) {
        *place = target;
    }
    Ok(())
}

fn target(statement: &mut Ast) -> Option<&mut TableFactor> {
    match statement {
        Ast::Update(update) => Some(&mut update.table.relation),
        Ast::Delete(delete) => {
            let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &mut delete.from;
            from.first_mut().map(|table| &mut table.relation)
        }
        Ast::Merge(merge) => Some(&mut merge.table),
        _ => None,
    }
}

struct PutIn {
    with: With,
    names: HashSet<String>,
    /// Of their text, in bytes.
    size: usize,
    references: usize,
}

impl VisitorMut for PutIn {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        let mut inner = query.with.iter().flat_map(|with| &with.cte_tables).map(|cte| normalize(&cte.alias.name));
        match inner.find(|name| self.names.contains(name)) {
            Some(name) => ControlFlow::Break(Error::unimplemented(format!(
                "two common tables of the statement are called \"{name}\"; rename one of them"
            ))),
            None => ControlFlow::Continue(()),
        }
    }

    /// Behind its children, so that what is put in is not visited again.
    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        let TableFactor::Table { name, alias, args: None, .. } = factor else { return ControlFlow::Continue(()) };
        let Some(name) = one_part(name).filter(|name| self.names.contains(&normalize(name))).cloned() else {
            return ControlFlow::Continue(());
        };
        self.references += 1;
        let copied = self.references.saturating_mul(self.size);
        if self.references > MOST_REFERENCES || (self.references > 1 && copied > MOST_COPIED) {
            return ControlFlow::Break(Error::invalid(format!(
                "a statement that writes may name its common tables {MOST_REFERENCES} times, and long ones once"
            )));
        }
        let alias = alias.take().unwrap_or_else(|| TableAlias { name: name.clone(), ..plain_alias() });
        match all_of(name, self.with.clone()) {
            Ok(subquery) => {
                *factor = TableFactor::Derived { lateral: false, subquery, alias: Some(alias), sample: None };
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

fn plain_alias() -> TableAlias {
    TableAlias { explicit: true, name: Ident::new(""), columns: Vec::new(), at: None }
}

/// `WITH … SELECT * FROM name`.
fn all_of(name: Ident, with: With) -> Result<Box<Query>> {
    let parsed = Parser::new(&GenericDialect {}).try_with_sql("SELECT * FROM t").and_then(|mut p| p.parse_query());
    let mut query = parsed.map_err(|_| Error::internal("the parser does not know SELECT"))?;
    if let SetExpr::Select(select) = query.body.as_mut()
        && let Some(TableFactor::Table { name: table, .. }) = select.from.first_mut().map(|from| &mut from.relation)
    {
        *table = ObjectName::from(name);
    }
    query.with = Some(with);
    Ok(query)
}

fn one_part(name: &ObjectName) -> Option<&Ident> {
    match name.0.as_slice() {
        [part] => part.as_ident(),
        _ => None,
    }
}

/// What is left of a query that the planner would refuse.
struct Fetches;

impl VisitorMut for Fetches {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        if written(query).is_some() {
            return ControlFlow::Break(Error::unimplemented(
                "a common table cannot be a statement that writes; send it as a statement of its own",
            ));
        }
        match query.fetch.take().map_or(Ok(()), |fetch| limit(query, fetch)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// `FETCH FIRST n ROWS ONLY` is `LIMIT n`.
fn limit(query: &mut Query, fetch: Fetch) -> Result<()> {
    if fetch.with_ties || fetch.percent {
        return Err(Error::unimplemented("FETCH takes a number of ROWS ONLY; WITH TIES and PERCENT are not there"));
    }
    let rows = fetch.quantity.unwrap_or_else(|| Expr::value(Value::Number("1".into(), false)));
    match &mut query.limit_clause {
        None => {
            query.limit_clause = Some(LimitClause::LimitOffset { limit: Some(rows), offset: None, limit_by: vec![] })
        }
        Some(LimitClause::LimitOffset { limit: limit @ None, .. }) => *limit = Some(rows),
        Some(_) => return Err(Error::invalid("a query takes LIMIT or FETCH, not both")),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
