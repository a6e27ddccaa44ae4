use arrow::{
    array::{
        ArrayRef, BinaryArray, BooleanArray, Date32Array, Date64Array, Decimal32Array, Decimal64Array, Decimal128Array,
        Decimal256Array, DurationMillisecondArray, DurationNanosecondArray, DurationSecondArray, FixedSizeBinaryArray,
        Float16Array, Float64Array, Int8Array, Int32Array, Int64Array, Int64Builder, IntervalDayTimeArray,
        IntervalMonthDayNanoArray, IntervalYearMonthArray, LargeBinaryArray, LargeStringArray, ListArray, MapBuilder,
        NullArray, StringArray, StringBuilder, StructArray, Time32MillisecondArray, Time32SecondArray,
        Time64MicrosecondArray, Time64NanosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
        TimestampSecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
    },
    buffer::OffsetBuffer,
    datatypes::{Field, Fields, IntervalDayTime, IntervalMonthDayNano, i256},
};
use insula_proto::TableId;

use super::*;
use crate::cold::{fixture, layout};

/// One array of three rows of every type that is stored, with a null in the middle where it may have one.
fn every_type() -> Vec<ArrayRef> {
    let interval = IntervalMonthDayNano::new(14, -3, 1_000_000_001);
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    map.keys().append_value("a");
    map.values().append_value(1);
    map.append(true).unwrap();
    map.append(false).unwrap();
    map.append(true).unwrap();
    let intervals: ArrayRef = Arc::new(IntervalMonthDayNanoArray::from(vec![Some(interval), None, Some(interval)]));
    let item = Arc::new(Field::new("item", intervals.data_type().clone(), true));
    let list = ListArray::new(item, OffsetBuffer::from_lengths([2, 0, 1]), Arc::clone(&intervals), None);
    let fields = Fields::from(vec![
        Field::new("x", DataType::Int32, true),
        Field::new("when", intervals.data_type().clone(), true),
    ]);
    let structs = StructArray::new(
        fields,
        vec![Arc::new(Int32Array::from(vec![Some(1), None, None])), Arc::clone(&intervals)],
        Some(vec![true, true, false].into()),
    );
    let half = half(1.5);
    vec![
        intervals,
        Arc::new(list),
        Arc::new(structs),
        Arc::new(map.finish()),
        Arc::new(NullArray::new(3)),
        Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        Arc::new(Int8Array::from(vec![Some(-1), None, Some(2)])),
        Arc::new(UInt8Array::from(vec![Some(255), None, Some(2)])),
        Arc::new(UInt16Array::from(vec![Some(65_535), None, Some(2)])),
        Arc::new(UInt32Array::from(vec![Some(u32::MAX), None, Some(2)])),
        Arc::new(UInt64Array::from(vec![Some(u64::MAX), None, Some(2)])),
        Arc::new(Float16Array::from(vec![Some(half), None, Some(half)])),
        Arc::new(Float64Array::from(vec![Some(-0.0), None, Some(f64::INFINITY)])),
        Arc::new(Decimal32Array::from(vec![Some(12), None, Some(-5)]).with_precision_and_scale(9, 2).unwrap()),
        Arc::new(Decimal64Array::from(vec![Some(12), None, Some(-5)]).with_precision_and_scale(18, 2).unwrap()),
        Arc::new(Decimal128Array::from(vec![Some(12), None, Some(-5)]).with_precision_and_scale(38, 2).unwrap()),
        Arc::new(
            Decimal256Array::from(vec![Some(i256::from_i128(12)), None, Some(i256::MINUS_ONE)])
                .with_precision_and_scale(76, 2)
                .unwrap(),
        ),
        Arc::new(StringArray::from(vec![Some("ä"), None, Some("")])),
        Arc::new(LargeStringArray::from(vec![Some("ä"), None, Some("")])),
        Arc::new(BinaryArray::from(vec![Some(&b"\0\xff"[..]), None, Some(b"")])),
        Arc::new(LargeBinaryArray::from(vec![Some(&b"\0\xff"[..]), None, Some(b"")])),
        Arc::new(
            FixedSizeBinaryArray::try_from_sparse_iter_with_size([Some(b"abc"), None, Some(b"def")].into_iter(), 3)
                .unwrap(),
        ),
        Arc::new(Date32Array::from(vec![Some(-1), None, Some(20_000)])),
        Arc::new(Date64Array::from(vec![Some(86_400_000), None, Some(0)])),
        Arc::new(Time32SecondArray::from(vec![Some(1), None, Some(86_399)])),
        Arc::new(Time32MillisecondArray::from(vec![Some(1), None, Some(86_399_999)])),
        Arc::new(Time64MicrosecondArray::from(vec![Some(1), None, Some(2)])),
        Arc::new(Time64NanosecondArray::from(vec![Some(1), None, Some(2)])),
        Arc::new(TimestampSecondArray::from(vec![Some(1), None, Some(-2)])),
        Arc::new(TimestampMillisecondArray::from(vec![Some(1), None, Some(-2)]).with_timezone("Europe/Berlin")),
        Arc::new(TimestampNanosecondArray::from(vec![Some(1), None, Some(-2)])),
        Arc::new(DurationSecondArray::from(vec![Some(1), None, Some(-2)])),
        Arc::new(DurationMillisecondArray::from(vec![Some(1), None, Some(-2)])),
        Arc::new(DurationNanosecondArray::from(vec![Some(1), None, Some(-2)])),
        Arc::new(IntervalYearMonthArray::from(vec![Some(14), None, Some(-1)])),
        Arc::new(IntervalDayTimeArray::from(vec![
            Some(IntervalDayTime::new(1, 2)),
            None,
            Some(IntervalDayTime::new(3, 4)),
        ])),
    ]
}

