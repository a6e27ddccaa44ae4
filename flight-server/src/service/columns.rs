//! What JDBC's and ODBC's getColumns ask about a column, as metadata of the fields of a table's schema.

use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, Schema};
use insula_engine::{Engine, TableInfo};

use crate::{encode::wire_schema, format::Types};

#[cfg(test)]
mod tests;

/// The table's schema as it travels, each field with its `ARROW:FLIGHT:SQL:*` metadata.
pub fn described(table: &TableInfo) -> Schema {
    let wire = wire_schema(&table.schema, Types::default());
    let fields: Vec<Field> = wire.fields().iter().map(|field| column(table, field)).collect();
    Schema::new_with_metadata(fields, wire.metadata().clone())
}

fn column(table: &TableInfo, field: &FieldRef) -> Field {
    let kind = sql_type(field.data_type());
    let read_only = table.table_type != "TABLE";
    let pairs = [
        ("CATALOG_NAME", Some(Engine::CATALOG.to_owned())),
        ("SCHEMA_NAME", Some(table.namespace.clone())),
        ("TABLE_NAME", Some(table.name.clone())),
        ("TYPE_NAME", Some(kind.name.to_owned())),
        ("PRECISION", kind.precision.map(|precision| precision.to_string())),
        ("SCALE", kind.scale.map(|scale| scale.to_string())),
        ("IS_AUTO_INCREMENT", Some(flag(false))),
        ("IS_CASE_SENSITIVE", Some(flag(kind.is_text))),
        ("IS_READ_ONLY", Some(flag(read_only))),
        ("IS_SEARCHABLE", Some(flag(true))),
    ];
    let mut metadata = field.metadata().clone();
    let known = pairs.into_iter().filter_map(|(key, value)| Some((format!("ARROW:FLIGHT:SQL:{key}"), value?)));
    metadata.extend(known);
    field.as_ref().clone().with_metadata(metadata)
}

/// Drivers parse a number.
fn flag(value: bool) -> String {
    u8::from(value).to_string()
}

struct SqlType {
    name: &'static str,
    precision: Option<i32>,
    scale: Option<i32>,
    is_text: bool,
}

/// The name under which a type is written in CREATE TABLE, and decimal digits where it has them.
fn sql_type(data_type: &DataType) -> SqlType {
    let kind = |name| SqlType { name, precision: None, scale: None, is_text: false };
    let digits = |name, precision| SqlType { name, precision: Some(precision), scale: Some(0), is_text: false };
    match data_type {
        DataType::Boolean => kind("BOOLEAN"),
        DataType::Int8 => digits("TINYINT", 3),
        DataType::Int16 => digits("SMALLINT", 5),
        DataType::Int32 => digits("INTEGER", 10),
        DataType::Int64 => digits("BIGINT", 19),
        DataType::UInt8 => digits("TINYINT UNSIGNED", 3),
        DataType::UInt16 => digits("SMALLINT UNSIGNED", 5),
        DataType::UInt32 => digits("INTEGER UNSIGNED", 10),
        DataType::UInt64 => digits("BIGINT UNSIGNED", 20),
        DataType::Float16 => SqlType { precision: Some(3), ..kind("HALF FLOAT") },
        DataType::Float32 => SqlType { precision: Some(7), ..kind("REAL") },
        DataType::Float64 => SqlType { precision: Some(15), ..kind("DOUBLE") },
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            SqlType { scale: Some((*scale).into()), ..digits("DECIMAL", (*precision).into()) }
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => SqlType { is_text: true, ..kind("VARCHAR") },
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => kind("VARBINARY"),
        DataType::FixedSizeBinary(size) => SqlType { precision: Some(*size), ..kind("BINARY") },
        DataType::Date32 | DataType::Date64 => kind("DATE"),
        DataType::Time32(_) | DataType::Time64(_) => kind("TIME"),
        DataType::Timestamp(_, None) => kind("TIMESTAMP"),
        DataType::Timestamp(_, Some(_)) => kind("TIMESTAMP WITH TIME ZONE"),
        DataType::Duration(_) => kind("DURATION"),
        DataType::Interval(IntervalUnit::YearMonth) => kind("INTERVAL YEAR TO MONTH"),
        DataType::Interval(_) => kind("INTERVAL"),
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::ListView(_)
        | DataType::LargeListView(_)
        | DataType::FixedSizeList(_, _) => kind("ARRAY"),
        DataType::Struct(_) => kind("STRUCT"),
        DataType::Map(_, _) => kind("MAP"),
        DataType::Union(_, _) => kind("UNION"),
        DataType::Null => kind("NULL"),
        DataType::Dictionary(_, values) => sql_type(values),
        DataType::RunEndEncoded(_, values) => sql_type(values.data_type()),
    }
}
