use crate::sql::{Statement, parse};

/// The statement as it is planned.
fn planned(sql: &str) -> String {
    match parse(sql).unwrap().statement {
        Statement::Sql(ast) => ast.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
        other => panic!("{other:?}"),
    }
}

#[test]
fn table_is_a_query() {
    assert_eq!(planned("TABLE t"), "SELECT * FROM t");
    assert_eq!(planned("TABLE n.t ORDER BY a LIMIT 2;"), "SELECT * FROM n.t ORDER BY a LIMIT 2");
    assert_eq!(planned("TABLE t UNION ALL TABLE u"), "SELECT * FROM t UNION ALL SELECT * FROM u");
    assert_eq!(planned("SELECT 1 IN (TABLE u)"), "SELECT 1 IN (SELECT * FROM u)");
    assert_eq!(planned("INSERT INTO t TABLE u"), "INSERT INTO t SELECT * FROM u");
    assert_eq!(planned("INSERT INTO t (a, b) TABLE u"), "INSERT INTO t (a, b) SELECT * FROM u");
    assert_eq!(planned("WITH a AS (TABLE u) TABLE a"), "WITH a AS (SELECT * FROM u) SELECT * FROM a");
}

#[test]
fn what_is_called_table_elsewhere_stays() {
    assert_eq!(planned("DROP TABLE t"), "DROP TABLE t");
    assert_eq!(planned("TRUNCATE TABLE t"), "TRUNCATE TABLE t");
    for sql in ["CREATE TABLE x AS TABLE t", "CREATE SHARED TABLE n.x AS TABLE t"] {
        match parse(sql).unwrap().statement {
            Statement::CreateTable(ast, _) => assert!(ast.to_string().ends_with(" AS SELECT * FROM t"), "{ast}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn fetch_is_a_limit() {
    assert_eq!(planned("SELECT a FROM t FETCH FIRST 3 ROWS ONLY"), "SELECT a FROM t LIMIT 3");
    assert_eq!(planned("SELECT a FROM t FETCH NEXT ROW ONLY"), "SELECT a FROM t LIMIT 1");
    let with_offset = planned("SELECT a FROM t ORDER BY a OFFSET 5 ROWS FETCH NEXT 2 ROWS ONLY");
    assert_eq!(with_offset, "SELECT a FROM t ORDER BY a LIMIT 2 OFFSET 5 ROWS");
    assert!(parse("SELECT a FROM t FETCH FIRST 3 ROWS WITH TIES").unwrap_err().message().contains("WITH TIES"));
    assert!(parse("SELECT a FROM t LIMIT 1 FETCH FIRST 3 ROWS ONLY").unwrap_err().message().contains("not both"));
}

#[test]
fn common_tables_of_a_write_stand_where_they_are_named() {
    assert_eq!(
        planned("WITH a AS (SELECT 1 AS x) INSERT INTO t SELECT x FROM a WHERE x = 1"),
        "INSERT INTO t SELECT x FROM (WITH a AS (SELECT 1 AS x) SELECT * FROM a) AS a WHERE x = 1"
    );
    assert_eq!(
        planned("WITH a AS (SELECT 1 AS x) DELETE FROM a USING a AS b WHERE a.x = b.x"),
        "DELETE FROM a USING (WITH a AS (SELECT 1 AS x) SELECT * FROM a) AS b WHERE a.x = b.x"
    );
    assert!(
        planned("WITH a AS (SELECT 1 AS x) UPDATE t SET v = 1 WHERE v IN (SELECT x FROM a)")
            .starts_with("UPDATE t SET")
    );
}

#[test]
fn common_tables_do_not_write() {
    let message = |sql: &str| parse(sql).unwrap_err().message().to_owned();
    assert!(message("WITH a AS (DELETE FROM t RETURNING x) SELECT * FROM a").contains("common table"));
    assert!(message("WITH a AS (SELECT 1) INSERT INTO t WITH a AS (SELECT 2) SELECT * FROM a").contains("rename"));
    let many = format!(
        "WITH a AS (SELECT 1 AS x) INSERT INTO t SELECT 1 WHERE {}",
        vec!["1 IN (SELECT x FROM a)"; 101].join(" OR ")
    );
    assert!(message(&many).contains("100 times"));
    let long = format!("'{}'", "x".repeat(600_000));
    let with = format!("WITH a AS (SELECT {long} AS x) INSERT INTO t SELECT x FROM a");
    assert!(parse(&with).is_ok());
    assert!(message(&format!("{with} WHERE x IN (SELECT x FROM a)")).contains("long ones once"));
}

#[test]
fn a_schema_is_set_with_or_without_an_equals_sign() {
    assert_eq!(planned("SET SCHEMA 'app'"), "SET SCHEMA = 'app'");
    assert_eq!(planned("SET search_path TO app"), "SET search_path = app");
}

#[test]
fn functions_without_parentheses_are_called() {
    assert_eq!(planned("SELECT current_schema, current_role AS r"), "SELECT current_schema(), current_role() AS r");
    assert_eq!(planned("SELECT current_schema()"), "SELECT current_schema()");
    assert_eq!(
        planned("SELECT t.current_schema, 1 AS current_role FROM t"),
        "SELECT t.current_schema, 1 AS current_role FROM t"
    );
    assert_eq!(planned("SET current_schema = app"), "SET current_schema = app");
}
