//! Batches as Flight messages: the schema first, then a message for each batch, or several for a large one.
//!
//! arrow-flight's own encoder grows the body of every message from nothing, and so copies large ones twice; here each is
//! as large from the start as the one before it became.

use arrow::{
    array::{Array, RecordBatch},
    datatypes::Schema,
    error::ArrowError,
    ipc::writer::{DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteContext, IpcWriteOptions},
};
use arrow_flight::FlightData;

use super::Encoding;

pub(super) struct Messages {
    options: IpcWriteOptions,
    size: usize,
    dictionaries: DictionaryTracker,
    context: IpcWriteContext,
}

impl Messages {
    pub fn new(encoding: Encoding) -> Result<Self, ArrowError> {
        let options = IpcWriteOptions::default().try_with_compression(encoding.format.compression)?;
        let mut context = IpcWriteContext::default();
        context.set_reserve_scratch(true);
        // A dictionary that changes is sent anew.
        let dictionaries = DictionaryTracker::new(false);
        Ok(Self { options, size: encoding.message_size.max(1), dictionaries, context })
    }

    /// The first message. It numbers the dictionaries, and so comes before any other.
    pub fn schema(&mut self, schema: &Schema) -> FlightData {
        let generator = IpcDataGenerator::default();
        generator.schema_to_bytes_with_dictionary_tracker(schema, &mut self.dictionaries, &self.options).into()
    }

    /// None of a batch without rows. A row is never cut.
    pub fn of(&mut self, batch: &RecordBatch) -> Result<Vec<FlightData>, ArrowError> {
        let rows = batch.num_rows();
        let parts = bytes(batch)?.div_ceil(self.size).clamp(1, rows.max(1));
        let part_rows = rows.div_ceil(parts).max(1);
        let mut messages = Vec::with_capacity(parts);
        for first in (0..rows).step_by(part_rows) {
            let part = batch.slice(first, part_rows.min(rows - first));
            let (dictionaries, part) = self.encode(&part)?;
            messages.extend(dictionaries.into_iter().map(FlightData::from));
            messages.push(part.into());
        }
        Ok(messages)
    }

    fn encode(&mut self, part: &RecordBatch) -> Result<(Vec<EncodedData>, EncodedData), ArrowError> {
        IpcDataGenerator::default().encode(part, &mut self.dictionaries, &self.options, &mut self.context)
    }
}

fn bytes(batch: &RecordBatch) -> Result<usize, ArrowError> {
    batch.columns().iter().map(|column| column.to_data().get_slice_memory_size()).sum()
}
