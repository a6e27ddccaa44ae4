//! What SQL's type names mean, where DataFusion's answer is not PostgreSQL's or it has none: times and timestamps of any
//! precision, byte strings, the long names of character strings. All other names are DataFusion's.

use std::{ops::ControlFlow, sync::Arc};

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::{
    common::plan_datafusion_err,
    error::Result,
    logical_expr::planner::TypePlanner,
    sql::sqlparser::ast::{
        ArrayElemTypeDef, BinaryLength, DataType as Name, Expr, ObjectName, Spanned, Statement, TimezoneInfo,
        TypedString, visit_expressions_mut,
    },
};

use insula_storage::table::MOST_FIXED_BYTES;

/// The digits of a second that a time or timestamp without precision keeps, as in PostgreSQL. Nanoseconds would leave the
/// years before 1677 and after 2262 out, and with them the customary 9999-12-31.
pub(crate) const DEFAULT_PRECISION: u64 = 6;

/// The type names of one session: its time zone is that of `TIMESTAMP WITH TIME ZONE`.
#[derive(Debug)]
pub(crate) struct Types {
    pub zone: Arc<str>,
}

impl TypePlanner for Types {
    fn plan_type_field(&self, name: &Name) -> Result<Option<FieldRef>> {
        if fixed_bytes(name) > MOST_FIXED_BYTES as u64 {
            return Err(plan_datafusion_err!(
                "{name} takes more than {MOST_FIXED_BYTES} bytes a value, whatever it says; use a type without a size"
            ));
        }
        let data_type = match name {
            Name::Timestamp(precision, zone) => DataType::Timestamp(unit(*precision, name)?, self.zone(*zone)),
            Name::Time(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
                match unit(*precision, name)? {
                    unit @ (TimeUnit::Second | TimeUnit::Millisecond) => DataType::Time32(unit),
                    unit => DataType::Time64(unit),
                }
            }
            Name::Binary(Some(length)) => DataType::FixedSizeBinary(
                i32::try_from(*length).map_err(|_| plan_datafusion_err!("{name} is longer than 2147483647"))?,
            ),
            Name::Varbinary(None | Some(BinaryLength::IntegerLength { .. } | BinaryLength::Max))
            | Name::Binary(None)
            | Name::Blob(_)
            | Name::Bytes(_) => DataType::Binary,
            Name::Character(_)
            | Name::CharacterVarying(_)
            | Name::CharVarying(_)
            | Name::CharacterLargeObject(_)
            | Name::CharLargeObject(_)
            | Name::Clob(_)
            | Name::Nvarchar(_) => DataType::Utf8,
            Name::Custom(name, _) => return Err(unknown(name).into()),
            _ => return Ok(None),
        };
        Ok(Some(Arc::new(Field::new("", data_type, true))))
    }
}

/// What a value of the type takes even where it is NULL (`check_width` of the storage says the same of Arrow's types).
fn fixed_bytes(name: &Name) -> u64 {
    match name {
        Name::Binary(Some(length)) => *length,
        Name::Array(ArrayElemTypeDef::SquareBracket(item, Some(n))) => n.saturating_mul(fixed_bytes(item)),
        Name::Array(
            ArrayElemTypeDef::SquareBracket(item, None)
            | ArrayElemTypeDef::AngleBracket(item)
            | ArrayElemTypeDef::Parenthesis(item),
        ) => fixed_bytes(item),
        Name::Struct(fields, _) => {
            fields.iter().fold(0, |sum: u64, field| sum.saturating_add(fixed_bytes(&field.field_type)))
        }
        _ => size_of::<u64>() as u64,
    }
}

impl Types {
    fn zone(&self, zone: TimezoneInfo) -> Option<Arc<str>> {
        match zone {
            TimezoneInfo::Tz | TimezoneInfo::WithTimeZone => Some(Arc::clone(&self.zone)),
            TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => None,
        }
    }
}

/// Names of types, for whoever has mistyped one.
const KNOWN: [&str; 24] = [
    "BIGINT",
    "BINARY",
    "BLOB",
    "BOOLEAN",
    "BYTEA",
    "CHAR",
    "DATE",
    "DECIMAL",
    "DOUBLE",
    "FLOAT",
    "INT",
    "INTEGER",
    "INTERVAL",
    "NUMERIC",
    "REAL",
    "SMALLINT",
    "STRING",
    "TEXT",
    "TIME",
    "TIMESTAMP",
    "TIMESTAMPTZ",
    "TINYINT",
    "VARBINARY",
    "VARCHAR",
];

fn unknown(name: &ObjectName) -> crate::Error {
    let written = name.to_string();
    let hint = crate::catalog::nearest(&written.to_uppercase(), KNOWN.into_iter());
    let hint = hint.map(|known| format!("; did you mean {known}?")).unwrap_or_default();
    let start = name.span().start;
    crate::Error::invalid(format!(
        "the type {written} does not exist{hint} at Line: {}, Column: {}",
        start.line, start.column
    ))
}

/// The unit that keeps so many digits of a second.
fn unit(precision: Option<u64>, name: &Name) -> Result<TimeUnit> {
    match precision.unwrap_or(DEFAULT_PRECISION) {
        0 => Ok(TimeUnit::Second),
        1..=3 => Ok(TimeUnit::Millisecond),
        4..=6 => Ok(TimeUnit::Microsecond),
        7..=9 => Ok(TimeUnit::Nanosecond),
        _ => Err(plan_datafusion_err!("{name} has more digits than nanoseconds have: 9 is the most")),
    }
}

/// A literal keeps all digits that are written, as the SQL standard says: `TIMESTAMP '… .1234567'` is of nanoseconds. Only
/// the text tells, and the type planner does not see it.
pub(crate) fn keep_digits(statement: &mut Statement) {
    let _: ControlFlow<()> = visit_expressions_mut(statement, |expr| {
        if let Expr::TypedString(TypedString { data_type, value, .. }) = expr
            && let Name::Timestamp(precision @ None, _) | Name::Time(precision @ None, _) = data_type
            && value.value.clone().into_string().is_some_and(|text| digits_of_second(&text) > DEFAULT_PRECISION)
        {
            *precision = Some(9);
        }
        ControlFlow::Continue(())
    });
}

pub(crate) fn digits_of_second(text: &str) -> u64 {
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    fraction.bytes().take_while(u8::is_ascii_digit).count() as u64
}

#[cfg(test)]
mod tests;
