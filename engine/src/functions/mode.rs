//! `mode() WITHIN GROUP (ORDER BY x)`: the value that is there most often; of several such values the least.

#![allow(clippy::mutable_key_type, reason = "values are known by what they hold, which nothing changes")]

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::{DataType, Field, FieldRef, Int64Type},
};
use datafusion::{
    common::{ScalarValue, utils::SingleRowListArrayBuilder},
    error::Result,
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
        function::{AccumulatorArgs, StateFieldsArgs},
        utils::format_state_name,
    },
};

use crate::Error;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Mode {
    signature: Signature,
}

impl Mode {
    pub fn function() -> Arc<AggregateUDF> {
        Arc::new(AggregateUDF::from(Self { signature: Signature::any(1, Volatility::Immutable) }))
    }
}

impl AggregateUDFImpl for Mode {
    fn name(&self) -> &str {
        "mode"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn supports_within_group_clause(&self) -> bool {
        true
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Counts { data_type: args.return_field.data_type().clone(), counts: HashMap::new(), bytes: 0 }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let list = |name: &str, item: DataType| {
            let item = Field::new_list_field(item, true);
            Arc::new(Field::new(format_state_name(args.name, name), DataType::List(Arc::new(item)), true))
        };
        Ok(vec![list("values", args.return_field.data_type().clone()), list("counts", DataType::Int64)])
    }
}

/// How often each value is there.
#[derive(Debug)]
struct Counts {
    data_type: DataType,
    counts: HashMap<ScalarValue, i64>,
    /// Of the values, beside the map's own.
    bytes: usize,
}

impl Counts {
    fn add(&mut self, value: ScalarValue, count: i64) {
        let known = self.counts.entry(value);
        if let std::collections::hash_map::Entry::Vacant(new) = &known {
            self.bytes += new.key().size() - size_of::<ScalarValue>();
        }
        *known.or_default() += count;
    }
}

impl Accumulator for Counts {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let column = &values[0];
        for row in 0..column.len() {
            if column.is_valid(row) {
                self.add(ScalarValue::try_from_array(column, row)?, 1);
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let no_lists = || Error::internal("the state of mode has no lists");
        let [values, counts] = [0, 1].map(|i| states.get(i).and_then(|state| state.as_list_opt::<i32>()));
        let (values, counts) = (values.ok_or_else(no_lists)?, counts.ok_or_else(no_lists)?);
        for (values, counts) in values.iter().zip(counts.iter()) {
            let (Some(values), Some(counts)) = (values, counts) else { continue };
            for (row, count) in counts.as_primitive::<Int64Type>().values().iter().enumerate() {
                self.add(ScalarValue::try_from_array(&values, row)?, *count);
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let (values, counts): (Vec<_>, Vec<_>) = std::mem::take(&mut self.counts).into_iter().unzip();
        self.bytes = 0;
        let values = match values.is_empty() {
            true => arrow::array::new_empty_array(&self.data_type),
            false => ScalarValue::iter_to_array(values)?,
        };
        let counts: ArrayRef = Arc::new(arrow::array::Int64Array::from(counts));
        let list = |items: ArrayRef| SingleRowListArrayBuilder::new(items).build_list_scalar();
        Ok(vec![list(values), list(counts)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let more = |(a, m): &(&ScalarValue, &i64), (b, n): &(&ScalarValue, &i64)| {
            m.cmp(n).then_with(|| b.partial_cmp(a).unwrap_or(std::cmp::Ordering::Equal))
        };
        match self.counts.iter().max_by(more) {
            Some((value, _)) => Ok(value.clone()),
            None => Ok(ScalarValue::try_from(&self.data_type)?),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.counts.capacity() * size_of::<(ScalarValue, i64)>() + self.bytes
    }
}
