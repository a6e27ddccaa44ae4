//! Files as streams of batches: what `insula import` reads.
//!
//! Parquet and Arrow files know their types. CSV and NDJSON files do not: their columns take the types of the table
//! they go into, and only for a table yet to be made are types inferred, from the whole file.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arrow::{
    array::RecordBatch,
    datatypes::{Field, Schema, SchemaRef},
    error::ArrowError,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use regex::Regex;

use crate::{Error, Result};

/// Rows per batch: some hundred kilobytes, so that the progress bar moves.
const BATCH_ROWS: usize = 8192;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Parquet,
    Csv,
    Json,
    Arrow,
}

impl Kind {
    fn of(path: &Path) -> Result<Self> {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        match ending.to_ascii_lowercase().as_str() {
            "parquet" | "pq" => Ok(Self::Parquet),
            "csv" => Ok(Self::Csv),
            "ndjson" | "jsonl" | "json" => Ok(Self::Json),
            "arrow" | "arrows" | "feather" | "ipc" => Ok(Self::Arrow),
            _ => Err(Error::file(path, "unknown ending; known are .parquet, .csv, .ndjson, .jsonl and .arrow")),
        }
    }
}

/// How text becomes values.
#[derive(Clone, Default)]
pub struct Options {
    /// Columns of the table, where it exists already.
    pub table: Option<SchemaRef>,
    /// Text that means NULL in a CSV file, beside the empty field.
    pub null: Option<String>,
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

/// An opened file.
pub struct Source {
    pub path: PathBuf,
    pub schema: SchemaRef,
    /// In bytes.
    pub size: u64,
    /// Bytes read so far.
    pub position: Arc<AtomicU64>,
    batches: Batches,
}

impl Source {
    pub fn open(path: &Path, options: &Options) -> Result<Self> {
        let kind = Kind::of(path)?;
        let file = File::open(path).map_err(|error| Error::file(path, error))?;
        let size = file.metadata().map_err(|error| Error::file(path, error))?.len();
        let position = Arc::new(AtomicU64::new(0));
        let opened = match kind {
            Kind::Parquet => open_parquet(file, size, Arc::clone(&position)),
            Kind::Arrow => open_arrow(file, Arc::clone(&position)),
            Kind::Csv => open_csv(file, Arc::clone(&position), options),
            Kind::Json => open_json(file, Arc::clone(&position), options),
        };
        let (schema, batches) = opened.map_err(|error| Error::file(path, error))?;
        Ok(Self { path: path.to_owned(), schema, size, position, batches })
    }
}

impl Iterator for Source {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.batches.next()?.map_err(|error| Error::file(&self.path, error)))
    }
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    position: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.position.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

fn counted(file: File, position: Arc<AtomicU64>) -> BufReader<Counted<File>> {
    BufReader::with_capacity(1 << 20, Counted { inner: file, position })
}

/// A Parquet file is read in no order of bytes, so its position is the share of its rows.
fn open_parquet(file: File, size: u64, position: Arc<AtomicU64>) -> Result<(SchemaRef, Batches), ArrowError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(BATCH_ROWS);
    let total = builder.metadata().file_metadata().num_rows().max(1) as u128;
    let schema = Arc::clone(builder.schema());
    let mut done: u128 = 0;
    let batches = builder.build()?.inspect(move |batch| {
        done += batch.as_ref().map_or(0, RecordBatch::num_rows) as u128;
        position.store((u128::from(size) * done / total) as u64, Ordering::Relaxed);
    });
    Ok((schema, Box::new(batches)))
}

/// The file format begins with `ARROW1`, the stream format with a message.
fn open_arrow(mut file: File, position: Arc<AtomicU64>) -> Result<(SchemaRef, Batches), ArrowError> {
    let mut magic = Vec::new();
    Read::by_ref(&mut file).take(6).read_to_end(&mut magic)?;
    file.rewind()?;
    if magic == b"ARROW1" {
        // Its footer comes first and its blocks after, so seeks are uncounted and the bar jumps at the end.
        let reader = arrow::ipc::reader::FileReader::try_new_buffered(file, None)?;
        return Ok((reader.schema(), Box::new(reader)));
    }
    let reader = arrow::ipc::reader::StreamReader::try_new(counted(file, position), None)?;
    Ok((reader.schema(), Box::new(reader)))
}

fn open_csv(mut file: File, position: Arc<AtomicU64>, options: &Options) -> Result<(SchemaRef, Batches), ArrowError> {
    let mut format = arrow::csv::reader::Format::default().with_header(true);
    if let Some(null) = &options.null {
        let pattern = Regex::new(&format!("^(?:{})?$", regex::escape(null)));
        format = format.with_null_regex(pattern.map_err(|error| ArrowError::InvalidArgumentError(error.to_string()))?);
    }
    // With the table's types at hand the header line is all that need be read.
    let limit = options.table.is_some().then_some(0);
    let (inferred, _) = format.infer_schema(BufReader::new(&file), limit)?;
    file.rewind()?;
    let schema = typed(inferred, options.table.as_ref())?;
    let reader = arrow::csv::ReaderBuilder::new(Arc::clone(&schema))
        .with_format(format)
        .with_batch_size(BATCH_ROWS)
        .build_buffered(counted(file, position))?;
    Ok((schema, Box::new(reader)))
}

fn open_json(file: File, position: Arc<AtomicU64>, options: &Options) -> Result<(SchemaRef, Batches), ArrowError> {
    let mut reader = BufReader::new(&file);
    let (inferred, _) = arrow::json::reader::infer_json_schema_from_seekable(&mut reader, None)?;
    let schema = typed(inferred, options.table.as_ref())?;
    let reader = arrow::json::ReaderBuilder::new(Arc::clone(&schema))
        .with_batch_size(BATCH_ROWS)
        .with_strict_mode(true)
        .build(counted(file, position))?;
    Ok((schema, Box::new(reader)))
}

/// The file's columns with the table's types. All are nullable: what a NULL is refused for is the server's to say.
fn typed(file: Schema, table: Option<&SchemaRef>) -> Result<SchemaRef, ArrowError> {
    let Some(table) = table else {
        return Ok(Arc::new(file));
    };
    let known = || table.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
    let mut fields = Vec::with_capacity(file.fields().len());
    for field in file.fields() {
        let column = table.field_with_name(field.name()).map_err(|_| {
            ArrowError::SchemaError(format!("the table has no column `{}`; it has {}", field.name(), known()))
        })?;
        fields.push(Field::new(column.name(), column.data_type().clone(), true));
    }
    Ok(Arc::new(Schema::new(fields)))
}

#[cfg(test)]
mod tests;
