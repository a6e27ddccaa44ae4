//! Arrow arrays that grow by the values of rows, and what reads those values.

use arrow::{
    array::{ArrayData, BooleanBufferBuilder},
    buffer::{Buffer, MutableBuffer, NullBuffer},
    datatypes::DataType,
};

use super::{cut_short, damaged};
use crate::{Error, ErrorKind, Result, hot::raw::Shape};

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
pub(super) struct Column {
    data_type: DataType,
    valid: BooleanBufferBuilder,
    values: Values,
}

impl Column {
    pub(super) fn new(data_type: &DataType) -> Result<Self> {
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

    pub(super) fn memory(&self) -> usize {
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

    pub(super) fn push_null(&mut self) {
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

    pub(super) fn push_bool(&mut self, value: bool) {
        self.valid.append(true);
        if let Values::Bool(bits) = &mut self.values {
            bits.append(value);
        }
    }

    pub(super) fn push_fixed(&mut self, value: &[u8]) {
        self.valid.append(true);
        if let Values::Fixed { bytes, .. } = &mut self.values {
            bytes.extend_from_slice(value);
        }
    }

    pub(super) fn push_var(&mut self, value: &[u8]) -> Result<()> {
        self.valid.append(true);
        if let Values::Var { ends, bytes } = &mut self.values {
            ends.push(value.len())?;
            bytes.extend_from_slice(value);
        }
        Ok(())
    }

    /// Appends `len` values that `value::encode_range` wrote.
    pub(super) fn push_range(&mut self, reader: &mut Reader<'_>, len: usize) -> Result<()> {
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

    pub(super) fn finish(&mut self) -> Result<ArrayData> {
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
pub(super) struct Reader<'a> {
    pub bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(n).ok_or_else(cut_short)?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(super) fn length(&mut self) -> Result<usize> {
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
