//! What a batch's rows take, as Arrow has them: of a slice its own part and not the buffers that it shares. Cheap enough
//! to be asked of every batch that leaves.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::DataType,
};

/// Bytes of values, offsets and validity.
pub fn batch_bytes(batch: &RecordBatch) -> u64 {
    columns_bytes(batch.columns())
}

pub(crate) fn columns_bytes(columns: &[ArrayRef]) -> u64 {
    columns.iter().map(|column| array_bytes(column) as u64).sum()
}

fn array_bytes(array: &ArrayRef) -> usize {
    let rows = array.len();
    let validity = if array.nulls().is_some() { rows.div_ceil(8) } else { 0 };
    let between = |offsets: &[i32]| match offsets {
        [first, .., last] => usize::try_from(last - first).unwrap_or_default(),
        _ => 0,
    };
    let values = match array.data_type() {
        DataType::Null => 0,
        DataType::Boolean => rows.div_ceil(8),
        DataType::Utf8 => rows * 4 + between(array.as_string::<i32>().value_offsets()),
        DataType::Binary => rows * 4 + between(array.as_binary::<i32>().value_offsets()),
        // Short ones lie in the view itself; the buffers of the others may hold much else.
        DataType::Utf8View => rows * 16 + array.as_string_view().lengths().map(beyond_view).sum::<usize>(),
        DataType::BinaryView => rows * 16 + array.as_binary_view().lengths().map(beyond_view).sum::<usize>(),
        DataType::FixedSizeBinary(width) => rows * usize::try_from(*width).unwrap_or_default(),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            rows * 4 + child_bytes(list.values(), list.value_offsets())
        }
        DataType::Map(_, _) => {
            let map = array.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            rows * 4 + child_bytes(&entries, map.value_offsets())
        }
        DataType::Struct(_) => array.as_struct().columns().iter().map(array_bytes).sum(),
        other => match other.primitive_width() {
            Some(width) => rows * width,
            None => return array.to_data().get_slice_memory_size().unwrap_or_default(),
        },
    };
    values + validity
}

/// Of those that the offsets mean: a slice of a list has all values of the whole one.
fn child_bytes(values: &ArrayRef, offsets: &[i32]) -> usize {
    let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else { return 0 };
    let (first, last) = (usize::try_from(*first).unwrap_or_default(), usize::try_from(*last).unwrap_or_default());
    array_bytes(&values.slice(first.min(values.len()), last.min(values.len()).saturating_sub(first)))
}

fn beyond_view(length: u32) -> usize {
    if length > 12 { length as usize } else { 0 }
}

#[cfg(test)]
mod tests;
