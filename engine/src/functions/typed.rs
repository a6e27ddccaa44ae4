//! `arrow_cast` and `arrow_try_cast`: the type to cast to is a text, which Arrow's parser reads by recursion, and which may ask for
//! values of any size. Both are bounded before anything is read or made.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::{
    common::plan_datafusion_err,
    error::Result,
    logical_expr::{
        Cast, ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
        TryCast,
        simplify::{ExprSimplifyResult, SimplifyContext},
    },
    prelude::Expr,
};
use insula_storage::table::check_width;

pub(super) const NAMES: [&str; 2] = ["arrow_cast", "arrow_try_cast"];

/// As many as types that come in a message of Arrow may have.
const MOST_LEVELS: usize = 32;

/// One of those functions.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Typed {
    original: Arc<ScalarUDF>,
}

impl Typed {
    pub fn function(original: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::from(Self { original }))
    }
}

impl ScalarUDFImpl for Typed {
    fn name(&self) -> &str {
        self.original.name()
    }

    fn signature(&self) -> &Signature {
        self.original.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.original.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        for text in args.scalar_arguments.iter().flatten().filter_map(|value| value.try_as_str().flatten()) {
            check_depth(text)?;
        }
        let field = self.original.return_field_from_args(args)?;
        check_width(field.data_type()).map_err(crate::Error::from)?;
        Ok(field)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.original.invoke_with_args(args)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        // `… IS NULL` asks nobody for the type before this.
        for text in args.iter().filter_map(|arg| arg.as_literal()?.try_as_str().flatten()) {
            check_depth(text)?;
        }
        let simplified = self.original.simplify(args, info)?;
        if let ExprSimplifyResult::Simplified(Expr::Cast(Cast { field, .. }) | Expr::TryCast(TryCast { field, .. })) =
            &simplified
        {
            check_width(field.data_type()).map_err(crate::Error::from)?;
        }
        Ok(simplified)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.original.coerce_types(types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.original.documentation()
    }
}

fn check_depth(text: &str) -> Result<()> {
    let (mut depth, mut deepest) = (0usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'<' | b'[' => depth += 1,
            b')' | b'>' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    if deepest > MOST_LEVELS {
        return Err(plan_datafusion_err!("a type may be nested {MOST_LEVELS} levels deep, and this one has {deepest}"));
    }
    Ok(())
}
