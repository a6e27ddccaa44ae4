//! The rows of an insert on their way into storage. Few of them become a write set at the end, as always; once there are
//! more than a load takes at a time they turn into one, and from then on stream into files. Those of a stream table, which
//! has no files, are held to the end, and there may be only so many.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{RecordBatch, UInt32Array},
    compute::take_record_batch,
};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use insula_proto::UserNo;
use insula_storage::{
    Filling, Load, Store, TableDef, TableKind, WriteSet,
    load::{Mode, Owners, Scope, compact, memory_of},
};

use crate::{Error, ErrorKind, Result};

pub(crate) struct Intake {
    store: Arc<Store>,
    table: Arc<TableDef>,
    scope: Scope,
    mode: Mode,
    /// Rows of the table, while they are few.
    held: Vec<RecordBatch>,
    /// The same of many users, of a stream table.
    owned: Vec<(RecordBatch, Owners)>,
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
            owned: Vec::new(),
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
        self.hold(memory_of(&rows))?;
        self.held.push(rows);
        if self.table.kind != TableKind::Stream && self.bytes > self.store.load_bytes() {
            for rows in std::mem::take(&mut self.held) {
                self.add_owned(rows, Owners::One(user)).await?;
            }
        }
        Ok(())
    }

    /// Rows with their users. Those of many users are a load however few they are: one file, one commit.
    pub async fn add_owned(&mut self, rows: RecordBatch, owners: Owners) -> Result<()> {
        if self.table.kind == TableKind::Stream {
            let rows = compact(rows);
            self.hold(memory_of(&rows))?;
            self.owned.push((rows, owners));
            return Ok(());
        }
        let load = match &mut self.load {
            Some(load) => load,
            None => self.load.insert(self.store.load(&self.table, self.scope, self.mode).await?),
        };
        load.push(rows, owners).await?;
        self.memory.try_resize(load.memory())?;
        Ok(())
    }

    fn hold(&mut self, more: usize) -> Result<()> {
        self.bytes += more;
        let most = self.store.stream_bytes();
        if self.table.kind == TableKind::Stream && self.bytes > most {
            let message = format!(
                "one statement may bring {most} bytes of rows into a stream table, and this one brings more: send them in \
                 several statements, or keep them in a user table"
            );
            return Err(Error::new(ErrorKind::ResourceExhausted, message));
        }
        Ok(self.memory.try_resize(self.bytes)?)
    }

    /// Puts the rows into their table, all or nothing.
    pub async fn commit(self) -> Result<u64> {
        if !self.owned.is_empty() {
            return self.commit_owned().await;
        }
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

    /// The rows of many users in a stream table: a set for each of them, and one commit.
    async fn commit_owned(mut self) -> Result<u64> {
        let mut sets: BTreeMap<u64, WriteSet> = BTreeMap::new();
        for (rows, owners) in std::mem::take(&mut self.owned) {
            for (user, rows) in by_owner(&rows, &owners)? {
                let set = sets.entry(user).or_insert_with(|| self.store.write_set(&self.table, UserNo(user)));
                match self.mode {
                    Mode::Insert => set.insert(&rows)?,
                    Mode::Replace => set.replace(&rows)?,
                }
            }
            self.memory.try_resize(self.bytes + sets.values().map(WriteSet::memory).sum::<usize>())?;
        }
        let lock = self.store.lock_all(&self.table).await;
        Ok(self.store.commit_many(&lock, sets.into_values().collect()).await?.rows)
    }

    /// The rows as the first ones of a table that is yet to appear.
    pub fn filling(mut self) -> Result<Filling> {
        if let Some(load) = self.load.take() {
            return Ok(Filling::Load(load));
        }
        let Scope::One(user) = self.scope else { return Ok(Filling::Nothing) };
        let mut set = self.store.write_set(&self.table, user);
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

fn by_owner(rows: &RecordBatch, owners: &Owners) -> Result<Vec<(u64, RecordBatch)>> {
    let users = match owners {
        Owners::One(user) => return Ok(vec![(user.0, rows.clone())]),
        Owners::Each(users) => users.values(),
    };
    let mut places: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for (place, user) in (0u32..).zip(users) {
        places.entry(*user).or_default().push(place);
    }
    let of = |(user, places)| Ok((user, take_record_batch(rows, &UInt32Array::from_iter_values::<Vec<u32>>(places))?));
    places.into_iter().map(of).collect()
}
