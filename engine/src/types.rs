//! Which Arrow types are stored and sent as they are, and what the others become.

use std::{borrow::Cow, sync::Arc};

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};

/// A stored column as statements see it: text and bytes as views, in which Parquet's values are not copied and which
/// DataFusion groups, joins and filters fastest. Results are sent as [`plain_type`] all the same.
pub(crate) fn seen_field(stored: &FieldRef) -> FieldRef {
    match seen_type(stored.data_type()) {
        Cow::Borrowed(_) => Arc::clone(stored),
        Cow::Owned(seen) => Arc::new(stored.as_ref().clone().with_data_type(seen)),
    }
}

pub(crate) fn seen_schema(stored: &Schema) -> SchemaRef {
    Arc::new(Schema::new(stored.fields().iter().map(seen_field).collect::<Vec<_>>()))
}

pub(crate) fn seen_type(stored: &DataType) -> Cow<'_, DataType> {
    match stored {
        DataType::Utf8 => Cow::Owned(DataType::Utf8View),
        DataType::Binary => Cow::Owned(DataType::BinaryView),
        other => Cow::Borrowed(other),
    }
}

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
