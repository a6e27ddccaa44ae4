//! The sum of a batch, in more bits than its values.

use arrow::{
    array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray},
    datatypes::{DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Int64Type, UInt64Type, i256},
};
use datafusion::error::Result;

use super::overflow;
use crate::Error;

/// Of all values that there are. Of decimals of 256 bits there need not be one.
pub(super) fn total(values: &ArrayRef, of: &DataType) -> Result<i256> {
    Ok(match values.data_type() {
        DataType::UInt64 => small(values.as_primitive::<UInt64Type>()),
        DataType::Int64 => match values.null_count() {
            0 => i256::from_i128(halves(values.as_primitive::<Int64Type>().values())),
            _ => small(values.as_primitive::<Int64Type>()),
        },
        DataType::Decimal32(..) => small(values.as_primitive::<Decimal32Type>()),
        DataType::Decimal64(..) => small(values.as_primitive::<Decimal64Type>()),
        DataType::Decimal128(..) => wide_halves(values.as_primitive::<Decimal128Type>().iter().flatten()),
        DataType::Decimal256(..) => {
            let mut values = values.as_primitive::<Decimal256Type>().iter().flatten();
            values.try_fold(i256::ZERO, i256::checked_add).ok_or_else(|| overflow(of))?
        }
        other => return Err(Error::internal(format!("a sum is given {other}")).into()),
    })
}

/// Of values of 64 bits at most.
fn small<T: ArrowPrimitiveType<Native: Into<i128>>>(values: &PrimitiveArray<T>) -> i256 {
    i256::from_i128(match values.null_count() {
        0 => values.values().iter().map(|value| (*value).into()).sum(),
        _ => values.iter().flatten().map(Into::into).sum(),
    })
}

/// Both halves of the values are summed apart, in 64 bits each, which is done for several values at once. A batch is far
/// from the 2^31 rows that could overflow one.
pub(super) fn halves(values: &[i64]) -> i128 {
    let (mut high, mut low) = (0_i64, 0_i64);
    for value in values {
        high += value >> 32;
        low += value & 0xffff_ffff;
    }
    (i128::from(high) << 32) + i128::from(low)
}

/// The same of values of 128 bits.
pub(super) fn wide_halves(values: impl Iterator<Item = i128>) -> i256 {
    let (mut high, mut low) = (0_i128, 0_i128);
    for value in values {
        high += value >> 64;
        low += value & i128::from(u64::MAX);
    }
    (i256::from_i128(high) << 64) + i256::from_i128(low)
}
