//! Rows on standard output, in the format that was asked for. All but the table are written as they arrive.

use std::{
    io::{self, BufWriter, Write},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
    ipc::writer::StreamWriter,
    util::{
        display::{ArrayFormatter, FormatOptions},
        pretty::pretty_format_batches_with_schema,
    },
};
use futures::TryStreamExt;

use super::Format;
use crate::{Answer, Result, Rows};

pub async fn print(answer: Answer, format: Format) -> Result<()> {
    match answer {
        Answer::Rows(rows) => print_rows(rows, format).await,
        Answer::Count(count) => {
            let text = format!("({})", plural(count, "row changed", "rows changed"));
            // Standard output of the other formats is for a program, which wants rows and nothing else.
            if format == Format::Table {
                writeln!(io::stdout(), "{text}")?
            } else {
                eprintln!("{text}")
            }
            Ok(())
        }
    }
}

async fn print_rows(mut rows: Rows, format: Format) -> Result<()> {
    let schema = Arc::clone(rows.schema());
    let out = BufWriter::new(io::stdout());
    if format == Format::Table {
        let batches: Vec<_> = rows.try_collect().await?;
        return print_table(out, schema, &batches);
    }
    let mut writer = writer(out, format, &schema)?;
    while let Some(batch) = rows.try_next().await? {
        writer.write(&batch).map_err(io_first)?;
    }
    writer.finish().map_err(io_first)?;
    Ok(())
}

fn print_table(mut out: impl Write, schema: SchemaRef, batches: &[RecordBatch]) -> Result<()> {
    // A statement that runs without a result, such as SET, has no columns either.
    if schema.fields().is_empty() {
        return Ok(writeln!(out, "(done)")?);
    }
    let count: usize = batches.iter().map(RecordBatch::num_rows).sum();
    writeln!(out, "{}", pretty_format_batches_with_schema(schema, batches)?)?;
    writeln!(out, "({})", plural(count as i64, "row", "rows"))?;
    Ok(out.flush()?)
}

fn plural(count: i64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// A broken pipe hides in Arrow's error; the caller looks for the I/O error.
fn io_first(error: ArrowError) -> crate::Error {
    match error {
        ArrowError::IoError(_, error) => error.into(),
        other => other.into(),
    }
}

trait BatchWriter: Send {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError>;
    fn finish(&mut self) -> Result<(), ArrowError>;
}

fn writer<W: Write + Send + 'static>(out: W, format: Format, schema: &SchemaRef) -> Result<Box<dyn BatchWriter>> {
    Ok(match format {
        Format::Csv => {
            let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(out);
            // Written now, so that a result without rows has its header too.
            writer.write(&flatten(&RecordBatch::new_empty(Arc::clone(schema)))?)?;
            Box::new(writer)
        }
        Format::Json => Box::new(
            arrow::json::WriterBuilder::new()
                .with_explicit_nulls(true)
                .build::<_, arrow::json::writer::LineDelimited>(out),
        ),
        Format::Arrow | Format::Table => Box::new(StreamWriter::try_new(out, schema)?),
    })
}

impl<W: Write + Send> BatchWriter for arrow::csv::Writer<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        Self::write(self, &flatten(batch)?)
    }

    fn finish(&mut self) -> Result<(), ArrowError> {
        Ok(())
    }
}

impl<W: Write + Send> BatchWriter for arrow::json::Writer<W, arrow::json::writer::LineDelimited> {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        Self::write(self, batch)
    }

    fn finish(&mut self) -> Result<(), ArrowError> {
        Self::finish(self)
    }
}

impl<W: Write + Send> BatchWriter for StreamWriter<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        Self::write(self, batch)
    }

    fn finish(&mut self) -> Result<(), ArrowError> {
        Self::finish(self)
    }
}

/// CSV has no lists and structs: they become their text.
fn flatten(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    if !schema.fields().iter().any(|field| field.data_type().is_nested()) {
        return Ok(batch.clone());
    }
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        if field.data_type().is_nested() {
            fields.push(Field::new(field.name(), DataType::Utf8, true));
            columns.push(Arc::new(text(column)?));
        } else {
            fields.push(field.as_ref().clone());
            columns.push(Arc::clone(column));
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

fn text(column: &ArrayRef) -> Result<StringArray, ArrowError> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
    (0..column.len())
        .map(|row| if column.is_null(row) { Ok(None) } else { formatter.value(row).try_to_string().map(Some) })
        .collect()
}

#[cfg(test)]
mod tests;
