//! Where a SQL statement ends: at a `;` that is in no string, quoted name or comment.

/// A text cut into statements.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Statements {
    /// Those that a `;` ends, without it; none is blank.
    pub complete: Vec<String>,
    /// What follows the last `;`.
    pub rest: String,
    /// There is more in the rest than space and comments.
    has_rest: bool,
}

impl Statements {
    /// The statement that no `;` ends, if there is one.
    pub fn open(&self) -> Option<&String> {
        self.has_rest.then_some(&self.rest)
    }
}

pub fn split(text: &str) -> Statements {
    let mut statements = Statements::default();
    let (mut start, mut at, mut has_text) = (0, 0, false);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with(';') {
            if has_text {
                statements.complete.push(text[start..at].trim().to_owned());
            }
            at += 1;
            (start, has_text) = (at, false);
            continue;
        }
        let (length, is_text) = token(rest);
        has_text |= is_text;
        at += length;
    }
    statements.rest = text[start..].trim().to_owned();
    statements.has_rest = has_text;
    statements
}

/// Length of the string, quoted name, comment or character that `text` begins with, and whether it says anything.
fn token(text: &str) -> (usize, bool) {
    let to_end = |found: Option<usize>| found.unwrap_or(text.len());
    if text.starts_with("--") {
        return (to_end(text.find('\n')), false);
    }
    if text.starts_with("/*") {
        return (block_comment(text), false);
    }
    // A doubled quote inside reads as the end of one string and the start of the next, which comes to the same.
    if text.starts_with(['\'', '"']) {
        return (to_end(text[1..].find(&text[..1]).map(|end| end + 2)), true);
    }
    if let Some(tag) = dollar_tag(text) {
        return (to_end(text[tag.len()..].find(tag).map(|end| end + 2 * tag.len())), true);
    }
    let first = text.chars().next();
    (first.map_or(1, char::len_utf8), first.is_some_and(|first| !first.is_whitespace()))
}

/// Length of a block comment; they nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    let bytes = text.as_bytes();
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// The `$$` or `$tag$` that `text` begins with. `$1` is a parameter, no tag.
fn dollar_tag(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('$')?;
    let end = inside.find('$')?;
    let tag = &inside[..end];
    let is_name =
        tag.chars().all(|c| c.is_alphanumeric() || c == '_') && !tag.starts_with(|c: char| c.is_ascii_digit());
    is_name.then(|| &text[..end + 2])
}

#[cfg(test)]
mod tests;
