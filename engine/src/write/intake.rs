//! The rows of an insert on their way into storage. Few of them become a write set at the end, as always; once there are
//! more than a load takes at a time they turn into one, and from then on stream into files.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use insula_storage::{
    Filling, Load, Store, TableDef, WriteSet,
    load::{Mode, Owners, Scope, compact, memory_of},
};

use crate::Result;

pub(crate) struct Intake {
    store: Arc<Store>,
    table: Arc<TableDef>,
    scope: Scope,
    mode: Mode,
    /// Rows of the table, while they are few.
    held: Vec<RecordBatch>,
    bytes: usize,
    load: Option<Load>,
    memory: MemoryReservation,
}

impl Intake {
    pub fn new(
        store: &Arc<Store>,
        table: &Arc<TableDef>,
        scope: Scope,
        mode: Mode,
        pool: &Arc<dyn MemoryPool>,
    ) -> Self {
        Self {
            store: Arc::clone(store),
            table: Arc::clone(table),
            scope,
            mode,
            held: Vec::new(),
            bytes: 0,
            load: None,
            memory: MemoryConsumer::new("insert").register(pool),
        }
    }

    /// Rows of the one user that the intake is for.
    pub async fn add(&mut self, rows: RecordBatch) -> Result<()> {
        let Scope::One(user) = self.scope else {
            return Err(crate::Error::internal("rows for many users came without their users"));
        };
        let rows = compact(rows);
        if self.load.is_some() {
            return self.add_owned(rows, Owners::One(user)).await;
        }
        self.bytes += memory_of(&rows);
        self.memory.try_resize(self.bytes)?;
        self.held.push(rows);
        if self.bytes > self.store.load_bytes() {
            for rows in std::mem::take(&mut self.held) {
                self.add_owned(rows, Owners::One(user)).await?;
            }
        }
        Ok(())
    }

    /// Rows with their users. Those of many users are a load however few they are: one file, one commit.
    pub async fn add_owned(&mut self, rows: RecordBatch, owners: Owners) -> Result<()> {
        let load = match &mut self.load {
            Some(load) => load,
            None => self.load.insert(self.store.load(&self.table, self.scope, self.mode).await?),
        };
        load.push(rows, owners).await?;
        self.memory.try_resize(load.memory())?;
        Ok(())
    }

    /// Puts the rows into their table, all or nothing.
    pub async fn commit(self) -> Result<u64> {
        let (store, table, scope) = (Arc::clone(&self.store), Arc::clone(&self.table), self.scope);
        match (self.filling()?, scope) {
            (Filling::Load(load), _) => Ok(load.finish().await?.rows),
            (Filling::Set(set), Scope::One(user)) => {
                let lock = store.lock(&table, user).await;
                Ok(store.commit(&lock, set).await?.rows)
            }
            _ => Ok(0),
        }
    }

    /// The rows as the first ones of a table that is yet to appear.
    pub fn filling(mut self) -> Result<Filling> {
        if let Some(load) = self.load.take() {
            return Ok(Filling::Load(load));
        }
        let Scope::One(user) = self.scope else { return Ok(Filling::Nothing) };
        let mut set = WriteSet::new(Arc::clone(&self.table), user);
        for rows in std::mem::take(&mut self.held) {
            match self.mode {
                Mode::Insert => set.insert(&rows)?,
                Mode::Replace => set.replace(&rows)?,
            }
            self.bytes -= memory_of(&rows).min(self.bytes);
            self.memory.try_resize(self.bytes + set.memory())?;
        }
        Ok(Filling::Set(set))
    }
}
