use crate::world::World;

#[tokio::test]
async fn a_pattern_matches_the_whole_text() {
    let world = World::new().await;
    for (condition, holds) in [
        ("'abc' SIMILAR TO 'abc'", true),
        ("'abc' SIMILAR TO 'b'", false),
        ("'abc' SIMILAR TO '%b%'", true),
        ("'abc' SIMILAR TO 'a_c'", true),
        ("'abc' SIMILAR TO 'a_'", false),
        ("'abc' SIMILAR TO 'a|b'", false),
        ("'abc' SIMILAR TO '%(b|d)%'", true),
        ("'abc' SIMILAR TO '(b|c)%'", false),
        ("'abc' NOT SIMILAR TO 'b'", true),
        ("'aaa' SIMILAR TO 'a{2}'", false),
        ("'aaa' SIMILAR TO 'a{2,}'", true),
        ("'a.c' SIMILAR TO 'a.c'", true),
        ("'abc' SIMILAR TO 'a.c'", false),
        ("'^a$' SIMILAR TO '^a$'", true),
        ("'a' SIMILAR TO '^a$'", false),
        (r"'a%' SIMILAR TO 'a\%'", true),
        (r"'ab' SIMILAR TO 'a\%'", false),
        ("'a%' SIMILAR TO 'a#%' ESCAPE '#'", true),
        (r"'a\b' SIMILAR TO 'a\_' ESCAPE '#'", true),
        ("'a_' SIMILAR TO 'a[_%]'", true),
        ("'ab' SIMILAR TO 'a[_%]'", false),
        ("'ab' SIMILAR TO 'a[^a-z]'", false),
        ("'a1' SIMILAR TO 'a[[:digit:]]'", true),
        ("'a&' SIMILAR TO 'a[&&[]'", true),
        ("'a-' SIMILAR TO 'a[b--]'", true),
        ("'a]' SIMILAR TO 'a[]x]'", true),
        ("'' SIMILAR TO '%'", true),
        ("E'a\\nb' SIMILAR TO 'a%'", true),
        ("E'a\\n' SIMILAR TO 'a'", false),
        ("('a' SIMILAR TO NULL) IS NULL", true),
        ("'abc' SIMILAR TO ('a' || '%')", true),
    ] {
        assert_eq!(world.rows(&format!("SELECT {condition}")).await, [holds.to_string()], "{condition}");
    }
}

#[tokio::test]
async fn patterns_may_be_columns() {
    let world = World::new().await;
    world.run("CREATE TABLE t (id INT PRIMARY KEY, v TEXT, p TEXT)").await;
    world.run("INSERT INTO t VALUES (1, 'abc', 'b'), (2, 'abc', '%b%'), (3, 'abc', 'a_c'), (4, 'abc', NULL)").await;
    assert_eq!(world.rows("SELECT id FROM t WHERE v SIMILAR TO p ORDER BY id").await, ["2", "3"]);
    assert_eq!(world.rows("SELECT id FROM t WHERE v NOT SIMILAR TO p").await, ["1"]);
    assert_eq!(world.rows("SELECT count(*) FROM t WHERE v SIMILAR TO '%c'").await, ["4"]);
    for pattern in ["'a['", r"'a\'"] {
        let error = world.count(&format!("DELETE FROM t WHERE v SIMILAR TO {pattern}"), Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains("SIMILAR TO"), "{error}");
    }
}
