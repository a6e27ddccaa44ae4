//! Patterns of `to_char`, `to_date` and `to_timestamp` as PostgreSQL writes them, `'YYYY-MM-DD HH24:MI:SS'`, beside those of
//! strftime that DataFusion takes, `'%Y-%m-%d %H:%M:%S'`: what holds a `%` is one of the latter. The former are translated, and
//! one without a translation is refused: as it stands it would be taken for a text.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, StringArray},
    compute::cast,
    datatypes::{DataType, FieldRef},
};
use datafusion::{
    common::ScalarValue,
    error::Result,
    logical_expr::{
        ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    },
};

use crate::Error;

pub(super) const NAMES: [&str; 7] = [
    "to_char",
    "to_date",
    "to_timestamp",
    "to_timestamp_seconds",
    "to_timestamp_millis",
    "to_timestamp_micros",
    "to_timestamp_nanos",
];

/// PostgreSQL's and strftime's; of those that begin alike the longer one first. Case tells texts apart, and not numbers.
const NUMBERS: [(&str, &str); 20] = [
    ("YYYY", "%Y"),
    ("YY", "%y"),
    ("IYYY", "%G"),
    ("IY", "%g"),
    ("IW", "%V"),
    ("ID", "%u"),
    ("MM", "%m"),
    ("MI", "%M"),
    ("MS", "%3f"),
    ("DDD", "%j"),
    ("DD", "%d"),
    ("HH24", "%H"),
    ("HH12", "%I"),
    ("HH", "%I"),
    ("SS", "%S"),
    ("US", "%6f"),
    ("FF3", "%3f"),
    ("FF6", "%6f"),
    ("TZH:TZM", "%:z"),
    ("Q", "%q"),
];
const TEXTS: [(&str, &str); 9] = [
    ("FMMonth", "%B"),
    ("Mon", "%b"),
    ("FMDay", "%A"),
    ("Dy", "%a"),
    ("AM", "%p"),
    ("PM", "%p"),
    ("am", "%P"),
    ("pm", "%P"),
    ("OF", "%:z"),
];

/// One of those functions.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Patterned {
    original: Arc<ScalarUDF>,
}

impl Patterned {
    pub fn function(original: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::from(Self { original }))
    }
}

impl ScalarUDFImpl for Patterned {
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

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        // Of a duration it is no pattern.
        let takes_pattern = !matches!(args.args.first().map(ColumnarValue::data_type), Some(DataType::Duration(_)));
        for pattern in args.args.iter_mut().skip(1).filter(|pattern| takes_pattern && pattern.data_type().is_string()) {
            *pattern = translated(self.name(), pattern)?;
        }
        self.original.invoke_with_args(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.original.documentation()
    }
}

fn translated(function: &str, patterns: &ColumnarValue) -> Result<ColumnarValue> {
    match patterns {
        ColumnarValue::Scalar(value) => match value.try_as_str().flatten() {
            Some(pattern) => Ok(ColumnarValue::Scalar(text(strftime(function, pattern)?).cast_to(&value.data_type())?)),
            None => Ok(patterns.clone()),
        },
        ColumnarValue::Array(column) => {
            let texts = cast(column, &DataType::Utf8)?;
            let texts = texts.as_string::<i32>().iter().map(|pattern| match pattern {
                Some(pattern) => strftime(function, pattern).map(Some),
                None => Ok(None),
            });
            let texts: ArrayRef = Arc::new(texts.collect::<Result<StringArray, Error>>()?);
            Ok(ColumnarValue::Array(cast(&texts, column.data_type())?))
        }
    }
}

fn text(value: String) -> ScalarValue {
    ScalarValue::Utf8(Some(value))
}

fn strftime(function: &str, pattern: &str) -> Result<String, Error> {
    if pattern.contains('%') {
        return Ok(pattern.to_owned());
    }
    let (mut made, mut rest) = (String::with_capacity(pattern.len() * 2), pattern);
    while let Some(first) = rest.chars().next() {
        let numbers = NUMBERS.iter().find_map(|(name, meaning)| {
            let found = rest.get(..name.len())?;
            // In small letters, too, but not in both.
            (found == *name || found == name.to_lowercase()).then_some((name.len(), *meaning))
        });
        let texts =
            || TEXTS.iter().find(|(name, _)| rest.starts_with(name)).map(|(name, meaning)| (name.len(), *meaning));
        if let Some((length, meaning)) = texts().or(numbers) {
            made.push_str(meaning);
            rest = &rest[length..];
        } else if let Some(quoted) = rest.strip_prefix('"') {
            let (literal, behind) = quoted.split_once('"').unwrap_or((quoted, ""));
            made.push_str(literal);
            rest = behind;
        } else if first.is_ascii_alphabetic() {
            let word: String = rest.chars().take_while(char::is_ascii_alphabetic).take(16).collect();
            return Err(Error::invalid(format!(
                "{function} knows no pattern {word}; it takes YYYY, MM, DD, HH24, HH12, MI, SS, MS, US, AM, Mon, FMMonth, Dy, FMDay, \
                 DDD, IYYY, IW, ID, Q, OF, texts in \"…\", or those of strftime, as in '%Y-%m-%d'"
            )));
        } else {
            made.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_postgresql_are_those_of_strftime() {
        for (pattern, expected) in [
            ("YYYY-MM-DD HH24:MI:SS", "%Y-%m-%d %H:%M:%S"),
            ("yyyy-mm-dd hh24:mi:ss.us", "%Y-%m-%d %H:%M:%S.%6f"),
            ("DD Mon YY, HH:MI am", "%d %b %y, %I:%M %P"),
            ("FMMonth FMDay Dy DDD", "%B %A %a %j"),
            ("IYYY-\"W\"IW-ID", "%G-W%V-%u"),
            ("YYYY\"T\"HH24 \"MM", "%YT%H MM"),
            ("YYYYMMDD", "%Y%m%d"),
            ("ü/é", "ü/é"),
            ("%Y YYYY", "%Y YYYY"),
            ("", ""),
        ] {
            assert_eq!(strftime("to_char", pattern).unwrap(), expected, "{pattern}");
        }
        for unknown in ["Month", "Day", "J", "FMYYYY", "DDth", "Yyyy", "x", "D", "MON"] {
            assert!(strftime("to_char", unknown).is_err(), "{unknown}");
        }
    }
}
