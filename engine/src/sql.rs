//! From SQL text to a statement: one tokenizer pass (what is named, which parameters), then either one of our own
//! [`command`]s or sqlparser's syntax tree.

mod calls;
mod casts;
pub(crate) mod command;
mod depth;
pub(crate) mod exact;
pub(crate) mod execute_as;
mod merges;
mod operators;
mod queries;
pub(crate) mod redact;
pub(crate) mod repeated;
mod tuples;
pub(crate) mod types;
mod unserved;
mod using;
pub(crate) mod wildcard;

use datafusion::sql::sqlparser::{
    ast::{Expr, Ident, ObjectName, ObjectNamePart, Statement as Ast, TableAliasWithoutColumns},
    dialect::{Dialect, GenericDialect},
    keywords::Keyword,
    parser::{Parser, ParserError},
    tokenizer::{Location, Token, TokenWithSpan, Tokenizer},
};
use insula_storage::{TableKind, table};

use crate::{Error, Result, outside::Outside};
use command::Command;

/// Which system columns a statement's text names; a table's schema holds those, and no others.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct SystemColumns {
    pub updated: bool,
    pub deleted: bool,
    pub seq: bool,
}

impl SystemColumns {
    pub const ALL: Self = Self { updated: true, deleted: true, seq: true };

    /// Their names, in the order in which tables list them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [(self.updated, table::UPDATED), (self.deleted, table::DELETED), (self.seq, table::SEQ)]
            .into_iter()
            .filter_map(|(named, name)| named.then_some(name))
    }

    fn note(&mut self, word: &str) {
        match word {
            table::UPDATED => self.updated = true,
            table::DELETED => self.deleted = true,
            table::SEQ => self.seq = true,
            _ => {}
        }
    }
}

/// Is this the name of a system column?
pub(crate) fn is_system_column(name: &str) -> bool {
    [table::UPDATED, table::DELETED, table::SEQ].contains(&name)
}

/// One parsed statement.
#[derive(Clone, Debug)]
pub(crate) struct Parsed {
    pub statement: Statement,
    pub named: SystemColumns,
}

#[derive(Clone, Debug)]
pub(crate) enum Statement {
    Sql(Box<Ast>),
    /// `CREATE TABLE` whose kind may stand before `TABLE`; sqlparser does not know the kinds.
    CreateTable(Box<Ast>, Option<TableKind>),
    Command(Command),
    Outside(Outside),
}

/// Parses exactly one statement.
pub(crate) fn parse(sql: &str) -> Result<Parsed> {
    let dialect = GenericDialect {};
    let mut tokens = Tokenizer::new(&dialect, sql)
        .tokenize_with_location()
        .map_err(|e| Error::invalid(format!("syntax error: {e}")))?;
    operators::name_xor(&mut tokens);
    depth::check(&tokens)?;
    number_placeholders(&mut tokens)?;
    let named = named_columns(&tokens);
    let statement = match Command::parse(&tokens)? {
        Some(command) => Statement::Command(command),
        None if reaches_outside(&tokens) => Statement::Outside(Outside(sql.to_owned())),
        None => parse_sql(&dialect, tokens)?,
    };
    Ok(Parsed { statement, named })
}