fn half(value: f32) -> <arrow::datatypes::Float16Type as arrow::array::ArrowPrimitiveType>::Native {
    let array: ArrayRef = Arc::new(arrow::array::Float32Array::from(vec![value]));
    arrow::compute::cast(&array, &DataType::Float16).unwrap().as_primitive::<arrow::datatypes::Float16Type>().value(0)
}

#[tokio::test]
async fn every_stored_type_comes_back_unchanged() {
    let mut declared = every_type();
    let names: Vec<String> = (0..declared.len()).map(|i| format!("column {i}")).collect();
    let mut columns: Vec<(&str, DataType, bool)> =
        names.iter().zip(&declared).map(|(name, array)| (name.as_str(), array.data_type().clone(), true)).collect();
    columns.push(("id", DataType::Int64, false));
    declared.push(Arc::new(Int64Array::from(vec![1, 2, 3])));
    let table = fixture::table(&columns, &[columns.len() - 1]);
    check(&table).unwrap();
    let rows = fixture::rows(&table, &[(1, false), (1, true), (2, false)], declared);
    let cold = fixture::memory();
    let file = fixture::write(&cold, &table, std::slice::from_ref(&rows)).await;
    let back = fixture::read(&cold, &table, &file).await;
    for (i, field) in rows.schema().fields().iter().enumerate() {
        assert_eq!(back.column(i), rows.column(i), "{}", field.data_type());
    }
    assert_eq!((file.rows, file.deleted_rows, file.users), (3, 1, (UserNo(1), UserNo(2))));
    assert_eq!(file.seqs, (100, 102));
}

#[tokio::test]
async fn the_footer_tells_order_names_and_filters() {
    let table = fixture::notes();
    let cold = fixture::memory();
    let file = fixture::write(&cold, &table, &[fixture::note_rows(&[(1, 5, false), (2, 1, true)])]).await;
    let path = layout::file_path(TableId(7), file.id);
    let bytes = object_store::ObjectStoreExt::get(cold.store(), &path).await.unwrap().bytes().await.unwrap();
    let metadata = parquet::file::metadata::ParquetMetaDataReader::new().parse_and_finish(&bytes).unwrap();
    let pairs = metadata.file_metadata().key_value_metadata().unwrap();
    let names = pairs.iter().find(|pair| pair.key == COLUMNS_KEY).unwrap().value.as_deref();
    assert_eq!(names, Some(r#"{"c1":"note","c2":"id"}"#));
    let group = metadata.row_group(0);
    let sorting: Vec<i32> = group.sorting_columns().unwrap().iter().map(|column| column.column_idx).collect();
    assert_eq!(sorting, [0, 5], "user, then the key in the second declared column");
    assert!(group.column(5).bloom_filter_offset().is_some() && group.column(4).bloom_filter_offset().is_none());
    assert!(group.column(5).offset_index_offset().is_some() && group.column(5).column_index_offset().is_some());
}

#[tokio::test]
async fn a_damaged_user_index_is_data_loss() {
    let table = fixture::notes();
    let cold = fixture::memory();
    let file = fixture::write(&cold, &table, &[fixture::note_rows(&[(1, 5, false)])]).await;
    let (store, path) = (cold.store(), layout::file_path(table.id, file.id));
    let bytes = object_store::ObjectStoreExt::get(store, &path).await.unwrap().bytes().await.unwrap();
    let metadata = parquet::file::metadata::ParquetMetaDataReader::new().parse_and_finish(&bytes).unwrap();
    let mut damaged = bytes.to_vec();
    damaged[Location::of_index(&metadata).unwrap().offset as usize + 12] ^= 1;
    object_store::ObjectStoreExt::put(store, &path, damaged.into()).await.unwrap();
    let error = cold.slices(&manifest_of(file), table.id, UserNo(1), &crate::KeyBounds::All).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLoss);
    assert!(error.message().contains("checksum"), "{error}");
}

fn manifest_of(file: crate::cold::ColdFile) -> crate::cold::Manifest {
    crate::cold::Manifest { version: 1, files: vec![file], ..Default::default() }
}

#[test]
fn a_struct_without_fields_is_refused_early() {
    let table = fixture::table(&[("id", DataType::Int64, false), ("s", DataType::Struct(Fields::empty()), true)], &[0]);
    assert_eq!(check(&table).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn floats_end_the_declared_order() {
    let table = fixture::table(
        &[("a", DataType::Int64, false), ("b", DataType::Float64, false), ("c", DataType::Int64, false)],
        &[2, 1, 0],
    );
    let schema = parquet_type::file_schema(&table.stored_schema());
    let leaves = ArrowSchemaConverter::new().convert(&schema).unwrap();
    let sorted: Vec<i32> = sorting_columns(&table, &schema, &leaves).iter().map(|column| column.column_idx).collect();
    assert_eq!(sorted, [0, 6]);
}
