use std::sync::Arc;

use arrow::{
    array::{
        BinaryArray, BooleanArray, Decimal128Array, Decimal256Array, FixedSizeBinaryArray, Float32Array, Float64Array,
        Int8Array, Int64Array, StringArray, TimestampMicrosecondArray, UInt16Array, UInt64Array,
    },
    datatypes::{TimeUnit, i256},
};
use proptest::prelude::*;

use super::*;
use crate::hot::tests::table;

fn encode(columns: &[ArrayRef]) -> KeyRows {
    let names: Vec<String> = (0..columns.len()).map(|i| format!("c{i}")).collect();
    let fields: Vec<_> = names.iter().zip(columns).map(|(n, c)| (n.as_str(), c.data_type().clone(), false)).collect();
    let key: Vec<usize> = (0..columns.len()).collect();
    KeyCodec::new(&table(&fields, &key)).unwrap().encode(columns).unwrap()
}

fn one(column: impl arrow::array::Array + 'static) -> Vec<u8> {
    encode(&[Arc::new(column)]).row(0).to_vec()
}

#[test]
fn golden_bytes_of_a_stored_key() {
    let mut stored = prefix(TableId(0x0102_0304), Generation(0), UserNo(0x1112_1314_1516_1718)).to_vec();
    stored.extend_from_slice(b"KEY");
    stored.extend_from_slice(&[0; SUFFIX]);
    complete(&mut stored, Generation(9), Seq(1));
    let expected = [
        1, 2, 3, 4, 0, 0, 0, 0, 0, 9, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, b'K', b'E', b'Y', 0xFF, 0xFF,
        0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE,
    ];
    assert_eq!(stored, expected);
    let parts = Parts {
        table: TableId(0x0102_0304),
        generation: Generation(9),
        user: UserNo(0x1112_1314_1516_1718),
        key: b"KEY",
        seq: Seq(1),
    };
    assert_eq!(split(&stored).unwrap(), parts);
    assert_eq!(split(&stored[..25]).unwrap_err().kind(), ErrorKind::DataLoss);
}

