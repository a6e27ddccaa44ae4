use arrow::{
    array::{
        Array, ArrayRef, DictionaryArray, Int32Array, LargeListArray, ListArray, StringArray, StringViewArray,
        StructArray,
    },
    datatypes::{Field, Fields, Int32Type, Int64Type},
};
use arrow_flight::decode::FlightRecordBatchStream;

use super::*;

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
    let wire = wire_schema(&batch.schema());
    assert_eq!(wire.field(1).data_type(), &DataType::Utf8);
    assert_eq!(wire.field(2).data_type(), &DataType::Utf8);
    assert!(matches!(wire.field(3).data_type(), DataType::List(_)));
    assert!(!wire.field(0).is_nullable() && wire.field(1).is_nullable());
    assert_eq!(wire_schema(&wire), wire);
}

#[tokio::test]
async fn announced_and_sent_schema_are_one() {
    let batch = sample();
    let wire = wire_schema(&batch.schema());
    let encoded = batches(Arc::clone(&wire), vec![batch]).map_err(FlightError::from);
    let mut decoded = FlightRecordBatchStream::new_from_flight_data(encoded);
    let received = decoded.next().await.unwrap().unwrap();
    assert_eq!(received.schema(), wire);
    let words = received.column(1).as_any().downcast_ref::<StringArray>().unwrap();
    assert_eq!(words.value(2), "a long word beyond the prefix");
    let list = received.column(3).as_any().downcast_ref::<ListArray>().unwrap();
    assert_eq!(list.value(0).len(), 1);
}

#[tokio::test]
async fn the_schema_is_sent_without_rows() {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int32, false)]));
    let sent: Vec<_> = batches(Arc::clone(&schema), vec![]).try_collect().await.unwrap();
    assert_eq!(sent.len(), 1);
    assert_eq!(Schema::try_from(&sent[0]).unwrap(), *schema);
}
