//! How deep a statement may become. The parser bounds what stands in parentheses; but operators in a row, set operations,
//! joins and chains of common tables make trees as deep as they are long, and all who walk those do it by recursion:
//! a statement of a few thousand `+ 1` would take the process down for everybody. So they are counted before anything
//! is built. Lists are not deep, however long: rows of VALUES, values of IN, columns.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::{Error, Result};

/// `AND` and `OR`, of which programs write long rows.
const LOGICAL: usize = 1_000;
/// All other operators.
const OTHERS: usize = 250;
const SETS: usize = 150;
/// Tables that one FROM names.
const TABLES: usize = 100;
const COMMON: usize = 100;

/// Words at which an expression ends and another begins.
const BOUNDARIES: [&str; 14] =
    ["SELECT", "FROM", "WHERE", "ON", "USING", "SET", "HAVING", "BY", "WHEN", "THEN", "ELSE", "END", "LIMIT", "VALUES"];
/// Words at which the list of FROM ends.
const AFTER_TABLES: [&str; 9] = ["SELECT", "WHERE", "GROUP", "ORDER", "HAVING", "LIMIT", "WINDOW", "UNION", "SET"];

/// Between one pair of parentheses.
#[derive(Clone, Copy, Default)]
struct Level {
    logical: usize,
    others: usize,
    sets: usize,
    tables: usize,
    /// Behind FROM, where commas stand between tables.
    from: bool,
}

/// Refuses what would become too deep.
pub(super) fn check(tokens: &[TokenWithSpan]) -> Result<()> {
    let tokens = tokens.iter().map(|token| &token.token).filter(|token| !matches!(token, Token::Whitespace(_)));
    // `around`: the sum of the outer levels.
    let (mut outer, mut around, mut level, mut common) = (Vec::new(), Level::default(), Level::default(), 0);
    let mut before = &Token::EOF;
    for token in tokens {
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                common += usize::from(is_any(before, &["AS", "MATERIALIZED"]));
                level.others += usize::from(*token == Token::LBracket);
                around = around.plus(&level);
                outer.push(std::mem::take(&mut level));
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                level = outer.pop().unwrap_or_default();
                around = around.minus(&level);
            }
            Token::Comma => {
                (level.logical, level.others) = (0, 0);
                level.tables += usize::from(level.from);
            }
            Token::Word(_) => word(&mut level, token, before),
            other if is_operator(other) => level.others += 1,
            _ => {}
        }
        before = token;
        around.plus(&level).check(common)?;
    }
    Ok(())
}

impl Level {
    fn plus(&self, other: &Self) -> Self {
        self.with(other, usize::saturating_add)
    }

    fn minus(&self, other: &Self) -> Self {
        self.with(other, usize::saturating_sub)
    }

    fn with(&self, other: &Self, of: fn(usize, usize) -> usize) -> Self {
        Self {
            logical: of(self.logical, other.logical),
            others: of(self.others, other.others),
            sets: of(self.sets, other.sets),
            tables: of(self.tables, other.tables),
            from: false,
        }
    }

    fn check(&self, common: usize) -> Result<()> {
        let counts = [
            (LOGICAL, "AND and OR", self.logical),
            (OTHERS, "operators in a row", self.others),
            (SETS, "set operations", self.sets),
            (TABLES, "tables in FROM", self.tables),
            (COMMON, "common tables", common),
        ];
        match counts.into_iter().find(|(most, _, count)| count > most) {
            None => Ok(()),
            Some((most, what, _)) => Err(Error::invalid(format!(
                "the statement is too deep: more than {most} {what}; write lists with IN or VALUES, or several statements"
            ))),
        }
    }
}

fn word(level: &mut Level, token: &Token, before: &Token) {
    if is_any(token, &["AND", "OR"]) {
        level.logical += 1;
        level.others = 0;
    } else if is_any(token, &["LIKE", "ILIKE", "IS", "IN", "SIMILAR", "COLLATE", "AT", "DIV", "XOR"]) {
        level.others += 1;
    } else if is_any(token, &["UNION", "INTERSECT", "EXCEPT"]) {
        level.sets += 1;
    } else if is_any(token, &["JOIN"]) {
        level.tables += 1;
    }
    // Not that of `IS DISTINCT FROM`.
    if is_any(token, &["FROM"]) && !is_any(before, &["DISTINCT"]) {
        (level.tables, level.from) = (0, true);
    }
    if is_any(token, &AFTER_TABLES) {
        (level.tables, level.from) = (0, false);
    }
    if is_any(token, &BOUNDARIES) {
        (level.logical, level.others) = (0, 0);
    }
}

fn is_any(token: &Token, words: &[&str]) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none()
        && words.iter().any(|expected| word.value.eq_ignore_ascii_case(expected)))
}

/// Whatever is neither a value, a name nor a mark between them.
fn is_operator(token: &Token) -> bool {
    !matches!(
        token,
        Token::EOF
            | Token::Number(..)
            | Token::Char(_)
            | Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::DollarQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::NationalStringLiteral(_)
            | Token::HexStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::Placeholder(_)
            | Token::Period
            | Token::Colon
            | Token::SemiColon
    )
}

#[cfg(test)]
mod tests;
