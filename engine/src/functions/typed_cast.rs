//! A cast whose name tells the type. It is put around casts that would otherwise be mixed up (`sql/casts.rs`), and is the
//! cast alone once the plan is optimized.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::{
    error::Result,
    logical_expr::{
        ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
        simplify::{ExprSimplifyResult, SimplifyContext},
    },
};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct TypedCast {
    signature: Signature,
}

impl TypedCast {
    /// As a call of it is shown. Whoever writes `"cast"(x)` has their argument back.
    pub const NAME: &str = "cast";

    pub fn function() -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::from(Self { signature: Signature::any(1, Volatility::Immutable) }))
    }
}

impl ScalarUDFImpl for TypedCast {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(args.iter().map(Expr::to_string).collect())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::clone(&args.arg_fields[0]))
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(args.args.swap_remove(0))
    }

    fn simplify(&self, mut args: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        Ok(ExprSimplifyResult::Simplified(args.swap_remove(0)))
    }
}
