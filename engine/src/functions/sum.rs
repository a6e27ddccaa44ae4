//! `sum` of integers that fails where its result does not fit. DataFusion's wraps around, which would answer with, and
//! store, wrong numbers in silence. Sums are kept in 128 bits, which no number of rows overflows, so that only the result
//! counts and not what was met on the way to it, as in PostgreSQL. What is no integer is left to DataFusion.

mod groups;

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, Decimal128Array},
    datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Field, FieldRef, Int64Type, UInt64Type},
};
use datafusion::{
    common::ScalarValue,
    error::Result,
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF, SetMonotonicity,
        Signature,
        function::{AccumulatorArgs, StateFieldsArgs},
        utils::AggregateOrderSensitivity,
    },
};

use crate::Error;

/// The type of sums that are not finished.
const PARTIAL: DataType = DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0);

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Sum {
    original: Arc<AggregateUDF>,
}

impl Sum {
    pub fn function(original: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
        Arc::new(AggregateUDF::from(Self { original }))
    }

    /// What DataFusion's sums 128 bits with.
    fn wide(field: &FieldRef) -> FieldRef {
        Arc::new(Field::new(field.name(), PARTIAL, field.is_nullable()))
    }
}

impl AggregateUDFImpl for Sum {
    fn name(&self) -> &str {
        self.original.name()
    }

    fn signature(&self) -> &Signature {
        self.original.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.original.return_type(types)
    }

    fn state_fields(&self, mut args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if is_checked(args.return_type()) && !args.is_distinct {
            args.return_field = Self::wide(&args.return_field);
        }
        self.original.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let of = args.return_field.data_type().clone();
        match is_checked(&of) {
            true if args.is_distinct => Ok(Box::new(OfDistinct { inner: self.original.accumulator(args)?, of })),
            true => Ok(Box::new(Checked { of, sum: 0, count: 0 })),
            false => self.original.accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match is_checked(args.return_field.data_type()) && !args.is_distinct {
            true => self.accumulator(args),
            false => self.original.create_sliding_accumulator(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.original.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, mut args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let of = args.return_field.data_type().clone();
        if !is_checked(&of) {
            return self.original.create_groups_accumulator(args);
        }
        args.return_field = Self::wide(&args.return_field);
        Ok(groups::checked(self.original.create_groups_accumulator(args)?, of))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn set_monotonicity(&self, of: &DataType) -> SetMonotonicity {
        self.original.inner().set_monotonicity(of)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.original.documentation()
    }
}

fn is_checked(of: &DataType) -> bool {
    matches!(of, DataType::Int64 | DataType::UInt64)
}

/// One sum, of all rows or of those in a frame.
#[derive(Debug)]
struct Checked {
    of: DataType,
    sum: i128,
    /// Values in it: a sum of none is NULL.
    count: usize,
}

impl Accumulator for Checked {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.sum += total(&values[0]);
        self.count += values[0].len() - values[0].null_count();
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.sum -= total(&values[0]);
        self.count -= values[0].len() - values[0].null_count();
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.count == 0 {
            return ScalarValue::try_new_null(&self.of);
        }
        finished(self.sum, &self.of)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let sum = (self.count > 0).then_some(self.sum);
        Ok(vec![ScalarValue::Decimal128(sum, DECIMAL128_MAX_PRECISION, 0)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let partial = states[0].as_primitive::<Decimal128Type>();
        self.sum += partial.iter().flatten().sum::<i128>();
        self.count += partial.len() - partial.null_count();
        Ok(())
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

/// DataFusion's set of values, each of them once, whose sum is taken here.
#[derive(Debug)]
struct OfDistinct {
    inner: Box<dyn Accumulator>,
    of: DataType,
}

impl Accumulator for OfDistinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let state = self.inner.state()?;
        let Some(ScalarValue::List(values)) = state.first() else {
            return Err(Error::internal("a sum of distinct values keeps no list of them").into());
        };
        let values = values.values();
        match values.len() == values.null_count() {
            true => ScalarValue::try_new_null(&self.of),
            false => finished(total(values), &self.of),
        }
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.inner.size()
    }
}

/// The sum of all values that there are.
fn total(values: &dyn Array) -> i128 {
    match values.data_type() {
        DataType::UInt64 => {
            let values = values.as_primitive::<UInt64Type>();
            match values.null_count() {
                0 => values.values().iter().map(|value| i128::from(*value)).sum(),
                _ => values.iter().flatten().map(i128::from).sum(),
            }
        }
        DataType::Int64 => {
            let values = values.as_primitive::<Int64Type>();
            match values.null_count() {
                0 => halves(values.values()),
                _ => values.iter().flatten().map(i128::from).sum(),
            }
        }
        _ => 0,
    }
}

/// Both halves of the values are summed apart, in 64 bits each, which is done for several values at once. A batch is far
/// from the 2^31 rows that could overflow one.
fn halves(values: &[i64]) -> i128 {
    let (mut high, mut low) = (0_i64, 0_i64);
    for value in values {
        high += value >> 32;
        low += value & 0xffff_ffff;
    }
    (i128::from(high) << 32) + i128::from(low)
}

/// The sum as a value of its type.
fn finished(sum: i128, of: &DataType) -> Result<ScalarValue> {
    match of {
        DataType::UInt64 => Ok(ScalarValue::UInt64(Some(sum.try_into().map_err(|_| overflow(of))?))),
        _ => Ok(ScalarValue::Int64(Some(sum.try_into().map_err(|_| overflow(of))?))),
    }
}

fn overflow(of: &DataType) -> Error {
    Error::invalid(format!("integer overflow: a sum does not fit {of}; sum CAST(… AS DECIMAL(38, 0)) instead"))
}

/// Integers in the type of partial sums.
fn widened(values: &dyn Array) -> Result<ArrayRef> {
    let wide: Decimal128Array = match values.data_type() {
        DataType::UInt64 => values.as_primitive::<UInt64Type>().unary(i128::from),
        _ => values.as_primitive::<Int64Type>().unary(i128::from),
    };
    Ok(Arc::new(wide.with_data_type(PARTIAL)))
}

#[cfg(test)]
mod tests;
