//! Rows of one version of a table's definition that lie apart.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, make_array},
    datatypes::{DataType, Field, Schema, SchemaRef},
};

use super::{
    batch,
    column::{Column, Reader},
    cut_short,
};
use crate::{
    Error, ErrorKind, Result, TableDef,
    hot::{
        raw::Shape,
        value::{Body, Layout},
    },
    table::Version,
};

/// Some declared columns of such rows.
pub(super) struct Part {
    layout: Layout,
    /// `None`: the present one.
    version: Option<Arc<Version>>,
    /// The columns under their stored names.
    pub schema: SchemaRef,
    /// Which of the version's columns they are.
    pub slots: Vec<usize>,
    columns: Vec<Column>,
    rows: usize,
}

impl Part {
    pub fn new(layout: Layout, version: Option<Arc<Version>>, schema: Schema, slots: Vec<usize>) -> Result<Self> {
        let columns = schema.fields().iter().map(|field| Column::new(field.data_type())).collect::<Result<_>>()?;
        Ok(Self { layout, version, schema: Arc::new(schema), slots, columns, rows: 0 })
    }

    pub fn memory(&self) -> usize {
        self.columns.iter().map(Column::memory).sum()
    }

    /// Adds a row; returns which one of them it is.
    pub fn push(&mut self, row: &Body<'_>) -> Result<usize> {
        for (slot, column) in self.slots.iter().zip(&mut self.columns) {
            push(column, &self.layout, *slot, row)?;
        }
        self.rows += 1;
        Ok(self.rows - 1)
    }

    pub fn finish(&mut self) -> Result<RecordBatch> {
        let columns = self.columns.iter_mut().map(|column| Ok(make_array(column.finish()?)));
        let columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
        batch(&self.schema, columns, std::mem::take(&mut self.rows))
    }

    /// All columns that the version's rows have, as their chunks do.
    pub fn whole(&self, table: &TableDef) -> SchemaRef {
        let field = |data_type: &DataType| Field::new("", data_type.clone(), true);
        let fields: Vec<Field> = match &self.version {
            Some(version) => version.columns.iter().map(|(_, data_type)| field(data_type)).collect(),
            None => table.columns.iter().map(|column| field(column.field.data_type())).collect(),
        };
        Arc::new(Schema::new(fields))
    }
}

fn push(column: &mut Column, layout: &Layout, i: usize, row: &Body<'_>) -> Result<()> {
    let slot =
        layout.columns.get(i).ok_or_else(|| Error::new(ErrorKind::Internal, "a projected column is not there"))?;
    if row.is_null(i) {
        column.push_null();
        return Ok(());
    }
    let end_at = |at: usize| -> Result<usize> {
        let mut reader = Reader { bytes: row.0.get(at..).ok_or_else(cut_short)? };
        Ok(reader.length()? + layout.variable)
    };
    let range = match slot.shape {
        Shape::Null => slot.at..slot.at,
        Shape::Bool => slot.at..slot.at + 1,
        Shape::Fixed(width) => slot.at..slot.at + width,
        _ => slot.before.map_or(Ok(layout.variable), end_at)?..end_at(slot.at)?,
    };
    let bytes = row.0.get(range).ok_or_else(cut_short)?;
    match slot.shape {
        Shape::Null => column.push_null(),
        Shape::Bool => column.push_bool(bytes == [1]),
        Shape::Fixed(_) => column.push_fixed(bytes),
        Shape::Var { .. } => column.push_var(bytes)?,
        _ => column.push_range(&mut Reader { bytes }, 1)?,
    }
    Ok(())
}