fn parse_sql(dialect: &dyn Dialect, mut tokens: Vec<TokenWithSpan>) -> Result<Statement> {
    operators::check(&tokens)?;
    let kind = take_table_kind(&mut tokens);
    name_schemas(&mut tokens);
    queries::name_settings(&mut tokens);
    queries::select_tables(&mut tokens);
    queries::call_without_parentheses(&mut tokens);
    let alias = merges::take_alias(&mut tokens);
    merges::name_nothing(&mut tokens);
    let secrets = secrets(&tokens);
    let end = tokens.last().map(|token| token.span.end).unwrap_or(Location::empty());
    let mut parser = Parser::new(dialect).with_tokens_with_locations(tokens);
    let hide = |text: String| secrets.iter().fold(text, |text, secret| text.replace(secret, "'***'"));
    let syntax = |e: ParserError| {
        let message = hide(e.to_string());
        // The end of the text has a place, too.
        let at = match message.ends_with("found: EOF") && end.line > 0 {
            true => format!(" at Line: {}, Column: {}", end.line, end.column),
            false => String::new(),
        };
        Error::invalid(format!("syntax error: {}{at}", strip_prefix(&message)))
    };
    while parser.consume_token(&Token::SemiColon) {}
    if parser.peek_token_ref().token == Token::EOF {
        return Err(Error::invalid("the statement is empty"));
    }
    let mut ast = parser.parse_statement().map_err(syntax)?;
    while parser.consume_token(&Token::SemiColon) {}
    let rest = parser.peek_token_ref();
    if rest.token != Token::EOF {
        let (found, at) = (hide(rest.token.to_string()), rest.span.start);
        return Err(Error::invalid(format!(
            "syntax error: unexpected \"{found}\" after the statement at Line: {}, Column: {}; send one statement at a time",
            at.line, at.column
        )));
    }
    unserved::check(&ast)?;
    queries::settle(&mut ast)?;
    operators::settle(&mut ast);
    tuples::settle(&mut ast)?;
    calls::complete(&mut ast)?;
    using::merge(&mut ast)?;
    repeated::rename(&mut ast);
    types::keep_digits(&mut ast);
    exact::in_casts(&mut ast);
    casts::name(&mut ast);
    let statement = if let Ast::Explain { statement, .. } = &mut ast { statement.as_mut() } else { &mut ast };
    if let (Ast::Insert(insert), Some(alias)) = (statement, alias) {
        insert.table_alias = Some(TableAliasWithoutColumns { explicit: true, alias });
    }
    Ok(match (kind, ast) {
        (kind, ast @ Ast::CreateTable(_)) => Statement::CreateTable(Box::new(ast), kind),
        (_, ast) => Statement::Sql(Box::new(ast)),
    })
}

/// Literals that no message may repeat: those of statements with a slip beside a password.
fn secrets(tokens: &[TokenWithSpan]) -> Vec<String> {
    if !tokens.iter().any(|token| is_word(&token.token, "PASSWORD")) {
        return Vec::new();
    }
    let literals = tokens.iter().filter(|token| matches!(token.token, Token::SingleQuotedString(_)));
    literals.map(|token| token.token.to_string()).collect()
}

/// sqlparser puts its own words before the message.
fn strip_prefix(message: &str) -> &str {
    message.trim_start_matches("sql parser error: ")
}

/// `?` becomes `$1, $2, …` in textual order: DataFusion would give every `?` one and the same name.
fn number_placeholders(tokens: &mut [TokenWithSpan]) -> Result<()> {
    let mut anonymous = 0;
    let mut numbered = false;
    for token in tokens {
        match &mut token.token {
            Token::Placeholder(name) if name == "?" => {
                anonymous += 1;
                *name = format!("${anonymous}");
            }
            Token::Placeholder(name) => {
                numbered = true;
                if name[1..].parse::<u16>().ok().filter(|n| *n > 0).is_none() || !name.starts_with('$') {
                    return Err(Error::invalid(format!("\"{name}\" is no parameter; write ? or $1, $2, …")));
                }
            }
            _ => {}
        }
    }
    if anonymous > 0 && numbered {
        return Err(Error::invalid("a statement has either ? or $1, $2, … as parameters, not both"));
    }
    Ok(())
}

fn named_columns(tokens: &[TokenWithSpan]) -> SystemColumns {
    let mut named = SystemColumns::default();
    for token in tokens {
        if let Token::Word(word) = &token.token {
            match word.quote_style {
                None => named.note(&word.value.to_ascii_lowercase()),
                Some(_) => named.note(&word.value),
            }
        }
    }
    named
}

/// Where a text names a column that is not there: the last time in one of those clauses in which DataFusion does not say it
/// itself (GROUP BY, ORDER BY, USING), or else the last time at all.
pub(crate) fn place_of(name: &str, sql: &str) -> Option<Location> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location().ok()?;
    let is_it = |token: &Token| match token {
        Token::Word(word) if word.quote_style.is_none() => word.value.to_lowercase() == *name,
        Token::Word(word) => word.value == *name,
        _ => false,
    };
    // Of each pair of parentheses that is open: is this within such a clause?
    let (mut around, mut within) = (Vec::new(), false);
    let (mut there, mut anywhere) = (None, None);
    for TokenWithSpan { token, span } in &tokens {
        match token {
            Token::LParen => around.push(within),
            Token::RParen => within = around.pop().unwrap_or_default(),
            token if is_it(token) => {
                anywhere = Some(span.start);
                there = if within { anywhere } else { there };
            }
            token if ["BY", "USING"].iter().any(|word| is_word(token, word)) => within = true,
            token if ENDS.iter().any(|word| is_word(token, word)) => within = false,
            _ => {}
        }
    }
    there.or(anywhere)
}

