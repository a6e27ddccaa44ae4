//! Which Arrow types are stored and sent as they are, and what the others become.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};

/// The type without encodings: dictionaries and run-end encoding become their values, views their plain twins, list
/// views lists; also inside lists, structs and maps.
pub(crate) fn plain_type(data_type: &DataType) -> DataType {
    let plain = |field: &Arc<Field>| Arc::new(field.as_ref().clone().with_data_type(plain_type(field.data_type())));
    match data_type {
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::RunEndEncoded(_, values) => plain_type(values.data_type()),
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(field) | DataType::ListView(field) => DataType::List(plain(field)),
        DataType::LargeList(field) | DataType::LargeListView(field) => DataType::LargeList(plain(field)),
        DataType::FixedSizeList(field, length) => DataType::FixedSizeList(plain(field), *length),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain).collect()),
        DataType::Map(entries, sorted) => DataType::Map(plain(entries), *sorted),
        other => other.clone(),
    }
}
