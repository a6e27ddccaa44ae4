//! `mod`, `div`, `width_bucket`, `make_timestamp`.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, TimestampMicrosecondArray},
    compute::kernels::numeric,
    datatypes::{DataType, Float32Type, Float64Type, Int64Type, TimeUnit},
};
use datafusion::{
    error::Result,
    logical_expr::{ScalarUDF, Signature, TypeSignature, Volatility},
};

use super::{
    calendar::{days, month_length},
    plain::Plain,
};
use crate::Error;

pub(super) fn all() -> [Arc<ScalarUDF>; 4] {
    let exact = |types: Vec<DataType>| Signature::new(TypeSignature::Exact(types), Volatility::Immutable);
    let bounds = vec![DataType::Float64, DataType::Float64, DataType::Float64, DataType::Int64];
    let mut parts = vec![DataType::Int64; 5];
    parts.push(DataType::Float64);
    [
        Plain {
            name: "mod",
            signature: Signature::numeric(2, Volatility::Immutable),
            returns: |types| Ok(types[0].clone()),
            compute: |columns| Ok(numeric::rem(&columns[0], &columns[1])?),
        },
        Plain {
            name: "div",
            signature: Signature::numeric(2, Volatility::Immutable),
            returns: |types| match &types[0] {
                kind if kind.is_integer() || kind.is_floating() => Ok(kind.clone()),
                kind => {
                    Err(Error::invalid(format!("div takes integers or floats, not {kind}; use trunc(a / b)")).into())
                }
            },
            compute: div,
        },
        Plain {
            name: "width_bucket",
            signature: exact(bounds),
            returns: |_| Ok(DataType::Int64),
            compute: width_bucket,
        },
        Plain {
            name: "make_timestamp",
            signature: exact(parts),
            returns: |_| Ok(DataType::Timestamp(TimeUnit::Microsecond, None)),
            compute: make_timestamp,
        },
    ]
    .map(Plain::function)
}

/// The whole part of a quotient.
fn div(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let quotient = numeric::div(&columns[0], &columns[1])?;
    Ok(match quotient.data_type() {
        DataType::Float64 => Arc::new(quotient.as_primitive::<Float64Type>().unary::<_, Float64Type>(f64::trunc)),
        DataType::Float32 => Arc::new(quotient.as_primitive::<Float32Type>().unary::<_, Float32Type>(f32::trunc)),
        _ => quotient,
    })
}

/// Which of `count` buckets of one width a value falls into; 0 and `count + 1` are those around them.
fn width_bucket(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let [value, low, high] = [0, 1, 2].map(|i| columns[i].as_primitive::<Float64Type>());
    let count = columns[3].as_primitive::<Int64Type>();
    let bucket = |value: f64, low: f64, high: f64, count: i64| {
        if count <= 0 || i32::try_from(count).is_err() {
            return Err(Error::invalid("width_bucket takes a number of buckets above zero"));
        }
        if value.is_nan() || !low.is_finite() || !high.is_finite() || low == high {
            return Err(Error::invalid("width_bucket takes a number, and two bounds that are finite and not equal"));
        }
        let (before, behind) = if low < high { (value < low, value >= high) } else { (value > low, value <= high) };
        Ok(match (before, behind) {
            (true, _) => 0,
            (_, true) => count + 1,
            // The bounds are finite, but their difference need not be.
            _ => {
                let part = (value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0);
                ((part * count as f64).floor() as i64).clamp(0, count - 1) + 1
            }
        })
    };
    let rows = (0..value.len()).map(|row| {
        if count.is_null(row) || [value, low, high].iter().any(|column| column.is_null(row)) {
            return Ok(None);
        }
        bucket(value.value(row), low.value(row), high.value(row), count.value(row)).map(Some)
    });
    Ok(Arc::new(rows.collect::<Result<Int64Array, Error>>()?))
}

fn make_timestamp(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let whole = [0, 1, 2, 3, 4].map(|i| columns[i].as_primitive::<Int64Type>());
    let seconds: &Float64Array = columns[5].as_primitive::<Float64Type>();
    let rows = (0..seconds.len()).map(|row| {
        if seconds.is_null(row) || whole.iter().any(|part| part.is_null(row)) {
            return Ok(None);
        }
        moment(whole.map(|part| part.value(row)), seconds.value(row)).map(Some)
    });
    Ok(Arc::new(rows.collect::<Result<TimestampMicrosecondArray, Error>>()?))
}

/// Microseconds since 1970 of a year, month, day, hour, minute, and seconds.
fn moment([year, month, day, hour, minute]: [i64; 5], seconds: f64) -> Result<i64, Error> {
    let is_day =
        (1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=month_length(year, month)).contains(&day);
    let is_time = (0..24).contains(&hour) && (0..60).contains(&minute) && (0.0..60.0).contains(&seconds);
    if !is_day || !is_time {
        return Err(Error::invalid(
            "make_timestamp takes a day and a time of the years 1 to 9999; there is no such one",
        ));
    }
    let micros = (seconds * 1e6).round() as i64;
    Ok(((days(year, month, day) * 24 + hour) * 60 + minute) * 60_000_000 + micros)
}
