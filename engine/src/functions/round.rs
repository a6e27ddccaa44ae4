//! `round` of decimals to as many digits as are written: DataFusion's casts their number, after which it no longer knows it
//! when the plan is made, and shows `round(1.255, 1)` as 1.300.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::{
    common::types::{NativeType, logical_float32, logical_float64, logical_int64},
    error::Result,
    logical_expr::{
        Coercion, ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
        Signature, TypeSignature, TypeSignatureClass, Volatility,
    },
};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Round {
    original: Arc<ScalarUDF>,
    signature: Signature,
}

impl Round {
    pub fn function(original: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
        let class = TypeSignatureClass::Native;
        let numbers = [
            Coercion::new_exact(TypeSignatureClass::Decimal),
            Coercion::new_exact(TypeSignatureClass::Integer),
            Coercion::new_exact(class(logical_float32())),
            Coercion::new_implicit(class(logical_float64()), vec![TypeSignatureClass::Numeric], NativeType::Float64),
        ];
        // Integers are written as 64 bits; what is not cast stays a literal.
        let digits =
            Coercion::new_implicit(class(logical_int64()), vec![TypeSignatureClass::Integer], NativeType::Int64);
        let with_digits = |number: Coercion| TypeSignature::Coercible(vec![number, digits.clone()]);
        let alone = |number: Coercion| TypeSignature::Coercible(vec![number]);
        let signatures = numbers.into_iter().flat_map(|number| [with_digits(number.clone()), alone(number)]);
        let signature = Signature::one_of(signatures.collect(), Volatility::Immutable);
        Arc::new(ScalarUDF::from(Self { original, signature }))
    }
}

impl ScalarUDFImpl for Round {
    fn name(&self) -> &str {
        self.original.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.original.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.original.return_field_from_args(args)
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if let (Some(digits), Some(field)) = (args.args.get_mut(1), args.arg_fields.get_mut(1)) {
            *digits = digits.cast_to(&DataType::Int32, None)?;
            *field = Arc::new(Field::new(field.name(), DataType::Int32, field.is_nullable()));
        }
        self.original.invoke_with_args(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.original.documentation()
    }
}
