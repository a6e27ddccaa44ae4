//! `format`, `quote_literal`, `quote_nullable`, `quote_ident`, `pg_typeof`.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, StringArray},
    compute::cast,
    datatypes::DataType,
};
use datafusion::{
    error::Result,
    logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility},
    scalar::ScalarValue,
    sql::sqlparser::keywords::ALL_KEYWORDS,
};

use super::plain::Plain;
use crate::Error;

pub(super) fn all() -> [Arc<ScalarUDF>; 5] {
    let of_one = || Signature::any(1, Volatility::Immutable);
    let text: fn(&[DataType]) -> Result<DataType> = |_| Ok(DataType::Utf8);
    let plain = |name, signature, compute: fn(&[ArrayRef]) -> Result<ArrayRef>| {
        Plain { name, signature, returns: text, compute }.function()
    };
    [
        plain("format", Signature::variadic_any(Volatility::Immutable), formats),
        plain("quote_literal", of_one(), |columns| each(columns, |text| text.map(literal))),
        plain("quote_nullable", of_one(), |columns| {
            each(columns, |text| Some(text.map_or_else(|| "NULL".to_owned(), literal)))
        }),
        plain("quote_ident", of_one(), |columns| each(columns, |text| text.map(identifier))),
        Arc::new(ScalarUDF::from(TypeOf { signature: of_one() })),
    ]
}

fn each(columns: &[ArrayRef], make: fn(Option<&str>) -> Option<String>) -> Result<ArrayRef> {
    let texts = cast(&columns[0], &DataType::Utf8)?;
    Ok(Arc::new(texts.as_string::<i32>().iter().map(make).collect::<StringArray>()))
}

fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    // Where there are backslashes, the kind of literal in which they mean something everywhere.
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

fn identifier(text: &str) -> String {
    let starts = |c: char| c.is_ascii_lowercase() || c == '_';
    let is_plain = text.starts_with(starts) && text.chars().all(|c| starts(c) || c.is_ascii_digit());
    let is_keyword = || ALL_KEYWORDS.binary_search(&text.to_ascii_uppercase().as_str()).is_ok();
    if is_plain && !is_keyword() { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

/// As in PostgreSQL: `%s`, `%I`, `%L`, with the number of an argument as in `%2$s`, and `%%`.
fn formats(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let Some((formats, values)) = columns.split_first() else {
        return Err(Error::invalid("format takes a text").into());
    };
    let formats = cast(formats, &DataType::Utf8)?;
    let formats = formats.as_string::<i32>();
    let values = values.iter().map(|column| cast(column, &DataType::Utf8)).collect::<Result<Vec<_>, _>>()?;
    let values: Vec<&StringArray> = values.iter().map(|column| column.as_string::<i32>()).collect();
    let rows = formats.iter().enumerate().map(|(row, format)| {
        format
            .map(|format| formatted(format, |i| Some(values.get(i)?.is_valid(row).then(|| values[i].value(row)))))
            .transpose()
    });
    Ok(Arc::new(rows.collect::<Result<StringArray, Error>>()?))
}

/// `value`: of an argument, if there is one, and it may be NULL.
fn formatted<'a>(format: &str, value: impl Fn(usize) -> Option<Option<&'a str>>) -> Result<String, Error> {
    let (mut made, mut rest, mut next) = (String::with_capacity(format.len()), format, 0);
    while let Some((before, behind)) = rest.split_once('%') {
        made.push_str(before);
        let digits = behind.bytes().take_while(u8::is_ascii_digit).count();
        let (place, behind) = match behind[digits..].strip_prefix('$') {
            Some(behind_number) if digits > 0 => {
                (behind[..digits].parse::<usize>().ok().and_then(|number| number.checked_sub(1)), behind_number)
            }
            _ if digits > 0 => return Err(Error::invalid("format takes no width; pad with lpad or rpad")),
            _ => (Some(next), behind),
        };
        let Some(kind) = behind.chars().next() else {
            return Err(Error::invalid("the text of format ends within a %; write %% for the sign itself"));
        };
        rest = &behind[kind.len_utf8()..];
        if kind == '%' {
            made.push('%');
            continue;
        }
        let Some(value) = place.and_then(&value) else {
            return Err(Error::invalid("the text of format names more arguments than there are"));
        };
        next = place.map_or(next, |place| place + 1);
        match (kind, value) {
            ('s', None) => {}
            ('s', Some(value)) => made.push_str(value),
            ('I', Some(value)) => made.push_str(&identifier(value)),
            ('I', None) => return Err(Error::invalid("format cannot make a name of NULL")),
            ('L', None) => made.push_str("NULL"),
            ('L', Some(value)) => made.push_str(&literal(value)),
            (other, _) => {
                return Err(Error::invalid(format!("format knows %s, %I, %L and %%, not %{other}")));
            }
        }
    }
    made.push_str(rest);
    Ok(made)
}

/// The type of its argument, by PostgreSQL's name.
#[derive(Debug, PartialEq, Eq, Hash)]
struct TypeOf {
    signature: Signature,
}

impl ScalarUDFImpl for TypeOf {
    fn name(&self) -> &str {
        "pg_typeof"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let name = args.arg_fields.first().map(|field| type_name(field.data_type()));
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(name)))
    }
}

fn type_name(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::Boolean => "boolean",
        DataType::Int8 => "tinyint",
        DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        DataType::Int64 => "bigint",
        DataType::UInt8 => "tinyint unsigned",
        DataType::UInt16 => "smallint unsigned",
        DataType::UInt32 => "integer unsigned",
        DataType::UInt64 => "bigint unsigned",
        DataType::Float16 | DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            "numeric"
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => "bytea",
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time without time zone",
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone",
        DataType::Timestamp(_, None) => "timestamp without time zone",
        DataType::Interval(_) | DataType::Duration(_) => "interval",
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            return format!("{}[]", type_name(item.data_type()));
        }
        DataType::Struct(_) => "record",
        DataType::Map(..) => "map",
        DataType::Dictionary(_, values) => return type_name(values),
        DataType::Null => "unknown",
        other => return other.to_string().to_lowercase(),
    };
    name.to_owned()
}
