//! `min` and `max` of intervals: one of those that are there, the first of equal ones.

use std::{cmp::Ordering, collections::VecDeque, sync::Arc};

use arrow::{
    array::{Array, ArrayRef},
    datatypes::DataType,
};
use datafusion::{
    common::ScalarValue,
    error::Result,
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility, function::AccumulatorArgs,
        utils::AggregateOrderSensitivity,
    },
};

use super::length::lengths;
use crate::Error;

/// Called as the function in whose place it stands, so that results are too.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Extreme {
    name: &'static str,
    /// What a value's length is, compared with that of a worse one.
    better: Ordering,
    signature: Signature,
}

impl Extreme {
    pub fn min() -> Arc<AggregateUDF> {
        Self::function("min", Ordering::Less)
    }

    pub fn max() -> Arc<AggregateUDF> {
        Self::function("max", Ordering::Greater)
    }

    fn function(name: &'static str, better: Ordering) -> Arc<AggregateUDF> {
        Arc::new(AggregateUDF::from(Self { name, better, signature: Signature::any(1, Volatility::Immutable) }))
    }
}

impl AggregateUDFImpl for Extreme {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        types.first().cloned().ok_or_else(|| Error::internal("an extreme of nothing").into())
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Best::new(self.better, args.return_type(), false)))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Best::new(self.better, args.return_type(), true)))
    }
}

#[derive(Debug)]
struct Candidate {
    row: u64,
    length: i128,
    value: ScalarValue,
}

/// The best value first. Of a frame that slides, behind it all those that are the best of the rows after the one before
/// them, for these are what remains as rows leave.
#[derive(Debug)]
struct Best {
    better: Ordering,
    none: ScalarValue,
    slides: bool,
    candidates: VecDeque<Candidate>,
    /// Rows that came, and rows that left.
    came: u64,
    left: u64,
}

impl Best {
    fn new(better: Ordering, of: &DataType, slides: bool) -> Self {
        let none = ScalarValue::try_from(of).unwrap_or(ScalarValue::Null);
        Self { better, none, slides, candidates: VecDeque::new(), came: 0, left: 0 }
    }

    fn take(&mut self, values: &ArrayRef) -> Result<()> {
        let lengths = lengths(values.as_ref())?;
        for (index, length) in lengths.iter().enumerate() {
            let row = self.came;
            self.came += 1;
            let Some(length) = length else { continue };
            if self.slides {
                while self.candidates.back().is_some_and(|last| length.cmp(&last.length) == self.better) {
                    self.candidates.pop_back();
                }
            } else if self.candidates.front().is_none_or(|best| length.cmp(&best.length) == self.better) {
                self.candidates.clear();
            } else {
                continue;
            }
            let value = ScalarValue::try_from_array(values, index)?;
            self.candidates.push_back(Candidate { row, length, value });
        }
        Ok(())
    }

    fn best(&self) -> ScalarValue {
        self.candidates.front().map_or_else(|| self.none.clone(), |best| best.value.clone())
    }
}

/// The one column that values, and states, are.
fn only(columns: &[ArrayRef]) -> Result<&ArrayRef> {
    columns.first().ok_or_else(|| Error::internal("an extreme of nothing").into())
}

impl Accumulator for Best {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.take(only(values)?)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.take(only(states)?)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.left += only(values)?.len() as u64;
        while self.candidates.front().is_some_and(|best| best.row < self.left) {
            self.candidates.pop_front();
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        self.slides
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.best()])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.best())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.candidates.capacity() * size_of::<Candidate>()
    }
}
