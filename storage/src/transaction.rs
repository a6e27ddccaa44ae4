//! A transaction: one snapshot for all of its statements, and beside it what they have written so far.
//!
//! Nothing of it is in the database before the commit, so its end, its owner's death and a crash leave nothing behind.
//! Each statement's rows are checked as any others are, against the snapshot and what the transaction wrote before,
//! and then lie in memory as a run ([`crate::hot::pending`]) that the next statement's view shows on top of the
//! snapshot. The commit takes the locks of all that was written, makes sure that none of these keys was committed by
//! somebody else meanwhile ([`conflict`]), and gives all tables' rows to the committer as one commit.

mod conflict;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use insula_proto::{Seq, TableId, UserNo};

use crate::{
    Commit, Durability, Error, ErrorKind, ReadView, Result, Store, TableDef, TableKind, WriteSet,
    fail_points::FailPoint,
    hot::{
        committer::Rows,
        pending::{self, Run},
    },
    read::Overlay,
    write::{WriteLock, check},
};

/// The snapshot is taken by the first statement and kept to the end; what a transaction that had none holds is nothing.
pub struct Transaction {
    store: Arc<Store>,
    begun: Option<Begun>,
    overlay: Arc<Overlay>,
    /// What the overlay was at each savepoint, oldest first.
    marks: Vec<Arc<Overlay>>,
    /// The tables written, by the definitions under which that was done last.
    tables: BTreeMap<TableId, Arc<TableDef>>,
}

struct Begun {
    view: Arc<ReadView>,
    /// What pending rows show as the time of their commit.
    micros: i64,
}

impl Store {
    pub fn transaction(self: &Arc<Self>) -> Transaction {
        let (begun, overlay, marks, tables) = Default::default();
        Transaction { store: Arc::clone(self), begun, overlay, marks, tables }
    }
}

impl Transaction {
    /// What a statement that begins now reads: the snapshot, and all that the transaction has written. It stays as it
    /// is, whatever the transaction does later.
    pub fn view(&mut self) -> Arc<ReadView> {
        let overlay = Arc::clone(&self.overlay);
        let view = &self.begun().view;
        if overlay.is_empty() { Arc::clone(view) } else { view.with(&overlay) }
    }

    fn begun(&mut self) -> &Begun {
        let store = &self.store;
        self.begun.get_or_insert_with(|| Begun { view: store.view(), micros: store.clock.now_micros() })
    }

    /// Whether it has its snapshot, and so holds back what that shows.
    pub fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    pub fn has_written(&self) -> bool {
        !self.overlay.is_empty()
    }

    /// Bytes of rows held, those that only a savepoint still knows included.
    pub fn memory(&self) -> usize {
        let mut counted = HashSet::new();
        let overlays = self.marks.iter().chain([&self.overlay]);
        let runs = overlays.flat_map(|overlay| overlay.values().flatten());
        runs.filter(|run| counted.insert(Arc::as_ptr(run))).map(|run| run.memory()).sum()
    }

    /// Adds what one statement writes, all of it or nothing; a key that it brings as new must not live in the
    /// transaction's view. Returns the rows changed.
    pub async fn write(&mut self, rows: WriteSet) -> Result<u64> {
        self.store.check_not_erased(rows.user(), rows.table().id)?;
        let affected = rows.affected();
        if rows.is_empty() {
            return Ok(affected);
        }
        let view = self.view();
        let rows = check::free(|rows| view.key_slice(rows.table(), rows.user()), rows).await?;
        let (table, place) = (Arc::clone(rows.table()), (rows.table().id, rows.user()));
        let run = Run::new(rows.into_rows(&self.store.ids), self.begun().micros);
        drop(view);
        pending::push(Arc::make_mut(&mut self.overlay).entry(place).or_default(), run);
        self.tables.insert(table.id, table);
        Ok(affected)
    }

    /// A savepoint: how many there were before names it.
    pub fn mark(&mut self) -> usize {
        self.marks.push(Arc::clone(&self.overlay));
        self.marks.len() - 1
    }

    /// Undoes what was written since a savepoint, which stays; later ones go.
    pub fn back_to(&mut self, mark: usize) -> Result<()> {
        let overlay = self.marks.get(mark).ok_or_else(no_mark)?;
        self.overlay = Arc::clone(overlay);
        self.marks.truncate(mark + 1);
        Ok(())
    }

    /// Forgets a savepoint and those after it, and keeps what was written.
    pub fn release(&mut self, mark: usize) {
        self.marks.truncate(mark);
    }

