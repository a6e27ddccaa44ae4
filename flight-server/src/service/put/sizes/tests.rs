use std::sync::Arc;

use arrow::{
    array::{
        BinaryViewArray, DictionaryArray, Int8Array, Int32Array, Int64Array, LargeStringArray, ListArray, RunArray,
        StringArray, StringViewArray,
    },
    buffer::OffsetBuffer,
    datatypes::{Field, Int8Type, Int32Type},
};

use super::*;

fn batch(column: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter([("c", column)]).unwrap()
}

/// Easily compressed: half a megabyte.
fn zeros() -> RecordBatch {
    batch(Arc::new(Int64Array::from(vec![0; 1 << 16])))
}

fn is_too_large(result: Result<()>) -> bool {
    result.is_err_and(|error| error.kind() == ErrorKind::ResourceExhausted)
}

#[test]
fn few_bytes_that_stand_for_many_are_counted() {
    let long = "x".repeat(1 << 16);
    let keys = Int8Array::from(vec![0i8; 1000]);
    let dictionary = |values: ArrayRef| -> ArrayRef {
        Arc::new(DictionaryArray::<Int8Type>::try_new(keys.clone(), values).unwrap())
    };
    let texts = dictionary(Arc::new(LargeStringArray::from(vec![long.as_str()])));
    let runs = RunArray::<Int32Type>::try_new(&Int32Array::from(vec![1000]), &StringArray::from(vec![long.as_str()]));
    let field = Arc::new(Field::new_list_field(texts.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths([1000]);
    let lists = ListArray::new(field, offsets, Arc::clone(&texts), None);
    for column in [texts, Arc::new(runs.unwrap()) as ArrayRef, Arc::new(lists)] {
        let rows = batch(column);
        assert!(is_too_large(check_rows(&rows, 1 << 25)), "{rows:?}");
        check_rows(&rows, 1 << 27).unwrap();
    }
    let views: ArrayRef = Arc::new(StringViewArray::from(vec!["x".repeat(100).as_str(); 1000]));
    let bytes: ArrayRef = Arc::new(BinaryViewArray::from(vec![&[0u8; 100][..]; 1000]));
    for column in [views, bytes] {
        assert!(is_too_large(check_rows(&batch(Arc::clone(&column)), 99_999)));
        check_rows(&batch(column), 100_000).unwrap();
    }
    check_rows(&zeros(), 0).unwrap();
}
