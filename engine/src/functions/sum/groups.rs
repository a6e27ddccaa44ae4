//! Sums of many groups: DataFusion's of 128 bits, with integers on their way in and out.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, BooleanArray, Int64Array, UInt64Array},
    datatypes::{DataType, Decimal128Type},
};
use datafusion::{
    error::Result,
    logical_expr::{EmitTo, GroupsAccumulator},
};

use super::{overflow, widened};

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
        self.inner.update_batch(&[widened(&values[0])?], groups, filter, total)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = self.inner.evaluate(emit_to)?;
        let sums = sums.as_primitive::<Decimal128Type>();
        Ok(match self.of {
            DataType::UInt64 => {
                let sums: UInt64Array = sums.try_unary(|sum| sum.try_into().map_err(|_| overflow(&self.of)))?;
                Arc::new(sums)
            }
            _ => {
                let sums: Int64Array = sums.try_unary(|sum| sum.try_into().map_err(|_| overflow(&self.of)))?;
                Arc::new(sums)
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
        self.inner.convert_to_state(&[widened(&values[0])?], filter)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}
