//! The first column of a primary key, read back from its memcomparable bytes: what bounds of keys say of a column.

use arrow::{
    array::{ArrayData, ArrayRef, BooleanArray, make_array},
    buffer::Buffer,
    datatypes::DataType,
};

use super::{KeyCodec, Kind};
use crate::{Error, ErrorKind, Result};

impl KeyCodec {
    /// The value of the key's first column, as an array of one row. `None` for floats, whose order as keys is not the one
    /// of any SQL comparison where -0.0 and NaN are concerned.
    pub fn first_value(&self, key: &[u8]) -> Result<Option<ArrayRef>> {
        let Some((kind, data_type)) = self.columns.first() else { return Ok(None) };
        let cut_short = || Error::new(ErrorKind::DataLoss, "a key is cut short");
        let width = || data_type.primitive_width().and_then(|width| key.get(..width)).ok_or_else(cut_short);
        let value = match kind {
            Kind::Float => return Ok(None),
            Kind::Bool => {
                let value = *key.first().ok_or_else(cut_short)? != 0;
                return Ok(Some(std::sync::Arc::new(BooleanArray::from(vec![value]))));
            }
            Kind::Unsigned => width()?.iter().rev().copied().collect::<Vec<u8>>(),
            Kind::Signed => {
                let mut value: Vec<u8> = width()?.iter().rev().copied().collect();
                if let Some(sign) = value.last_mut() {
                    *sign ^= 0x80;
                }
                value
            }
            Kind::FixedBytes => {
                let DataType::FixedSizeBinary(width) = data_type else { return Ok(None) };
                let width = usize::try_from(*width).map_err(|_| cut_short())?;
                key.get(..width).ok_or_else(cut_short)?.to_vec()
            }
            Kind::Bytes => return variable(data_type, &unescaped(key).ok_or_else(cut_short)?).map(Some),
        };
        one(ArrayData::builder(data_type.clone()).add_buffer(Buffer::from_vec(value))).map(Some)
    }
}

fn variable(data_type: &DataType, value: &[u8]) -> Result<ArrayRef> {
    let length = value.len();
    let offsets = match data_type {
        DataType::LargeUtf8 | DataType::LargeBinary => Buffer::from_vec(vec![0i64, length as i64]),
        _ => {
            let length = i32::try_from(length).map_err(|e| malformed().with_source(e))?;
            Buffer::from_vec(vec![0i32, length])
        }
    };
    one(ArrayData::builder(data_type.clone()).add_buffer(offsets).add_buffer(Buffer::from(value)))
}

/// Checks the value too: bytes from a file may be anything.
fn one(data: arrow::array::ArrayDataBuilder) -> Result<ArrayRef> {
    Ok(make_array(data.len(1).align_buffers(true).build().map_err(|e| malformed().with_source(e))?))
}

/// Up to the terminator 00 00, with 00 FF for 00.
fn unescaped(key: &[u8]) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    let mut rest = key.iter();
    loop {
        match *rest.next()? {
            0 => match *rest.next()? {
                0 => return Some(value),
                0xFF => value.push(0),
                _ => return None,
            },
            byte => value.push(byte),
        }
    }
}

fn malformed() -> Error {
    Error::new(ErrorKind::DataLoss, "a key does not hold a value of its column's type")
}
