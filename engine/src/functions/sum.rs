//! `sum` of integers and decimals that fails where its result does not fit. DataFusion's wraps around, which would answer
//! with, and store, wrong numbers in silence. Sums are kept in more bits than any number of rows fills (but for decimals of
//! 256 bits), so that only the result counts and not what was met on the way to it, as in PostgreSQL. Floats and
//! intervals are left to DataFusion.

mod distinct;
mod groups;
mod totals;

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, Decimal128Array},
    compute::cast,
    datatypes::{
        DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Decimal128Type, Decimal256Type, DecimalType,
        Field, FieldRef, Int64Type, UInt64Type, i256,
    },
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

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Sum {
    original: Arc<AggregateUDF>,
}

impl Sum {
    pub fn function(original: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
        Arc::new(AggregateUDF::from(Self { original }))
    }

    /// What DataFusion's sums in more bits with.
    fn wide(field: &FieldRef) -> FieldRef {
        Arc::new(Field::new(field.name(), partial(field.data_type()), field.is_nullable()))
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
        match types {
            // Of these DataFusion's result has hardly more digits than the values.
            [DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale)] => {
                Ok(DataType::Decimal128(precision + 10, *scale))
            }
            types => self.original.return_type(types),
        }
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
            true if args.is_distinct => distinct::checked(of),
            true => Ok(Box::new(Checked { of, sum: i256::ZERO, count: 0 })),
            false => self.original.accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match is_checked(args.return_field.data_type()) {
            true => self.accumulator(args),
            false => self.original.create_sliding_accumulator(args),
        }
    }

    /// Decimals of 256 bits are summed by [`Checked`] only: there is nothing wider for sums on their way.
    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !matches!(args.return_field.data_type(), DataType::Decimal256(..))
            && self.original.groups_accumulator_supported(args)
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
    matches!(of, DataType::Int64 | DataType::UInt64 | DataType::Decimal128(..) | DataType::Decimal256(..))
}

/// The type of sums that are not finished.
fn partial(of: &DataType) -> DataType {
    match of {
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => {
            DataType::Decimal256(DECIMAL256_MAX_PRECISION, *scale)
        }
        _ => DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0),
    }
}

/// One sum, of all rows or of those in a frame.
#[derive(Debug)]
struct Checked {
    of: DataType,
    sum: i256,
    /// Values in it: a sum of none is NULL.
    count: usize,
}

impl Checked {
    fn add(&mut self, sum: i256) -> Result<()> {
        self.sum = self.sum.checked_add(sum).ok_or_else(|| overflow(&self.of))?;
        Ok(())
    }
}

impl Accumulator for Checked {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(totals::total(&values[0], &self.of)?)?;
        self.count += values[0].len() - values[0].null_count();
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let gone = totals::total(&values[0], &self.of)?;
        self.sum = self.sum.checked_sub(gone).ok_or_else(|| overflow(&self.of))?;
        self.count -= values[0].len() - values[0].null_count();
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        match self.count {
            0 => ScalarValue::try_new_null(&self.of),
            _ => finished(self.sum, &self.of),
        }
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let sum = (self.count > 0).then_some(self.sum);
        Ok(vec![match partial(&self.of) {
            DataType::Decimal256(precision, scale) => ScalarValue::Decimal256(sum, precision, scale),
            // Of integers.
            _ => ScalarValue::Decimal128(sum.map(i256::as_i128), DECIMAL128_MAX_PRECISION, 0),
        }])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

/// The sum as a value of its type.
fn finished(sum: i256, of: &DataType) -> Result<ScalarValue> {
    let overflow = || overflow(of);
    let narrow = || sum.to_i128().ok_or_else(overflow);
    Ok(match of {
        DataType::Decimal256(precision, scale) => {
            Decimal256Type::validate_decimal_precision(sum, *precision, *scale).map_err(|_| overflow())?;
            ScalarValue::Decimal256(Some(sum), *precision, *scale)
        }
        DataType::Decimal128(precision, scale) => {
            let sum = narrow()?;
            Decimal128Type::validate_decimal_precision(sum, *precision, *scale).map_err(|_| overflow())?;
            ScalarValue::Decimal128(Some(sum), *precision, *scale)
        }
        DataType::UInt64 => ScalarValue::UInt64(Some(narrow()?.try_into().map_err(|_| overflow())?)),
        _ => ScalarValue::Int64(Some(narrow()?.try_into().map_err(|_| overflow())?)),
    })
}

fn overflow(of: &DataType) -> Error {
    Error::invalid(match of.is_decimal() {
        true => format!("decimal overflow: a sum does not fit {of}; sum CAST(… AS DOUBLE) instead"),
        false => format!("integer overflow: a sum does not fit {of}; sum CAST(… AS DECIMAL(38, 0)) instead"),
    })
}

/// Values in the type of partial sums.
fn widened(values: &ArrayRef, of: &DataType) -> Result<ArrayRef> {
    Ok(match values.data_type() {
        DataType::UInt64 => Arc::new(decimals(values.as_primitive::<UInt64Type>().unary(i128::from))),
        DataType::Int64 => Arc::new(decimals(values.as_primitive::<Int64Type>().unary(i128::from))),
        _ => cast(values, &partial(of))?,
    })
}

fn decimals(integers: Decimal128Array) -> Decimal128Array {
    integers.with_data_type(DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0))
}

#[cfg(test)]
mod tests;
