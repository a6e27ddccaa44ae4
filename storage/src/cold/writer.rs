//! Writes Parquet files of the cold tier: rows of [`TableDef::stored_schema`], sorted by user and key.
//!
//! Behind the row groups, the body, comes the tail: the user index, the body's checksums, Parquet's page indexes and
//! footer. The footer's key-value metadata says where the first two lie (`insula.user_index`, `insula.blocks`) and what
//! the columns are called by their users (`insula.columns`). Any Parquet reader can read the file and ignores all three.

pub(crate) mod groups;

use std::sync::Arc;

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{DataType, Int64Type, SchemaRef, TimestampMicrosecondType, UInt64Type},
};
use bytes::Bytes;
use insula_proto::UserNo;
use parquet::{
    arrow::{ArrowSchemaConverter, ArrowWriter},
    basic::{Compression, Encoding, Type, ZstdLevel},
    file::{
        metadata::{KeyValue, ParquetMetaData, SortingColumn},
        properties::WriterProperties,
        writer::SerializedFileWriter,
    },
    schema::types::{ColumnPath, SchemaDescriptor},
};

use super::{
    blocks::{self, Tail},
    parquet_type, user_index,
};
use crate::{Error, ErrorKind, Result, TableDef, hot::key::after_prefix};

const INDEX_KEY: &str = "insula.user_index";
const BLOCKS_KEY: &str = "insula.blocks";
const COLUMNS_KEY: &str = "insula.columns";

const ROW_GROUP_ROWS: usize = 1 << 20;
const ROW_GROUP_BYTES: usize = 128 << 20;
/// Small pages let row selections skip: a user's few rows cost a page, not a column chunk.
const PAGE_ROWS: usize = 20_000;
/// A dictionary is read whole whichever of its rows are wanted, so it must not be large.
const DICTIONARY_BYTES: usize = 256 << 10;
/// A file is closed when its user index reaches this: it is loaded and kept whole for one user who is in it, and must be
/// small beside what the smallest servers have for the indexes of all files.
const INDEX_BYTES: usize = 4 << 20;

/// Bytes of a key that a manifest keeps of each end of a file.
pub(crate) const BOUND_BYTES: usize = 64;

/// What a manifest says of a finished file.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    pub(crate) rows: u64,
    pub(crate) deleted_rows: u64,
    pub(crate) oldest_deleted_micros: Option<i64>,
    pub(crate) users: (UserNo, UserNo),
    /// Of the first and the last row, cut to [`BOUND_BYTES`]: rounded down, and up.
    pub(crate) keys: (Vec<u8>, Vec<u8>),
    pub(crate) seqs: (u64, u64),
    pub(crate) tail: Tail,
}

/// Encodes one file; the bytes are taken from it as they come, so that no more than a row group is in memory.
pub(crate) struct FileWriter {
    parquet: ArrowWriter<Vec<u8>>,
    schema: SchemaRef,
    index: user_index::Builder,
    summary: Option<Summary>,
    /// Of the bytes taken so far.
    blocks: blocks::Builder,
    /// Bytes in memory at which a row group ends.
    row_group_bytes: usize,
}

