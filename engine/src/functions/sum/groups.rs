//! Sums of many groups: DataFusion's of more bits, with the values narrow on their way in and out.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, BooleanArray, Decimal128Array},
    datatypes::{DataType, Decimal128Type, Decimal256Type, DecimalType, Int64Type, UInt64Type, i256},
};
use datafusion::{
    error::Result,
    logical_expr::{EmitTo, GroupsAccumulator},
};

use super::{overflow, widened};
use crate::Error;

struct Groups {
    inner: Box<dyn GroupsAccumulator>,
    of: DataType,
}

/// `inner` sums partial sums; the results are of the type `of`.
pub(super) fn checked(inner: Box<dyn GroupsAccumulator>, of: DataType) -> Box<dyn GroupsAccumulator> {
    Box::new(Groups { inner, of })
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.inner.update_batch(&[widened(&values[0], &self.of)?], groups, filter, total)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = self.inner.evaluate(emit_to)?;
        let overflow = || overflow(&self.of);
        Ok(match &self.of {
            DataType::Decimal128(precision, scale) => {
                let narrow = |sum: i256| {
                    let narrow =
                        sum.to_i128().filter(|sum| Decimal128Type::is_valid_decimal_precision(*sum, *precision));
                    narrow.ok_or_else(overflow)
                };
                let sums: Decimal128Array = sums.as_primitive::<Decimal256Type>().try_unary(narrow)?;
                Arc::new(sums.with_precision_and_scale(*precision, *scale)?)
            }
            DataType::UInt64 => {
                let narrow = |sum: i128| sum.try_into().map_err(|_| overflow());
                Arc::new(sums.as_primitive::<Decimal128Type>().try_unary::<_, UInt64Type, Error>(narrow)?)
            }
            _ => {
                let narrow = |sum: i128| sum.try_into().map_err(|_| overflow());
                Arc::new(sums.as_primitive::<Decimal128Type>().try_unary::<_, Int64Type, Error>(narrow)?)
            }
        })
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.inner.merge_batch(states, groups, total)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(&[widened(&values[0], &self.of)?], filter)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}
