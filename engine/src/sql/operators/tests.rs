use crate::{ErrorKind, world::World};

#[tokio::test]
async fn operators_mean_and_bind_as_in_postgresql() {
    let world = World::new().await;
    for (sql, expected) in [
        ("2 ^ 3", "8.0"),
        ("2 ^ -1", "0.5"),
        ("-2 ^ 2", "4.0"),
        ("2 ^ 3 ^ 2", "64.0"),
        ("2 * 3 ^ 2 + 1", "19.0"),
        ("1 + 2 ^ 2 * 3", "13.0"),
        ("(2 * 3) ^ 2", "36.0"),
        ("2 ^ (1 + 2)", "8.0"),
        ("2 ^ 2 = 4", "true"),
        ("5 # 3", "6"),
        ("5 # 3 + 1", "1"),
        ("6 & 3", "2"),
        ("1 | 2 & 4", "0"),
        ("1 | (2 & 4)", "1"),
        ("1 << 2 + 1", "8"),
        ("16 >> 1 << 2", "32"),
        ("7 & 3 + 1", "4"),
        ("~5", "-6"),
        ("~5 & 7", "2"),
        ("'a' || 1 + 2", "a3"),
        ("'a' || 2 ^ 2 || 'b'", "a4.0b"),
        ("10 - 2 - 3", "5"),
        ("'abc' ~ 'B'", "false"),
        ("'abc' ~* 'B'", "true"),
        ("'abc' !~ 'B'", "true"),
        ("'abc' !~* 'B'", "false"),
        ("'abc' ~~ 'a%' AND 'abc' ~~* 'A%' AND 'abc' !~~ 'b%'", "true"),
    ] {
        assert_eq!(world.rows(&format!("SELECT {sql}")).await, [expected], "{sql}");
    }
}

/// What is stored of a default is a text, which is read again.
#[tokio::test]
async fn defaults_and_checks_keep_their_meaning() {
    let world = World::new().await;
    world
        .run("CREATE TABLE t (id BIGINT PRIMARY KEY, a DOUBLE DEFAULT 2 * 3 ^ 2, b BIGINT DEFAULT 1 | 2 & 4, CHECK (id # 3 < 2 ^ 3))")
        .await;
    world.run("INSERT INTO t (id) VALUES (4)").await;
    assert_eq!(world.rows("SELECT a, b FROM t").await, ["18.0|0"]);
    assert!(world.try_run("INSERT INTO t (id) VALUES (11)", Vec::new()).await.is_err());
    world.run("UPDATE t SET a = a ^ 2 WHERE id ^ 2 = 16").await;
    assert_eq!(world.rows("SELECT a FROM t").await, ["324.0"]);
}

#[tokio::test]
async fn what_is_not_there_names_what_is() {
    let world = World::new().await;
    for (sql, instead) in [
        ("SELECT |/ 25", "sqrt"),
        ("SELECT ||/ 27", "cbrt"),
        ("SELECT @ -5", "abs"),
        ("SELECT 5 !", "factorial"),
        ("SELECT !! 5", "factorial"),
    ] {
        let error = world.try_run(sql, Vec::new()).await.err().unwrap_or_else(|| panic!("{sql} was taken"));
        assert_eq!(error.kind(), ErrorKind::Unimplemented, "{sql}: {error}");
        assert!(error.message().contains(instead), "{sql}: {error}");
    }
}
