//! `EXECUTE AS USER 'name' (statement)`: whom to run as, and the text of the statement between the parentheses.
//!
//! It is taken apart before anything is parsed, because the statement inside is planned, kept, seen and audited as one
//! of that user's, by the same way as if they had sent it.

use datafusion::sql::sqlparser::{
    dialect::GenericDialect,
    tokenizer::{Location, Token, TokenWithSpan, Tokenizer},
};

use super::{is_word, normalize};
use crate::{Error, Result, statement::weight::LONGEST_LIGHT};

/// A statement that runs as another user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExecuteAs {
    pub user: String,
    pub statement: String,
}

impl ExecuteAs {
    /// `None`: the text is no such statement. Nearly every text is seen to be none by its first letters.
    pub fn parse(sql: &str) -> Result<Option<Self>> {
        let begin = sql.trim_start_matches(|c: char| c.is_whitespace() || c == ';').as_bytes();
        let is_candidate = begin.len() > 7 && begin[..7].eq_ignore_ascii_case(b"EXECUTE");
        if !is_candidate && !begin.starts_with(b"--") && !begin.starts_with(b"/*") {
            return Ok(None);
        }
        // Words take much more memory than their text, and it is nobody's turn yet.
        if sql.len() > LONGEST_LIGHT {
            let is_it = without_comments(sql).get(..7).is_some_and(|word| word.eq_ignore_ascii_case("EXECUTE"));
            return if is_it { Err(too_long()) } else { Ok(None) };
        }
        // What cannot be cut into words is for the parser to complain about.
        let Ok(all) = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location() else { return Ok(None) };
        let tokens: Vec<_> = all.iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).collect();
        let start = tokens.iter().take_while(|t| t.token == Token::SemiColon).count();
        let [execute, as_word, rest @ ..] = &tokens[start..] else { return Ok(None) };
        if !is_word(&execute.token, "EXECUTE") || !is_word(&as_word.token, "AS") {
            return Ok(None);
        }
        take_apart(sql, rest).map(Some)
    }
}

/// From the first word on.
fn without_comments(mut sql: &str) -> &str {
    loop {
        sql = sql.trim_start_matches(|c: char| c.is_whitespace() || c == ';');
        sql = if let Some(comment) = sql.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, rest)| rest)
        } else if let Some(comment) = sql.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, rest)| rest)
        } else {
            return sql;
        };
    }
}

fn too_long() -> Error {
    Error::invalid("EXECUTE AS takes a text of at most 64 KB; send a longer statement by itself, with x-insula-run-as")
}

fn take_apart(sql: &str, rest: &[&TokenWithSpan]) -> Result<ExecuteAs> {
    let wrong = |at: usize, expected: &str| {
        let place = rest.get(at).map_or("the end of the statement".to_owned(), |token| {
            format!("Line: {}, Column: {}", token.span.start.line, token.span.start.column)
        });
        Error::invalid(format!(
            "syntax error: expected {expected} at {place}; it is EXECUTE AS USER 'name' (statement)"
        ))
    };
    if !rest.first().is_some_and(|token| is_word(&token.token, "USER")) {
        return Err(wrong(0, "USER"));
    }
    let user = match rest.get(1).map(|token| &token.token) {
        Some(Token::SingleQuotedString(name)) => name.clone(),
        Some(Token::Word(word)) => normalize(&word.to_ident(rest[1].span)),
        _ => return Err(wrong(1, "the name of a user, in quotes")),
    };
    let Some(open) = rest.get(2).filter(|token| token.token == Token::LParen) else { return Err(wrong(2, "(")) };
    let mut last = rest.len() - 1;
    while last > 2 && rest[last].token == Token::SemiColon {
        last -= 1;
    }
    let Some(close) = rest.get(last).filter(|token| last > 2 && token.token == Token::RParen) else {
        return Err(wrong(rest.len(), ")"));
    };
    // The parentheses must be each other's, or two statements would be taken for one.
    let mut depth = 0_i64;
    for (i, token) in rest[2..=last].iter().enumerate() {
        depth += match token.token {
            Token::LParen => 1,
            Token::RParen => -1,
            _ => 0,
        };
        if depth == 0 && i + 2 < last {
            return Err(wrong(i + 3, "the end of the statement"));
        }
    }
    let statement = sql[offset(sql, open.span.end)..offset(sql, close.span.start)].trim().to_owned();
    Ok(ExecuteAs { user, statement })
}

/// Where in the text a place is; the tokenizer counts characters, from 1.
fn offset(sql: &str, place: Location) -> usize {
    let (mut line, mut column) = (1, 1);
    for (at, c) in sql.char_indices() {
        if (line, column) >= (place.line, place.column) {
            return at;
        }
        (line, column) = if c == '\n' { (line + 1, 1) } else { (line, column + 1) };
    }
    sql.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(sql: &str) -> Option<(String, String)> {
        ExecuteAs::parse(sql).unwrap().map(|found| (found.user, found.statement))
    }

    #[test]
    fn the_statement_inside_is_left_as_it_is() {
        let found = |user: &str, statement: &str| Some((user.to_owned(), statement.to_owned()));
        assert_eq!(parse("EXECUTE AS USER 'ann' (SELECT 1)"), found("ann", "SELECT 1"));
        assert_eq!(parse(" ;execute as user \"Ann\"\n( SELECT ')' , (2) ) ; "), found("Ann", "SELECT ')' , (2)"));
        assert_eq!(parse("/* é */ EXECUTE AS USER 'O''Hara é' (SELECT 'é', $1)"), found("O'Hara é", "SELECT 'é', $1"));
        assert_eq!(parse("-- x\nEXECUTE AS USER ANN (EXECUTE AS USER b (SELECT 1))").unwrap().0, "ann");
    }

    #[test]
    fn other_statements_are_none() {
        for sql in
            ["SELECT 1", "", "EXECUTE", "EXECUTE p(1)", "executed", "-- EXECUTE AS USER a (SELECT 1)", "SELECT 'x"]
        {
            assert_eq!(parse(sql), None, "{sql}");
        }
    }

    #[test]
    fn a_long_text_is_not_cut_into_words() {
        let long = "x".repeat(100_000);
        for begin in ["EXECUTE AS USER a", "-- x\n/* y */ ;execute as", "/**/--\nEXECUTE"] {
            let error = ExecuteAs::parse(&format!("{begin} (SELECT '{long}')")).unwrap_err();
            assert!(error.message().contains("x-insula-run-as"), "{error}");
        }
        for begin in ["SELECT", "-- EXECUTE\nSELECT", "/* EXECUTE */ SELECT", "/* EXECUTE", "-- EXECUTE", "éxécute"] {
            assert_eq!(parse(&format!("{begin} '{long}'")), None, "{begin}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (sql, expected) in [
            ("EXECUTE AS 'ann' (SELECT 1)", "expected USER at Line: 1, Column: 12"),
            ("EXECUTE AS USER (SELECT 1)", "the name of a user"),
            ("EXECUTE AS USER 'ann' SELECT 1", "expected ("),
            ("EXECUTE AS USER 'ann' (SELECT 1", "expected )"),
            ("EXECUTE AS USER 'ann' (SELECT 1); SELECT (2)", "expected the end of the statement"),
            ("EXECUTE AS USER 'ann' (SELECT 1) UNION (SELECT 2)", "expected the end of the statement"),
            ("EXECUTE AS USER 'ann' ", "expected ("),
        ] {
            let error = ExecuteAs::parse(sql).unwrap_err();
            assert!(error.message().contains(expected), "{sql}: {error}");
        }
    }
}
