//! Functions that make more than they are given, such as `repeat` and `range`: what a call may make is bounded before
//! it allocates, and counted among the memory of all statements for as long as the result lives.
//!
//! DataFusion's functions know no memory pool, and a batch is what a call makes of thousands of rows at once: one
//! statement could otherwise take the whole machine. Below a quarter of a user's memory, and a gibibyte, no result
//! overflows the offsets of a text array either.

mod joined;
mod literals;
mod sizes;

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayData, make_array},
    buffer::Buffer,
};
use bytes::Bytes;
use datafusion::{
    common::ExprSchema,
    error::Result,
    execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation, human_readable_size},
    logical_expr::{
        ColumnarValue, Documentation, Expr, ExpressionPlacement, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
        ScalarUDFImpl, Signature, interval_arithmetic::Interval, simplify::ExprSimplifyResult,
        simplify::SimplifyContext, sort_properties::ExprProperties, sort_properties::SortProperties,
    },
};

use crate::{Error, ErrorKind};
pub(crate) use joined::Joined;
pub(crate) use literals::BigLiterals;
use sizes::Rule;

/// Results below are not counted: a batch of plain rows is no smaller, and the reserve is for those.
const SMALL: u64 = 1 << 20;
/// One value may have so much where a batch may: a few megabytes harm nobody.
const SCALAR: u64 = 8 << 20;
/// No more than so many bytes in one array, whatever a user may have: offsets are 32 bits with a sign.
const LARGEST: usize = 1 << 30;

/// What one call may make.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    /// Of all statements.
    pool: Arc<dyn MemoryPool>,
    /// Bytes of one batch.
    batch: u64,
    /// Bytes of a value that stands for every row; plans hold such values, which nobody counts.
    scalar: u64,
}

impl Room {
    /// `user`: bytes of the statements of one user.
    pub fn new(pool: Arc<dyn MemoryPool>, user: usize) -> Self {
        let batch = (user / 4).min(LARGEST) as u64;
        Self { pool, batch, scalar: batch.min((batch / 4).max(SCALAR)) }
    }

    fn refuse(what: &str, bytes: u64, limit: u64) -> Error {
        let [bytes, limit] = [bytes, limit].map(|n| human_readable_size(usize::try_from(n).unwrap_or(usize::MAX)));
        let message = format!(
            "{what} could make {bytes} at once, and {limit} is the limit; ask for less at a time, or raise \
             --user-memory-limit"
        );
        Error::new(ErrorKind::ResourceExhausted, message)
    }

    fn hold(&self, what: &str, bytes: u64) -> Result<MemoryReservation> {
        let held = MemoryConsumer::new(what).register(&self.pool);
        held.try_grow(usize::try_from(bytes).unwrap_or(usize::MAX))?;
        Ok(held)
    }
}

/// One of DataFusion's functions within its bounds.
#[derive(Clone, Debug)]
pub(crate) struct Bounded {
    inner: Arc<ScalarUDF>,
    rule: Rule,
    room: Room,
}

impl Bounded {
    /// The function itself if it makes no more than it is given.
    pub fn function(inner: Arc<ScalarUDF>, room: &Room) -> Arc<ScalarUDF> {
        match Rule::of(inner.name()) {
            Some(rule) => Arc::new(ScalarUDF::from(Self { inner, rule, room: room.clone() })),
            None => inner,
        }
    }

    fn is_one(function: &ScalarUDF) -> bool {
        function.inner().is::<Self>()
    }

    /// Row by row, or many at a time, as far as their bounds go: a bound may be far above what is made.
    fn in_slices(&self, args: &ScalarFunctionArgs, sizes: &[u64]) -> Result<ColumnarValue> {
        let (mut made, mut bytes, mut from) = (Vec::new(), 0, 0);
        while from < sizes.len() {
            let mut sum = sizes[from];
            let mut to = from + 1;
            while to < sizes.len() && sum.saturating_add(sizes[to]) <= self.room.batch / 4 {
                sum += sizes[to];
                to += 1;
            }
            if sum > self.room.batch {
                return Err(Room::refuse(self.name(), sum, self.room.batch).into());
            }
            let slice = |arg: &ColumnarValue| match arg {
                ColumnarValue::Array(array) => ColumnarValue::Array(array.slice(from, to - from)),
                ColumnarValue::Scalar(one) => ColumnarValue::Scalar(one.clone()),
            };
            let part = ScalarFunctionArgs {
                args: args.args.iter().map(slice).collect(),
                number_rows: to - from,
                ..args.clone()
            };
            let array = self.inner.inner().invoke_with_args(part)?.into_array(to - from)?;
            bytes += array.get_array_memory_size() as u64;
            if bytes > self.room.batch {
                return Err(Room::refuse(self.name(), bytes, self.room.batch).into());
            }
            made.push(array);
            from = to;
        }
        let made: Vec<&dyn Array> = made.iter().map(AsRef::as_ref).collect();
        Ok(ColumnarValue::Array(arrow::compute::concat(&made)?))
    }
}

