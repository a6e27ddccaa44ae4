//! Row values back into batches: the reader of what `value.rs` and `chunk.rs` write.
//!
//! `part` holds the columns of rows that lie apart, `column` is how such columns grow, `in_chunk` reads those of rows that
//! lie in chunks, and `runs` puts both into the order in which the rows came.

mod column;
mod in_chunk;
mod part;
mod runs;

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, make_array},
    datatypes::{Field, Schema, SchemaRef},
};

use super::{
    chunk::{At, Chunks},
    key,
    value::{Content, Header, Layout},
};
use crate::{Error, ErrorKind, Result, TableDef, table::conform};
use column::Column;
use in_chunk::InChunk;
use part::Part;
use runs::{Place, Runs};

/// A column of the batch.
enum Output {
    /// What the key and the header of a row say.
    System(System, Column),
    Declared,
}

#[derive(Clone, Copy)]
enum System {
    User,
    Seq,
    Updated,
    Deleted,
    RowId,
}

/// Gathers row versions into a batch of some columns of [`TableDef::stored_schema`].
///
/// Rows that were written before an ALTER TABLE are gathered apart, as the version of the definition that wrote them
/// says, and brought to the present one by the batch. Rows of chunks are noted, and read when the batch is complete: each
/// chunk once, and one at a time.
pub(crate) struct RowDecoder {
    table: Arc<TableDef>,
    schema: SchemaRef,
    outputs: Vec<Output>,
    /// The first one is of the present version.
    parts: Vec<Part>,
    /// Part of each older version met; those whose columns are the present ones share the first part.
    by_version: HashMap<u32, usize>,
    chunks: Vec<InChunk>,
    by_chunk: HashMap<At, usize>,
    last_chunk: Option<usize>,
    /// Where the rows lie, in the order in which they came.
    runs: Runs,
    /// Bytes of values since the columns were last weighed.
    unweighed: usize,
}

impl RowDecoder {
    /// `projection`: indices into the stored schema.
    pub fn new(table: &Arc<TableDef>, projection: &[usize]) -> Result<Self> {
        let schema: SchemaRef = Arc::new(table.stored_schema().project(projection).map_err(internal)?);
        let (mut outputs, mut slots, mut fields) = (Vec::with_capacity(projection.len()), Vec::new(), Vec::new());
        for (i, field) in projection.iter().zip(schema.fields()) {
            let system = match i {
                0 => System::User,
                1 => System::Seq,
                2 => System::Updated,
                3 => System::Deleted,
                4 if table.has_row_id() => System::RowId,
                _ => {
                    slots.push(i - table.first_declared());
                    fields.push(Arc::clone(field));
                    outputs.push(Output::Declared);
                    continue;
                }
            };
            outputs.push(Output::System(system, Column::new(field.data_type())?));
        }
        let part = Part::new(Layout::of(table)?, None, Schema::new(fields), slots)?;
        Ok(Self {
            table: Arc::clone(table),
            schema,
            outputs,
            parts: vec![part],
            by_version: HashMap::new(),
            chunks: Vec::new(),
            by_chunk: HashMap::new(),
            last_chunk: None,
            runs: Runs::default(),
            unweighed: 0,
        })
    }

    pub fn len(&self) -> usize {
        self.runs.rows()
    }

    /// Bytes gathered so far, and of rows in chunks what they may come to.
    pub(crate) fn memory(&self) -> usize {
        let system = self.outputs.iter().map(|output| match output {
            Output::System(_, column) => column.memory(),
            Output::Declared => 0,
        });
        let parts = self.parts.iter().map(Part::memory);
        system.chain(parts).sum::<usize>() + self.chunks.iter().map(InChunk::memory).sum::<usize>() + self.runs.memory()
    }

    pub fn push(&mut self, row: &key::Parts<'_>, value: &[u8]) -> Result<()> {
        self.push_checked(row, &Header::read(value)?)
    }

    /// The same for a value whose checksum has been verified.
    pub fn push_checked(&mut self, row: &key::Parts<'_>, header: &Header<'_>) -> Result<()> {
        let part = self.part_of(header.schema_version)?;
        match header.content {
            Content::Here(body) => {
                let at = self.parts[part].push(&body)?;
                self.runs.push(Place::Part(part), at);
                self.unweighed += body.0.len();
            }
            Content::InChunk { chunk, row: number } => {
                let at = At { generation: row.generation, user: row.user, chunk };
                let met = self.meet_chunk(at, part);
                self.runs.push(Place::Chunk(met), self.chunks[met].push(number));
                self.unweighed += in_chunk::ROW_BYTES;
            }
        }
        for output in &mut self.outputs {
            let Output::System(system, column) = output else { continue };
            match system {
                System::User => column.push_fixed(&row.user.0.to_le_bytes()),
                System::Seq => column.push_fixed(&row.seq.0.to_le_bytes()),
                System::Updated => column.push_fixed(&header.updated.to_le_bytes()),
                System::Deleted => column.push_bool(header.deleted),
                System::RowId => {
                    let id: [u8; 8] = row.key.try_into().map_err(|_| cut_short())?;
                    column.push_fixed(&u64::from_be_bytes(id).to_le_bytes());
                }
            }
        }
        Ok(())
    }

