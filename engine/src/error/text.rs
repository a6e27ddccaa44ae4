//! What DataFusion says, as far as it is for whoever wrote the statement: no backtrace, no plea to report a bug that is a
//! slip of theirs, and no dump of a syntax tree where a name says it.

/// The part that says what is wrong.
pub(super) fn told(message: &str) -> String {
    let message = message.split("\n\nbacktrace:").next().unwrap_or(message);
    // Where no signature fits, the list of those that there are comes last, after what each of them had to say.
    let message = match message.find("No function matches the given name") {
        Some(at) => &message[at..],
        None => message.split("\nThis issue was likely").next().unwrap_or(message),
    };
    let message = message.strip_prefix("Internal error: ").unwrap_or(message);
    without_dumps(message.trim_end())
}

/// `Name { field: … }` and `Name(… { … } …)` become `Name`.
fn without_dumps(message: &str) -> String {
    let mut short = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(at) = rest.find(['{', '(']) {
        let (before, from) = rest.split_at(at);
        let end = end_of_group(from);
        let is_dump = match from.starts_with('{') {
            true => before.strip_suffix(' ').is_some_and(ends_with_type),
            false => ends_with_type(before) && from[..end].contains(" {"),
        };
        if is_dump {
            short.push_str(before.trim_end());
            rest = &from[end..];
        } else {
            short.push_str(&rest[..=at]);
            rest = &from[1..];
        }
    }
    short + rest
}

/// Is the last word one that Rust calls a type by?
fn ends_with_type(text: &str) -> bool {
    let word = text.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
    word.starts_with(|c: char| c.is_ascii_uppercase())
}

/// Behind the bracket that closes the first one, those in texts apart; the end of all, where none does.
fn end_of_group(text: &str) -> usize {
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    for (at, c) in text.char_indices() {
        if std::mem::take(&mut is_escaped) {
            continue;
        }
        match c {
            '\\' => is_escaped = is_text,
            '"' => is_text = !is_text,
            _ if is_text => {}
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    text.len()
}

/// What the compiler of regular expressions says, without the expression: that may be the content of a row.
pub(super) fn of_regex(message: &str) -> Option<String> {
    if message.starts_with("Compiled regex exceeds size limit") {
        return Some("the regular expression is too large".to_owned());
    }
    let at = message.find("regex parse error:")?;
    let reason = message[at..].rsplit_once("error: ").map_or("", |(_, reason)| reason);
    let reason = reason.lines().next().unwrap_or_default();
    Some(format!("a regular expression is wrong: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_no_bug() {
        let sum = "Internal error: Function 'sum' failed, errors: a,b..\nThis issue was likely caused by a bug in \
                   DataFusion's code. Please help us. No function matches the given name and argument types 'sum(Utf8)'.";
        assert_eq!(told(sum), "No function matches the given name and argument types 'sum(Utf8)'.");
        assert_eq!(told("Internal error: no.\nThis issue was likely caused by a bug"), "no.");
        assert_eq!(told("bad\n\nbacktrace: 0"), "bad");
    }

    #[test]
    fn dumps_become_names() {
        assert_eq!(told("is not valid Substring { expr: Value(\"a}\\\"}\"), from: None }"), "is not valid Substring");
        let outer = "does not support OuterReferenceColumn(Field { name: \"k\" }, Column { x: 1 }) here";
        assert_eq!(told(outer), "does not support OuterReferenceColumn here");
        for kept in ["cast to Decimal128(10, 2)", "sum(Int64) of {a}", "'x(' é {", "Timestamp(µs, \"UTC\")"] {
            assert_eq!(told(kept), kept);
        }
    }

    #[test]
    fn an_expression_is_not_repeated() {
        let told = of_regex("regex parse error:\n    secret(\n    ^\nerror: unclosed group\n~~~~\n)").unwrap();
        assert_eq!(told, "a regular expression is wrong: unclosed group");
        assert_eq!(of_regex("another error: x"), None);
    }
}
