//! Floats that zero divides.

use arrow::{
    array::{Array, ArrowNativeTypeOp, AsArray, Datum},
    datatypes::{ArrowPrimitiveType, DataType, Float16Type, Float32Type, Float64Type},
};

/// Whether a zero on the right stands beside a number on the left. Nothing stays nothing, and what is not a number
/// stays that, as in PostgreSQL.
pub(super) fn divides(left: &dyn Datum, right: &dyn Datum) -> bool {
    match right.get().0.data_type() {
        DataType::Float16 => divides_of::<Float16Type>(left, right),
        DataType::Float32 => divides_of::<Float32Type>(left, right),
        DataType::Float64 => divides_of::<Float64Type>(left, right),
        _ => false,
    }
}

fn divides_of<T: ArrowPrimitiveType>(left: &dyn Datum, right: &dyn Datum) -> bool {
    let ((left, one_left), (right, one_right)) = (left.get(), right.get());
    let (Some(left), Some(right)) = (left.as_primitive_opt::<T>(), right.as_primitive_opt::<T>()) else {
        return false;
    };
    // All of them rather than up to the first, in which form it is done for many at once. Zeros under a null count
    // here; most batches have none at all.
    if !right.values().iter().fold(false, |any, divisor| any | divisor.is_zero()) {
        return false;
    }
    let is_number = |value: T::Native| value.partial_cmp(&value).is_some();
    let rows = if one_left { right.len() } else { left.len() };
    (0..rows).any(|row| {
        let (l, r) = (if one_left { 0 } else { row }, if one_right { 0 } else { row });
        right.is_valid(r) && right.value(r).is_zero() && left.is_valid(l) && is_number(left.value(l))
    })
}
