//! `age(a, b)`: how far `a` lies behind `b` in years, months, days and time, as people count it: from the 15th of a month
//! to the 15th of the next one is a month, however long it is.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, IntervalMonthDayNanoArray},
    compute::cast,
    datatypes::{DataType, IntervalMonthDayNano, IntervalUnit, TimeUnit, TimestampMicrosecondType},
};
use datafusion::{
    error::Result,
    logical_expr::{ScalarUDF, Signature, Volatility},
};

use super::{
    calendar::{DAY, Moment, month_length},
    plain::Plain,
};
use crate::Error;

pub(super) fn function() -> Arc<ScalarUDF> {
    Plain {
        name: "age",
        signature: Signature::any(2, Volatility::Immutable),
        returns: |types| match types.iter().find(|of| !is_moment(of)) {
            Some(of) => Err(Error::invalid(format!("age takes two timestamps or dates, not {of}")).into()),
            None => Ok(DataType::Interval(IntervalUnit::MonthDayNano)),
        },
        compute: ages,
    }
    .function()
}

fn is_moment(of: &DataType) -> bool {
    matches!(of, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 | DataType::Null) || of.is_string()
}

fn ages(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let [later, earlier] = columns else { return Err(Error::internal("age takes two columns").into()) };
    let (later, earlier) = (wall_clock(later)?, wall_clock(earlier)?);
    let (later, earlier) =
        (later.as_primitive::<TimestampMicrosecondType>(), earlier.as_primitive::<TimestampMicrosecondType>());
    let ages = later.iter().zip(earlier).map(|(later, earlier)| Some(age(later?, earlier?)));
    Ok(Arc::new(ages.collect::<IntervalMonthDayNanoArray>()))
}

/// Moments as a clock shows them in the time zone of their type.
pub(super) fn wall_clock(column: &ArrayRef) -> Result<ArrayRef> {
    let zone = match column.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let micros = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, zone))?;
    Ok(cast(&micros, &DataType::Timestamp(TimeUnit::Microsecond, None))?)
}

fn age(a: i64, b: i64) -> IntervalMonthDayNano {
    let (sign, earlier, later) = if a < b { (-1, a, b) } else { (1, b, a) };
    let (earlier, later) = (Moment::of_micros(earlier), Moment::of_micros(later));
    let mut months = (later.year - earlier.year) * 12 + later.month - earlier.month;
    let (mut days, mut time) = (later.day - earlier.day, later.time - earlier.time);
    if time < 0 {
        (days, time) = (days - 1, time + DAY);
    }
    // The month that is not full is the one in which it begins.
    if days < 0 {
        (months, days) = (months - 1, days + month_length(earlier.year, earlier.month));
    }
    let [months, days] = [months, days].map(|part| i32::try_from(part).unwrap_or(i32::MAX));
    IntervalMonthDayNano::new(sign * months, sign * days, i64::from(sign) * time * 1000)
}
