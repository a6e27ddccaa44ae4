//! A load: one statement's insert that is too large for the hot tier, written straight into Parquet.
//!
//! Rows are gathered into runs; each run is sorted and encoded as a row group on a thread of its own (`run`), the
//! groups are put into files in the order in which they came (`writer`), and once the stream has ended the keys are
//! checked under the lock and one synced batch makes all of it appear (`finish`). A run whose keys lie behind those of
//! the run before continues its file, so rows that come in order give few large files.
//!
//! The files carry neither sequence number nor time, because both are given at the commit: the manifest says them for
//! all rows of a file ([`crate::Stamp`]). Until the commit nothing that a reader sees has changed; a load that is dropped
//! removes its files. Memory is bounded by a few runs: while encoding lags, [`Load::push`] waits, and with it the client.

mod check;
mod finish;
mod run;
mod writer;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use arrow::{
    array::{Array, ArrayRef, RecordBatch, UInt64Array},
    util::display::array_value_to_string,
};
use insula_proto::{TableId, UserNo};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{Commit, Error, ErrorKind, MetaBatch, Result, Store, TableDef};
use finish::Sealed;
pub(crate) use finish::is_refusal;
use run::Run;
pub use run::{compact, memory_of};
use writer::{Message, Writer};

/// Rows after which a run is full, however small they are: a row group of more is slower to read.
const RUN_ROWS: usize = 1 << 20;
/// How much larger a run is than what turns an insert into a load. A load pays early, but row groups must not be small.
const RUN_SHARE: usize = 2;
/// Runs that may wait to be encoded.
const WAITING: usize = 1;

/// What happens to a row whose key lives already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The load is refused.
    Insert,
    /// The row replaces it; of a key that comes twice the last row wins.
    Replace,
}

/// Whose rows a load may bring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    One(UserNo),
    /// Rows of any users: nobody else writes the table while the load is committed.
    Many,
}

/// Whose rows a batch holds.
#[derive(Clone, Debug)]
pub enum Owners {
    One(UserNo),
    /// One user per row, none of them null.
    Each(UInt64Array),
}

pub struct Load {
    store: Arc<Store>,
    table: Arc<TableDef>,
    scope: Scope,
    run: Run,
    run_bytes: usize,
    messages: mpsc::Sender<Message>,
    writer: JoinHandle<Result<Sealed>>,
    /// Bytes of runs that are not in a file yet.
    under_way: Arc<AtomicUsize>,
}

impl Load {
    /// The intent is durable when it returns.
    pub(crate) async fn begin(store: &Arc<Store>, table: &Arc<TableDef>, scope: Scope, mode: Mode) -> Result<Self> {
        let under_way = Arc::new(AtomicUsize::new(0));
        let (messages, received) = mpsc::channel(WAITING);
        let writer = Writer::begin(store, table, scope, mode, Arc::clone(&under_way)).await?;
        Ok(Self {
            store: Arc::clone(store),
            table: Arc::clone(table),
            scope,
            run: Run::default(),
            run_bytes: store.load_bytes.saturating_mul(RUN_SHARE),
            messages,
            writer: tokio::spawn(writer.run(received)),
            under_way,
        })
    }

    /// Rows of [`TableDef::schema`]. An error ends the load: nothing of it will be there.
    pub async fn push(&mut self, rows: RecordBatch, owners: Owners) -> Result<()> {
        self.check(&rows, &owners)?;
        let mut from = 0;
        while from < rows.num_rows() {
            let room = RUN_ROWS.saturating_sub(self.run.rows).max(1);
            let count = room.min(rows.num_rows() - from);
            let owners = match &owners {
                Owners::One(user) => Owners::One(*user),
                Owners::Each(users) => Owners::Each(users.slice(from, count)),
            };
            let first_id = if self.table.has_row_id() { self.store.ids.reserve(count) } else { 0 };
            self.run.push(rows.slice(from, count), owners, first_id);
            from += count;
            if self.run.rows >= RUN_ROWS || self.run.bytes >= self.run_bytes {
                self.send_run().await?;
            }
        }
        Ok(())
    }

