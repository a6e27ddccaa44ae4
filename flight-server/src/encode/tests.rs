use arrow::{
    array::{
        Array, ArrayRef, DictionaryArray, Int32Array, LargeListArray, ListArray, StringArray, StringViewArray,
        StructArray,
    },
    datatypes::{Field, Fields, Int32Type, Int64Type},
};
use arrow_flight::{decode::FlightRecordBatchStream, error::FlightError};

use arrow::ipc::CompressionType;

use super::*;

const PLAIN: Encoding = Encoding {
    format: Format { types: Types { views: false, dictionaries: false }, compression: None, partitions: false },
    message_size: 2 << 20,
};

fn sample() -> RecordBatch {
    let words: ArrayRef = Arc::new(StringViewArray::from(vec![Some("a"), None, Some("a long word beyond the prefix")]));
    let coded: DictionaryArray<Int32Type> = vec![Some("x"), Some("y"), None].into_iter().collect();
    let list = LargeListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1)]), None, Some(vec![])]);
    let inner = Fields::from(vec![Field::new("w", DataType::Utf8View, true)]);
    let nested = StructArray::new(inner.clone(), vec![Arc::clone(&words)], None);
    let schema = Schema::new(vec![
        Field::new("n", DataType::Int32, false),
        Field::new("words", DataType::Utf8View, true),
        Field::new("coded", coded.data_type().clone(), true),
        Field::new("list", list.data_type().clone(), true),
        Field::new("nested", DataType::Struct(inner), false),
    ]);
    let n = Arc::new(Int32Array::from(vec![1, 2, 3]));
    RecordBatch::try_new(Arc::new(schema), vec![n, words, Arc::new(coded), Arc::new(list), Arc::new(nested)]).unwrap()
}

#[test]
fn the_wire_knows_no_views_dictionaries_or_large_lists() {
    let batch = sample();
    let wire = wire_schema(&batch.schema(), Types::default());
    assert_eq!(wire.field(1).data_type(), &DataType::Utf8);
    assert_eq!(wire.field(2).data_type(), &DataType::Utf8);
    assert!(matches!(wire.field(3).data_type(), DataType::List(_)));
    assert!(!wire.field(0).is_nullable() && wire.field(1).is_nullable());
    assert_eq!(wire_schema(&wire, Types::default()), wire);
}

#[tokio::test]
async fn announced_and_sent_schema_are_one() {
    let batch = sample();
    let wire = wire_schema(&batch.schema(), Types::default());
    let encoded = batches(Arc::clone(&wire), PLAIN, vec![batch]).unwrap().map_err(FlightError::from);
    let mut decoded = FlightRecordBatchStream::new_from_flight_data(encoded);
    let received = decoded.next().await.unwrap().unwrap();
    assert_eq!(received.schema(), wire);
    let words = received.column(1).as_any().downcast_ref::<StringArray>().unwrap();
    assert_eq!(words.value(2), "a long word beyond the prefix");
    let list = received.column(3).as_any().downcast_ref::<ListArray>().unwrap();
    assert_eq!(list.value(0).len(), 1);
}

#[tokio::test]
async fn encodings_and_compression_are_for_those_who_ask() {
    let batch = sample();
    let types = Types { views: true, dictionaries: true };
    let wire = wire_schema(&batch.schema(), types);
    assert_eq!(wire.field(1).data_type(), &DataType::Utf8View);
    assert!(matches!(wire.field(2).data_type(), DataType::Dictionary(_, _)));
    assert!(matches!(wire.field(3).data_type(), DataType::List(_)), "no client can ask for what the encoder cannot do");
    let plain = to_wire(&batch, &wire_schema(&batch.schema(), Types::default())).unwrap();
    for compression in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
        let encoding = Encoding { format: Format { types, compression, partitions: false }, ..PLAIN };
        let encoded = batches(Arc::clone(&wire), encoding, vec![batch.clone()]).unwrap().map_err(FlightError::from);
        let mut decoded = FlightRecordBatchStream::new_from_flight_data(encoded);
        let received = decoded.next().await.unwrap().unwrap();
        assert_eq!(received.schema(), wire);
        assert_eq!(to_wire(&received, &plain.schema()).unwrap(), plain);
    }
}

