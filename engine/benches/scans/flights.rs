//! Rows that look like flights, made from their numbers: every variant gets the same ones.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};

pub const BATCH_ROWS: usize = 8192;

/// The columns as SQL declares them.
pub const COLUMNS: &str = "id BIGINT PRIMARY KEY, month INT NOT NULL, day INT NOT NULL, dep_delay INT, carrier TEXT NOT \
    NULL, flight INT NOT NULL, tailnum TEXT, origin TEXT NOT NULL, dest TEXT NOT NULL, air_time DOUBLE, \
    distance DOUBLE NOT NULL, time_hour TIMESTAMP(6) NOT NULL";

const CARRIERS: [&str; 16] =
    ["UA", "B6", "EV", "DL", "AA", "MQ", "US", "9E", "WN", "VX", "FL", "AS", "F9", "YV", "HA", "OO"];
const ORIGINS: [&str; 3] = ["EWR", "JFK", "LGA"];

/// A user who has each `every`th of the rows.
#[derive(Clone, Copy)]
pub struct User {
    pub no: u64,
    pub every: usize,
}

pub fn schema() -> SchemaRef {
    let field = |name: &str, data_type: DataType, nullable| Field::new(name, data_type, nullable);
    Arc::new(Schema::new(vec![
        field("id", DataType::Int64, false),
        field("month", DataType::Int32, false),
        field("day", DataType::Int32, false),
        field("dep_delay", DataType::Int32, true),
        field("carrier", DataType::Utf8, false),
        field("flight", DataType::Int32, false),
        field("tailnum", DataType::Utf8, true),
        field("origin", DataType::Utf8, false),
        field("dest", DataType::Utf8, false),
        field("air_time", DataType::Float64, true),
        field("distance", DataType::Float64, false),
        field("time_hour", DataType::Timestamp(TimeUnit::Microsecond, None), false),
    ]))
}

/// Rows of the given numbers, which ascend.
pub fn rows(schema: &SchemaRef, ids: &[i64]) -> RecordBatch {
    let random = |salt: u64| move |id: &i64| mix(id.cast_unsigned() ^ salt << 56);
    let int = |salt: u64, below: u64| ids.iter().map(random(salt)).map(move |r| (r % below) as i32);
    let late = ids.iter().map(random(3)).map(|r| (!r.is_multiple_of(37)).then_some((r >> 32) as i32 % 120));
    let air = ids.iter().map(random(8)).map(|r| (!r.is_multiple_of(41)).then_some(((r >> 32) % 600) as f64));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids.iter().copied())),
        Arc::new(Int32Array::from_iter_values(ids.iter().map(|id| (id / 30_000 % 12) as i32 + 1))),
        Arc::new(Int32Array::from_iter_values(ids.iter().map(|id| (id / 1000 % 28) as i32 + 1))),
        Arc::new(Int32Array::from_iter(late)),
        Arc::new(StringArray::from_iter_values(ids.iter().map(random(4)).map(|r| CARRIERS[(r % 16) as usize]))),
        Arc::new(Int32Array::from_iter_values(int(5, 8500))),
        Arc::new(StringArray::from_iter(
            ids.iter().map(random(6)).map(|r| (r % 97 != 0).then(|| format!("N{:05}", r % 4043))),
        )),
        Arc::new(StringArray::from_iter_values(ids.iter().map(random(7)).map(|r| ORIGINS[(r % 3) as usize]))),
        Arc::new(StringArray::from_iter_values(ids.iter().map(random(9)).map(|r| format!("D{:02}", r % 105)))),
        Arc::new(Float64Array::from_iter(air)),
        Arc::new(Float64Array::from_iter_values(ids.iter().map(random(10)).map(|r| (r % 2500) as f64))),
        Arc::new(TimestampMicrosecondArray::from_iter_values(ids.iter().map(|id| id / 50 * 3_600_000_000))),
    ];
    RecordBatch::try_new(Arc::clone(schema), columns).expect("columns of the schema")
}

/// splitmix64.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