    /// Bytes of memory held, for the caller's accounting: rows, and about half as much for what they are encoded into.
    pub fn memory(&self) -> usize {
        let bytes = self.run.bytes + self.under_way.load(Ordering::Relaxed);
        bytes + bytes / 2
    }

    /// All or nothing, on disk when it returns. A caller that stops waiting does not stop the commit.
    pub async fn finish(self) -> Result<Commit> {
        joined(tokio::spawn(async move { self.seal().await?.commit().await }).await)
    }

    /// Makes the table appear with the rows; see [`Store::create_filled`].
    pub(crate) async fn create(
        self,
        author: Option<UserNo>,
        replaced: Option<TableId>,
        also: MetaBatch,
    ) -> Result<u64> {
        joined(tokio::spawn(async move { self.seal().await?.create(author, replaced, also).await }).await)
    }

    /// Everything in files that survive power loss, their keys not yet checked.
    async fn seal(mut self) -> Result<Sealed> {
        if self.run.rows > 0 {
            self.send_run().await?;
        }
        // If the writer has failed already, it tells below.
        let _ = self.messages.send(Message::Seal).await;
        joined(self.writer.await)
    }

    async fn send_run(&mut self) -> Result<()> {
        let run = std::mem::take(&mut self.run);
        self.under_way.fetch_add(run.bytes, Ordering::Relaxed);
        match self.messages.send(Message::Run(run)).await {
            Ok(()) => Ok(()),
            Err(_) => match joined((&mut self.writer).await) {
                Err(error) => Err(error),
                Ok(_) => Err(Error::new(ErrorKind::Internal, "a load ended before its rows")),
            },
        }
    }

    fn check(&self, rows: &RecordBatch, owners: &Owners) -> Result<()> {
        check_rows(&self.table, rows)?;
        let fits = match (self.scope, owners) {
            (Scope::One(a), Owners::One(b)) => a == *b,
            (Scope::One(_), Owners::Each(_)) => false,
            (Scope::Many, Owners::One(_)) => true,
            (Scope::Many, Owners::Each(users)) => users.len() == rows.num_rows() && users.null_count() == 0,
        };
        if fits { Ok(()) } else { Err(Error::new(ErrorKind::Internal, "rows of a load are not its users'")) }
    }
}

/// Types, and NOT NULL.
fn check_rows(table: &TableDef, rows: &RecordBatch) -> Result<()> {
    let name = table.full_name();
    if rows.num_columns() != table.columns.len() {
        let message =
            format!("table \"{name}\" has {} columns, {} were given", table.columns.len(), rows.num_columns());
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    for (column, array) in table.columns.iter().zip(rows.columns()) {
        let (column, data_type, nullable) = (column.field.name(), column.field.data_type(), column.field.is_nullable());
        if !data_type.equals_datatype(array.data_type()) {
            let message =
                format!("column \"{column}\" of table \"{name}\" is {data_type}, {} was given", array.data_type());
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        if !nullable && array.logical_null_count() > 0 {
            let message = format!("null value in column \"{column}\" of table \"{name}\" violates NOT NULL");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
    }
    Ok(())
}

/// The error for a row whose key is there already. `key`: the columns of the key, one row of which is meant.
fn duplicate(table: &TableDef, key: &[ArrayRef], row: usize) -> Error {
    let values = key.iter().map(|column| array_value_to_string(column, row));
    let values: Vec<String> = values.map(|value| value.unwrap_or_else(|_| "?".to_owned())).collect();
    let names: Vec<&str> = table.key.iter().map(|i| table.columns[*i].field.name().as_str()).collect();
    let key = format!("({})=({})", names.join(", "), values.join(", "));
    Error::new(ErrorKind::AlreadyExists, format!("duplicate key {key} in table \"{}\"", table.full_name()))
}

fn joined<T>(result: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    result.unwrap_or_else(|error| Err(Error::new(ErrorKind::Internal, "a load died").with_source(error)))
}

#[cfg(test)]
mod tests;
