//! `information_schema`, as the SQL standard has it, for tools that ask there: the same tables as `system.tables` lists.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, SchemaRef, TimeUnit};
use insula_storage::Check;

use super::{
    Asking, View,
    catalog::{Column, Table},
    fields::{maybe_number, maybe_text, number, text},
    rows::{self, all, made, maybe_numbers, maybe_texts, no_texts, numbers, texts},
};
use crate::{Engine, RowStream, checks::declare::key_name};

const fn view(name: &'static str, fields: fn() -> Vec<Field>, rows: fn(Asking, SchemaRef) -> RowStream) -> View {
    View { namespace: "information_schema", name, fields, rows }
}

pub(super) static VIEWS: [View; 7] = [
    view(
        "schemata",
        || vec![text("catalog_name"), text("schema_name"), maybe_text("schema_owner"), maybe_text("sql_path")],
        schemata,
    ),
    view(
        "tables",
        || {
            vec![
                text("table_catalog"),
                text("table_schema"),
                text("table_name"),
                text("table_type"),
                text("is_insertable_into"),
            ]
        },
        tables,
    ),
    view("columns", column_fields, columns),
    view(
        "views",
        || vec![text("table_catalog"), text("table_schema"), text("table_name"), maybe_text("view_definition")],
        |_, schema| rows::of(Vec::<()>::new(), schema, |_| Vec::new()),
    ),
    view(
        "table_constraints",
        || {
            vec![
                text("constraint_catalog"),
                text("constraint_schema"),
                text("constraint_name"),
                text("table_catalog"),
                text("table_schema"),
                text("table_name"),
                text("constraint_type"),
                text("is_deferrable"),
                text("initially_deferred"),
                text("enforced"),
            ]
        },
        constraints,
    ),
    view(
        "check_constraints",
        || vec![text("constraint_catalog"), text("constraint_schema"), text("constraint_name"), text("check_clause")],
        check_constraints,
    ),
    view(
        "key_column_usage",
        || {
            vec![
                text("constraint_catalog"),
                text("constraint_schema"),
                text("constraint_name"),
                text("table_catalog"),
                text("table_schema"),
                text("table_name"),
                text("column_name"),
                number("ordinal_position"),
                maybe_number("position_in_unique_constraint"),
            ]
        },
        key_columns,
    ),
];

fn column_fields() -> Vec<Field> {
    vec![
        text("table_catalog"),
        text("table_schema"),
        text("table_name"),
        text("column_name"),
        number("ordinal_position"),
        maybe_text("column_default"),
        text("is_nullable"),
        text("data_type"),
        maybe_number("character_maximum_length"),
        maybe_number("numeric_precision"),
        maybe_number("numeric_precision_radix"),
        maybe_number("numeric_scale"),
        maybe_number("datetime_precision"),
    ]
}

fn schemata(asking: Asking, schema: SchemaRef) -> RowStream {
    let names: Vec<String> = asking.namespaces().into_iter().map(str::to_owned).collect();
    rows::of(names, schema, |part: &[String]| {
        vec![all(part, Engine::CATALOG), texts(part, |name| name), no_texts(part), no_texts(part)]
    })
}

fn tables(asking: Asking, schema: SchemaRef) -> RowStream {
    let (base, system) = (("BASE TABLE", "YES"), ("SYSTEM VIEW", "NO"));
    rows::of(Table::all(&asking), schema, move |part: &[Table]| {
        let sort = |table: &Table| if table.declared().is_some() { base } else { system };
        vec![
            all(part, Engine::CATALOG),
            texts(part, Table::namespace),
            texts(part, Table::name),
            texts(part, |table| sort(table).0),
            texts(part, |table| sort(table).1),
        ]
    })
}

fn columns(asking: Asking, schema: SchemaRef) -> RowStream {
    rows::of(Column::all(&asking), schema, |part: &[Column]| {
        let kind = |column: &Column| SqlType::of(column.field().data_type());
        vec![
            all(part, Engine::CATALOG),
            texts(part, |column| column.table.namespace()),
            texts(part, |column| column.table.name()),
            texts(part, |column| column.field().name()),
            numbers(part, |column| column.index as u64 + 1),
            maybe_texts(part, |column| column.default().map(str::to_owned)),
            texts(part, |column| if column.field().is_nullable() { "YES" } else { "NO" }),
            made(part, |column| kind(column).name.to_owned()),
            maybe_numbers(part, |column| kind(column).length),
            maybe_numbers(part, |column| kind(column).precision),
            maybe_numbers(part, |column| kind(column).precision.map(|_| 10)),
            maybe_numbers(part, |column| kind(column).scale),
            maybe_numbers(part, |column| kind(column).digits_of_second),
        ]
    })
}

/// One constraint of a table: a check by its place among them, or the key.
struct Constraint {
    table: Arc<Table>,
    check: Option<usize>,
}

impl Constraint {
    fn all(asking: &Asking) -> Vec<Self> {
        let of = |table: Table| {
            let key = (!table.key().is_empty()).then_some(None);
            let checks = 0..table.declared().map_or(0, |table| table.checks.len());
            let table = Arc::new(table);
            key.into_iter().chain(checks.map(Some)).map(move |check| Self { table: Arc::clone(&table), check })
        };
        Table::all(asking).into_iter().flat_map(of).collect()
    }

