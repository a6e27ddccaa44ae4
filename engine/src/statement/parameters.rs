//! Parameters of a statement: their types, and their values one execution at a time.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Array, RecordBatch},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use datafusion::{
    common::{ParamValues, ScalarValue, metadata::ScalarAndMetadata},
    logical_expr::LogicalPlan,
};

use crate::{Error, Result, types::plain_type};

/// One nullable field per parameter, `$1` first. The type is what the statement demands, else what is bound, else
/// text, as in PostgreSQL.
pub(crate) fn schema(plan: &LogicalPlan, bound: Option<&Schema>) -> Result<SchemaRef> {
    let mut types = BTreeMap::new();
    for (name, field) in plan.get_parameter_fields()? {
        let number: usize = name[1..].parse().map_err(|_| Error::invalid(format!("\"{name}\" is no parameter")))?;
        let demanded = field.map(|field| plain_type(field.data_type())).filter(|t| *t != DataType::Null);
        types.insert(number, demanded);
    }
    let count = types.keys().last().copied().unwrap_or_default();
    let fields = (1..=count).map(|number| {
        let demanded = types.remove(&number).flatten();
        let given = || bound.and_then(|bound| bound.fields().get(number - 1)).map(|field| field.data_type().clone());
        Field::new(format!("${number}"), demanded.or_else(given).unwrap_or(DataType::Utf8), true)
    });
    Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

/// The plan as it is with parameters of these types, to learn its schema.
pub(crate) fn with_types(plan: &LogicalPlan, parameters: &Schema) -> Result<LogicalPlan> {
    if parameters.fields().is_empty() {
        return Ok(plan.clone());
    }
    let nulls: Result<Vec<_>, _> = parameters.fields().iter().map(|f| ScalarValue::try_from(f.data_type())).collect();
    Ok(plan.clone().with_param_values(values(nulls?))?)
}

/// The plans of all executions: one per row of `params`, or the plan itself if it has no parameters.
pub(crate) fn executions(plan: &LogicalPlan, params: &[RecordBatch]) -> Result<Vec<LogicalPlan>> {
    let bound = params.first().map(RecordBatch::schema);
    let parameters = schema(plan, bound.as_deref())?;
    let count = parameters.fields().len();
    if count == 0 {
        return Ok(vec![plan.clone()]);
    }
    let given = bound.as_ref().map_or(0, |bound| bound.fields().len());
    if given != count {
        return Err(Error::invalid(format!("the statement has {count} parameters, but {given} are bound")));
    }
    let mut plans = Vec::new();
    for batch in params {
        for row in 0..batch.num_rows() {
            plans.push(plan.clone().with_param_values(values(scalars(batch, row, &parameters)?))?);
        }
    }
    Ok(plans)
}

fn scalars(batch: &RecordBatch, row: usize, parameters: &Schema) -> Result<Vec<ScalarValue>> {
    let columns = batch.columns().iter().zip(parameters.fields());
    columns
        .map(|(column, field)| {
            let value = ScalarValue::try_from_array(column, row)?;
            if value.data_type() == *field.data_type() {
                return Ok(value);
            }
            value.cast_to(field.data_type()).map_err(|e| {
                let (name, wanted, given) = (field.name(), field.data_type(), column.data_type());
                let reason = Error::from(e);
                Error::invalid(format!("parameter {name} is {wanted}, but {given} is bound: {}", reason.message()))
            })
        })
        .collect()
}

fn values(scalars: Vec<ScalarValue>) -> ParamValues {
    ParamValues::List(scalars.into_iter().map(ScalarAndMetadata::from).collect())
}
