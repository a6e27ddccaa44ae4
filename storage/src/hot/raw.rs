//! Arrow arrays as the few physical shapes that storage knows, so that one mechanism serves every type.

use arrow::{
    array::{Array, AsArray},
    buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer},
    datatypes::DataType,
};

use crate::{Error, ErrorKind, Result};

/// How values of a type lie in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    Null,
    Bool,
    /// That many bytes a value.
    Fixed(usize),
    /// Bytes under 32-bit offsets, or 64-bit ones if `large`.
    Var {
        large: bool,
    },
    /// Lists and maps: ranges of one child.
    List {
        large: bool,
    },
    /// That many values of one child each.
    FixedList(usize),
    Struct,
}

impl Shape {
    pub fn of(data_type: &DataType) -> Result<Self> {
        let unknown = || Error::new(ErrorKind::Invalid, format!("type {data_type} cannot be stored"));
        Ok(match data_type {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Bool,
            DataType::Utf8 | DataType::Binary => Self::Var { large: false },
            DataType::LargeUtf8 | DataType::LargeBinary => Self::Var { large: true },
            DataType::FixedSizeBinary(width) => Self::Fixed(usize::try_from(*width).map_err(|_| unknown())?),
            DataType::List(_) | DataType::Map(..) => Self::List { large: false },
            DataType::LargeList(_) => Self::List { large: true },
            DataType::FixedSizeList(_, n) => Self::FixedList(usize::try_from(*n).map_err(|_| unknown())?),
            DataType::Struct(_) => Self::Struct,
            other => Self::Fixed(other.primitive_width().ok_or_else(unknown)?),
        })
    }

    /// Whether a value needs more than its place in a row's fixed area.
    pub fn is_variable(self) -> bool {
        matches!(self, Self::Var { .. } | Self::List { .. } | Self::FixedList(_) | Self::Struct)
    }
}

pub(crate) enum Offsets {
    Small(ScalarBuffer<i32>),
    Large(ScalarBuffer<i64>),
}

impl Offsets {
    /// Arrow keeps offsets at or above zero, so the casts lose nothing.
    pub fn at(&self, i: usize) -> usize {
        match self {
            Self::Small(offsets) => offsets[i].unsigned_abs() as usize,
            Self::Large(offsets) => offsets[i].unsigned_abs() as usize,
        }
    }
}

pub(crate) enum Body {
    Null,
    Bool(BooleanBuffer),
    Fixed { width: usize, bytes: Buffer },
    Var { offsets: Offsets, bytes: Buffer },
    List { offsets: Offsets, child: Box<Raw> },
    FixedList { n: usize, child: Box<Raw> },
    Struct(Vec<Raw>),
}

/// One array, taken apart.
pub(crate) struct Raw {
    pub nulls: Option<NullBuffer>,
    pub body: Body,
}

impl Raw {
    pub fn of(array: &dyn Array) -> Result<Self> {
        let body = match Shape::of(array.data_type())? {
            Shape::Null => Body::Null,
            Shape::Bool => Body::Bool(array.as_boolean().values().clone()),
            Shape::Fixed(width) => {
                let data = array.to_data();
                let bytes = data.buffers()[0].slice_with_length(data.offset() * width, data.len() * width);
                Body::Fixed { width, bytes }
            }
            Shape::Var { large } => {
                let data = array.to_data();
                let offsets = data.buffers()[0].clone();
                let offsets = if large {
                    Offsets::Large(ScalarBuffer::new(offsets, data.offset(), data.len() + 1))
                } else {
                    Offsets::Small(ScalarBuffer::new(offsets, data.offset(), data.len() + 1))
                };
                Body::Var { offsets, bytes: data.buffers()[1].clone() }
            }
            Shape::List { .. } => Self::list(array)?,
            Shape::FixedList(n) => {
                Body::FixedList { n, child: Box::new(Self::of(array.as_fixed_size_list().values())?) }
            }
            Shape::Struct => {
                Body::Struct(array.as_struct().columns().iter().map(|c| Self::of(c)).collect::<Result<_>>()?)
            }
        };
        Ok(Self { nulls: array.nulls().cloned(), body })
    }

    fn list(array: &dyn Array) -> Result<Body> {
        Ok(match array.data_type() {
            DataType::LargeList(_) => {
                let list = array.as_list::<i64>();
                let offsets = Offsets::Large(list.offsets().inner().clone());
                Body::List { offsets, child: Box::new(Self::of(list.values())?) }
            }
            DataType::Map(..) => {
                let map = array.as_map();
                let offsets = Offsets::Small(map.offsets().inner().clone());
                Body::List { offsets, child: Box::new(Self::of(map.entries())?) }
            }
            _ => {
                let list = array.as_list::<i32>();
                let offsets = Offsets::Small(list.offsets().inner().clone());
                Body::List { offsets, child: Box::new(Self::of(list.values())?) }
            }
        })
    }

    pub fn is_null(&self, i: usize) -> bool {
        matches!(self.body, Body::Null) || self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(i))
    }
}
