use std::{cell::Cell, sync::Arc};

use arrow::{
    array::{ArrayRef, DictionaryArray, Int64Array, NullArray, RecordBatch, StringArray},
    datatypes::Int32Type,
    ipc::writer::IpcWriteOptions,
};
use arrow_flight::{FlightData, utils::batches_to_flight_data};
use futures::{StreamExt, stream};

use super::{super::decoded, *};

const ROWS: usize = 10_000;
const BYTES: i64 = 8 * ROWS as i64;
const MIB: u64 = 1 << 20;

fn sent(column: ArrayRef, compression: Option<CompressionType>) -> Vec<FlightData> {
    let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
    let Some(compression) = compression else { return batches_to_flight_data(&batch.schema(), vec![batch]).unwrap() };
    let options = IpcWriteOptions::default().try_with_compression(Some(compression)).unwrap();
    let encoder = arrow::ipc::writer::IpcDataGenerator::default();
    let mut tracker = arrow::ipc::writer::DictionaryTracker::new(false);
    let schema = encoder.schema_to_bytes_with_dictionary_tracker(&batch.schema(), &mut tracker, &options).into();
    let (dictionaries, batch) = encoder.encode(&batch, &mut tracker, &options, &mut Default::default()).unwrap();
    [schema].into_iter().chain(dictionaries.into_iter().map(Into::into)).chain([batch.into()]).collect()
}

fn sevens(compression: CompressionType) -> Vec<FlightData> {
    sent(Arc::new(Int64Array::from(vec![7; ROWS])), Some(compression))
}

/// The claim of the one compressed buffer that has `BYTES`.
fn claims(message: &mut FlightData, bytes: i64) {
    let mut body = message.data_body.to_vec();
    let at = body.windows(8).position(|window| window == BYTES.to_le_bytes()).unwrap();
    body[at..at + 8].copy_from_slice(&bytes.to_le_bytes());
    message.data_body = body.into();
}

/// The error of reading them all, as a client is told.
fn refusal(messages: Vec<FlightData>, most: u64) -> Option<String> {
    let stream = decoded(stream::iter(messages.into_iter().map(Ok)).boxed(), most, |_| Ok(()));
    let read: Vec<_> = futures::executor::block_on(stream.collect());
    read.into_iter().find_map(|item| item.err()).map(|error| super::super::put::refusal(error).to_string())
}

#[test]
fn what_is_compressed_well_is_read() {
    for codec in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        assert_eq!(refusal(sevens(codec), MIB), None);
    }
}

#[test]
fn a_claim_is_not_believed() {
    for codec in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        for (claim, told) in
            [(1 << 50, "--max-message-size"), (i64::MAX, "--max-message-size"), (-2, "below 0"), (i64::MIN, "below 0")]
        {
            let mut messages = sevens(codec);
            claims(&mut messages[1], claim);
            let refused = refusal(messages, MIB).unwrap();
            assert!(refused.contains(told), "{codec:?} {claim}: {refused}");
        }
    }
}

/// Arrow's reader would let it write all the same.
#[test]
fn lz4_unfolds_to_no_more_than_it_claims() {
    let mut messages = sevens(CompressionType::LZ4_FRAME);
    claims(&mut messages[1], 8);
    let refused = refusal(messages, MIB).unwrap();
    assert!(refused.contains("does not unfold to what it says"), "{refused}");
}

#[test]
fn a_message_unfolds_to_no_more_than_a_message_may_have() {
    let refused = refusal(sevens(CompressionType::LZ4_FRAME), BYTES as u64 - 1).unwrap();
    assert!(refused.contains("unfolds to 80000 bytes"), "{refused}");
    let refused = refusal(sent(Arc::new(NullArray::new(1 << 40)), None), MIB).unwrap();
    assert!(refused.contains("--max-message-size"), "{refused}");
}

#[test]
fn buffers_lie_in_their_body() {
    let mut messages = sent(Arc::new(Int64Array::from(vec![7; ROWS])), None);
    messages[1].data_body.truncate(100);
    let refused = refusal(messages, MIB).unwrap();
    assert!(refused.contains("outside of the message's body"), "{refused}");
}

#[test]
fn what_is_unfolded_is_held_until_the_next_message_and_dictionaries_longer() {
    let held = Cell::new(0_usize);
    struct Part<'a>(&'a Cell<usize>, usize);
    impl Drop for Part<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() - self.1);
        }
    }
    let mut unfold = Unfold::new(MIB, |bytes| {
        held.set(held.get() + bytes);
        Ok(Part(&held, bytes))
    });
    let messages = sevens(CompressionType::ZSTD);
    unfold.check(&messages[1]).unwrap();
    assert_eq!(held.get(), BYTES as usize - messages[1].data_body.len());
    unfold.check(&messages[0]).unwrap();
    assert_eq!(held.get(), 0);

    let values = StringArray::from(vec!["text".repeat(1000)]);
    let keyed = DictionaryArray::<Int32Type>::new(vec![0; 10].into(), Arc::new(values));
    let messages = sent(Arc::new(keyed), Some(CompressionType::ZSTD));
    for _ in 0..2 {
        unfold.check(&messages[1]).unwrap();
        unfold.check(&messages[0]).unwrap();
        assert!((4000..5000).contains(&held.get()), "{}", held.get());
    }
}
