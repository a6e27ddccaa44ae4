//! How many bytes a call makes at most, row by row, of the sizes and values of its arguments.

use arrow::{
    array::{Array, ArrayRef, AsArray},
    compute::{cast, kernels::length::length},
    datatypes::{DataType, Int64Type, IntervalMonthDayNanoType, TimeUnit},
};
use datafusion::{error::Result, logical_expr::ColumnarValue};

use super::joined::NAME as JOINED;

/// Where a value is no number, or the size of one is unknown.
const NOTHING: i64 = 0;
/// The shortest month, and the shortest day where clocks change.
const MONTH: i128 = 28 * DAY;
const DAY: i128 = 23 * 3_600_000_000_000;

/// What a function's result depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rule {
    Repeat,
    Pad,
    Replace,
    RegexpReplace,
    Series {
        to_is_in: bool,
    },
    ArrayRepeat,
    ArrayResize,
    /// A text that names arguments, and each of them any number of times.
    Format,
    /// All that it is given, so many times.
    Sum(u64),
}

impl Rule {
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "repeat" => Self::Repeat,
            "lpad" | "rpad" => Self::Pad,
            "replace" => Self::Replace,
            "regexp_replace" => Self::RegexpReplace,
            "range" => Self::Series { to_is_in: false },
            "generate_series" => Self::Series { to_is_in: true },
            "array_repeat" => Self::ArrayRepeat,
            "format" => Self::Format,
            "array_resize" => Self::ArrayResize,
            JOINED => Self::Sum(1),
            "concat" | "array_concat" | "array_append" | "array_prepend" | "make_array" | "overlay" => Self::Sum(1),
            // Separators and nulls stand between each two; a character may become four bytes; two digits are a byte.
            "concat_ws" | "array_to_string" | "translate" => Self::Sum(4),
            "encode" | "quote_literal" | "quote_nullable" | "quote_ident" => Self::Sum(2),
            _ => return None,
        })
    }

    /// Whether the bound may be far above what is made.
    pub fn is_loose(self) -> bool {
        matches!(self, Self::Replace | Self::RegexpReplace | Self::Format)
    }

    pub fn sizes(self, args: &[ColumnarValue], rows: usize) -> Result<Vec<u64>> {
        let args = args.iter().map(Arg::new).collect::<Result<Vec<_>>>()?;
        let at = |row| args.iter().map(move |arg| arg.at(row)).collect::<Vec<_>>();
        Ok((0..rows).map(|row| self.size(&at(row))).collect())
    }

    fn size(self, args: &[One]) -> u64 {
        let size = |n: usize| args.get(n).map_or(0, |arg| arg.size);
        let number = |n: usize| args.get(n).map_or(NOTHING as i128, |arg| arg.number);
        let times = |n: usize| u64::try_from(number(n).max(0)).unwrap_or(u64::MAX);
        match self {
            Self::Repeat => size(0).saturating_mul(times(1)),
            Self::Pad => {
                let fill = if args.len() > 2 { size(2).clamp(1, 4) } else { 1 };
                size(0).min(times(1).saturating_mul(4)).saturating_add(times(1).saturating_mul(fill))
            }
            Self::Replace => match size(1) {
                0 => size(0).saturating_add((size(0) + 1).saturating_mul(size(2))),
                from => size(0).saturating_add((size(0) / from).saturating_mul(size(2))),
            },
            // A replacement may name a group, which is as long as what it matched, by two bytes.
            Self::RegexpReplace => {
                let literally = (size(0) + 1).saturating_mul(size(2));
                size(0).saturating_add(literally).saturating_add(size(0).saturating_mul(size(2) / 2))
            }
            Self::Series { to_is_in } => {
                let (from, to) = if args.len() < 2 { (0, number(0)) } else { (number(0), number(1)) };
                let step = if args.len() < 3 { args.get(1).map_or(1, |arg| arg.unit) } else { number(2).abs() };
                let count = (to - from).abs() / step.max(1) + i128::from(to_is_in) + 1;
                u64::try_from(count).unwrap_or(u64::MAX).saturating_mul(8)
            }
            Self::ArrayRepeat => size(0).max(1).saturating_mul(times(1)),
            Self::ArrayResize => size(0).saturating_add(size(2).max(8).saturating_mul(times(1))),
            // A value is named by two bytes at least, or by four if it is another one's turn; quoted, it is twice as long,
            // and numbers are longer as text.
            Self::Format => {
                let values = args.iter().skip(1).map(|arg| arg.size.saturating_add(2).saturating_mul(4));
                let (sum, longest) =
                    values.fold((0_u64, 0), |(sum, longest), size| (sum.saturating_add(size), longest.max(size)));
                size(0).saturating_add(sum).saturating_add((size(0) / 4).saturating_mul(longest))
            }
            Self::Sum(factor) => {
                args.iter().fold(0_u64, |sum, arg| sum.saturating_add(arg.size)).saturating_mul(factor)
            }
        }
    }
}

