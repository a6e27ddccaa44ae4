//! `levenshtein`: its time is the product of the lengths of its texts, and while it works on a pair nothing can stop it.

use std::sync::Arc;

use arrow::{
    array::{Array, AsArray},
    compute::cast,
    datatypes::{DataType, FieldRef},
};
use datafusion::{
    error::Result,
    logical_expr::{
        ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    },
};

use crate::Error;

pub(super) const NAME: &str = "levenshtein";
/// Of the lengths of two texts: about a millisecond.
const MOST: usize = 1 << 20;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Distance {
    original: Arc<ScalarUDF>,
}

impl Distance {
    pub fn function(original: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::from(Self { original }))
    }
}

impl ScalarUDFImpl for Distance {
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
        self.original.return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if is_scalar { 1 } else { args.number_rows };
        let lengths = args.args.iter().take(2).map(|arg| lengths(arg, rows)).collect::<Result<Vec<_>>>()?;
        if let [a, b] = lengths.as_slice() {
            a.iter().zip(b).try_for_each(|(a, b)| check(*a, *b))?;
        }
        self.original.invoke_with_args(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.original.documentation()
    }
}

/// Characters of each text.
fn lengths(texts: &ColumnarValue, rows: usize) -> Result<Vec<usize>> {
    let texts = cast(&texts.to_array(rows)?, &DataType::Utf8View)?;
    let texts = texts.as_string_view();
    Ok((0..texts.len()).map(|row| if texts.is_null(row) { 0 } else { texts.value(row).chars().count() }).collect())
}

fn check(a: usize, b: usize) -> Result<()> {
    if a.saturating_mul(b) <= MOST {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "levenshtein of texts of {a} and {b} characters takes too long: the product of the lengths may be {MOST}"
    ))
    .into())
}

#[cfg(test)]
mod tests;