    /// All that was written, as one commit, or nothing. `Conflict` if a row of it was committed by somebody else since
    /// the snapshot. A caller that stops waiting once the locks are taken does not stop the commit.
    pub async fn commit(self) -> Result<Commit> {
        let Some(ready) = self.ready().await? else { return Ok(Commit { seq: Seq(0), rows: 0 }) };
        let store = Arc::clone(&ready.store);
        // In the order of the tables' numbers, and each table before its user, so nobody waits in a circle.
        let mut locks = Vec::with_capacity(ready.changed.len());
        for (table, user) in &ready.changed {
            locks.push(store.locks.take(table.id, *user).await);
        }
        for (table, user) in &ready.changed {
            store.check_not_erased(*user, table.id)?;
            let present = ready.make_way(table, *user).await.map_err(|error| gone(error, table))?;
            let now = store.view().key_slice(&present, *user).map_err(|error| gone(error, table))?;
            conflict::check(ready.view.key_slice(table, *user)?, now, &ready.overlay[&(table.id, *user)]).await?;
        }
        FailPoint::TransactionChecked.reached()?;
        ready.commit(Box::new(locks)).await.map_err(|error| match error.kind() {
            ErrorKind::Stale | ErrorKind::NotFound => Error::new(ErrorKind::Conflict, error.message()),
            _ => error,
        })
    }

    /// The same for one that has written one user's rows of one table, under whose lock it was begun: there is nobody it
    /// could conflict with.
    pub async fn commit_under(self, lock: &WriteLock) -> Result<Commit> {
        let Some(ready) = self.ready().await? else { return Ok(Commit { seq: Seq(0), rows: 0 }) };
        for (table, user) in &ready.changed {
            if !lock.held().covers(table.id, *user) {
                return Err(Error::new(ErrorKind::Internal, "a commit came with the lock of another user or table"));
            }
            ready.store.check_not_erased(*user, table.id)?;
            ready.make_way(table, *user).await?;
        }
        ready.commit(Box::new(Arc::clone(lock.held()))).await
    }

    /// `None` if nothing was written. Waits for room first, since what is checked after it is true only as long as nobody
    /// waits.
    async fn ready(self) -> Result<Option<Ready>> {
        let Self { store, begun, overlay, tables, marks } = self;
        drop(marks);
        let Some(Begun { view, .. }) = begun.filter(|_| !overlay.is_empty()) else { return Ok(None) };
        let changed: Vec<(Arc<TableDef>, UserNo)> =
            overlay.keys().filter_map(|(table, user)| Some((Arc::clone(tables.get(table)?), *user))).collect();
        for (table, _) in &changed {
            store.room(table).await?;
        }
        Ok(Some(Ready { store, view, overlay, changed }))
    }
}

/// A transaction on its way to the committer.
struct Ready {
    store: Arc<Store>,
    view: Arc<ReadView>,
    overlay: Arc<Overlay>,
    changed: Vec<(Arc<TableDef>, UserNo)>,
}

impl Ready {
    /// See [`crate::stream::Streams::make_way`]. Returns the definition of a stream table by whose options that is done.
    async fn make_way(&self, table: &Arc<TableDef>, user: UserNo) -> Result<Arc<TableDef>> {
        if table.kind != TableKind::Stream {
            return Ok(Arc::clone(table));
        }
        let present = self.store.tables.get(table.id)?;
        let runs = &self.overlay[&(table.id, user)];
        let rows = runs.iter().map(|run| run.len() as u64).sum();
        self.store.streams.make_way(&present, user, rows, pending::deletes(runs)?).await?;
        Ok(present)
    }

    async fn commit(self, locks: Box<dyn Send>) -> Result<Commit> {
        let Self { store, view, overlay, changed } = self;
        let is_sync = changed.iter().any(|(table, _)| table.options.durability == Durability::Sync);
        let durability = if is_sync { Durability::Sync } else { Durability::Periodic };
        drop(view);
        let mut rows: Vec<(TableId, Rows)> = Vec::new();
        for ((table, _), runs) in Arc::unwrap_or_clone(overlay) {
            rows.extend(pending::into_rows(runs).into_iter().map(|rows| (table, rows)));
        }
        let count = rows.iter().map(|(_, rows)| rows.places.len() as u64).sum();
        let seq = store.committer.rows_of_all(rows, durability, locks).await?;
        Ok(Commit { seq, rows: count })
    }
}

/// A table that was dropped is as much of a conflict as a row that was changed.
fn gone(error: Error, table: &TableDef) -> Error {
    match error.kind() {
        ErrorKind::NotFound => conflict::conflict(table, "the table was dropped"),
        _ => error,
    }
}

fn no_mark() -> Error {
    Error::new(ErrorKind::Internal, "a transaction was sent back to a savepoint that it does not have")
}

#[cfg(test)]
mod tests;
