//! The value that rows of older versions have in a column that was added after them: evaluated once, when the column
//! was added, as PostgreSQL does, so that no row has to be rewritten and every read agrees.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, RecordBatch, UInt32Array, new_null_array},
    compute::{CastOptions, cast_with_options, take},
    datatypes::{DataType, Field, Schema},
    ipc::{reader::StreamReader, writer::StreamWriter},
};

use super::persist::damaged;
use crate::{Error, ErrorKind, Result};

/// One value, as an array of one row.
#[derive(Clone, Debug)]
pub struct Initial(ArrayRef);

impl PartialEq for Initial {
    fn eq(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }
}

impl Initial {
    /// `None` for NULL, which needs no value.
    pub fn new(value: ArrayRef) -> Result<Option<Self>> {
        if value.len() != 1 {
            return Err(Error::new(ErrorKind::Internal, "a column's initial value is one value"));
        }
        Ok((value.logical_null_count() == 0).then_some(Self(value)))
    }

    pub fn array(&self) -> &ArrayRef {
        &self.0
    }

    pub(crate) fn repeat(&self, rows: usize) -> Result<ArrayRef> {
        take(&self.0, &UInt32Array::from_value(0, rows), None)
            .map_err(|e| Error::new(ErrorKind::Internal, "an initial value cannot be repeated").with_source(e))
    }

    pub(super) fn cast(&self, to: &DataType) -> Result<Self> {
        widen(&self.0, to).map(Self)
    }

    pub(super) fn to_bytes(&self, field: &Arc<Field>) -> Result<Vec<u8>> {
        let schema = Arc::new(Schema::new(vec![Arc::clone(field)]));
        let write = || {
            let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::clone(&self.0)])?;
            let mut writer = StreamWriter::try_new(Vec::new(), &schema)?;
            writer.write(&batch)?;
            writer.into_inner()
        };
        write().map_err(|e| Error::new(ErrorKind::Internal, "an initial value cannot be encoded").with_source(e))
    }

    pub(super) fn from_bytes(bytes: &[u8], field: &Arc<Field>) -> Result<Self> {
        let broken = || damaged("has a broken initial value");
        let mut reader = StreamReader::try_new(bytes, None).map_err(|e| broken().with_source(e))?;
        let batch = reader.next().ok_or_else(broken)?.map_err(|e| broken().with_source(e))?;
        match batch.columns() {
            [value] if value.len() == 1 && value.data_type() == field.data_type() => Ok(Self(Arc::clone(value))),
            _ => Err(broken()),
        }
    }
}

/// Values of a column under a later, wider type. What does not fit is damage, for a column never narrows.
pub(super) fn widen(values: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let strict = CastOptions { safe: false, ..Default::default() };
    cast_with_options(values, to, &strict)
        .map_err(|e| Error::new(ErrorKind::DataLoss, "a stored value does not fit its column").with_source(e))
}

/// The value of a column in rows that do not have it.
pub(super) fn absent(initial: Option<&Initial>, data_type: &DataType, rows: usize) -> Result<ArrayRef> {
    initial.map_or_else(|| Ok(new_null_array(data_type, rows)), |initial| initial.repeat(rows))
}
