//! `SHOW CREATE TABLE`: a definition as the statement that would make it again.

use arrow::datatypes::{DataType, Field, TimeUnit};
use insula_storage::{Check, TableDef, TableKind};

use crate::{sql::quoted, system::options_of};

/// `is_read_by_all`, if it is shared. Whoever makes it again would else show to everyone what was kept from them.
pub(super) fn create_text(table: &TableDef, is_read_by_all: bool) -> String {
    let kind = match table.kind {
        TableKind::User => "USER",
        TableKind::Shared => "SHARED",
        TableKind::Stream => "STREAM",
    };
    let mut parts: Vec<String> = table
        .columns
        .iter()
        .map(|column| {
            let default = column.default.as_ref().map(|sql| format!(" DEFAULT {sql}")).unwrap_or_default();
            format!("{}{default}", declared(&column.field))
        })
        .collect();
    if !table.key.is_empty() {
        let key = table.key.iter().map(|i| quoted(table.columns[*i].field.name()).to_string());
        parts.push(format!("PRIMARY KEY ({})", key.collect::<Vec<_>>().join(", ")));
    }
    let check = |check: &Check| format!("CONSTRAINT {} CHECK ({})", quoted(&check.name), check.sql);
    parts.extend(table.checks.iter().map(check));
    let name = format!("{}.{}", quoted(&table.namespace), quoted(&table.name));
    let grants = if table.kind == TableKind::Shared && !is_read_by_all { "grants = 'none', " } else { "" };
    format!("CREATE {kind} TABLE {name} (\n  {}\n) WITH ({grants}{})", parts.join(",\n  "), options_of(table))
}

/// Name, type, `NOT NULL`.
fn declared(field: &Field) -> String {
    let not_null = if field.is_nullable() { "" } else { " NOT NULL" };
    format!("{} {}{not_null}", quoted(field.name()), type_name(field.data_type()))
}

/// As CREATE TABLE takes it. A type that SQL has no name for, which only an ingest brings, has Arrow's.
fn type_name(data_type: &DataType) -> String {
    let digits = |unit: &TimeUnit| match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    };
    match data_type {
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INTEGER".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::UInt8 => "TINYINT UNSIGNED".into(),
        DataType::UInt16 => "SMALLINT UNSIGNED".into(),
        DataType::UInt32 => "INTEGER UNSIGNED".into(),
        DataType::UInt64 => "BIGINT UNSIGNED".into(),
        DataType::Float32 => "REAL".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            format!("DECIMAL({precision}, {scale})")
        }
        DataType::Utf8 => "VARCHAR".into(),
        DataType::Binary => "VARBINARY".into(),
        DataType::FixedSizeBinary(size) => format!("BINARY({size})"),
        DataType::Date32 => "DATE".into(),
        DataType::Time32(unit) | DataType::Time64(unit) => format!("TIME({})", digits(unit)),
        DataType::Timestamp(unit, None) => format!("TIMESTAMP({})", digits(unit)),
        DataType::Timestamp(unit, Some(_)) => format!("TIMESTAMP({}) WITH TIME ZONE", digits(unit)),
        DataType::Interval(_) => "INTERVAL".into(),
        DataType::List(item) => format!("{}[]", type_name(item.data_type())),
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|f| format!("{} {}", quoted(f.name()), type_name(f.data_type())));
            format!("STRUCT<{}>", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}
