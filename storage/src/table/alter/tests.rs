use std::collections::HashSet;

use arrow::{
    array::{ArrayRef, Int32Array, new_null_array},
    datatypes::Field,
};

use super::*;
use crate::hot::tests::table;

fn people() -> TableDef {
    table(&[("name", DataType::Utf8, true), ("id", DataType::Int64, false), ("age", DataType::Int16, false)], &[1])
}

fn add(name: &str, nullable: bool, initial: Option<i32>) -> Alteration {
    let field = Arc::new(Field::new(name, DataType::Int32, nullable));
    let default = initial.map(|value| value.to_string());
    let initial: ArrayRef = Arc::new(Int32Array::from(vec![initial]));
    Alteration::Add { column: NewColumn { field, default }, initial, if_not_exists: false }
}

fn table_of_one() -> TableDef {
    table(&[("a", DataType::Utf8, true)], &[])
}

fn drop(column: &str) -> Alteration {
    Alteration::Drop { column: column.into(), if_exists: false }
}

fn refused(table: &TableDef, actions: &[Alteration], kind: ErrorKind, says: &str) {
    let error = table.altered(actions).map(|altered| altered.map(|a| a.change)).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.message().contains(says), "{error}");
}

#[test]
fn actions_follow_one_another() {
    let table = people();
    let rename = Alteration::Rename { from: "x".into(), to: "name".into(), checks: Vec::new() };
    let altered = table.altered(&[drop("name"), add("x", false, Some(7)), rename]).unwrap().unwrap();
    let names: Vec<_> = altered.def.columns.iter().map(|c| c.field.name().as_str()).collect();
    assert_eq!(names, ["id", "age", "name"]);
    // The key has moved to the front, and the name that came back is another column.
    assert_eq!((altered.def.key.as_slice(), altered.def.columns[2].id.0), (&[0][..], 4));
    assert_eq!((altered.def.schema_version, altered.def.next_column_id), (2, 5));
    assert!(altered.needs_empty.is_none() && !altered.outdates_writes);
    assert!(altered.change.starts_with("DROP COLUMN \"name\", ADD COLUMN \"x\" Int32"));
    assert_eq!(altered.def.older.get(1), Some(&Arc::new(Version::of(&table))));
    assert!(altered.def.older.get(2).is_none());
}

#[test]
fn column_ids_are_never_used_again() {
    let mut table = people();
    let mut ids = HashSet::new();
    for _ in 0..5 {
        table = table.altered(&[add("x", true, None)]).unwrap().unwrap().def;
        assert!(ids.insert(table.columns[3].id.0));
        table = table.altered(&[drop("x")]).unwrap().unwrap().def;
    }
}

#[test]
fn what_cannot_be_done_is_refused() {
    let table = people();
    refused(&table, &[drop("id")], ErrorKind::FailedPrecondition, "primary key");
    let widen = |column: &str, to| Alteration::Widen { column: column.into(), to };
    refused(&table, &[widen("id", DataType::Float64)], ErrorKind::FailedPrecondition, "INSERT … SELECT");
    refused(&table, &[Alteration::DropNotNull { column: "id".into() }], ErrorKind::FailedPrecondition, "primary key");
    refused(&table, &[widen("age", DataType::Int8)], ErrorKind::Invalid, "only widens");
    refused(&table, &[widen("name", DataType::Int8)], ErrorKind::Invalid, "only widens");
    refused(&table, &[drop("nobody")], ErrorKind::Invalid, "name, id, age");
    refused(&table, &[add("age", true, None)], ErrorKind::AlreadyExists, "age");
    refused(&table, &[add("x", true, None), drop("x"), drop("x")], ErrorKind::Invalid, "\"x\"");
    let keyless = table_of_one();
    refused(&keyless, &[drop("a")], ErrorKind::FailedPrecondition, "DROP TABLE");
}

#[test]
fn nothing_to_do_is_no_version() {
    let table = people();
    let drop = Alteration::Drop { column: "nobody".into(), if_exists: true };
    let same = Alteration::Widen { column: "id".into(), to: DataType::Int64 };
    let options = Alteration::Options(table.options.clone());
    assert!(table.altered(&[drop, same, options]).unwrap().is_none());
}

#[test]
fn only_a_missing_value_needs_an_empty_table() {
    let needs = |action| people().altered(&[action]).unwrap().unwrap().needs_empty.is_some();
    assert!(needs(add("x", false, None)));
    assert!(!needs(add("x", false, Some(1))) && !needs(add("x", true, None)));
}

#[test]
fn wider_types_hold_every_value() {
    let (small, large) = (DataType::Decimal128(5, 2), DataType::Decimal128(10, 3));
    assert!(widens(&small, &large) && !widens(&large, &small));
    // More places behind the point leave fewer before it.
    assert!(!widens(&DataType::Decimal128(5, 2), &DataType::Decimal128(6, 4)));
    assert!(widens(&DataType::Int32, &DataType::Decimal128(12, 2)));
    assert!(!widens(&DataType::Int32, &DataType::Decimal128(11, 2)));
    assert!(!widens(&DataType::Int64, &DataType::Float64) && !widens(&DataType::Int32, &DataType::Float32));
    assert!(!widens(&DataType::UInt32, &DataType::Int32) && widens(&DataType::UInt32, &DataType::Int64));
}

#[test]
fn an_initial_value_widens_with_its_column() {
    let table = people().altered(&[add("x", false, Some(7))]).unwrap().unwrap().def;
    let widen = Alteration::Widen { column: "x".into(), to: DataType::Int64 };
    let table = table.altered(&[widen]).unwrap().unwrap().def;
    let initial = table.columns[3].initial.as_ref().unwrap();
    assert_eq!(initial.array().as_ref(), &arrow::array::Int64Array::from(vec![7]) as &dyn arrow::array::Array);
    let mut read = TableDef::from_record(&table.to_record().unwrap()).unwrap();
    read.older = table.older.clone();
    assert_eq!(read, table);
    assert!(Initial::new(new_null_array(&DataType::Int32, 1)).unwrap().is_none());
}