#[test]
fn golden_bytes_of_primary_keys() {
    assert_eq!(one(BooleanArray::from(vec![true])), [1]);
    assert_eq!(one(Int8Array::from(vec![-1])), [0x7F]);
    assert_eq!(one(UInt16Array::from(vec![258])), [1, 2]);
    assert_eq!(one(Int64Array::from(vec![1])), [0x80, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(one(Float32Array::from(vec![1.0])), [0xBF, 0x80, 0, 0]);
    assert_eq!(one(Float64Array::from(vec![-1.0])), [0x40, 0x0F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
    assert_eq!(one(StringArray::from(vec!["a\0b"])), [b'a', 0, 0xFF, b'b', 0, 0]);
    assert_eq!(one(StringArray::from(vec![""])), [0, 0]);
    assert_eq!(one(BinaryArray::from(vec![&[0u8, 0][..]])), [0, 0xFF, 0, 0xFF, 0, 0]);
    let fixed = FixedSizeBinaryArray::try_from_iter([[0u8, 1, 2]].iter()).unwrap();
    assert_eq!(one(fixed), [0, 1, 2]);
    let time = TimestampMicrosecondArray::from(vec![0]).with_timezone("UTC");
    assert_eq!(one(time), [0x80, 0, 0, 0, 0, 0, 0, 0]);
    let decimal = Decimal128Array::from(vec![-2]).with_precision_and_scale(38, 2).unwrap();
    assert_eq!(one(decimal)[..2], [0x7F, 0xFF]);
    let two: [ArrayRef; 2] = [Arc::new(StringArray::from(vec!["x"])), Arc::new(UInt16Array::from(vec![3]))];
    assert_eq!(encode(&two).row(0), [b'x', 0, 0, 0, 3]);
}

#[test]
fn a_hidden_row_id_is_a_big_endian_number() {
    let codec = KeyCodec::new(&table(&[("a", DataType::Utf8, true)], &[])).unwrap();
    let keys = codec.encode(&[Arc::new(UInt64Array::from(vec![1, 2]))]).unwrap();
    assert_eq!((keys.len(), keys.row(1)), (2, [0, 0, 0, 0, 0, 0, 0, 2].as_slice()));
}

#[test]
fn zeros_are_one_key_and_so_are_nans() {
    let keys = |values: Vec<f64>| encode(&[Arc::new(Float64Array::from(values))]);
    let zeros = keys(vec![0.0, -0.0]);
    assert_eq!(zeros.row(0), zeros.row(1));
    let nans = keys(vec![f64::NAN, -f64::NAN, f64::from_bits(0x7FF0_0000_0000_0001), f64::INFINITY]);
    assert_eq!(nans.row(0), nans.row(1));
    assert_eq!(nans.row(0), nans.row(2));
    assert!(nans.row(0) > nans.row(3));
}

#[test]
fn what_cannot_be_a_key_is_refused_by_name() {
    let mut def = table(&[("i", DataType::Int32, false)], &[0]);
    let field = arrow::datatypes::Field::new("i", DataType::Interval(arrow::datatypes::IntervalUnit::DayTime), false);
    def.columns[0].field = Arc::new(field);
    let error = KeyCodec::new(&def).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("\"i\""), "{error}");
    let codec = KeyCodec::new(&table(&[("i", DataType::Int8, false)], &[0])).unwrap();
    let null: ArrayRef = Arc::new(Int8Array::from(vec![None]));
    assert_eq!(codec.encode(&[null]).unwrap_err().kind(), ErrorKind::Invalid);
    let other: ArrayRef = Arc::new(UInt64Array::from(vec![1]));
    assert_eq!(codec.encode(&[other]).unwrap_err().kind(), ErrorKind::Invalid);
    let time = DataType::Timestamp(TimeUnit::Second, None);
    assert!(is_key_type(&time) && !is_key_type(&DataType::Null));
}

#[test]
fn ranges_cover_their_prefix_and_nothing_else() {
    assert_eq!(after_prefix(&[1, 0xFF, 0xFF]), [2]);
    let (from, to) = generation_range(TableId(3), Generation(5));
    let key = |table, generation, user| prefix(TableId(table), Generation(generation), UserNo(user)).to_vec();
    let covered = |key: &Vec<u8>| *key >= from && *key < to;
    assert!(covered(&key(3, 0, 0)) && covered(&key(3, 5, u64::MAX)));
    assert!(!covered(&key(3, 6, 0)) && !covered(&key(2, 5, u64::MAX)) && !covered(&key(4, 0, 0)));
    let (from, to) = one_generation(TableId(3), Generation(5));
    let covered = |key: &Vec<u8>| *key >= from && *key < to;
    assert!(
        covered(&key(3, 5, 0)) && covered(&key(3, 5, u64::MAX)) && !covered(&key(3, 4, 9)) && !covered(&key(3, 6, 0))
    );
}

/// Bytes order as the values do, and no key is the beginning of another.
fn same_order<T>(values: &[T], keys: &KeyRows, order: impl Fn(&T, &T) -> std::cmp::Ordering) {
    for (i, a) in values.iter().enumerate() {
        for (j, b) in values.iter().enumerate() {
            assert_eq!(keys.row(i).cmp(keys.row(j)), order(a, b));
            assert!(keys.row(i) == keys.row(j) || !keys.row(j).starts_with(keys.row(i)));
        }
    }
}

proptest! {
    #[test]
    fn integers_keep_their_order(values in prop::collection::vec(any::<i64>(), 2..8)) {
        same_order(&values, &encode(&[Arc::new(Int64Array::from(values.clone()))]), Ord::cmp);
    }

    #[test]
    fn decimals_keep_their_order(values in prop::collection::vec(any::<i128>(), 2..8)) {
        let wide: Vec<i256> = values.iter().map(|v| i256::from_i128(*v)).collect();
        same_order(&values, &encode(&[Arc::new(Decimal256Array::from(wide))]), Ord::cmp);
    }

    #[test]
    fn floats_keep_their_order(values in prop::collection::vec(any::<f64>(), 2..8)) {
        let order = |a: &f64, b: &f64| {
            a.partial_cmp(b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
        };
        same_order(&values, &encode(&[Arc::new(Float64Array::from(values.clone()))]), order);
    }

    #[test]
    fn bytes_keep_their_order(values in prop::collection::vec(prop::collection::vec(0u8..3, 0..6), 2..8)) {
        let array = BinaryArray::from_iter_values(&values);
        same_order(&values, &encode(&[Arc::new(array)]), Ord::cmp);
    }

    #[test]
    fn composite_keys_order_by_their_columns(
        values in prop::collection::vec(("[a-b\0]{0,3}", any::<i8>(), "[a-b\0]{0,3}"), 2..8)
    ) {
        let columns: [ArrayRef; 3] = [
            Arc::new(StringArray::from_iter_values(values.iter().map(|v| &v.0))),
            Arc::new(Int8Array::from_iter_values(values.iter().map(|v| v.1))),
            Arc::new(StringArray::from_iter_values(values.iter().map(|v| &v.2))),
        ];
        same_order(&values, &encode(&columns), Ord::cmp);
    }

    #[test]
    fn the_first_column_comes_back(
        text in "[a-b\0é]{0,4}", number in any::<i64>(), wide in any::<i128>(), small in any::<u16>(), yes in any::<bool>()
    ) {
        let columns: [ArrayRef; 8] = [
            Arc::new(StringArray::from(vec![text.clone()])),
            Arc::new(arrow::array::LargeBinaryArray::from(vec![text.as_bytes()])),
            Arc::new(Int64Array::from(vec![number])),
            Arc::new(TimestampMicrosecondArray::from(vec![number]).with_timezone("UTC")),
            Arc::new(Decimal256Array::from(vec![i256::from_i128(wide)])),
            Arc::new(UInt16Array::from(vec![small])),
            Arc::new(BooleanArray::from(vec![yes])),
            Arc::new(FixedSizeBinaryArray::try_from_iter([number.to_le_bytes()].iter()).unwrap()),
        ];
        for column in columns {
            let second: ArrayRef = Arc::new(Int8Array::from(vec![-1]));
            let def = table(&[("a", column.data_type().clone(), false), ("b", DataType::Int8, false)], &[0, 1]);
            let codec = KeyCodec::new(&def).unwrap();
            let keys = codec.encode(&[Arc::clone(&column), second]).unwrap();
            prop_assert_eq!(&codec.first_value(keys.row(0)).unwrap().unwrap(), &column);
            prop_assert!(codec.first_value(&[]).is_err());
        }
    }
}
