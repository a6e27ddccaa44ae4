use crate::{ErrorKind, sql::parse};

fn is_taken(sql: &str) -> bool {
    match parse(sql) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
            assert!(error.message().contains("too deep"), "{error}");
            false
        }
    }
}

/// Ten times what is allowed and more: each would overflow the stack of whoever walks it.
#[test]
fn what_would_be_deep_is_refused_before_it_is_built() {
    for (begin, link) in [
        ("SELECT 1", " + 1"),
        ("SELECT 'a'", " || 'a'"),
        ("SELECT 1", "::int"),
        ("SELECT x", "[1]"),
        ("SELECT 1 WHERE true", " AND true"),
        ("SELECT 1 WHERE a = 1", " OR a = 2"),
        ("SELECT 1 WHERE a", " IS NULL"),
        ("SELECT 1", " UNION ALL SELECT 1"),
        ("SELECT 1", " EXCEPT SELECT 1"),
        ("SELECT 1 FROM t", ", t"),
        ("SELECT 1 FROM t", " CROSS JOIN t"),
        ("SELECT 1 FROM t", " JOIN t USING (id)"),
        ("WITH a AS (SELECT 1)", ", b AS (SELECT * FROM a)"),
    ] {
        for length in [2_000, 50_000] {
            assert!(!is_taken(&format!("{begin}{}", link.repeat(length))), "{link}");
        }
    }
    // A little on each of many levels comes to much.
    let nested = format!("SELECT {}1{}", format!("1{} + (", " + 1".repeat(20)).repeat(30), ")".repeat(30));
    assert!(!is_taken(&nested));
}

#[test]
fn what_is_long_and_not_deep_is_taken() {
    let many = |text: &str, between: &str| vec![text; 20_000].join(between);
    for sql in [
        format!("INSERT INTO t VALUES {}", many("(1 + 1, -2, 'a' || 'b')", ", ")),
        format!("SELECT 1 WHERE a IN ({})", many("-1", ", ")),
        format!("SELECT {}", many("a + b", ", ")),
        format!("SELECT CASE {} END", many("WHEN a = 1 THEN b + 1", " ")),
        format!("SELECT * FROM t WHERE {}", vec!["a = 1"; 1_000].join(" OR ")),
        format!("SELECT a IS DISTINCT FROM b, {} FROM t, u", many("c", ", ")),
        format!("SELECT * FROM t WHERE {}", vec!["(a = 1 AND b + 2 = 3)"; 900].join(" OR ")),
        format!("SELECT 1 {}", "UNION ALL SELECT 1 FROM a, b ".repeat(100)),
    ] {
        assert!(is_taken(&sql), "{}…", &sql[..60]);
    }
}