    /// Whether about so many bytes are gathered. The columns are weighed now and then, not at every row.
    pub fn holds(&mut self, bytes: usize) -> bool {
        if self.unweighed < bytes / 16 {
            return false;
        }
        self.unweighed = 0;
        self.memory() >= bytes
    }

    fn part_of(&mut self, version: u32) -> Result<usize> {
        // Mostly the present one.
        if version == self.table.schema_version {
            return Ok(0);
        }
        match self.by_version.get(&version) {
            Some(at) => Ok(*at),
            None => self.meet(version),
        }
    }

    /// Finds the part of a version of which no row has come yet, or makes it.
    fn meet(&mut self, number: u32) -> Result<usize> {
        let version = self.table.older.get(number).ok_or_else(|| {
            let table = self.table.full_name();
            let message = format!("a hot row of table \"{table}\" is of version {number}, which the table never had");
            Error::new(ErrorKind::DataLoss, message)
        })?;
        let at = if version.has_columns_of(&self.table) {
            0
        } else {
            let (mut fields, mut slots) = (Vec::new(), Vec::new());
            let present = &self.parts[0];
            for (column, field) in present.slots.iter().zip(present.schema.fields()) {
                let id = self.table.columns[*column].id;
                let Some(slot) = version.columns.iter().position(|(theirs, _)| *theirs == id) else { continue };
                fields.push(Field::new(field.name(), version.columns[slot].1.clone(), true));
                slots.push(slot);
            }
            let layout = Layout::of_version(version)?;
            self.parts.push(Part::new(layout, Some(Arc::clone(version)), Schema::new(fields), slots)?);
            self.parts.len() - 1
        };
        self.by_version.insert(number, at);
        Ok(at)
    }

    /// Which one of the chunks it is.
    fn meet_chunk(&mut self, at: At, part: usize) -> usize {
        // Mostly the same as before.
        if let Some(last) = self.last_chunk.filter(|last| self.chunks.get(*last).is_some_and(|chunk| chunk.at == at)) {
            return last;
        }
        let chunks = &mut self.chunks;
        let met = *self.by_chunk.entry(at).or_insert_with(|| {
            chunks.push(InChunk::new(at, part));
            chunks.len() - 1
        });
        self.last_chunk = Some(met);
        met
    }

    /// The batch gathered so far; the decoder is empty again. `chunks`: where the rows' chunks are.
    pub fn finish(&mut self, chunks: &dyn Chunks) -> Result<RecordBatch> {
        let runs = std::mem::take(&mut self.runs);
        let mut declared = self.declared(&runs, chunks)?.into_iter();
        let lacking = || Error::new(ErrorKind::Internal, "a projected column was not gathered");
        let column = |output: &mut Output| match output {
            Output::System(_, column) => Ok(make_array(column.finish()?)),
            Output::Declared => declared.next().ok_or_else(lacking),
        };
        let columns: Vec<ArrayRef> = self.outputs.iter_mut().map(column).collect::<Result<_>>()?;
        batch(&self.schema, columns, runs.rows())
    }

    /// The declared columns of the rows.
    fn declared(&mut self, runs: &Runs, chunks: &dyn Chunks) -> Result<Vec<ArrayRef>> {
        let met = std::mem::take(&mut self.chunks);
        self.by_chunk.clear();
        let schema = Arc::clone(&self.parts[0].schema);
        let mut batches = Vec::with_capacity(self.parts.len() + met.len());
        for part in &mut self.parts {
            batches.push(conform(&self.table, &part.finish()?, &schema)?);
        }
        for chunk in met.iter().filter(|_| !schema.fields().is_empty()) {
            let rows = chunk.read(&self.table, &self.parts[chunk.part], chunks)?;
            batches.push(conform(&self.table, &rows, &schema)?);
        }
        (0..schema.fields().len()).map(|i| runs.gather(&batches, self.parts.len(), i)).collect()
    }
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(damaged)
}

fn cut_short() -> Error {
    Error::new(ErrorKind::DataLoss, "a row of the hot tier is cut short")
}

fn damaged(e: arrow::error::ArrowError) -> Error {
    Error::new(ErrorKind::DataLoss, "rows of the hot tier cannot be decoded").with_source(e)
}

fn internal(e: arrow::error::ArrowError) -> Error {
    Error::new(ErrorKind::Internal, "a projection does not fit the stored schema").with_source(e)
}