/// Words at which one of these clauses ends.
const ENDS: [&str; 20] = [
    "SELECT",
    "FROM",
    "WHERE",
    "HAVING",
    "QUALIFY",
    "WINDOW",
    "LIMIT",
    "OFFSET",
    "FETCH",
    "UNION",
    "INTERSECT",
    "EXCEPT",
    "JOIN",
    "INNER",
    "LEFT",
    "RIGHT",
    "FULL",
    "CROSS",
    "ON",
    "SET",
];

/// `COPY` and `CREATE … EXTERNAL TABLE` reach outside the database, in whatever way they go on.
fn reaches_outside(tokens: &[TokenWithSpan]) -> bool {
    let mut words = significant(tokens).map(|(_, token)| token).skip_while(|token| **token == Token::SemiColon);
    match words.next() {
        Some(first) if is_word(first, "CREATE") => {
            words.take(4).take_while(|word| !is_word(word, "TABLE")).any(|word| is_word(word, "EXTERNAL"))
        }
        first => first.is_some_and(|first| is_word(first, "COPY")),
    }
}

/// Takes `USER`, `SHARED` or `STREAM` out of `CREATE … TABLE`.
fn take_table_kind(tokens: &mut Vec<TokenWithSpan>) -> Option<TableKind> {
    let words: Vec<usize> = significant(tokens).take(3).map(|(i, _)| i).collect();
    let [create, kind, table] = words[..] else { return None };
    if !is_word(&tokens[create].token, "CREATE") || !is_word(&tokens[table].token, "TABLE") {
        return None;
    }
    let kinds = [("USER", TableKind::User), ("SHARED", TableKind::Shared), ("STREAM", TableKind::Stream)];
    let found = kinds.into_iter().find(|(word, _)| is_word(&tokens[kind].token, word))?.1;
    tokens.remove(kind);
    Some(found)
}

/// `CREATE|DROP NAMESPACE` is `CREATE|DROP SCHEMA`.
fn name_schemas(tokens: &mut [TokenWithSpan]) {
    let words: Vec<usize> = significant(tokens).take(2).map(|(i, _)| i).collect();
    let [verb, noun] = words[..] else { return };
    let is_ddl = ["CREATE", "DROP"].iter().any(|word| is_word(&tokens[verb].token, word));
    if is_ddl && is_word(&tokens[noun].token, "NAMESPACE") {
        tokens[noun].token = Token::make_keyword("SCHEMA");
    }
}

fn significant(tokens: &[TokenWithSpan]) -> impl Iterator<Item = (usize, &Token)> {
    tokens.iter().enumerate().filter(|(_, t)| !matches!(t.token, Token::Whitespace(_))).map(|(i, t)| (i, &t.token))
}

fn is_word(token: &Token, expected: &str) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(expected))
}

/// A name as SQL means it: unquoted ones fold to lower case.
pub(crate) fn normalize(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// The parts of `a.b.c`, each as SQL means it.
pub(crate) fn parts(name: &ObjectName) -> Result<Vec<String>> {
    name.0
        .iter()
        .map(|part| match part {
            ObjectNamePart::Identifier(ident) => Ok(normalize(ident)),
            ObjectNamePart::Function(_) => Err(Error::invalid(format!("\"{name}\" is no name"))),
        })
        .collect()
}

/// An identifier that means exactly `name`, whatever its letters.
pub(crate) fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

/// What `DO NOTHING` of MERGE is called in the syntax tree.
pub(crate) const NOTHING: &str = "(nothing)";

/// Is this the keyword `DEFAULT`, standing where a value is expected?
pub(crate) fn is_default_keyword(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(ident) if ident.quote_style.is_none()
        && ident.value.eq_ignore_ascii_case(&format!("{:?}", Keyword::DEFAULT)))
}

#[cfg(test)]
mod tests;
