//! Names that users may have and programs stumble over. Which user a name belongs to is shown by a canary in it, where
//! the name allows one.

use crate::{canary, rng::Rng};

/// A name is never a path, a pattern, a key separator, SQL text, or the beginning of another.
pub fn all(count: usize, rng: &mut Rng) -> Vec<String> {
    let mut names: Vec<String> = [
        "a",
        "aa",
        "aaa",
        " ",
        "  ",
        "a ",
        ".",
        "..",
        "%",
        "_",
        "*",
        "\"",
        "'",
        "\\",
        "/",
        "Admin",
        "ADMIN",
        "аdmin",
        "admin ",
        "null",
        "NULL",
        "0",
        "1",
        "18446744073709551615",
        "é",
        "e\u{301}",
        "\u{200b}",
        "\u{feff}a",
        "ß",
        "ss",
        "\u{1f600}",
        "\u{202e}nimda",
        "\n",
        "\t",
        "\u{1}",
        "user",
        "public",
        "insula",
        "true",
    ]
    .map(String::from)
    .into();
    names.truncate(count.saturating_sub(1) / 2);
    while names.len() + 1 < count {
        // The admin is the last of all.
        let token = canary::token(names.len(), rng);
        names.push(match rng.below(10) {
            0 => format!("../{token}"),
            1 => format!("'; DROP TABLE t; --{token}"),
            2 => format!("\"{token}\""),
            3 => format!("{token}%"),
            4 => format!("/{token}/../../etc"),
            5 => format!("{token:<256}"),
            6 => format!("{token}\u{0301}"),
            // One user's name begins with another's.
            7 => format!("{token}/{token}"),
            8 => format!("user/{token}"),
            _ => token,
        });
    }
    names.push("admin".into());
    names
}