/// One argument's part in a row.
#[derive(Clone, Copy)]
struct One {
    size: u64,
    number: i128,
    /// The step between two values that have no step of their own.
    unit: i128,
}

/// An argument of all rows.
enum Arg {
    Same(One),
    Each(Vec<One>),
}

impl Arg {
    fn new(arg: &ColumnarValue) -> Result<Self> {
        Ok(match arg {
            ColumnarValue::Array(array) => Self::Each(measured(array)?),
            ColumnarValue::Scalar(one) => Self::Same(measured(&one.to_array()?)?[0]),
        })
    }

    fn at(&self, row: usize) -> One {
        match self {
            Self::Same(one) => *one,
            Self::Each(all) => all[row],
        }
    }
}

/// Moments count in nanoseconds, so that their spans and intervals have one unit.
fn measured(array: &ArrayRef) -> Result<Vec<One>> {
    use DataType as T;
    let average = array.get_array_memory_size() as u64 / array.len().max(1) as u64;
    Ok(match array.data_type() {
        T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Binary | T::LargeBinary | T::BinaryView => {
            let lengths = cast(&text_lengths(array)?, &T::Int64)?;
            let lengths = lengths.as_primitive::<Int64Type>();
            lengths.iter().map(|n| One { size: n.unwrap_or(0).unsigned_abs(), number: 0, unit: 1 }).collect()
        }
        T::List(_) | T::LargeList(_) => {
            let (values, offsets): (&ArrayRef, Vec<i64>) = match array.as_list_opt::<i32>() {
                Some(list) => (list.values(), list.offsets().iter().map(|n| i64::from(*n)).collect()),
                None => (array.as_list::<i64>().values(), array.as_list::<i64>().offsets().to_vec()),
            };
            let each = values.get_array_memory_size() as u64 / values.len().max(1) as u64 + 1;
            let sizes = offsets.windows(2).map(|pair| (pair[1] - pair[0]).unsigned_abs().saturating_mul(each));
            sizes.map(|size| One { size, number: 0, unit: 1 }).collect()
        }
        T::Interval(_) => {
            let steps = cast(array, &T::Interval(arrow::datatypes::IntervalUnit::MonthDayNano))?;
            let steps = steps.as_primitive::<IntervalMonthDayNanoType>().iter().map(|step| {
                step.map_or(i128::MAX, |step| {
                    i128::from(step.months) * MONTH + i128::from(step.days) * DAY + i128::from(step.nanoseconds)
                })
            });
            steps.map(|number| One { size: 16, number, unit: 1 }).collect()
        }
        T::Date32 | T::Timestamp(..) => {
            let scale: i128 = match array.data_type() {
                T::Timestamp(TimeUnit::Second, _) => 1_000_000_000,
                T::Timestamp(TimeUnit::Millisecond, _) => 1_000_000,
                T::Timestamp(TimeUnit::Microsecond, _) => 1_000,
                T::Timestamp(TimeUnit::Nanosecond, _) => 1,
                _ => 24 * 3_600_000_000_000,
            };
            let wide = if array.data_type() == &T::Date32 { cast(array, &T::Int32)? } else { array.clone() };
            let numbers = cast(&wide, &T::Int64)?;
            let numbers = numbers.as_primitive::<Int64Type>().iter().map(|n| i128::from(n.unwrap_or(0)) * scale);
            numbers.map(|number| One { size: 8, number, unit: scale }).collect()
        }
        kind if kind.is_integer() => {
            let numbers = cast(array, &T::Int64)?;
            let numbers = numbers.as_primitive::<Int64Type>().iter().map(|n| i128::from(n.unwrap_or(0)));
            numbers.map(|number| One { size: 8, number, unit: 1 }).collect()
        }
        _ => vec![One { size: average + 1, number: 0, unit: 1 }; array.len()],
    })
}

fn text_lengths(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::BinaryView => {
            let views = array.as_binary_view().iter().map(|bytes| bytes.map_or(0, |bytes| bytes.len() as i64));
            std::sync::Arc::new(arrow::array::Int64Array::from_iter_values(views))
        }
        _ => length(array)?,
    })
}
