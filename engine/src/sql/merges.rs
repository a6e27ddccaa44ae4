//! What sqlparser's generic dialect does not know of PostgreSQL's INSERT and MERGE.

use datafusion::sql::sqlparser::{
    ast::Ident,
    keywords::Keyword,
    tokenizer::{Token, TokenWithSpan, Word},
};

use super::{NOTHING, is_word, significant};

/// The tokens of the statement, or of the one that is explained.
fn statement(tokens: &[TokenWithSpan]) -> impl Iterator<Item = (usize, &Token)> {
    let before = |token: &Token| ["EXPLAIN", "ANALYZE", "VERBOSE"].iter().any(|word| is_word(token, word));
    significant(tokens).skip_while(move |(_, token)| **token == Token::SemiColon || before(token))
}

/// Takes `AS a` out of `INSERT INTO t AS a`.
pub(super) fn take_alias(tokens: &mut Vec<TokenWithSpan>) -> Option<Ident> {
    let words: Vec<(usize, &Token)> = statement(tokens).take(12).collect();
    let is = |at: usize, word: &str| words.get(at).is_some_and(|(_, token)| is_word(token, word));
    let mut at = match () {
        () if is(0, "INSERT") && is(1, "INTO") => 2,
        () if is(0, "INSERT") && is(1, "OR") && is(3, "INTO") => 4,
        () => return None,
    };
    // The name, of as many parts as it has.
    while matches!(words.get(at + 1), Some((_, Token::Period))) {
        at += 2;
    }
    let Some((last, Token::Word(alias))) = words.get(at + 2).filter(|_| is(at + 1, "AS")) else { return None };
    let (first, last) = (words.get(at + 1)?.0, *last);
    let span = tokens[last].span;
    let alias = Ident { value: alias.value.clone(), quote_style: alias.quote_style, span };
    tokens.drain(first..=last);
    Some(alias)
}

/// `THEN DO NOTHING` of MERGE becomes an action that sqlparser knows, of something by the name of [`NOTHING`].
pub(super) fn name_nothing(tokens: &mut Vec<TokenWithSpan>) {
    let words: Vec<usize> = statement(tokens).map(|(i, _)| i).collect();
    let is = |at: usize, word: &str| words.get(at).is_some_and(|i| is_word(&tokens[*i].token, word));
    if !is(0, "MERGE") {
        return;
    }
    let mut found = Vec::new();
    let mut inserts = false;
    for at in 0..words.len() {
        if is(at, "WHEN") && (is(at + 1, "MATCHED") || is(at + 2, "MATCHED")) {
            inserts = is(at + 1, "NOT") && !(is(at + 3, "BY") && is(at + 4, "SOURCE"));
        }
        if is(at, "THEN") && is(at + 1, "DO") && is(at + 2, "NOTHING") {
            found.push((words[at + 1], words[at + 2], inserts));
        }
    }
    for (first, last, inserts) in found.into_iter().rev() {
        let span = tokens[first].span;
        let nothing = Token::Word(Word { value: NOTHING.into(), quote_style: Some('"'), keyword: Keyword::NoKeyword });
        let action = match inserts {
            true => vec![
                Token::make_keyword("INSERT"),
                Token::make_keyword("VALUES"),
                Token::LParen,
                nothing,
                Token::RParen,
            ],
            false => vec![
                Token::make_keyword("UPDATE"),
                Token::make_keyword("SET"),
                nothing,
                Token::Eq,
                Token::make_keyword("NULL"),
            ],
        };
        tokens.splice(first..=last, action.into_iter().map(|token| TokenWithSpan { token, span }));
    }
}
