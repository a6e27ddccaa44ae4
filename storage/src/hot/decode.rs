//! Row values back into batches: the reader of what `value.rs` writes.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, ArrayData, ArrayRef, BooleanBufferBuilder, RecordBatch, RecordBatchOptions, make_array},
    buffer::{Buffer, MutableBuffer, NullBuffer},
    compute::interleave,
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use insula_proto::{Seq, UserNo};

use super::{
    raw::Shape,
    value::{Header, Layout},
};
use crate::{Error, ErrorKind, Result, TableDef, table::conform};

/// Where a projected column comes from.
#[derive(Clone, Copy, Debug)]
enum Source {
    User,
    Seq,
    Updated,
    Deleted,
    RowId,
    Declared(usize),
}

/// Gathers row versions into a batch of some columns of [`TableDef::stored_schema`].
///
/// Rows that were written before an ALTER TABLE are gathered apart, as the version of the definition that wrote them
/// says, and brought to the present one by the batch.
pub(crate) struct RowDecoder {
    table: Arc<TableDef>,
    projection: Vec<usize>,
    schema: SchemaRef,
    /// The first one is of the present version.
    parts: Vec<Part>,
    /// Part of each version met; those whose columns are the present ones share the first part.
    by_version: HashMap<u32, usize>,
    /// Where each row lies: part, row of the part. Empty while all rows lie in the first part.
    order: Vec<(usize, usize)>,
    rows: usize,
    /// Bytes of values since the columns were last weighed.
    unweighed: usize,
}

/// The rows of one version of the definition.
struct Part {
    layout: Layout,
    schema: SchemaRef,
    columns: Vec<(Source, Column)>,
    rows: usize,
}

impl RowDecoder {
    /// `projection`: indices into the stored schema.
    pub fn new(table: &Arc<TableDef>, projection: &[usize]) -> Result<Self> {
        let schema: Schema = table.stored_schema().project(projection).map_err(internal)?;
        let sources = projection.iter().map(|i| Source::of(table, *i));
        let part = Part::new(Layout::of(table)?, schema, sources)?;
        Ok(Self {
            table: Arc::clone(table),
            projection: projection.to_vec(),
            schema: Arc::clone(&part.schema),
            by_version: HashMap::from([(table.schema_version, 0)]),
            parts: vec![part],
            order: Vec::new(),
            rows: 0,
            unweighed: 0,
        })
    }

    pub fn len(&self) -> usize {
        self.rows
    }

    /// Bytes gathered so far.
    pub(crate) fn memory(&self) -> usize {
        let columns = self.parts.iter().flat_map(|part| &part.columns);
        columns.map(|(_, column)| column.memory()).sum::<usize>() + self.order.len() * size_of::<(usize, usize)>()
    }

    pub fn push(&mut self, user: UserNo, key: &[u8], seq: Seq, value: &[u8]) -> Result<()> {
        self.push_checked(user, key, seq, &Header::read(value)?)
    }

    /// The same for a value whose checksum has been verified.
    pub fn push_checked(&mut self, user: UserNo, key: &[u8], seq: Seq, row: &Header<'_>) -> Result<()> {
        let at = match self.by_version.get(&row.schema_version) {
            Some(at) => *at,
            None => self.meet(row.schema_version)?,
        };
        let part = &mut self.parts[at];
        part.push(user, key, seq, row)?;
        if at > 0 && self.order.is_empty() {
            self.order.extend((0..self.rows).map(|row| (0, row)));
        }
        if at > 0 || !self.order.is_empty() {
            self.order.push((at, part.rows - 1));
        }
        self.rows += 1;
        self.unweighed += row.body.len();
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
            let mut fields = Vec::new();
            let mut sources = Vec::new();
            for (i, field) in self.projection.iter().zip(self.schema.fields()) {
                match Source::of(&self.table, *i) {
                    Source::Declared(column) => {
                        let id = self.table.columns[column].id;
                        let Some(slot) = version.columns.iter().position(|(theirs, _)| *theirs == id) else { continue };
                        fields.push(Field::new(field.name(), version.columns[slot].1.clone(), true));
                        sources.push(Source::Declared(slot));
                    }
                    system => {
                        fields.push(field.as_ref().clone());
                        sources.push(system);
                    }
                }
            }
            self.parts.push(Part::new(Layout::of_version(version)?, Schema::new(fields), sources.into_iter())?);
            self.parts.len() - 1
        };
        self.by_version.insert(number, at);
        Ok(at)
    }

    /// The batch gathered so far; the decoder is empty again.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        let rows = std::mem::take(&mut self.rows);
        let order = std::mem::take(&mut self.order);
        if order.is_empty() {
            return self.parts[0].finish();
        }
        let parts = self.parts.iter_mut().map(|part| conform(&self.table, &part.finish()?, &self.schema));
        let parts: Vec<RecordBatch> = parts.collect::<Result<_>>()?;
        let column = |i: usize| {
            let values: Vec<&dyn Array> = parts.iter().map(|part| part.column(i).as_ref()).collect();
            interleave(&values, &order).map_err(damaged)
        };
        let columns: Vec<ArrayRef> = (0..self.schema.fields().len()).map(column).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options).map_err(damaged)
    }
}