impl FileWriter {
    pub(crate) fn new(table: &TableDef) -> Result<Self> {
        let schema = parquet_type::file_schema(&table.stored_schema());
        let properties = properties(table, &schema)?;
        let parquet = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties));
        let parquet = parquet.map_err(|error| encode_error(table, error))?;
        Ok(Self {
            parquet,
            schema,
            index: user_index::Builder::default(),
            summary: None,
            blocks: blocks::Builder::default(),
            row_group_bytes: ROW_GROUP_BYTES,
        })
    }

    /// Ends row groups at this many bytes in memory, however small they come out.
    pub(crate) fn bound(mut self, row_group_bytes: usize) -> Self {
        self.row_group_bytes = row_group_bytes.min(ROW_GROUP_BYTES);
        self
    }

    /// `rows`: a batch of the stored schema; `keys`: the memcomparable key of each of its rows.
    pub(crate) fn write<'k>(
        &mut self,
        table: &TableDef,
        rows: &RecordBatch,
        keys: impl Iterator<Item = &'k [u8]>,
    ) -> Result<()> {
        let column = |i: usize| {
            rows.columns().get(i).ok_or_else(|| Error::new(ErrorKind::Internal, "rows to flush lack system columns"))
        };
        let (users, seqs) = (column(0)?.as_primitive::<UInt64Type>(), column(1)?.as_primitive::<Int64Type>());
        let (updated, deleted) = (column(2)?.as_primitive::<TimestampMicrosecondType>(), column(3)?.as_boolean());
        let (mut counted, mut last) = (0, None);
        for (i, key) in keys.enumerate().take(rows.num_rows()) {
            counted += 1;
            self.index.push(UserNo(users.value(i)), key, deleted.value(i))?;
            let deleted_at = deleted.value(i).then(|| updated.value(i));
            self.count(UserNo(users.value(i)), key, seqs.value(i).cast_unsigned(), deleted_at);
            last = Some(key);
        }
        if let (Some(summary), Some(last)) = (&mut self.summary, last) {
            summary.keys.1 = rounded_up(last);
        }
        if counted != rows.num_rows() {
            return Err(Error::new(ErrorKind::Internal, "rows to flush lack keys"));
        }
        let rows = parquet_type::to_file(rows, &self.schema)?;
        self.parquet.write(&rows).map_err(|error| encode_error(table, error))?;
        if self.parquet.memory_size() >= self.row_group_bytes {
            self.parquet.flush().map_err(|error| encode_error(table, error))?;
        }
        Ok(())
    }

    fn count(&mut self, user: UserNo, key: &[u8], seq: u64, deleted_at: Option<i64>) {
        let summary = self.summary.get_or_insert_with(|| Summary {
            rows: 0,
            deleted_rows: 0,
            oldest_deleted_micros: None,
            users: (user, user),
            keys: (rounded_down(key), Vec::new()),
            seqs: (seq, seq),
            tail: Tail::default(),
        });
        summary.rows += 1;
        if let Some(at) = deleted_at {
            summary.deleted_rows += 1;
            summary.oldest_deleted_micros = Some(summary.oldest_deleted_micros.map_or(at, |oldest| oldest.min(at)));
        }
        summary.users.1 = user;
        summary.seqs = (summary.seqs.0.min(seq), summary.seqs.1.max(seq));
    }

    /// Encoded bytes that wait to be uploaded.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let bytes = std::mem::take(self.parquet.inner_mut());
        self.blocks.push(&bytes);
        bytes
    }

    /// Whether the file has reached its size. `file_bytes` is a target; the row group under way is estimated.
    pub(crate) fn is_full(&self, file_bytes: u64) -> bool {
        let bytes = self.parquet.bytes_written() + self.parquet.in_progress_size();
        bytes as u64 >= file_bytes || self.index.len() >= INDEX_BYTES
    }

    /// The rest of the file's bytes. A file without rows is an error: there is nothing a manifest could say of it.
    pub(crate) fn finish(self, table: &TableDef) -> Result<(Vec<u8>, Summary)> {
        let Self { parquet, index, summary, blocks, .. } = self;
        let mut summary = summary.ok_or_else(|| Error::new(ErrorKind::Internal, "a cold file without rows"))?;
        let (parquet, _) = parquet.into_serialized_writer().map_err(|error| encode_error(table, error))?;
        let (rest, tail) = complete(parquet, index, blocks, table)?;
        summary.tail = tail;
        Ok((rest, summary))
    }
}

/// Ends a file behind its last row group with its tail. Returns the bytes not yet taken, and what the manifest says of the
/// tail. `blocks`: of the bytes taken so far.
fn complete(
    mut parquet: SerializedFileWriter<Vec<u8>>,
    index: user_index::Builder,
    mut blocks: blocks::Builder,
    table: &TableDef,
) -> Result<(Vec<u8>, Tail)> {
    let appended = |error| Error::new(ErrorKind::Internal, "cannot append to a cold file").with_source(error);
    parquet.flush().map_err(appended)?;
    let body = parquet.inner_mut().len();
    blocks.push(parquet.inner_mut());
    let offset = parquet.bytes_written() as u64;
    let (index, blocks) = (index.finish()?, blocks.finish());
    for (key, part) in [(INDEX_KEY, &index), (BLOCKS_KEY, &blocks)] {
        let location = Location { offset: parquet.bytes_written() as u64, length: part.len() as u64 };
        parquet.write_all(part).map_err(appended)?;
        parquet.append_key_value_metadata(KeyValue::new(key.to_owned(), location.to_string()));
    }
    parquet.append_key_value_metadata(KeyValue::new(COLUMNS_KEY.to_owned(), column_names(table)));
    parquet.finish().map_err(|error| encode_error(table, error))?;
    let rest = std::mem::take(parquet.inner_mut());
    let tail = Tail { offset, crc: crc32fast::hash(&rest[body..]) };
    Ok((rest, tail))
}

/// The key, or what a bound holds of it.
fn rounded_down(key: &[u8]) -> Vec<u8> {
    key[..key.len().min(BOUND_BYTES)].to_vec()
}

/// The key, or, where it is longer than a bound may be, one not below it.
fn rounded_up(key: &[u8]) -> Vec<u8> {
    if key.len() <= BOUND_BYTES { key.to_vec() } else { after_prefix(&key[..BOUND_BYTES]) }
}

/// Refuses a table whose rows Parquet could never hold, such as one with a struct of no fields: better when it is
/// created than at its first flush.
pub(crate) fn check(table: &TableDef) -> Result<()> {
    let schema = parquet_type::file_schema(&table.stored_schema());
    ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), None).map(drop).map_err(|error| {
        let table = format!("{}.{}", table.namespace, table.name);
        Error::new(ErrorKind::Invalid, format!("table \"{table}\" has a column that cannot be stored: {error}"))
    })
}

