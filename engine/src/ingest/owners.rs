//! The column of a stream that says whose each row is: names become numbers, new users get theirs before the rows.

use std::{collections::HashSet, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StringArray},
    compute::cast,
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use insula_storage::load::{Owners, compact, memory_of};

use crate::{Engine, Error, Identity, Result, Role, types::plain_type, write::Intake};

/// Rows whose users are looked up together, so that new ones cost a commit for many and not for each.
const GROUP_ROWS: usize = 256 << 10;

/// Where the users are in a stream.
pub(super) struct UserColumn {
    index: usize,
    /// The stream without it.
    pub(super) rest: SchemaRef,
}

impl UserColumn {
    pub(super) fn new(user: &Identity, stream: &Schema, name: &str) -> Result<Self> {
        if !matches!(user.role, Role::Admin | Role::Service) {
            return Err(Error::denied("loading rows of other users needs the role service or admin"));
        }
        let names = || stream.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
        let mut found = stream.fields().iter().enumerate().filter(|(_, field)| field.name() == name);
        let (Some((index, field)), None) = (found.next(), found.next()) else {
            return Err(Error::invalid(format!(
                "the user column \"{name}\" must be one column of the stream, which has {}",
                names()
            )));
        };
        if !matches!(plain_type(field.data_type()), DataType::Utf8 | DataType::LargeUtf8) {
            return Err(Error::invalid(format!(
                "the user column \"{name}\" is {}, but users are named by text",
                field.data_type()
            )));
        }
        let rest: Vec<Arc<Field>> =
            stream.fields().iter().enumerate().filter(|(at, _)| *at != index).map(|(_, f)| Arc::clone(f)).collect();
        Ok(Self { index, rest: Arc::new(Schema::new(rest)) })
    }

    /// The names of the users, and the batch without them.
    pub(super) fn split(&self, batch: &RecordBatch) -> Result<(StringArray, RecordBatch)> {
        // A group of them is kept.
        let batch = compact(batch.clone());
        let names: ArrayRef = cast(batch.column(self.index), &DataType::Utf8)?;
        let names = names.as_string::<i32>().clone();
        if names.logical_null_count() > 0 {
            return Err(Error::invalid("the user column holds NULL: every row needs its user"));
        }
        let mut rest = batch;
        rest.remove_column(self.index);
        Ok((names, rest))
    }
}

/// Rows that wait for their users' numbers.
pub(super) struct Group<'a> {
    engine: &'a Engine,
    rows: Vec<(StringArray, RecordBatch)>,
    count: usize,
    bytes: usize,
    limit: usize,
    users: HashSet<u64>,
    memory: MemoryReservation,
}

impl<'a> Group<'a> {
    pub(super) fn new(engine: &'a Engine, pool: &Arc<dyn MemoryPool>) -> Self {
        let limit = engine.store().load_bytes();
        let memory = MemoryConsumer::new("rows that wait for their users").register(pool);
        Self { engine, rows: Vec::new(), count: 0, bytes: 0, limit, users: HashSet::new(), memory }
    }

    pub(super) async fn add(&mut self, names: StringArray, rows: RecordBatch, intake: &mut Intake) -> Result<()> {
        self.count += rows.num_rows();
        self.bytes += memory_of(&rows) + names.to_data().get_slice_memory_size().unwrap_or_default();
        self.memory.try_resize(self.bytes)?;
        self.rows.push((names, rows));
        if self.count >= GROUP_ROWS || self.bytes >= self.limit { self.drain(intake).await } else { Ok(()) }
    }

    /// Gives the rows gathered so far to the intake, under their users' numbers.
    pub(super) async fn drain(&mut self, intake: &mut Intake) -> Result<()> {
        (self.count, self.bytes) = (0, 0);
        let (names, rows): (Vec<_>, Vec<_>) = std::mem::take(&mut self.rows).into_iter().unzip();
        let numbers = self.engine.users().numbers(&names).await?;
        drop(names);
        for (numbers, rows) in numbers.into_iter().zip(rows) {
            let mut last = None;
            for number in numbers.values() {
                if last != Some(*number) {
                    self.users.insert(*number);
                    last = Some(*number);
                }
            }
            let bytes = memory_of(&rows);
            intake.add_owned(rows, Owners::Each(numbers)).await?;
            self.memory.shrink(bytes.min(self.memory.size()));
        }
        self.memory.free();
        Ok(())
    }

    /// How many users the rows were of.
    pub(super) fn users(&self) -> usize {
        self.users.len()
    }
}
