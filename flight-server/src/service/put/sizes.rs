//! How large the rows of a client's message become once they are plain values: what a dictionary, a run or a view says in a few
//! bytes for many rows is counted before anything writes it out.

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::DataType,
};
use insula_engine::{Error, ErrorKind, Result};

/// Refuses rows that take more than `most` bytes once they are plain values.
pub(super) fn check_rows(batch: &RecordBatch, most: u64) -> Result<()> {
    let bytes = batch.columns().iter().fold(0, |sum: u64, column| sum.saturating_add(plain_bytes(column)));
    if bytes <= most {
        return Ok(());
    }
    let text = format!(
        "the rows of one message take {bytes} bytes as plain values, and --max-message-size is {most}; send smaller batches"
    );
    Err(Error::new(ErrorKind::ResourceExhausted, text))
}

/// What the values of an array take that takes less itself; of other arrays nothing, for these have been counted.
fn plain_bytes(array: &ArrayRef) -> u64 {
    match array.data_type() {
        DataType::Utf8View => array.as_string_view().lengths().map(u64::from).sum(),
        DataType::BinaryView => array.as_binary_view().lengths().map(u64::from).sum(),
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let sizes = sizes(dictionary.values());
            if sizes.is_empty() {
                return 0;
            }
            let keys = dictionary.normalized_keys();
            keys.into_iter().fold(0, |sum, key| sum.saturating_add(sizes.get(key).copied().unwrap_or_default()))
        }
        // As if each row had the longest of all values: there are few of them, or it would not have been encoded so.
        DataType::RunEndEncoded(..) => {
            let data = array.to_data();
            let values = data.child_data().get(1).map(|values| arrow::array::make_array(values.clone()));
            let longest = values.map_or(0, |values| sizes(&values).into_iter().max().unwrap_or_default());
            longest.saturating_mul(array.len() as u64)
        }
        data_type if data_type.is_nested() => {
            let data = array.to_data();
            let children = data.child_data().iter().map(|child| plain_bytes(&arrow::array::make_array(child.clone())));
            children.fold(0, u64::saturating_add)
        }
        _ => 0,
    }
}

/// Bytes of each value.
fn sizes(values: &ArrayRef) -> Vec<u64> {
    let ends = |offsets: Vec<u64>| offsets.windows(2).map(|pair| pair[1] - pair[0]).collect();
    match values.data_type() {
        DataType::Utf8 => {
            ends(values.as_string::<i32>().offsets().iter().map(|end| end.unsigned_abs().into()).collect())
        }
        DataType::Binary => {
            ends(values.as_binary::<i32>().offsets().iter().map(|end| end.unsigned_abs().into()).collect())
        }
        DataType::LargeUtf8 => ends(values.as_string::<i64>().offsets().iter().map(|end| end.unsigned_abs()).collect()),
        DataType::LargeBinary => {
            ends(values.as_binary::<i64>().offsets().iter().map(|end| end.unsigned_abs()).collect())
        }
        DataType::Utf8View => values.as_string_view().lengths().map(u64::from).collect(),
        DataType::BinaryView => values.as_binary_view().lengths().map(u64::from).collect(),
        data_type => match data_type.primitive_width() {
            Some(width) => vec![width as u64; values.len()],
            // Of nested values each may be all of them.
            None => vec![values.get_array_memory_size() as u64; values.len()],
        },
    }
}

#[cfg(test)]
mod tests;
