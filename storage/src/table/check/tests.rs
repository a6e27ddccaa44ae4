use arrow::datatypes::DataType;

use crate::{Alteration, ErrorKind, NewCheck, TableDef, hot::tests::new_table};
use insula_proto::TableId;

fn check(name: &str, columns: &[&str]) -> NewCheck {
    let columns: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
    NewCheck { name: name.into(), sql: format!("{} > 0", columns.join(" + ")), columns }
}

fn table() -> TableDef {
    let columns = [("id", DataType::Int64, false), ("a", DataType::Int16, true), ("b", DataType::Int16, true)];
    let checks = vec![check("one", &["a"]), check("both", &["b", "id"])];
    crate::NewTable { checks, ..new_table(&columns, &[0]) }.define(TableId(7), 0).unwrap()
}

fn drop(column: &str) -> Alteration {
    Alteration::Drop { column: column.into(), if_exists: false }
}

fn drop_check(name: &str, if_exists: bool) -> Alteration {
    Alteration::DropCheck { name: name.into(), if_exists }
}

fn rename(from: &str, to: &str, checks: &[(&str, &str)]) -> Alteration {
    let checks = checks.iter().map(|(name, sql)| ((*name).to_owned(), (*sql).to_owned())).collect();
    Alteration::Rename { from: from.into(), to: to.into(), checks }
}

#[test]
fn they_are_kept_with_the_definition() {
    let table = table();
    let kept = TableDef::from_record(&table.to_record().unwrap()).unwrap();
    assert_eq!(kept, table);
    assert_eq!(kept.checks[1].columns.iter().map(|id| id.0).collect::<Vec<_>>(), [3, 1]);
}

#[test]
fn columns_in_use_stay_until_the_check_goes() {
    let table = table();
    let widen = Alteration::Widen { column: "b".into(), to: DataType::Int64 };
    for (action, check) in [(drop("a"), "one"), (widen.clone(), "both"), (rename("a", "x", &[]), "one")] {
        let error = table.after(&action).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
        assert!(error.message().contains(&format!("DROP CONSTRAINT \"{check}\"")), "{error}");
    }
    let altered =
        table.altered(&[drop_check("one", false), drop("a"), drop_check("both", true), widen]).unwrap().unwrap();
    assert!(altered.def.checks.is_empty() && !altered.outdates_writes);
    assert!(altered.change.starts_with("DROP CONSTRAINT \"one\", DROP COLUMN \"a\", DROP CONSTRAINT \"both\""));
    assert!(table.altered(&[drop_check("three", true)]).unwrap().is_none());
    let error = table.after(&drop_check("three", false)).unwrap_err();
    assert!(error.kind() == ErrorKind::NotFound && error.message().contains("one, both"), "{error}");
}

#[test]
fn a_renamed_column_is_named_anew() {
    let table = table().after(&rename("id", "key", &[("both", "b + key > 0"), ("one", "false")])).unwrap();
    assert_eq!(table.checks.iter().map(|check| check.sql.as_str()).collect::<Vec<_>>(), ["a > 0", "b + key > 0"]);
}

#[test]
fn a_new_one_outdates_what_was_encoded_before_it() {
    let add = |holds| Alteration::AddCheck { check: check("new", &["b"]), holds };
    let altered = table().altered(&[add(true)]).unwrap().unwrap();
    assert!(altered.outdates_writes && altered.needs_empty.is_none());
    assert_eq!(altered.change, "ADD CONSTRAINT \"new\" CHECK (b > 0)");
    let altered = table().altered(&[add(false)]).unwrap().unwrap();
    assert!(altered.outdates_writes && altered.needs_empty.unwrap().message().contains("NOT VALID"));
    let again = Alteration::AddCheck { check: check("one", &["b"]), holds: true };
    assert_eq!(table().after(&again).unwrap_err().kind(), ErrorKind::AlreadyExists);
}
