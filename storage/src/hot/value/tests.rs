use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, FixedSizeListBuilder, Int16Array, Int32Array,
        Int32Builder, IntervalMonthDayNanoArray, LargeBinaryArray, LargeListArray, LargeStringArray, ListArray,
        ListBuilder, MapBuilder, NullArray, StringArray, StringBuilder, StructArray, UInt8Array, new_null_array,
    },
    buffer::{NullBuffer, OffsetBuffer},
    compute::cast,
    datatypes::{DataType, Field, Fields, Int32Type, IntervalMonthDayNano, IntervalUnit, TimeUnit},
};
use insula_proto::{Generation, Seq, TableId, UserNo};
use proptest::prelude::*;

use super::*;
use crate::hot::{
    chunk::{self, At, Chunks, NoChunks},
    decode::RowDecoder,
    key,
    tests::table,
};

fn encode(table: &TableDef, rows: &RecordBatch) -> Vec<Vec<u8>> {
    let layout = Layout::of(table).unwrap();
    let encoder = Rows::new(&layout, rows).unwrap();
    let row = |i| {
        let mut value = Vec::new();
        encoder.encode(i, i % 2 == 1, &mut value).unwrap();
        complete(&mut value, 1_000_000 + i as i64);
        value
    };
    (0..rows.num_rows()).map(row).collect()
}

/// The same rows in chunks of `size` each.
fn encode_in_chunks(table: &TableDef, rows: &RecordBatch, size: usize) -> (Vec<Vec<u8>>, Values) {
    let encoder = Encoder::InChunks { schema_version: table.schema_version, first: 7, rows: size };
    let row = |i| {
        let mut value = Vec::new();
        encoder.encode(i, i % 2 == 1, &mut value).unwrap();
        complete(&mut value, 1_000_000 + i as i64);
        value
    };
    let slice = |from| chunk::encode(&rows.slice(from, size.min(rows.num_rows() - from))).unwrap();
    let chunks = (7..).zip((0..rows.num_rows()).step_by(size).map(slice)).collect();
    ((0..rows.num_rows()).map(row).collect(), Values(chunks))
}

struct Values(HashMap<u64, Vec<u8>>);

impl Chunks for Values {
    fn with(&self, at: At, read: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        read(self.0.get(&at.chunk).ok_or_else(|| chunk::missing(at))?)
    }
}

fn decode(table: &TableDef, values: &[Vec<u8>], projection: &[usize]) -> RecordBatch {
    decode_with(table, values, projection, &NoChunks)
}

fn decode_with(table: &TableDef, values: &[Vec<u8>], projection: &[usize], chunks: &dyn Chunks) -> RecordBatch {
    let mut decoder = RowDecoder::new(&Arc::new(table.clone()), projection).unwrap();
    for (i, value) in values.iter().enumerate() {
        let key = (i as u64).to_be_bytes();
        decoder.push(&parts(3, &key, 40 + i as u64), value).unwrap();
    }
    assert_eq!(decoder.len(), values.len());
    decoder.finish(chunks).unwrap()
}

fn parts(user: u64, key: &[u8], seq: u64) -> key::Parts<'_> {
    key::Parts { table: TableId(7), generation: Generation(1), user: UserNo(user), key, seq: Seq(seq) }
}

/// A table without key, whose columns are these arrays.
fn table_of(columns: &[ArrayRef]) -> (TableDef, RecordBatch) {
    let names: Vec<String> = (0..columns.len()).map(|i| format!("n{i}")).collect();
    let fields: Vec<_> = names.iter().zip(columns).map(|(n, c)| (n.as_str(), c.data_type().clone(), true)).collect();
    let table = table(&fields, &[]);
    let rows = RecordBatch::try_new(table.schema(), columns.to_vec()).unwrap();
    (table, rows)
}

fn round_trip(columns: &[ArrayRef]) {
    let (table, rows) = table_of(columns);
    same(&table, columns, &encode(&table, &rows), &NoChunks);
    for size in 1..=rows.num_rows() {
        let (values, chunks) = encode_in_chunks(&table, &rows, size);
        same(&table, columns, &values, &chunks);
        // Some rows lie apart.
        let apart = encode(&table, &rows);
        let mixed: Vec<_> =
            (0..).zip(values).map(|(i, value)| if i % 3 == 1 { apart[i].clone() } else { value }).collect();
        same(&table, columns, &mixed, &chunks);
    }
}

fn same(table: &TableDef, columns: &[ArrayRef], values: &[Vec<u8>], chunks: &dyn Chunks) {
    let all: Vec<usize> = (5..5 + columns.len()).collect();
    let back = decode_with(table, values, &all, chunks);
    for (column, back) in columns.iter().zip(back.columns()) {
        assert_eq!(column, back, "{}", column.data_type());
    }
    // Each column alone, in the other order of rows.
    let reversed: Vec<Vec<u8>> = values.iter().rev().cloned().collect();
    for (i, column) in columns.iter().enumerate() {
        let one = decode_with(table, &reversed, &[5 + i], chunks);
        for row in 0..column.len() {
            assert_eq!(&one.column(0).slice(row, 1), &column.slice(column.len() - 1 - row, 1));
        }
    }
}

