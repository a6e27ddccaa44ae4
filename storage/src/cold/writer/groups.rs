//! Cold files put together from row groups that were encoded apart, on as many threads as there are.
//!
//! A [`Format`] makes column writers for any number of groups at once; a [`GroupFile`] takes the finished groups one
//! after another, in the order of their keys. The file is the same as one that [`super::FileWriter`] writes.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use insula_proto::UserNo;
use parquet::{
    arrow::{
        ArrowWriter,
        arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves},
    },
    file::writer::SerializedFileWriter,
};

use super::{
    INDEX_BYTES, Summary, blocks, complete, encode_error, parquet_type, properties, rounded_down, rounded_up,
    user_index,
};
use crate::{Error, ErrorKind, KeyRows, Result, TableDef};

/// How row groups of one table are encoded.
pub(crate) struct Format {
    table: Arc<TableDef>,
    schema: SchemaRef,
    groups: ArrowRowGroupWriterFactory,
}

/// A row group on its way.
pub(crate) struct GroupWriter<'a> {
    format: &'a Format,
    columns: Vec<ArrowColumnWriter>,
}

/// Row groups in a row are columns of bytes, with the keys of their rows still in plain sight.
pub(crate) struct Group {
    columns: Vec<ArrowColumnChunk>,
    users: Vec<UserNo>,
    keys: KeyRows,
}

pub(crate) struct GroupFile {
    table: Arc<TableDef>,
    parquet: SerializedFileWriter<Vec<u8>>,
    index: user_index::Builder,
    /// Of the bytes taken so far.
    blocks: blocks::Builder,
    first: Option<(UserNo, Vec<u8>)>,
    last: Option<(UserNo, Vec<u8>)>,
    rows: u64,
}

impl Format {
    pub(crate) fn new(table: &Arc<TableDef>) -> Result<Self> {
        let schema = parquet_type::file_schema(&table.stored_schema());
        let (_, groups) = open(table, &schema)?;
        Ok(Self { table: Arc::clone(table), schema, groups })
    }

    pub(crate) fn group(&self) -> Result<GroupWriter<'_>> {
        // The number of a group matters to encrypted files alone.
        let columns = self.groups.create_column_writers(0).map_err(|error| encode_error(&self.table, error))?;
        Ok(GroupWriter { format: self, columns })
    }
}

impl GroupWriter<'_> {
    /// `rows`: a batch of the stored schema.
    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let schema = &self.format.schema;
        let rows = parquet_type::to_file(rows, schema)?;
        let mut writers = self.columns.iter_mut();
        for (field, column) in schema.fields().iter().zip(rows.columns()) {
            let leaves = compute_leaves(field, column).map_err(|error| self.format.error(error))?;
            for (leaf, writer) in leaves.iter().zip(&mut writers) {
                writer.write(leaf).map_err(|error| self.format.error(error))?;
            }
        }
        Ok(())
    }

    /// `users` and `keys`: those of all rows written, in their order.
    pub(crate) fn finish(self, users: Vec<UserNo>, keys: KeyRows) -> Result<Group> {
        let columns = self.columns.into_iter().map(ArrowColumnWriter::close);
        let columns = columns.collect::<Result<_, _>>().map_err(|error| self.format.error(error))?;
        Ok(Group { columns, users, keys })
    }
}

impl Format {
    fn error(&self, error: parquet::errors::ParquetError) -> Error {
        encode_error(&self.table, error)
    }
}

impl Group {
    /// User and key of the first row.
    pub(crate) fn first(&self) -> Option<(UserNo, &[u8])> {
        let user = self.users.first()?;
        Some((*user, self.keys.row(0)))
    }
}

impl GroupFile {
    pub(crate) fn new(table: &Arc<TableDef>) -> Result<Self> {
        let schema = parquet_type::file_schema(&table.stored_schema());
        let (parquet, _) = open(table, &schema)?;
        let (index, blocks, (first, last)) = Default::default();
        Ok(Self { table: Arc::clone(table), parquet, index, blocks, first, last, rows: 0 })
    }

    /// Whether the group's rows can follow those that are here.
    pub(crate) fn continues(&self, group: &Group) -> bool {
        match (&self.last, group.first()) {
            (Some((user, key)), Some(first)) => (*user, key.as_slice()) < first,
            _ => true,
        }
    }

    pub(crate) fn append(&mut self, group: Group) -> Result<()> {
        for (user, key) in group.users.iter().zip(group.keys.iter()) {
            self.index.push(*user, key, false)?;
        }
        let error = |error| encode_error(&self.table, error);
        let mut writer = self.parquet.next_row_group().map_err(error)?;
        for column in group.columns {
            column.append_to_row_group(&mut writer).map_err(error)?;
        }
        writer.close().map_err(error)?;
        let Some(end) = group.users.len().checked_sub(1) else { return Ok(()) };
        let place = |at: usize| Some((group.users[at], group.keys.row(at).to_vec()));
        if self.first.is_none() {
            self.first = place(0);
        }
        self.last = place(end);
        self.rows += group.users.len() as u64;
        Ok(())
    }

    /// Encoded bytes that wait to be uploaded.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let bytes = std::mem::take(self.parquet.inner_mut());
        self.blocks.push(&bytes);
        bytes
    }

    /// Whether the file has reached its size.
    pub(crate) fn is_full(&self, file_bytes: u64) -> bool {
        self.parquet.bytes_written() as u64 >= file_bytes || self.index.len() >= INDEX_BYTES
    }

    /// The rest of the file's bytes, and the bounds of its users and keys.
    pub(crate) fn finish(self) -> Result<(Vec<u8>, Summary, Bounds)> {
        let (Some(first), Some(last)) = (self.first, self.last) else {
            return Err(Error::new(ErrorKind::Internal, "a cold file without rows"));
        };
        let (bytes, tail) = complete(self.parquet, self.index, self.blocks, &self.table)?;
        let summary = Summary {
            rows: self.rows,
            deleted_rows: 0,
            oldest_deleted_micros: None,
            users: (first.0, last.0),
            keys: (rounded_down(&first.1), rounded_up(&last.1)),
            seqs: (0, 0),
            tail,
        };
        Ok((bytes, summary, Bounds { first, last }))
    }
}

/// User and key of the first and the last row of a file, or of a part of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Bounds {
    pub(crate) first: (UserNo, Vec<u8>),
    pub(crate) last: (UserNo, Vec<u8>),
}

impl Bounds {
    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

type Opened = (SerializedFileWriter<Vec<u8>>, ArrowRowGroupWriterFactory);

fn open(table: &TableDef, schema: &SchemaRef) -> Result<Opened> {
    let properties = properties(table, schema)?;
    let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(schema), Some(properties));
    writer.and_then(ArrowWriter::into_serialized_writer).map_err(|error| encode_error(table, error))
}
