//! `||` as a function, so that what it makes is bounded as what functions make: of a megabyte in each row of a batch, a row
//! of operators makes gigabytes, and overflows the offsets of a text array.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch},
    datatypes::{DataType, Field, FieldRef, Schema},
};
use datafusion::{
    common::ScalarValue,
    error::Result,
    logical_expr::{
        ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
        Volatility, binary::BinaryTypeCoercer,
    },
    physical_expr::expressions::{BinaryExpr, Column},
    physical_plan::PhysicalExpr,
};

use super::{Bounded, Room};
use crate::Error;

/// By which [`super::Rule`] knows it; no text can name it.
pub(super) const NAME: &str = "(joined)";

/// DataFusion's operator: unlike the function `concat`, it makes NULL of NULL.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Joined {
    signature: Signature,
}

impl Joined {
    pub fn function(room: &Room) -> Arc<ScalarUDF> {
        let joined = Self { signature: Signature::any(2, Volatility::Immutable) };
        Bounded::function(Arc::new(ScalarUDF::from(joined)), room)
    }

    fn of_arrays(left: ArrayRef, right: ArrayRef) -> Result<ArrayRef> {
        let field = |name: &str, array: &ArrayRef| Field::new(name, array.data_type().clone(), true);
        let (schema, rows) = (Schema::new(vec![field("l", &left), field("r", &right)]), left.len());
        let operator =
            BinaryExpr::new(Arc::new(Column::new("l", 0)), Operator::StringConcat, Arc::new(Column::new("r", 1)));
        operator.evaluate(&RecordBatch::try_new(Arc::new(schema), vec![left, right])?)?.into_array(rows)
    }
}

impl ScalarUDFImpl for Joined {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [left, right] => BinaryTypeCoercer::new(left, &Operator::StringConcat, right).get_result_type(),
            _ => Err(Error::internal("|| takes two sides").into()),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(NAME, self.return_type(&types)?, nullable)))
    }

    /// As the operator is called.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [left, right] => Ok(format!("{} || {}", left.schema_name(), right.schema_name())),
            _ => Ok(NAME.to_owned()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else { return Err(Error::internal("|| takes two sides").into()) };
        let one = matches!((left, right), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
        let rows = if one { 1 } else { args.number_rows };
        let joined = Self::of_arrays(left.to_array(rows)?, right.to_array(rows)?)?;
        Ok(if one {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&joined, 0)?)
        } else {
            ColumnarValue::Array(joined)
        })
    }
}