impl Source {
    /// Of a column of the stored schema.
    fn of(table: &TableDef, i: usize) -> Self {
        match i {
            0 => Self::User,
            1 => Self::Seq,
            2 => Self::Updated,
            3 => Self::Deleted,
            4 if table.has_row_id() => Self::RowId,
            _ => Self::Declared(i - table.first_declared()),
        }
    }
}

impl Part {
    fn new(layout: Layout, schema: Schema, sources: impl Iterator<Item = Source>) -> Result<Self> {
        let columns = sources.zip(schema.fields()).map(|(source, f)| Ok((source, Column::new(f.data_type())?)));
        let columns = columns.collect::<Result<_>>()?;
        Ok(Self { layout, schema: Arc::new(schema), columns, rows: 0 })
    }

    fn push(&mut self, user: UserNo, key: &[u8], seq: Seq, row: &Header<'_>) -> Result<()> {
        for (source, column) in &mut self.columns {
            match *source {
                Source::User => column.push_fixed(&user.0.to_le_bytes()),
                Source::Seq => column.push_fixed(&seq.0.to_le_bytes()),
                Source::Updated => column.push_fixed(&row.updated.to_le_bytes()),
                Source::Deleted => column.push_bool(row.deleted),
                Source::RowId => {
                    let id: [u8; 8] = key.try_into().map_err(|_| cut_short())?;
                    column.push_fixed(&u64::from_be_bytes(id).to_le_bytes());
                }
                Source::Declared(i) => push_declared(column, &self.layout, i, row)?,
            }
        }
        self.rows += 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<RecordBatch> {
        let arrays: Vec<ArrayRef> =
            self.columns.iter_mut().map(|(_, column)| Ok(make_array(column.finish()?))).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(std::mem::take(&mut self.rows)));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options).map_err(damaged)
    }
}

fn push_declared(column: &mut Column, layout: &Layout, i: usize, row: &Header<'_>) -> Result<()> {
    let slot =
        layout.columns.get(i).ok_or_else(|| Error::new(ErrorKind::Internal, "a projected column is not there"))?;
    if row.is_null(i) {
        column.push_null();
        return Ok(());
    }
    let end_at = |at: usize| -> Result<usize> {
        let mut reader = Reader { bytes: row.body.get(at..).ok_or_else(cut_short)? };
        Ok(reader.length()? + layout.variable)
    };
    let range = match slot.shape {
        Shape::Null => slot.at..slot.at,
        Shape::Bool => slot.at..slot.at + 1,
        Shape::Fixed(width) => slot.at..slot.at + width,
        _ => slot.before.map_or(Ok(layout.variable), end_at)?..end_at(slot.at)?,
    };
    let bytes = row.body.get(range).ok_or_else(cut_short)?;
    match slot.shape {
        Shape::Null => column.push_null(),
        Shape::Bool => column.push_bool(bytes == [1]),
        Shape::Fixed(_) => column.push_fixed(bytes),
        Shape::Var { .. } => column.push_var(bytes)?,
        _ => column.push_range(&mut Reader { bytes }, 1)?,
    }
    Ok(())
}

enum Ends {
    Small(Vec<i32>),
    Large(Vec<i64>),
}

