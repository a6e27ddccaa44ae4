use arrow::{
    array::{Array, AsArray, UnionArray},
    datatypes::UInt32Type,
};

use std::time::Duration;

use super::*;

fn all() -> SqlInfoData {
    sql_info(FunctionNames::default(), Duration::from_secs(300)).unwrap()
}

#[test]
fn every_code_of_the_protocol_is_answered() {
    let batch = all().record_batch(None).unwrap();
    let codes: Vec<u32> = batch.column(0).as_primitive::<UInt32Type>().values().to_vec();
    let expected: Vec<u32> = (0..=11).chain([100, 101]).chain(500..=576).collect();
    assert_eq!(codes, expected);
}

#[test]
fn union_types_are_those_that_drivers_cast_to() {
    let child = |info: SqlInfo| {
        let batch = all().record_batch([info as u32]).unwrap();
        batch.column(1).as_any().downcast_ref::<UnionArray>().unwrap().type_id(0)
    };
    assert_eq!(child(SqlInfo::FlightSqlServerName), 0);
    assert_eq!(child(SqlInfo::FlightSqlServerReadOnly), 1);
    assert_eq!(child(SqlInfo::SqlMaxConnections), 2);
    assert_eq!(child(SqlInfo::SqlDefaultTransactionIsolation), 2);
    assert_eq!(child(SqlInfo::FlightSqlServerTransaction), 3);
    assert_eq!(child(SqlInfo::SqlSupportedGroupBy), 3);
    assert_eq!(child(SqlInfo::SqlKeywords), 4);
    assert_eq!(child(SqlInfo::SqlSupportsConvert), 5);
}

#[test]
fn unknown_codes_are_left_out() {
    assert_eq!(all().record_batch([9_999]).unwrap().num_rows(), 0);
}