#[test]
fn golden_bytes() {
    let columns: [ArrayRef; 5] = [
        Arc::new(Int16Array::from(vec![Some(258), None])),
        Arc::new(StringArray::from(vec![Some("hé"), Some("")])),
        Arc::new(BooleanArray::from(vec![Some(true), None])),
        Arc::new(BinaryArray::from(vec![None, Some(&[9u8][..])])),
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None]), None])),
    ];
    let (table, rows) = table_of(&columns);
    let values = encode(&table, &rows);
    let body = |value: &[u8]| value[..value.len() - 4].to_vec();
    #[rustfmt::skip]
    assert_eq!(body(&values[0]), [
        1, 1, 0, 0, 0, 0, 0x40, 0x42, 0x0F, 0, 0, 0, 0, 0, // header
        0b01000, // nulls
        2, 1, 3, 0, 0, 0, 1, 3, 0, 0, 0, 18, 0, 0, 0, // fixed area
        b'h', 0xC3, 0xA9, 0, 2, 0, 0, 0, 1, 0b10, 1, 0, 0, 0, 0, 0, 0, 0, // variable area
    ]);
    #[rustfmt::skip]
    assert_eq!(body(&values[1]), [
        1, 1, 0, 0, 0, 1, 0x41, 0x42, 0x0F, 0, 0, 0, 0, 0,
        0b10101,
        0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0,
        9,
    ]);
    let crc = crc32fast::hash(&body(&values[1])).to_le_bytes();
    assert_eq!(values[1][values[1].len() - 4..], crc);
}

#[test]
fn system_columns_come_from_key_and_header() {
    let columns: [ArrayRef; 1] = [Arc::new(Int32Array::from(vec![1, 2]))];
    let (table, rows) = table_of(&columns);
    let back = decode(&table, &encode(&table, &rows), &[0, 1, 2, 3, 4]);
    assert_eq!(back.schema().as_ref(), &table.stored_schema().project(&[0, 1, 2, 3, 4]).unwrap());
    let text = arrow::util::pretty::pretty_format_batches(&[back]).unwrap().to_string();
    let rows: Vec<&str> = text.lines().skip(3).take(2).collect();
    assert_eq!(
        rows,
        [
            "| 3        | 40   | 1970-01-01T00:00:01Z        | false    | 0       |",
            "| 3        | 41   | 1970-01-01T00:00:01.000001Z | true     | 1       |",
        ]
    );
    let none = decode(&table, &encode(&table, &rows_of(2)), &[]);
    assert_eq!((none.num_columns(), none.num_rows()), (0, 2));
}

fn rows_of(n: usize) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int32Array::from_iter_values(0..n as i32));
    table_of(&[column]).1
}

#[test]
fn every_flipped_bit_is_noticed() {
    let columns: [ArrayRef; 1] = [Arc::new(StringArray::from(vec!["some text"]))];
    let (table, rows) = table_of(&columns);
    let good = encode(&table, &rows).remove(0);
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Header::read(&bad).err().map(|e| e.kind()), Some(ErrorKind::DataLoss));
    }
    for end in 0..good.len() {
        assert!(Header::read(&good[..end]).is_err());
    }
}

/// Garbage under a right checksum must end in an error, not in a panic.
#[test]
fn nonsense_is_an_error() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None, Some(3)])]);
    let columns: [ArrayRef; 3] =
        [Arc::new(StringArray::from(vec!["some text"])), Arc::new(list), Arc::new(BooleanArray::from(vec![true]))];
    let (table, rows) = table_of(&columns);
    let good = encode(&table, &rows).remove(0);
    for at in 14..good.len() - 4 {
        for byte in [0, 1, 0x7F, 0xFF] {
            let mut bad = good.clone();
            bad[at] = byte;
            complete(&mut bad, 0);
            let mut decoder = RowDecoder::new(&Arc::new(table.clone()), &[5, 6, 7]).unwrap();
            if decoder.push(&parts(1, &[0; 8], 1), &bad).is_ok() {
                let _ = decoder.finish(&NoChunks);
            }
        }
    }
}

