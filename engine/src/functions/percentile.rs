//! `percentile_disc(fraction) WITHIN GROUP (ORDER BY x)`: the first value of which at least that fraction of all values is
//! at or before it. It is one of the values, of whatever type can be sorted.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray},
    compute::{SortOptions, concat, filter, is_not_null, sort},
    datatypes::{DataType, Field, FieldRef},
};
use datafusion::{
    common::{ScalarValue, utils::SingleRowListArrayBuilder},
    error::Result,
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
        function::{AccumulatorArgs, StateFieldsArgs},
        utils::format_state_name,
    },
    physical_expr::PhysicalExpr,
    physical_plan::expressions::Literal,
};

use crate::Error;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct PercentileDisc {
    signature: Signature,
}

impl PercentileDisc {
    pub fn function() -> Arc<AggregateUDF> {
        Arc::new(AggregateUDF::from(Self { signature: Signature::any(2, Volatility::Immutable) }))
    }
}

impl AggregateUDFImpl for PercentileDisc {
    fn name(&self) -> &str {
        "percentile_disc"
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
        if args.is_distinct {
            return Err(Error::invalid("percentile_disc takes no DISTINCT").into());
        }
        let fraction = args.exprs.get(1).and_then(fraction).filter(|fraction| (0.0..=1.0).contains(fraction));
        let Some(fraction) = fraction else {
            return Err(Error::invalid("percentile_disc takes a fraction between 0 and 1, as a constant").into());
        };
        Ok(Box::new(Values {
            of: args.return_field.data_type().clone(),
            fraction,
            descending: args.order_bys.first().is_some_and(|by| by.options.descending),
            values: Vec::new(),
        }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let item = Field::new_list_field(args.return_field.data_type().clone(), true);
        let name = format_state_name(args.name, "values");
        Ok(vec![Arc::new(Field::new(name, DataType::List(Arc::new(item)), true))])
    }
}

fn fraction(expr: &Arc<dyn PhysicalExpr>) -> Option<f64> {
    let value = expr.downcast_ref::<Literal>()?.value();
    match value.cast_to(&DataType::Float64).ok()? {
        ScalarValue::Float64(fraction) => fraction,
        _ => None,
    }
}

#[derive(Debug)]
struct Values {
    of: DataType,
    fraction: f64,
    descending: bool,
    /// Without NULLs.
    values: Vec<ArrayRef>,
}

impl Values {
    fn all(&self) -> Result<ArrayRef> {
        match self.values.is_empty() {
            true => Ok(arrow::array::new_empty_array(&self.of)),
            false => Ok(concat(&self.values.iter().map(AsRef::as_ref).collect::<Vec<_>>())?),
        }
    }
}

impl Accumulator for Values {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let column = &columns[0];
        if column.len() > column.null_count() {
            self.values.push(filter(column, &is_not_null(column)?)?);
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let Some(lists) = states.first().and_then(|state| state.as_list_opt::<i32>()) else {
            return Err(Error::internal("the state of percentile_disc has no lists").into());
        };
        lists.iter().flatten().try_for_each(|values| self.update_batch(&[values]))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let all = self.all()?;
        self.values = Vec::new();
        Ok(vec![SingleRowListArrayBuilder::new(all).build_list_scalar()])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let all = self.all()?;
        if all.is_empty() {
            return ScalarValue::try_from(&self.of);
        }
        let sorted = sort(&all, Some(SortOptions { descending: self.descending, nulls_first: false }))?;
        let place = (self.fraction * sorted.len() as f64).ceil().max(1.0) as usize;
        ScalarValue::try_from_array(&sorted, place.min(sorted.len()) - 1)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.iter().map(|values| values.get_array_memory_size()).sum::<usize>()
    }
}