#[tokio::test]
async fn a_dictionary_that_changes_is_sent_anew() {
    let batch = |words: [&str; 2]| {
        let coded: DictionaryArray<Int32Type> = words.into_iter().collect();
        RecordBatch::try_from_iter([("coded", Arc::new(coded) as ArrayRef)]).unwrap()
    };
    let all = [batch(["a", "b"]), batch(["a", "b"]), batch(["c", "d"])];
    let types = Types { views: false, dictionaries: true };
    let encoding = Encoding { format: Format { types, ..PLAIN.format }, ..PLAIN };
    let sent = batches(all[0].schema(), encoding, all.to_vec()).unwrap().map_err(FlightError::from);
    let received: Vec<_> = FlightRecordBatchStream::new_from_flight_data(sent).try_collect().await.unwrap();
    assert_eq!(received, all);
}

#[tokio::test]
async fn messages_are_cut_to_the_size_that_is_set() {
    let n: ArrayRef = Arc::new(Int32Array::from_iter_values(0..100_000));
    let batch = RecordBatch::try_from_iter([("n", n)]).unwrap();
    for (message_size, expected) in [(2 << 20, 2), (100_000, 5)] {
        let encoding = Encoding { message_size, ..PLAIN };
        let sent: Vec<_> = batches(batch.schema(), encoding, vec![batch.clone()]).unwrap().try_collect().await.unwrap();
        assert!(sent.len() >= expected && sent.len() < expected + 2, "{}", sent.len());
    }
}

#[tokio::test]
async fn metadata_without_rows_has_an_empty_batch() {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int32, false)]));
    let nothing = RecordBatch::new_empty(Arc::clone(&schema));
    let sent = batches(Arc::clone(&schema), PLAIN, vec![nothing.clone()]).unwrap().map_err(FlightError::from);
    let received: Vec<_> = FlightRecordBatchStream::new_from_flight_data(sent).try_collect().await.unwrap();
    assert_eq!(received, [nothing]);
}

#[tokio::test]
async fn the_schema_is_sent_without_rows() {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int32, false)]));
    let sent: Vec<_> = batches(Arc::clone(&schema), PLAIN, vec![]).unwrap().try_collect().await.unwrap();
    assert_eq!(sent.len(), 1);
    assert_eq!(Schema::try_from(&sent[0]).unwrap(), *schema);
}

/// A view points into what was decoded, where other users' values lie beside its own.
#[tokio::test]
async fn messages_of_views_hold_no_bytes_that_are_not_their_rows() {
    let decoded = StringViewArray::from(vec!["the text of a neighbour, long", "the own text, as long as that"]);
    let own: ArrayRef = Arc::new(decoded.slice(1, 1));
    let bytes: ArrayRef = Arc::new(cast(&decoded, &DataType::BinaryView).unwrap().slice(1, 1));
    let fields = Fields::from(vec![Field::new("w", DataType::Utf8View, true)]);
    let nested: ArrayRef = Arc::new(StructArray::new(fields, vec![Arc::clone(&own)], None));
    let item = Arc::new(Field::new_list_field(DataType::Utf8View, true));
    let list = ListArray::new(item, arrow::buffer::OffsetBuffer::from_lengths([1]), Arc::clone(&own), None);
    let columns = [("own", own), ("bytes", bytes), ("nested", nested), ("list", Arc::new(list) as ArrayRef)];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    for views in [false, true] {
        let types = Types { views, dictionaries: views };
        let encoding = Encoding { format: Format { types, ..PLAIN.format }, ..PLAIN };
        let wire = wire_schema(&batch.schema(), types);
        let messages = batches(wire, encoding, vec![batch.clone()]).unwrap();
        let messages: Vec<FlightData> = messages.try_collect().await.unwrap();
        let sent: Vec<u8> = messages.iter().flat_map(|message| message.data_body.to_vec()).collect();
        let holds = |text: &str| sent.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(holds("the own text, as long as that") && !holds("neighbour"), "views: {views}");
    }
}
