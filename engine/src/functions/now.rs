//! `now()` and `CURRENT_TIMESTAMP`: the time at which the statement began, in microseconds and with the session's time
//! zone, as all timestamps of Insula are. DataFusion's is of nanoseconds and of no zone, and those end in 2262: beside
//! the customary 9999-12-31 one of the two would have to overflow.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::{
    common::{ScalarValue, internal_err},
    error::Result,
    functions::datetime::now::NowFunc,
    logical_expr::{
        ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
        Volatility,
        simplify::{ExprSimplifyResult, SimplifyContext},
    },
};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Now {
    zone: Arc<str>,
    signature: Signature,
    aliases: Vec<String>,
    /// For what it says of itself.
    original: NowFunc,
}

impl Now {
    pub const NAMES: [&str; 4] = ["now", "current_timestamp", "statement_timestamp", "transaction_timestamp"];

    pub fn function(zone: &str) -> Arc<ScalarUDF> {
        let aliases = Self::NAMES[1..].iter().map(|name| (*name).to_owned()).collect();
        let signature = Signature::nullary(Volatility::Stable);
        Arc::new(ScalarUDF::from(Self { zone: zone.into(), signature, aliases, original: NowFunc::default() }))
    }
}

impl ScalarUDFImpl for Now {
    fn name(&self) -> &str {
        Self::NAMES[0]
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::clone(&self.zone))))
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(self.name(), self.return_type(&[])?, false)))
    }

    /// The optimizer puts the time in before anything runs.
    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("now() was not given its time")
    }

    fn simplify(&self, args: Vec<Expr>, context: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let Some(time) = context.query_execution_start_time() else { return Ok(ExprSimplifyResult::Original(args)) };
        let now = ScalarValue::TimestampMicrosecond(Some(time.timestamp_micros()), Some(Arc::clone(&self.zone)));
        Ok(ExprSimplifyResult::Simplified(Expr::Literal(now, None)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.original.documentation()
    }
}

#[cfg(test)]
mod tests;