impl Ends {
    fn new(large: bool) -> Self {
        if large { Self::Large(vec![0]) } else { Self::Small(vec![0]) }
    }

    /// Appends a range of `len` behind the last one.
    fn push(&mut self, len: usize) -> Result<()> {
        let too_large = || Error::new(ErrorKind::ResourceExhausted, "a batch holds more than 2 GB in one column");
        match self {
            Self::Small(ends) => {
                let last = ends.last().copied().unwrap_or(0);
                let len = i32::try_from(len).map_err(|_| too_large())?;
                ends.push(last.checked_add(len).ok_or_else(too_large)?);
            }
            Self::Large(ends) => {
                let last = ends.last().copied().unwrap_or(0);
                ends.push(last + i64::try_from(len).map_err(|_| too_large())?);
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Buffer {
        match self {
            Self::Small(ends) => Buffer::from_vec(std::mem::replace(ends, vec![0])),
            Self::Large(ends) => Buffer::from_vec(std::mem::replace(ends, vec![0])),
        }
    }
}

enum Values {
    Null,
    Bool(BooleanBufferBuilder),
    Fixed { width: usize, bytes: MutableBuffer },
    Var { ends: Ends, bytes: MutableBuffer },
    List { ends: Ends, child: Box<Column> },
    FixedList { n: usize, child: Box<Column> },
    Struct(Vec<Column>),
}

/// An array that grows.
struct Column {
    data_type: DataType,
    valid: BooleanBufferBuilder,
    values: Values,
}

impl Column {
    fn new(data_type: &DataType) -> Result<Self> {
        let child = |data_type: &DataType| -> Result<Box<Self>> {
            let field = match data_type {
                DataType::List(field)
                | DataType::LargeList(field)
                | DataType::FixedSizeList(field, _)
                | DataType::Map(field, _) => field,
                other => return Err(Error::new(ErrorKind::Internal, format!("type {other} has no child"))),
            };
            Ok(Box::new(Self::new(field.data_type())?))
        };
        let values = match Shape::of(data_type)? {
            Shape::Null => Values::Null,
            Shape::Bool => Values::Bool(BooleanBufferBuilder::new(0)),
            Shape::Fixed(width) => Values::Fixed { width, bytes: MutableBuffer::new(0) },
            Shape::Var { large } => Values::Var { ends: Ends::new(large), bytes: MutableBuffer::new(0) },
            Shape::List { large } => Values::List { ends: Ends::new(large), child: child(data_type)? },
            Shape::FixedList(n) => Values::FixedList { n, child: child(data_type)? },
            Shape::Struct => match data_type {
                DataType::Struct(fields) => {
                    Values::Struct(fields.iter().map(|f| Self::new(f.data_type())).collect::<Result<_>>()?)
                }
                other => return Err(Error::new(ErrorKind::Internal, format!("type {other} is not a struct"))),
            },
        };
        Ok(Self { data_type: data_type.clone(), valid: BooleanBufferBuilder::new(0), values })
    }

    fn memory(&self) -> usize {
        self.valid.len() / 8
            + match &self.values {
                Values::Null => 0,
                Values::Bool(bits) => bits.len() / 8,
                Values::Fixed { bytes, .. } => bytes.len(),
                Values::Var { bytes, .. } => bytes.len() + self.valid.len() * 4,
                Values::List { child, .. } => child.memory() + self.valid.len() * 4,
                Values::FixedList { child, .. } => child.memory(),
                Values::Struct(children) => children.iter().map(Self::memory).sum(),
            }
    }

    fn push_null(&mut self) {
        self.valid.append(false);
        match &mut self.values {
            Values::Null => {}
            Values::Bool(bits) => bits.append(false),
            Values::Fixed { width, bytes } => bytes.extend_zeros(*width),
            // An empty range cannot overflow.
            Values::Var { ends, .. } | Values::List { ends, .. } => drop(ends.push(0)),
            Values::FixedList { n, child } => (0..*n).for_each(|_| child.push_null()),
            Values::Struct(children) => children.iter_mut().for_each(Self::push_null),
        }
    }

    fn push_bool(&mut self, value: bool) {
        self.valid.append(true);
        if let Values::Bool(bits) = &mut self.values {
            bits.append(value);
        }
    }

    fn push_fixed(&mut self, value: &[u8]) {
        self.valid.append(true);
        if let Values::Fixed { bytes, .. } = &mut self.values {
            bytes.extend_from_slice(value);
        }
    }

    fn push_var(&mut self, value: &[u8]) -> Result<()> {
        self.valid.append(true);
        if let Values::Var { ends, bytes } = &mut self.values {
            ends.push(value.len())?;
            bytes.extend_from_slice(value);
        }
        Ok(())
    }

    /// Appends `len` values that `value::encode_range` wrote.
    fn push_range(&mut self, reader: &mut Reader<'_>, len: usize) -> Result<()> {
        // A count beyond the bytes is damage, not a reason to allocate.
        let takes_space = matches!(self.values, Values::Bool(_) | Values::Var { .. } | Values::List { .. })
            || matches!(self.values, Values::Fixed { width, .. } if width > 0);
        if takes_space && len / 8 > reader.bytes.len() {
            return Err(cut_short());
        }
        let has_nulls = reader.take(1)? == [1];
        if has_nulls {
            let nulls = reader.take(len.div_ceil(8))?;
            (0..len).for_each(|i| self.valid.append(nulls[i / 8] >> (i % 8) & 1 == 0));
        } else {
            self.valid.append_n(len, !matches!(self.values, Values::Null));
        }
        match &mut self.values {
            Values::Null => {}
            Values::Bool(bits) => {
                let values = reader.take(len.div_ceil(8))?;
                (0..len).for_each(|i| bits.append(values[i / 8] >> (i % 8) & 1 == 1));
            }
            Values::Fixed { width, bytes } => {
                bytes.extend_from_slice(reader.take(len.checked_mul(*width).ok_or_else(cut_short)?)?)
            }
            Values::Var { ends, bytes } => {
                let total = reader.ends(len, ends)?;
                bytes.extend_from_slice(reader.take(total)?);
            }
            Values::List { ends, child } => {
                let total = reader.ends(len, ends)?;
                child.push_range(reader, total)?;
            }
            Values::FixedList { n, child } => child.push_range(reader, len.checked_mul(*n).ok_or_else(cut_short)?)?,
            Values::Struct(children) => {
                for child in children {
                    child.push_range(reader, len)?;
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<ArrayData> {
        let len = self.valid.len();
        let nulls = NullBuffer::new(self.valid.finish());
        let builder = ArrayData::builder(self.data_type.clone()).len(len);
        let builder = match &mut self.values {
            // The Null type has no null bitmap.
            Values::Null => return builder.build().map_err(damaged),
            Values::Bool(bits) => builder.add_buffer(bits.finish().into_inner()),
            Values::Fixed { bytes, .. } => builder.add_buffer(std::mem::replace(bytes, MutableBuffer::new(0)).into()),
            Values::Var { ends, bytes } => {
                let bytes = std::mem::replace(bytes, MutableBuffer::new(0));
                builder.add_buffer(ends.finish()).add_buffer(bytes.into())
            }
            Values::List { ends, child } => builder.add_buffer(ends.finish()).add_child_data(child.finish()?),
            Values::FixedList { child, .. } => builder.add_child_data(child.finish()?),
            Values::Struct(children) => {
                builder.child_data(children.iter_mut().map(Self::finish).collect::<Result<_>>()?)
            }
        };
        let nulls = (nulls.null_count() > 0).then_some(nulls);
        // Validated in full, UTF-8 included: bytes from disk never reach unchecked code.
        builder.nulls(nulls).build().map_err(damaged)
    }
}

/// The rest of some bytes.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(n).ok_or_else(cut_short)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn length(&mut self) -> Result<usize> {
        let (bytes, rest) = self.bytes.split_first_chunk().ok_or_else(cut_short)?;
        self.bytes = rest;
        Ok(u32::from_le_bytes(*bytes) as usize)
    }

    /// Reads `len` ends into `ends`; returns what they cover.
    fn ends(&mut self, len: usize, ends: &mut Ends) -> Result<usize> {
        let mut last = 0;
        for _ in 0..len {
            let end = self.length()?;
            ends.push(end.checked_sub(last).ok_or_else(cut_short)?)?;
            last = end;
        }
        Ok(last)
    }
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
