//! Sums of values that count once each, of all rows or of those in a frame.

use std::{collections::HashMap, fmt, hash::Hash};

use arrow::{
    array::{ArrayRef, AsArray, PrimitiveArray},
    compute::cast,
    datatypes::{ArrowPrimitiveType, DataType, Decimal128Type, Decimal256Type, Int64Type, UInt64Type, i256},
};
use datafusion::{
    common::{ScalarValue, utils::SingleRowListArrayBuilder},
    error::Result,
    logical_expr::Accumulator,
};
use std::sync::Arc;

use super::{finished, overflow};
use crate::Error;

pub(super) fn checked(of: DataType) -> Result<Box<dyn Accumulator>> {
    Ok(match of {
        DataType::Int64 => Distinct::<Int64Type>::boxed(of, |value| i256::from_i128(value.into())),
        DataType::UInt64 => Distinct::<UInt64Type>::boxed(of, |value| i256::from_i128(value.into())),
        DataType::Decimal128(..) => Distinct::<Decimal128Type>::boxed(of, i256::from_i128),
        DataType::Decimal256(..) => Distinct::<Decimal256Type>::boxed(of, |value| value),
        other => return Err(Error::internal(format!("no sum is of {other}")).into()),
    })
}

struct Distinct<T: ArrowPrimitiveType> {
    of: DataType,
    /// How often each value is there.
    counts: HashMap<T::Native, usize>,
    sum: i256,
    widen: fn(T::Native) -> i256,
}

impl<T: ArrowPrimitiveType<Native: Eq + Hash>> Distinct<T> {
    fn boxed(of: DataType, widen: fn(T::Native) -> i256) -> Box<dyn Accumulator> {
        Box::new(Self { of, counts: HashMap::new(), sum: i256::ZERO, widen })
    }

    /// Values in the type of the sum.
    fn values(&self, column: &ArrayRef) -> Result<PrimitiveArray<T>> {
        match column.as_primitive_opt::<T>() {
            Some(values) => Ok(values.clone()),
            None => Ok(cast(column, &self.of)?.as_primitive::<T>().clone()),
        }
    }
}

impl<T: ArrowPrimitiveType> fmt::Debug for Distinct<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Distinct").field("of", &self.of).finish_non_exhaustive()
    }
}

impl<T: ArrowPrimitiveType<Native: Eq + Hash>> Accumulator for Distinct<T> {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        for value in self.values(&columns[0])?.iter().flatten() {
            let count = self.counts.entry(value).or_default();
            *count += 1;
            if *count == 1 {
                self.sum = self.sum.checked_add((self.widen)(value)).ok_or_else(|| overflow(&self.of))?;
            }
        }
        Ok(())
    }

    fn retract_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        for value in self.values(&columns[0])?.iter().flatten() {
            let Some(count) = self.counts.get_mut(&value) else { continue };
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&value);
                self.sum = self.sum.checked_sub((self.widen)(value)).ok_or_else(|| overflow(&self.of))?;
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        match self.counts.is_empty() {
            true => ScalarValue::try_new_null(&self.of),
            false => finished(self.sum, &self.of),
        }
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = PrimitiveArray::<T>::from_iter_values(self.counts.keys().copied());
        let values = Arc::new(values.with_data_type(self.of.clone()));
        Ok(vec![SingleRowListArrayBuilder::new(values).build_list_scalar()])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let Some(lists) = states.first().and_then(|state| state.as_list_opt::<i32>()) else {
            return Err(Error::internal("a sum of distinct values keeps no list of them").into());
        };
        lists.iter().flatten().try_for_each(|values| self.update_batch(&[values]))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.counts.capacity() * size_of::<(T::Native, usize)>()
    }
}