    fn check(&self) -> Option<&Check> {
        self.table.declared()?.checks.get(self.check?)
    }

    fn name(&self) -> String {
        self.check().map_or_else(|| key_name(self.table.name()), |check| check.name.clone())
    }
}

fn check_constraints(asking: Asking, schema: SchemaRef) -> RowStream {
    let checks = Constraint::all(&asking).into_iter().filter(|constraint| constraint.check.is_some()).collect();
    rows::of(checks, schema, |part: &[Constraint]| {
        vec![
            all(part, Engine::CATALOG),
            texts(part, |constraint| constraint.table.namespace()),
            made(part, Constraint::name),
            texts(part, |constraint| constraint.check().map_or("", |check| &check.sql)),
        ]
    })
}

fn constraints(asking: Asking, schema: SchemaRef) -> RowStream {
    rows::of(Constraint::all(&asking), schema, |part: &[Constraint]| {
        vec![
            all(part, Engine::CATALOG),
            texts(part, |constraint| constraint.table.namespace()),
            made(part, Constraint::name),
            all(part, Engine::CATALOG),
            texts(part, |constraint| constraint.table.namespace()),
            texts(part, |constraint| constraint.table.name()),
            texts(part, |constraint| if constraint.check.is_some() { "CHECK" } else { "PRIMARY KEY" }),
            all(part, "NO"),
            all(part, "NO"),
            all(part, "YES"),
        ]
    })
}

fn key_columns(asking: Asking, schema: SchemaRef) -> RowStream {
    let of = |table: Table| {
        let table = Arc::new(table);
        (0..table.key().len()).map(move |position| (Arc::clone(&table), position))
    };
    let all_columns = Table::all(&asking).into_iter().flat_map(of).collect();
    rows::of(all_columns, schema, |part: &[(Arc<Table>, usize)]| {
        vec![
            all(part, Engine::CATALOG),
            texts(part, |(table, _)| table.namespace()),
            made(part, |(table, _)| key_name(table.name())),
            all(part, Engine::CATALOG),
            texts(part, |(table, _)| table.namespace()),
            texts(part, |(table, _)| table.name()),
            made(part, |(table, position)| table.key()[*position].to_owned()),
            numbers(part, |(_, position)| *position as u64 + 1),
            maybe_numbers(part, |_| None),
        ]
    })
}

/// A type by the name under which CREATE TABLE takes it, with what the standard asks of it.
#[derive(Clone, Copy, Default)]
struct SqlType {
    name: &'static str,
    length: Option<u64>,
    precision: Option<u64>,
    scale: Option<u64>,
    digits_of_second: Option<u64>,
}

impl SqlType {
    fn of(data_type: &DataType) -> Self {
        let kind = |name| Self { name, ..Self::default() };
        let whole = |name, precision| Self { precision: Some(precision), scale: Some(0), ..kind(name) };
        let float = |name, precision| Self { precision: Some(precision), ..kind(name) };
        let decimal = |precision: u8, scale: i8| Self {
            precision: Some(precision.into()),
            scale: u64::try_from(scale).ok(),
            ..kind("DECIMAL")
        };
        let timed = |name, unit: TimeUnit| Self { digits_of_second: Some(digits(unit)), ..kind(name) };
        match data_type {
            DataType::Boolean => kind("BOOLEAN"),
            DataType::Int8 => whole("TINYINT", 3),
            DataType::Int16 => whole("SMALLINT", 5),
            DataType::Int32 => whole("INTEGER", 10),
            DataType::Int64 => whole("BIGINT", 19),
            DataType::UInt8 => whole("TINYINT UNSIGNED", 3),
            DataType::UInt16 => whole("SMALLINT UNSIGNED", 5),
            DataType::UInt32 => whole("INTEGER UNSIGNED", 10),
            DataType::UInt64 => whole("BIGINT UNSIGNED", 20),
            DataType::Float16 => float("HALF FLOAT", 3),
            DataType::Float32 => float("REAL", 7),
            DataType::Float64 => float("DOUBLE", 15),
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale)
            | DataType::Decimal256(precision, scale) => decimal(*precision, *scale),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => kind("VARCHAR"),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => kind("VARBINARY"),
            DataType::FixedSizeBinary(size) => Self { length: u64::try_from(*size).ok(), ..kind("BINARY") },
            DataType::Date32 | DataType::Date64 => kind("DATE"),
            DataType::Time32(unit) | DataType::Time64(unit) => timed("TIME", *unit),
            DataType::Timestamp(unit, None) => timed("TIMESTAMP", *unit),
            DataType::Timestamp(unit, Some(_)) => timed("TIMESTAMP WITH TIME ZONE", *unit),
            DataType::Duration(_) => kind("DURATION"),
            DataType::Interval(IntervalUnit::YearMonth) => kind("INTERVAL YEAR TO MONTH"),
            DataType::Interval(_) => kind("INTERVAL"),
            DataType::Struct(_) => kind("STRUCT"),
            DataType::Map(_, _) => kind("MAP"),
            DataType::Union(_, _) => kind("UNION"),
            DataType::Null => kind("NULL"),
            DataType::Dictionary(_, values) => Self::of(values),
            DataType::RunEndEncoded(_, values) => Self::of(values.data_type()),
            other if other.is_nested() => kind("ARRAY"),
            _ => kind("OTHER"),
        }
    }
}

fn digits(unit: TimeUnit) -> u64 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}
