use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, ListArray, StringArray, StringViewArray, types::Int32Type};

use super::*;

fn bytes(column: ArrayRef) -> u64 {
    batch_bytes(&RecordBatch::try_from_iter([("c", column)]).unwrap())
}

#[test]
fn a_slice_counts_for_its_own_rows() {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
    assert_eq!((bytes(Arc::clone(&numbers)), bytes(numbers.slice(10, 2))), (8000, 16));
    let words: ArrayRef = Arc::new(StringArray::from_iter_values((0..1000).map(|_| "abc")));
    assert_eq!(bytes(words.slice(5, 1)), 4 + 3);
    let long = "x".repeat(100);
    let views: ArrayRef = Arc::new(StringViewArray::from_iter_values((0..1000).map(|_| long.as_str())));
    assert_eq!(bytes(views.slice(5, 2)), 2 * (16 + 100));
    let lists: ArrayRef =
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>((0..100).map(|_| Some(vec![Some(1); 10]))));
    assert!(bytes(lists.slice(0, 1)) < 100);
}

#[test]
fn nulls_count_a_bit_each() {
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(1)]));
    assert_eq!(bytes(numbers), 17);
}