/// Memory of an array that is counted until its last reader has gone.
struct Counted {
    buffer: Buffer,
    _held: Arc<MemoryReservation>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

/// The same data, holding the reservation by each of its larger parts.
fn counted(data: ArrayData, held: &Arc<MemoryReservation>) -> Result<ArrayData> {
    let hold = |buffer: &Buffer| match buffer.len() as u64 {
        bytes if bytes < SMALL / 4 => buffer.clone(),
        _ => Buffer::from(Bytes::from_owner(Counted { buffer: buffer.clone(), _held: Arc::clone(held) })),
    };
    let buffers = data.buffers().iter().map(hold).collect();
    let children = data.child_data().iter().map(|child| counted(child.clone(), held)).collect::<Result<_>>()?;
    Ok(data.into_builder().buffers(buffers).child_data(children).build()?)
}

impl PartialEq for Bounded {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner
    }
}

impl Eq for Bounded {}

impl Hash for Bounded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl ScalarUDFImpl for Bounded {
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        // One value is made then, and laid out for all rows afterwards.
        let rows = if is_scalar { 1 } else { args.number_rows };
        let sizes = self.rule.sizes(&args.args, rows)?;
        let bytes = sizes.iter().fold(0, |sum: u64, size| sum.saturating_add(*size));
        if is_scalar {
            let laid_out = bytes.saturating_mul(args.number_rows as u64);
            if bytes > self.room.scalar {
                return Err(Room::refuse(self.name(), bytes, self.room.scalar).into());
            }
            if laid_out > self.room.batch {
                return Err(Room::refuse(self.name(), laid_out, self.room.batch).into());
            }
        }
        if bytes <= SMALL {
            return self.inner.inner().invoke_with_args(args);
        }
        let in_slices = !is_scalar && self.rule.is_loose() && bytes > self.room.batch / 4;
        if bytes > self.room.batch && !in_slices {
            return Err(Room::refuse(self.name(), bytes, self.room.batch).into());
        }
        // Builders grow by doubling, so that the old and the new buffer are there at a time.
        let held = self.room.hold(self.name(), bytes.saturating_mul(2).min(self.room.batch))?;
        let made =
            if in_slices { self.in_slices(&args, &sizes)? } else { self.inner.inner().invoke_with_args(args)? };
        let ColumnarValue::Array(array) = made else { return Ok(made) };
        held.try_resize(array.get_array_memory_size())?;
        Ok(ColumnarValue::Array(make_array(counted(array.to_data(), &Arc::new(held))?)))
    }

    /// What the inner function makes of a call to itself is to be bounded as well.
    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        Ok(match self.inner.inner().simplify(args, info)? {
            ExprSimplifyResult::Simplified(Expr::ScalarFunction(mut call)) if !Self::is_one(&call.func) => {
                call.func = Self::function(call.func, &self.room);
                ExprSimplifyResult::Simplified(Expr::ScalarFunction(call))
            }
            other => other,
        })
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.inner.inner().schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[arrow::datatypes::DataType]) -> Result<arrow::datatypes::DataType> {
        self.inner.inner().return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<arrow::datatypes::FieldRef> {
        self.inner.inner().return_field_from_args(args)
    }

    #[expect(deprecated)]
    fn is_nullable(&self, args: &[Expr], schema: &dyn ExprSchema) -> bool {
        self.inner.inner().is_nullable(args, schema)
    }

    fn is_strict(&self) -> bool {
        self.inner.inner().is_strict()
    }

    fn short_circuits(&self) -> bool {
        self.inner.short_circuits()
    }

    fn conditional_arguments<'a>(&self, args: &'a [Expr]) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.inner.conditional_arguments(args)
    }

    fn evaluate_bounds(&self, inputs: &[&Interval]) -> Result<Interval> {
        self.inner.evaluate_bounds(inputs)
    }

    fn propagate_constraints(&self, interval: &Interval, inputs: &[&Interval]) -> Result<Option<Vec<Interval>>> {
        self.inner.propagate_constraints(interval, inputs)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(inputs)
    }

    fn preserves_lex_ordering(&self, inputs: &[ExprProperties]) -> Result<bool> {
        self.inner.preserves_lex_ordering(inputs)
    }

    fn coerce_types(&self, types: &[arrow::datatypes::DataType]) -> Result<Vec<arrow::datatypes::DataType>> {
        self.inner.coerce_types(types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn placement(&self, args: &[ExpressionPlacement]) -> ExpressionPlacement {
        self.inner.inner().placement(args)
    }
}
