//! How long an interval is, in nanoseconds: more than 64 bits have for the longest ones.

use std::sync::Arc;

use arrow::{
    array::{Array, AsArray, Decimal128Array},
    datatypes::{
        DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, IntervalDayTimeType, IntervalMonthDayNanoType,
        IntervalUnit, IntervalYearMonthType,
    },
};
use datafusion::{
    error::Result,
    logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility},
};

use crate::Error;

const MILLISECOND: i128 = 1_000_000;
const DAY: i128 = 24 * 60 * 60 * 1000 * MILLISECOND;
const MONTH: i128 = 30 * DAY;

/// A function that the rule alone calls: no statement knows its name.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Length {
    signature: Signature,
}

impl Length {
    pub fn function() -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::from(Self { signature: Signature::any(1, Volatility::Immutable) }))
    }
}

impl ScalarUDFImpl for Length {
    fn name(&self) -> &str {
        "interval_length"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [interval] = args.args.as_slice() else {
            return Err(Error::internal("one interval has one length").into());
        };
        Ok(match interval {
            ColumnarValue::Array(array) => ColumnarValue::Array(Arc::new(lengths(array)?)),
            ColumnarValue::Scalar(one) => {
                let one = lengths(one.to_array()?.as_ref())?;
                ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&one, 0)?)
            }
        })
    }
}

pub(super) fn lengths(intervals: &dyn Array) -> Result<Decimal128Array> {
    let lengths: Decimal128Array = match intervals.data_type() {
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            intervals.as_primitive::<IntervalMonthDayNanoType>().unary::<_, Decimal128Type>(|of| {
                i128::from(of.months) * MONTH + i128::from(of.days) * DAY + i128::from(of.nanoseconds)
            })
        }
        DataType::Interval(IntervalUnit::DayTime) => intervals
            .as_primitive::<IntervalDayTimeType>()
            .unary(|of| i128::from(of.days) * DAY + i128::from(of.milliseconds) * MILLISECOND),
        DataType::Interval(IntervalUnit::YearMonth) => {
            intervals.as_primitive::<IntervalYearMonthType>().unary(|months| i128::from(months) * MONTH)
        }
        other => return Err(Error::internal(format!("{other} is no interval")).into()),
    };
    Ok(lengths.with_precision_and_scale(DECIMAL128_MAX_PRECISION, 0)?)
}
