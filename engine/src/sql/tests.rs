use super::*;
use crate::Role;

fn sql(text: &str) -> Ast {
    match parse(text).unwrap().statement {
        Statement::Sql(ast) => *ast,
        other => panic!("{other:?}"),
    }
}

fn hidden(text: &str) -> String {
    let parsed = parse(text).unwrap();
    let Statement::Sql(mut ast) = parsed.statement else { panic!("not SQL") };
    wildcard::expand(&mut ast, parsed.named).unwrap();
    ast.to_string()
}

#[test]
fn question_marks_are_numbered_in_textual_order() {
    assert_eq!(sql("select ? + ? from t where a = '?'").to_string(), "SELECT $1 + $2 FROM t WHERE a = '?'");
    assert!(parse("select ? + $1").is_err());
    assert!(parse("select $0").is_err());
    assert!(parse("select $x").is_err());
}

#[test]
fn only_words_name_system_columns() {
    assert_eq!(parse("select '_deleted' -- _seq\n from t").unwrap().named, SystemColumns::default());
    assert!(parse("select 1 from t where _DELETED").unwrap().named.deleted);
    assert!(!parse("select \"_DELETED\" from t").unwrap().named.deleted);
    assert_eq!(parse("select t._seq, \"_updated\" from t").unwrap().named.names().count(), 2);
}

#[test]
fn one_statement_at_a_time() {
    assert!(parse("select 1;").is_ok());
    assert!(parse("select 1; select 2").unwrap_err().message().contains("one statement"));
    assert!(parse(" ; ").unwrap_err().message().contains("empty"));
    assert!(parse("").is_err());
}

#[test]
fn kinds_of_tables_stand_before_table() {
    let kind = |text: &str| match parse(text).unwrap().statement {
        Statement::CreateTable(_, kind) => kind,
        other => panic!("{other:?}"),
    };
    assert_eq!(kind("create shared table t (a int)"), Some(TableKind::Shared));
    assert_eq!(kind("CREATE USER TABLE t (a int)"), Some(TableKind::User));
    assert_eq!(kind("create table shared (a int)"), None);
}

#[test]
fn commands_are_parsed_and_never_echo_secrets() {
    let command = |text: &str| match parse(text).map(|p| p.statement) {
        Ok(Statement::Command(command)) => Ok(command),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error),
    };
    assert_eq!(command("flush table A.\"B\";").unwrap(), Command::FlushTable(vec!["a".into(), "B".into()]));
    assert_eq!(
        command("CREATE USER \"Ann O'Hara\" PASSWORD 'it''s' ROLE admin").unwrap(),
        Command::CreateUser { name: "Ann O'Hara".into(), password: "it's".into(), role: Role::Admin }
    );
    let error = command("CREATE USER x PASSWORD 'hunter2' 'hunter3'").unwrap_err();
    assert!(!error.message().contains("hunter"), "{error}");
}

#[test]
fn a_wildcard_beside_a_system_column_is_listed_per_relation() {
    assert_eq!(hidden("select * from t"), "SELECT * FROM t");
    assert_eq!(hidden("select t.*, 1 from n.t"), "SELECT n.t.*, 1 FROM n.t");
    assert_eq!(hidden("select *, _seq from t"), "SELECT t.* EXCLUDE (\"_seq\"), _seq FROM t");
    assert_eq!(
        hidden("select *, a._seq from t a join n.t b using (id)"),
        "SELECT a.* EXCLUDE (\"_seq\"), b.* EXCLUDE (id, \"_seq\"), a._seq FROM t a JOIN n.t b USING(id)"
    );
    assert_eq!(
        hidden("with c as (select _seq from t) select * from c"),
        "WITH c AS (SELECT _seq FROM t) SELECT c.* FROM c"
    );
}

#[test]
fn passwords_are_no_part_of_what_is_shown() {
    let shown = |sql: &str| redact::without_passwords(&sql.into()).to_string();
    assert_eq!(shown("CREATE USER \"a\" PASSWORD 'it''s' ROLE admin"), "CREATE USER \"a\" PASSWORD '***' ROLE admin");
    assert_eq!(shown("alter user a password\n/* so */ 'x'"), "alter user a password\n/* so */ '***'");
    let within = "EXECUTE AS USER 'a' (ALTER USER b PASSWORD 'x')";
    assert_eq!(shown(within), "EXECUTE AS USER 'a' (ALTER USER b PASSWORD '***')");
    for plain in ["SELECT 'x' FROM t", "SELECT password, 'x' FROM \"PASSWORD\"", "SELECT \"password\" 'x'"] {
        assert_eq!(shown(plain), plain);
    }
    assert_eq!(shown("CREATE USER a PASSWORD 'x"), "***", "what cannot be read is not shown");
}

#[test]
fn a_missing_column_is_where_it_is_sought() {
    for (sql, column) in [
        ("SELECT id FROM t ORDER BY nope", 27),
        ("WITH a AS (SELECT id FROM t ORDER BY nope) SELECT id AS nope FROM a", 38),
        ("SELECT * FROM (SELECT id FROM t GROUP BY id, Nope LIMIT 1) s WHERE id = 'nope' AND s.nope > 1", 46),
        ("SELECT * FROM t JOIN u USING (nope) WHERE u.nope = 1", 31),
        ("SELECT sum(id) OVER (PARTITION BY nope), 1 AS nope FROM t", 35),
        ("SELECT nope FROM t WHERE nope > 1", 26),
    ] {
        let at = place_of("nope", sql).unwrap();
        assert_eq!((at.line, at.column), (1, column), "{sql}");
    }
    assert_eq!(place_of("nope", "SELECT 'nope'"), None);
}
