//! Columns of system tables, by what they hold.

use arrow::datatypes::{DataType, Field};
use insula_storage::table::updated_type;

pub(super) fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, false)
}

pub(super) fn maybe_text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

pub(super) fn number(name: &str) -> Field {
    Field::new(name, DataType::Int64, false)
}

pub(super) fn maybe_number(name: &str) -> Field {
    Field::new(name, DataType::Int64, true)
}

pub(super) fn flag(name: &str) -> Field {
    Field::new(name, DataType::Boolean, false)
}

/// Microseconds, UTC.
pub(super) fn time(name: &str) -> Field {
    Field::new(name, updated_type(), false)
}

pub(super) fn maybe_time(name: &str) -> Field {
    Field::new(name, updated_type(), true)
}
