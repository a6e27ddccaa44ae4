//! Which Arrow types storage keeps unchanged, and what it makes of the others.
//!
//! Dictionaries, run-end encodings and views are ways to lay out values, not types of them: they are stored as their
//! values' type, and that is what reads return. Decimals of negative scale, which Parquet does not have, keep the zeros
//! before their point. Unions and list views are refused.

use std::sync::Arc;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Field, FieldRef};

use super::check_width;
use crate::{Error, ErrorKind, Result};

/// `field` with the type that storage keeps for it.
pub fn stored_field(field: &Field) -> Result<Field> {
    let data_type = stored_type(field.data_type()).map_err(|e| {
        Error::new(ErrorKind::Invalid, format!("column \"{}\" cannot be stored: {}", field.name(), e.message()))
    })?;
    // A new field, since a dictionary's flags must not outlive it.
    Ok(Field::new(field.name(), data_type, field.is_nullable()).with_metadata(field.metadata().clone()))
}

/// The type that storage keeps for `data_type`; the same for most.
pub fn stored_type(data_type: &DataType) -> Result<DataType> {
    check_width(data_type)?;
    let child = |field: &FieldRef| stored_field(field).map(Arc::new);
    Ok(match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => stored_type(values)?,
        DataType::RunEndEncoded(_, values) => stored_type(values.data_type())?,
        DataType::Decimal32(digits, scale)
        | DataType::Decimal64(digits, scale)
        | DataType::Decimal128(digits, scale)
        | DataType::Decimal256(digits, scale)
            if *scale < 0 =>
        {
            whole_decimal(digits.saturating_add(scale.unsigned_abs()))?
        }
        DataType::List(field) => DataType::List(child(field)?),
        DataType::LargeList(field) => DataType::LargeList(child(field)?),
        DataType::FixedSizeList(field, n) => DataType::FixedSizeList(child(field)?, *n),
        DataType::Map(entries, sorted) => DataType::Map(child(entries)?, *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(child).collect::<Result<_>>()?),
        DataType::Union(..) | DataType::ListView(_) | DataType::LargeListView(_) => {
            return Err(Error::new(ErrorKind::Invalid, format!("type {data_type} is not supported")));
        }
        same => same.clone(),
    })
}

/// A decimal of so many digits, none of them behind the point.
fn whole_decimal(digits: u8) -> Result<DataType> {
    if digits <= DECIMAL128_MAX_PRECISION {
        Ok(DataType::Decimal128(digits, 0))
    } else if digits <= DECIMAL256_MAX_PRECISION {
        Ok(DataType::Decimal256(digits, 0))
    } else {
        Err(Error::new(
            ErrorKind::Invalid,
            format!("a decimal of {digits} digits is not supported; {DECIMAL256_MAX_PRECISION} are the most"),
        ))
    }
}
