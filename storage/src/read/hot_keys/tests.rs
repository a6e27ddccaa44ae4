use std::{collections::BTreeSet, sync::Arc};

use arrow::{
    array::{Date32Array, Int16Array, Int64Array, StringArray, UInt64Array},
    datatypes::DataType,
};
use proptest::prelude::*;

use super::*;
use crate::hot::tests::table;

/// A column of any of the types that keys of one column come in, as numbers and as bytes.
fn column(data_type: &DataType, values: &[i16]) -> ArrayRef {
    let wide = values.iter().map(|value| i64::from(*value));
    match data_type {
        DataType::Int16 => Arc::new(Int16Array::from(values.to_vec())),
        DataType::Int64 => Arc::new(Int64Array::from_iter_values(wide)),
        // The upper half too.
        DataType::UInt64 => Arc::new(UInt64Array::from_iter_values(wide.map(|value| value as u64))),
        DataType::Date32 => Arc::new(Date32Array::from_iter_values(values.iter().map(|value| i32::from(*value)))),
        _ => Arc::new(StringArray::from_iter_values(values.iter().map(|value| format!("{value}\0")))),
    }
}

proptest! {
    #[test]
    fn masks_are_look_ups(
        // Close together, and with some far away.
        hot in prop_oneof![
            prop::collection::btree_set(-40i16..40, 0..60),
            prop::collection::btree_set(prop_oneof![9 => -40i16..40, 1 => any::<i16>()], 0..60),
        ],
        cold in prop::collection::vec(prop_oneof![5 => -40i16..40, 1 => any::<i16>()], 0..200),
        sorted in any::<bool>(),
    ) {
        let mut cold = cold;
        for data_type in [DataType::Int16, DataType::Int64, DataType::UInt64, DataType::Date32, DataType::Utf8] {
            let table = table(&[("k", data_type.clone(), false)], &[0]);
            let codec = KeyCodec::new(&table).unwrap();
            let encoded = |values: &[i16]| codec.encode(&[column(&data_type, values)]).unwrap();
            let rows = encoded(&hot.iter().copied().collect::<Vec<_>>());
            let rows: BTreeSet<Vec<u8>> = rows.iter().map(<[u8]>::to_vec).collect();
            let mut ascending = KeyRows::default();
            rows.iter().for_each(|key| ascending.push(key));
            let keys = HotKeys::new(&codec, ascending);
            prop_assert_eq!(matches!(keys.keys, Keys::Numbers(..)), data_type != DataType::Utf8);
            prop_assert_eq!((keys.len(), keys.is_empty()), (hot.len(), hot.is_empty()));

            if sorted {
                cold.sort_by_key(|value| encoded(&[*value]).row(0).to_vec());
            }
            let mask = keys.mask(&encoded(&cold));
            let unshadowed = keys.unshadowed(&codec, &[column(&data_type, &cold)]).unwrap();
            prop_assert_eq!(unshadowed.is_none(), !cold.iter().any(|value| hot.contains(value)));
            for (i, value) in cold.iter().enumerate() {
                prop_assert_eq!(mask.value(i), hot.contains(value));
                prop_assert_eq!(keys.contains(encoded(&cold).row(i)), hot.contains(value));
                prop_assert_eq!(unshadowed.as_ref().is_none_or(|rows| rows.value(i)), !hot.contains(value));
            }
        }
    }
}

#[test]
fn numbers_are_in_the_order_of_the_bytes() {
    let table = table(&[("k", DataType::Int64, false)], &[0]);
    let codec = KeyCodec::new(&table).unwrap();
    let values: ArrayRef = Arc::new(Int64Array::from(vec![i64::MIN, -1, 0, 1, i64::MAX]));
    let (numbers, keys) = (codec.numbers(&[Arc::clone(&values)]).unwrap(), codec.encode(&[values]).unwrap());
    assert!(numbers.is_sorted());
    assert_eq!(numbers, keys.iter().map(|key| number(key, 8).unwrap()).collect::<Vec<_>>());
}