fn properties(table: &TableDef, schema: &SchemaRef) -> Result<WriterProperties> {
    let zstd = ZstdLevel::try_new(1).map_err(|error| encode_error(table, error))?;
    let leaves = ArrowSchemaConverter::new().convert(schema).map_err(|error| encode_error(table, error))?;
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(zstd))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_sorting_columns(Some(sorting_columns(table, schema, &leaves)));
    for key in table.stored_key() {
        let field = schema.field(key);
        // A filter over two values never rules anything out.
        if field.data_type() != &DataType::Boolean {
            let path = ColumnPath::from(field.name().as_str());
            properties = properties.set_column_bloom_filter_enabled(path, true);
        }
    }
    // Integers with too many values for a dictionary are stored as differences: those of neighbours are mostly small, and
    // unpacking them takes a fraction of what decompressing whole numbers does.
    for leaf in leaves.columns().iter().filter(|leaf| matches!(leaf.physical_type(), Type::INT32 | Type::INT64)) {
        properties = properties.set_column_encoding(leaf.path().clone(), Encoding::DELTA_BINARY_PACKED);
    }
    // The last key column, order and time of commit hardly repeat: a dictionary of them would have to be read whole
    // for each lookup, while the differences of neighbours are small.
    for column in [Some(1), Some(2), table.stored_key().last().copied()].into_iter().flatten() {
        let Some(leaf) = leaf_of(&leaves, column).map(|leaf| leaves.column(leaf)) else { continue };
        let path = leaf.path();
        properties = match leaf.physical_type() {
            Type::INT32 | Type::INT64 => properties,
            Type::BYTE_ARRAY => properties.set_column_encoding(path.clone(), Encoding::DELTA_BYTE_ARRAY),
            _ => properties.set_column_encoding(path.clone(), Encoding::PLAIN),
        };
        properties = properties.set_column_dictionary_enabled(path.clone(), false);
    }
    Ok(properties.build())
}

/// The Parquet column of a plain (not nested) column of the schema.
fn leaf_of(leaves: &SchemaDescriptor, column: usize) -> Option<usize> {
    (0..leaves.num_columns()).find(|leaf| leaves.get_column_root_idx(*leaf) == column)
}

/// User and key, up to the first float: of floats, Parquet's order is not ours (it leaves NaN and -0 open).
fn sorting_columns(table: &TableDef, schema: &SchemaRef, leaves: &SchemaDescriptor) -> Vec<SortingColumn> {
    let key = table.stored_key();
    let key = key.iter().take_while(|column| !schema.field(**column).data_type().is_floating());
    let sorted = std::iter::once(&0).chain(key);
    let sorted = sorted.filter_map(|column| leaf_of(leaves, *column)).filter_map(|leaf| i32::try_from(leaf).ok());
    sorted.map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: true }).collect()
}

/// JSON object of stable name → declared name at the time of writing, for people who find the file.
fn column_names(table: &TableDef) -> String {
    let names = table
        .columns
        .iter()
        .map(|column| (format!("c{}", column.id), serde_json::Value::String(column.field.name().clone())));
    serde_json::Value::Object(names.collect()).to_string()
}

fn encode_error(table: &TableDef, error: parquet::errors::ParquetError) -> Error {
    let message = format!("cannot encode rows of table \"{}.{}\" as Parquet", table.namespace, table.name);
    Error::new(ErrorKind::Internal, message).with_source(error)
}

/// Where a part of the tail lies in its file: `offset:length` in the footer.
pub(super) struct Location {
    offset: u64,
    length: u64,
}

impl Location {
    pub(super) fn of_index(metadata: &ParquetMetaData) -> Option<Self> {
        Self::of(metadata, INDEX_KEY)
    }

    pub(super) fn of_blocks(metadata: &ParquetMetaData) -> Option<Self> {
        Self::of(metadata, BLOCKS_KEY)
    }

    fn of(metadata: &ParquetMetaData, key: &str) -> Option<Self> {
        let pairs = metadata.file_metadata().key_value_metadata()?;
        let value = pairs.iter().find(|pair| pair.key == key)?.value.as_ref()?;
        let (offset, length) = value.split_once(':')?;
        Some(Self { offset: offset.parse().ok()?, length: length.parse().ok()? })
    }

    /// The part, out of a tail that begins at `offset` of the file.
    pub(super) fn within(&self, tail: &Bytes, offset: u64) -> Option<Bytes> {
        let start = usize::try_from(self.offset.checked_sub(offset)?).ok()?;
        let end = start.checked_add(usize::try_from(self.length).ok()?)?;
        (end <= tail.len()).then(|| tail.slice(start..end))
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.offset, self.length)
    }
}

#[cfg(test)]
mod tests;
