//! A pattern of SIMILAR TO as a regular expression.

use std::{iter::Peekable, str::Chars};

use crate::{Error, Result};

/// Matches what `pattern` does, as a whole.
pub(super) fn regex(pattern: &str, escape: char) -> Result<String> {
    // Both wildcards stand for ends of lines too.
    let mut regex = String::from("(?s)^(?:");
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            _ if c == escape => escaped(chars.next(), &mut regex)?,
            '%' => regex.push_str(".*"),
            '_' => regex.push('.'),
            // With a `?` behind it, a parenthesis would begin flags or a name.
            '(' => regex.push_str("(?:"),
            '.' | '^' | '$' | '\\' => regex.extend(['\\', c]),
            '[' => class(&mut chars, escape, &mut regex)?,
            _ => regex.push(c),
        }
    }
    regex.push_str(")$");
    Ok(regex)
}

/// The character after the escape character, which stands for itself.
fn escaped(c: Option<char>, regex: &mut String) -> Result<()> {
    let c = c.ok_or_else(|| {
        Error::invalid(
            "a pattern of SIMILAR TO ends with its escape character, which wants one more to stand for itself",
        )
    })?;
    if c.is_ascii_punctuation() {
        regex.push('\\');
    }
    regex.push(c);
    Ok(())
}

/// What stands between brackets, which have other rules: there are no wildcards in them.
fn class(chars: &mut Peekable<Chars<'_>>, escape: char, regex: &mut String) -> Result<()> {
    regex.push('[');
    if chars.next_if_eq(&'^').is_some() {
        regex.push('^');
    }
    // A bracket that closes stands for itself at the beginning.
    if chars.next_if_eq(&']').is_some() {
        regex.push_str("\\]");
    }
    while let Some(c) = chars.next() {
        match c {
            _ if c == escape => escaped(chars.next(), regex)?,
            ']' => {
                regex.push(']');
                return Ok(());
            }
            // `[:alpha:]`
            '[' if chars.peek() == Some(&':') => {
                regex.push('[');
                for c in chars.by_ref() {
                    regex.push(c);
                    if c == ']' {
                        break;
                    }
                }
            }
            // These would be sets within a set, and operators between sets.
            '-' if chars.peek() == Some(&'-') => regex.push_str("\\-"),
            '[' | '&' | '~' | '\\' | '^' => regex.extend(['\\', c]),
            _ => regex.push(c),
        }
    }
    Err(Error::invalid("a pattern of SIMILAR TO has a '[' without its ']'"))
}
