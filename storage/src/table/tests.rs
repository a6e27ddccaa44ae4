use std::collections::HashMap;

use arrow::datatypes::{IntervalUnit, UnionFields, UnionMode};

use super::*;
use crate::hot::tests::{new_table, table};

fn invalid(columns: &[(&str, DataType, bool)], key: &[usize], names: &str) {
    let error = new_table(columns, key).define(TableId(1), 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains(names), "{error}");
}

#[test]
fn definitions_are_checked() {
    let text = || ("a", DataType::Utf8, true);
    invalid(&[text(), text()], &[], "\"a\"");
    invalid(&[text()], &[0, 0], "\"t\"");
    invalid(&[text()], &[1], "\"t\"");
    invalid(&[("d", DataType::Interval(IntervalUnit::DayTime), false)], &[0], "\"d\"");
    let union = DataType::Union(UnionFields::empty(), UnionMode::Dense);
    invalid(&[("u", union.clone(), true)], &[], "\"u\"");
    let list = DataType::List(Arc::new(Field::new("inner", union, true)));
    invalid(&[("l", list, true)], &[], "\"l\"");
}

#[test]
fn key_columns_are_not_nullable() {
    let table = table(&[("a", DataType::Utf8, true), ("b", DataType::Int32, true)], &[1]);
    assert!(table.columns[0].field.is_nullable() && !table.columns[1].field.is_nullable());
    assert_eq!((table.stored_key(), table.next_column_id), (vec![5], 3));
    assert_eq!(table.stored_schema().field(5).name(), "c2");
}

#[test]
fn layouts_are_stored_as_their_values() {
    let dictionary = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8View));
    assert_eq!(stored_type(&dictionary).unwrap(), DataType::Utf8);
    let runs = DataType::RunEndEncoded(
        Arc::new(Field::new("run_ends", DataType::Int32, false)),
        Arc::new(Field::new("values", DataType::BinaryView, true)),
    );
    assert_eq!(stored_type(&runs).unwrap(), DataType::Binary);
    let list = |item: DataType| DataType::List(Arc::new(Field::new("item", item, true)));
    assert_eq!(stored_type(&list(dictionary)).unwrap(), list(DataType::Utf8));
    assert_eq!(stored_type(&DataType::Decimal128(2, -2)).unwrap(), DataType::Decimal128(4, 0));
    assert_eq!(stored_type(&DataType::Decimal128(38, -2)).unwrap(), DataType::Decimal256(40, 0));
    assert_eq!(stored_type(&DataType::Decimal128(10, 2)).unwrap(), DataType::Decimal128(10, 2));
    assert!(stored_type(&DataType::Decimal256(70, -7)).unwrap_err().to_string().contains("76"));
    let field = Field::new("f", DataType::Utf8View, true).with_metadata(HashMap::from([("k".into(), "v".into())]));
    assert_eq!(stored_field(&field).unwrap(), field.with_data_type(DataType::Utf8));
}

#[test]
fn a_type_does_not_ask_for_more_than_a_value_may_have() {
    let list = |item: DataType, n| DataType::FixedSizeList(Arc::new(Field::new_list_field(item, true)), n);
    let half = |name: &str| Field::new(name, list(DataType::Float64, 4096), true);
    for allowed in [
        list(DataType::Float64, 8192),
        DataType::FixedSizeBinary(64 << 10),
        list(list(DataType::Int16, 128), 256),
        DataType::Struct(vec![half("a"), half("b")].into()),
    ] {
        assert_eq!(stored_type(&allowed).unwrap(), allowed);
    }
    let wide = DataType::FixedSizeBinary((64 << 10) + 1);
    for refused in [
        list(DataType::Float64, 8193),
        list(list(DataType::Int64, i32::MAX), i32::MAX),
        list(DataType::Null, i32::MAX),
        DataType::Struct(vec![half("a"), half("b"), Field::new("c", DataType::Int8, true)].into()),
        DataType::List(Arc::new(Field::new_list_field(wide.clone(), true))),
        DataType::Dictionary(Box::new(DataType::Int8), Box::new(wide.clone())),
        wide,
    ] {
        let error = stored_type(&refused).unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.message().contains("65536 bytes a value"), "{error}");
    }
}

#[test]
fn records_round_trip() {
    let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("Europe/Rome".into()));
    let mut def = table(&[("a", time, true), ("b", DataType::Decimal128(20, 3), false)], &[1]);
    let entry = HashMap::from([("ARROW:extension:name".to_owned(), "x".to_owned())]);
    def.columns[0].field = Arc::new(def.columns[0].field.as_ref().clone().with_metadata(entry));
    def.columns[0].default = Some("now()".into());
    assert_eq!(TableDef::from_record(&def.to_record().unwrap()).unwrap(), def);
    def.kind = TableKind::Shared;
    def.options = TableOptions {
        flush_rows: 5,
        flush_bytes: 6,
        flush_interval: None,
        durability: Durability::Periodic,
        deleted_retention: Some(Duration::from_micros(1)),
        placement: Placement::File,
        ttl: Some(Duration::from_micros(2)),
        max_rows: Some(7),
    };
    let record = def.to_record().unwrap();
    assert_eq!(TableDef::from_record(&record).unwrap(), def);
    for end in 0..record.len() {
        assert_eq!(TableDef::from_record(&record[..end]).unwrap_err().kind(), ErrorKind::DataLoss);
    }
}
