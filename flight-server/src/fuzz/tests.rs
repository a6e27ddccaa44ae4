//! The short run of all fuzz targets, without coverage and without a nightly compiler: the corpus, and mutations of it
//! that a seed repeats. `INSULA_FUZZ_RUNS` says how many per target, `INSULA_FUZZ_TARGET` names a single one.

#[path = "../../../fuzz/runner.rs"]
mod runner;

use std::time::Instant;

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray},
    ipc::{
        CompressionType,
        writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions},
    },
};
use arrow_flight::{SchemaAsIpc, sql::ProstMessageExt, utils::batches_to_flight_data};

use super::*;

#[test]
fn no_decoder_does_worse_than_to_refuse() {
    let runs = std::env::var("INSULA_FUZZ_RUNS").map_or(2_000, |n| n.parse().unwrap());
    let only = std::env::var("INSULA_FUZZ_TARGET").ok();
    for (name, body) in targets().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name)) {
        let began = Instant::now();
        let executed = runner::run(name, body, runs, 1);
        eprintln!("{name}: {executed} executions in {} ms", began.elapsed().as_millis());
    }
}

/// The corpus of what the server makes itself; text beside it is written by hand.
#[test]
fn the_corpus_is_what_clients_send() {
    let statement = arrow_flight::sql::CommandStatementQuery { query: "SELECT 1".into(), transaction_id: None };
    let columns: [(&str, ArrayRef); 2] = [
        ("n", std::sync::Arc::new(Int64Array::from(vec![Some(1), None]))),
        ("t", std::sync::Arc::new(StringArray::from(vec![Some("text"), None]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let plain = framed(batches_to_flight_data(&batch.schema(), vec![batch]).unwrap());
    let sevens: ArrayRef = std::sync::Arc::new(Int64Array::from(vec![7; 100]));
    let sevens = RecordBatch::try_from_iter([("n", sevens)]).unwrap();
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME)).unwrap();
    let (_, rows) = IpcDataGenerator::default()
        .encode(&sevens, &mut DictionaryTracker::new(false), &options, &mut Default::default())
        .unwrap();
    let compressed = framed([SchemaAsIpc::new(&sevens.schema(), &options).into(), rows.into()]);
    for (target, name, bytes) in [
        ("command", "query", statement.as_any().encode_to_vec()),
        ("flight_data", "one_batch", plain),
        ("flight_data", "compressed", compressed),
    ] {
        runner::keep(target, name, &bytes);
    }
}

fn framed(messages: impl IntoIterator<Item = FlightData>) -> Vec<u8> {
    let mut framed = Vec::new();
    for piece in messages.into_iter().flat_map(|message| [message.data_header, message.data_body]) {
        framed.extend(u16::try_from(piece.len()).unwrap().to_be_bytes());
        framed.extend(piece);
    }
    framed
}