#[test]
fn fixed_types_round_trip() {
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(0), None, Some(7), Some(100)]));
    let zone = Some("+02:00".into());
    let types = [
        DataType::Int8,
        DataType::Int16,
        DataType::Int64,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Float16,
        DataType::Float32,
        DataType::Float64,
        DataType::Boolean,
        DataType::Date32,
        DataType::Date64,
        DataType::Time32(TimeUnit::Second),
        DataType::Time32(TimeUnit::Millisecond),
        DataType::Decimal32(9, 2),
        DataType::Decimal64(18, 2),
        DataType::Decimal128(38, 4),
        DataType::Decimal256(76, 4),
        DataType::Interval(IntervalUnit::YearMonth),
    ];
    let mut columns: Vec<ArrayRef> = types.iter().map(|t| cast(&numbers, t).unwrap()).collect();
    let wide = cast(&numbers, &DataType::Int64).unwrap();
    for unit in [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond] {
        columns.push(cast(&wide, &DataType::Timestamp(unit, None)).unwrap());
        columns.push(cast(&wide, &DataType::Timestamp(unit, zone.clone())).unwrap());
        columns.push(cast(&wide, &DataType::Duration(unit)).unwrap());
    }
    columns.push(cast(&wide, &DataType::Time64(TimeUnit::Microsecond)).unwrap());
    columns.push(cast(&wide, &DataType::Time64(TimeUnit::Nanosecond)).unwrap());
    let interval = IntervalMonthDayNano::new(1, -2, 3);
    columns.push(Arc::new(IntervalMonthDayNanoArray::from(vec![Some(interval), None, None, Some(interval)])));
    columns.push(new_null_array(&DataType::Interval(IntervalUnit::DayTime), 4));
    let fixed = [Some([1u8, 2, 3]), None, Some([0; 3]), Some([255; 3])];
    columns.push(Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(fixed.into_iter(), 3).unwrap()));
    columns.push(Arc::new(NullArray::new(4)));
    round_trip(&columns);
    // Arrays that begin in the middle of their buffers.
    let sliced: Vec<ArrayRef> = columns.iter().map(|c| c.slice(1, 2)).collect();
    round_trip(&sliced);
}

#[test]
fn nested_types_round_trip() {
    let mut lists = ListBuilder::new(ListBuilder::new(StringBuilder::new()));
    lists.values().append_value([Some("a"), None, Some("ccc")]);
    lists.values().append_null();
    lists.append(true);
    lists.append(false);
    lists.append(true);
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    map.keys().append_value("k");
    map.values().append_null();
    map.keys().append_value("l");
    map.values().append_value(5);
    map.append(true).unwrap();
    map.append(false).unwrap();
    map.append(true).unwrap();
    let mut pairs = FixedSizeListBuilder::new(Int32Builder::new(), 2);
    for pair in [Some([Some(1), None]), None, Some([Some(3), Some(4)])] {
        pair.unwrap_or_default().into_iter().for_each(|v| pairs.values().append_option(v));
        pairs.append(pair.is_some());
    }
    let fields = Fields::from(vec![
        Field::new("b", DataType::Boolean, true),
        Field::new("t", DataType::LargeUtf8, true),
        Field::new("n", DataType::Null, true),
    ]);
    let children: Vec<ArrayRef> = vec![
        Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
        Arc::new(LargeStringArray::from(vec![Some("x"), None, Some("")])),
        Arc::new(NullArray::new(3)),
    ];
    let nulls = NullBuffer::from(vec![true, false, true]);
    let structs = StructArray::new(fields, children, Some(nulls));
    let item = Arc::new(Field::new("item", structs.data_type().clone(), true));
    let large =
        LargeListArray::new(item, OffsetBuffer::new(vec![0i64, 2, 2, 3].into()), Arc::new(structs.clone()), None);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(lists.finish()),
        Arc::new(map.finish()),
        Arc::new(pairs.finish()),
        Arc::new(structs),
        Arc::new(large),
        Arc::new(LargeBinaryArray::from(vec![Some(&b"\0\xFF"[..]), None, Some(&b""[..])])),
        Arc::new(UInt8Array::from(vec![1, 2, 3])),
    ];
    round_trip(&columns);
    let sliced: Vec<ArrayRef> = columns.iter().map(|c| c.slice(1, 2)).collect();
    round_trip(&sliced);
}

proptest! {
    #[test]
    fn rows_round_trip(
        rows in prop::collection::vec(
            (any::<Option<i32>>(), any::<Option<String>>(), prop::option::of(prop::collection::vec(any::<Option<i32>>(), 0..5)),
             any::<Option<bool>>(), prop::option::of(prop::collection::vec(any::<u8>(), 0..9))),
            1..20,
        )
    ) {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from_iter(rows.iter().map(|r| r.0))),
            Arc::new(StringArray::from_iter(rows.iter().map(|r| r.1.as_ref()))),
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(rows.iter().map(|r| r.2.clone()))),
            Arc::new(BooleanArray::from_iter(rows.iter().map(|r| r.3))),
            Arc::new(LargeBinaryArray::from_iter(rows.iter().map(|r| r.4.as_ref()))),
        ];
        round_trip(&columns);
    }
}
