//! Statements as they may be shown and written down: without passwords.

use std::sync::Arc;

use datafusion::sql::sqlparser::{
    dialect::GenericDialect,
    tokenizer::{Token, Tokenizer},
};

use super::is_word;

const INSTEAD: &str = "***";

/// The text without the string behind each word PASSWORD, wherever in the statement that is. What cannot be read is not
/// shown at all.
pub(crate) fn without_passwords(text: &Arc<str>) -> Arc<str> {
    // A password without the word PASSWORD does not parse.
    if !text.as_bytes().windows(8).any(|word| word.eq_ignore_ascii_case(b"password")) {
        return Arc::clone(text);
    }
    let Ok(mut tokens) = Tokenizer::new(&GenericDialect {}, text).tokenize() else { return INSTEAD.into() };
    let mut is_next = false;
    for token in &mut tokens {
        match token {
            Token::Whitespace(_) => {}
            Token::SingleQuotedString(secret) if is_next => {
                *secret = INSTEAD.to_owned();
                is_next = false;
            }
            other => is_next = is_word(other, "PASSWORD"),
        }
    }
    tokens.iter().map(Token::to_string).collect::<String>().into()
}
