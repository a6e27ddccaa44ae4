//! How much a value of a type takes whatever it says: a NULL of a fixed size takes as much as any other, in each row of each
//! batch, so that a type alone could ask for more memory than there is.

use arrow::datatypes::DataType;

use crate::{Error, ErrorKind, Result};

/// Bytes of fixed size that a value may have. A list of 8,192 doubles has them.
pub const MOST_FIXED_BYTES: usize = 64 << 10;

/// Refuses a type of larger values.
pub fn check_width(data_type: &DataType) -> Result<()> {
    if fixed_bytes(data_type) <= MOST_FIXED_BYTES {
        return Ok(());
    }
    let message = format!(
        "a type of fixed size may take {MOST_FIXED_BYTES} bytes a value, and one of those asked for takes more; \
         use a list or bytes without a size"
    );
    Err(Error::new(ErrorKind::Invalid, message))
}

fn fixed_bytes(data_type: &DataType) -> usize {
    match data_type {
        DataType::FixedSizeBinary(bytes) => usize::try_from(*bytes).unwrap_or(usize::MAX),
        DataType::FixedSizeList(item, n) => {
            usize::try_from(*n).unwrap_or(usize::MAX).saturating_mul(fixed_bytes(item.data_type()).max(1))
        }
        DataType::Struct(fields) => {
            fields.iter().fold(0, |sum, field| sum.saturating_add(fixed_bytes(field.data_type())))
        }
        // Lists have no items where they are NULL, but each item is of a fixed size again.
        DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => fixed_bytes(item.data_type()),
        DataType::ListView(item) | DataType::LargeListView(item) => fixed_bytes(item.data_type()),
        DataType::Dictionary(_, values) => fixed_bytes(values),
        DataType::RunEndEncoded(_, values) => fixed_bytes(values.data_type()),
        other => other.primitive_width().unwrap_or(size_of::<u64>()),
    }
}
