//! Semicolons that end a statement, and those that do not.

use super::split;

fn complete(text: &str) -> Vec<String> {
    split(text).complete
}

#[test]
fn statements_end_at_semicolons_and_blank_ones_vanish() {
    let split = split(" SELECT 1 ;; ;\nSELECT 2; SELECT");
    assert_eq!(split.complete, ["SELECT 1", "SELECT 2"]);
    assert_eq!(split.open().map(String::as_str), Some("SELECT"));
}

#[test]
fn semicolons_in_strings_names_and_comments_end_nothing() {
    assert_eq!(complete("SELECT ';', 'it''s; so', \"a;b\" -- c;d\n;").len(), 1);
    assert_eq!(complete("SELECT /* a; /* b; */ c; */ 1; SELECT 2;").len(), 2);
    assert_eq!(complete("SELECT $$ a; b $$, $t$ c; $$ d; $t$, $1;").len(), 1);
    assert_eq!(complete("SELECT $1, $2; SELECT $1;").len(), 2);
    assert_eq!(complete("SELECT 'é;ü'; SELECT '→';").len(), 2);
}

#[test]
fn a_comment_alone_is_no_statement() {
    let split = split("SELECT 1; -- the end");
    assert_eq!(split.complete, ["SELECT 1"]);
    assert_eq!(split.open(), None);
    assert_eq!(super::split("/* x */ ;").complete.len(), 0);
}

#[test]
fn what_is_unfinished_stays_open() {
    for text in ["SELECT 'a;", "SELECT \"a;", "SELECT /* ;", "SELECT $x$ ;"] {
        let split = split(text);
        assert!(split.complete.is_empty(), "{text}");
        assert!(split.open().is_some(), "{text}");
    }
}
