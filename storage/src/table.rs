//! Table definitions: what storage must know of a table to write, read and flush its rows.

mod alter;
mod check;
mod conform;
mod initial;
mod persist;
mod stored;
mod versions;
mod width;

use std::{sync::Arc, time::Duration};

use arrow::{
    array::ArrayRef,
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use insula_proto::{ColumnId, TableId};

pub use alter::Alteration;
pub(crate) use alter::Altered;
pub use check::{Check, NewCheck};
pub(crate) use conform::conform;
pub use initial::Initial;
pub use stored::{stored_field, stored_type};
pub use versions::TableVersion;
pub(crate) use versions::{Version, Versions};
pub use width::{MOST_FIXED_BYTES, check_width};

use crate::{Error, ErrorKind, Result, cold::parquet_type::to_file_column, hot::key};

/// Names of the stored columns that no user declares. `SYSTEM` ones can be named in SQL, the others never.
pub const USER_NO: &str = "_user_no";
pub const ROW_ID: &str = "_row_id";
pub const SEQ: &str = "_seq";
pub const UPDATED: &str = "_updated";
pub const DELETED: &str = "_deleted";

/// Whose rows a table holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableKind {
    /// Each user has rows of their own.
    User,
    /// One set of rows, owned by [`insula_proto::UserNo::SHARED`].
    Shared,
    /// Each user has rows of their own, which stay hot and disappear by [`TableOptions::ttl`] and
    /// [`TableOptions::max_rows`].
    Stream,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// An acknowledged write is on disk.
    Sync,
    /// The log is synced a few times a second.
    Periodic,
}

/// Which files of the cold tier a user's rows lie in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placement {
    /// Users share files; large ones get their own by compaction.
    Packed,
    /// Each user's rows in files of their own.
    File,
}

#[derive(Clone, PartialEq, Debug)]
pub struct TableOptions {
    pub flush_rows: u64,
    pub flush_bytes: u64,
    /// `None`: no flush by time.
    pub flush_interval: Option<Duration>,
    pub durability: Durability,
    /// `None` (`'off'`): soft-deleted rows are kept for ever.
    pub deleted_retention: Option<Duration>,
    pub placement: Placement,
    /// Of stream tables: rows committed longer ago are gone. `None`: they do not age.
    pub ttl: Option<Duration>,
    /// Of stream tables: rows of a user beyond so many are gone, the oldest first. `None`: as many as they like.
    pub max_rows: Option<u64>,
}

/// What stream tables of which nothing else is said have as [`TableOptions::ttl`].
pub const DEFAULT_TTL: Duration = Duration::from_secs(3600);
/// The most that [`TableOptions::max_rows`] may be: which rows are the newest is found out by looking at all of them.
pub const MOST_ROWS: u64 = 1_000_000;

impl Default for TableOptions {
    fn default() -> Self {
        Self {
            flush_rows: 1_000_000,
            flush_bytes: 128 << 20,
            flush_interval: Some(Duration::from_secs(3600)),
            durability: Durability::Sync,
            deleted_retention: Some(Duration::from_secs(7 * 24 * 3600)),
            placement: Placement::Packed,
            ttl: None,
            max_rows: None,
        }
    }
}

#[derive(Clone, PartialEq, Debug)]
pub struct ColumnDef {
    pub id: ColumnId,
    /// Name, type and nullability as declared; the type is one that storage keeps unchanged ([`stored_type`]).
    pub field: Arc<Field>,
    /// SQL text of the default, kept for the layer that understands SQL.
    pub default: Option<String>,
    /// What rows hold that were written before the column was added; `None`: NULL, or there are none.
    pub initial: Option<Initial>,
}

/// A column as asked for; the store gives it its id.
#[derive(Clone, PartialEq, Debug)]
pub struct NewColumn {
    pub field: Arc<Field>,
    pub default: Option<String>,
}

/// A table as asked for; the store gives it its id.
#[derive(Clone, PartialEq, Debug)]
pub struct NewTable {
    pub namespace: String,
    pub name: String,
    pub kind: TableKind,
    pub columns: Vec<NewColumn>,
    /// Indices into `columns`, in key order; empty: a hidden row id is the key.
    pub key: Vec<usize>,
    pub checks: Vec<NewCheck>,
    pub options: TableOptions,
}

#[derive(Clone, PartialEq, Debug)]
pub struct TableDef {
    pub id: TableId,
    pub namespace: String,
    pub name: String,
    pub kind: TableKind,
    pub columns: Vec<ColumnDef>,
    /// Indices into `columns`, in key order; empty: a hidden row id is the key.
    pub key: Vec<usize>,
    pub checks: Vec<Check>,
    pub options: TableOptions,
    pub schema_version: u32,
    pub next_column_id: u32,
    pub created_micros: i64,
    /// The versions before this one, so that rows of theirs can be read.
    pub(crate) older: Versions,
}

impl NewTable {
    /// Checks that storage can keep the table, and numbers its columns.
    pub(crate) fn define(self, id: TableId, created_micros: i64) -> Result<TableDef> {
        let invalid = |message: String| Error::new(ErrorKind::Invalid, message);
        let mut columns = Vec::with_capacity(self.columns.len());
        for (i, column) in self.columns.into_iter().enumerate() {
            let name = column.field.name();
            if columns.iter().any(|c: &ColumnDef| c.field.name() == name) {
                return Err(invalid(format!("column \"{name}\" is declared twice")));
            }
            let mut field = stored_field(&column.field)?;
            if self.key.contains(&i) {
                if !key::is_key_type(field.data_type()) {
                    let data_type = field.data_type();
                    return Err(invalid(format!("column \"{name}\" of type {data_type} cannot be part of a key")));
                }
                field = field.with_nullable(false);
            }
            let id = u32::try_from(i).map_err(|_| invalid("a table has too many columns".into()))? + 1;
            columns.push(ColumnDef {
                id: ColumnId(id),
                field: Arc::new(field),
                default: column.default,
                initial: None,
            });
        }
        if self.key.iter().enumerate().any(|(n, i)| *i >= columns.len() || self.key[..n].contains(i)) {
            return Err(invalid(format!("the primary key of table \"{}\" names a column twice, or none", self.name)));
        }
        let mut table = TableDef {
            id,
            namespace: self.namespace,
            name: self.name,
            kind: self.kind,
            next_column_id: columns.last().map_or(1, |c| c.id.0 + 1),
            columns,
            key: self.key,
            checks: Vec::new(),
            options: self.options,
            schema_version: 1,
            created_micros,
            older: Versions::default(),
        };
        for check in &self.checks {
            table.add_check(check)?;
        }
        Ok(table)
    }
}

impl ColumnDef {
    /// The name in both tiers, whatever the column is called in SQL.
    pub fn stored_name(&self) -> String {
        format!("c{}", self.id)
    }
}

impl TableDef {
    /// Stored name and initial value of the columns that have one, as they would lie in a Parquet file: what scans put in
    /// the place of a column that a file lacks.
    pub fn initial_values(&self) -> Result<Vec<(String, ArrayRef)>> {
        let of = |column: &ColumnDef| {
            let value = column.initial.as_ref()?;
            Some(to_file_column(value.array()).map(|value| (column.stored_name(), value)))
        };
        self.columns.iter().filter_map(of).collect()
    }

    /// As messages name it.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.namespace, self.name)
    }

    pub fn has_row_id(&self) -> bool {
        self.key.is_empty()
    }

    /// The declared columns, in their order. Key columns are not nullable.
    pub fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.columns.iter().map(|c| Arc::clone(&c.field)).collect::<Vec<_>>()))
    }

    /// What both tiers store and every scan yields: `_user_no, _seq, _updated, _deleted`, then `_row_id` if the
    /// table has no primary key, then the declared columns under their stable names `c<id>`.
    pub fn stored_schema(&self) -> SchemaRef {
        let mut fields = vec![
            Arc::new(Field::new(USER_NO, DataType::UInt64, false)),
            Arc::new(Field::new(SEQ, DataType::Int64, false)),
            Arc::new(Field::new(UPDATED, updated_type(), false)),
            Arc::new(Field::new(DELETED, DataType::Boolean, false)),
        ];
        if self.has_row_id() {
            fields.push(Arc::new(Field::new(ROW_ID, DataType::UInt64, false)));
        }
        fields.extend(self.columns.iter().map(|c| Arc::new(c.field.as_ref().clone().with_name(c.stored_name()))));
        Arc::new(Schema::new(fields))
    }

    /// Index in [`Self::stored_schema`] of the first declared column.
    pub fn first_declared(&self) -> usize {
        if self.has_row_id() { 5 } else { 4 }
    }

    /// Indices in [`Self::stored_schema`] of the key's columns, in key order.
    pub fn stored_key(&self) -> Vec<usize> {
        if self.has_row_id() { vec![4] } else { self.key.iter().map(|i| i + self.first_declared()).collect() }
    }
}

/// Type of `_updated`: microseconds, UTC.
pub fn updated_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

#[cfg(test)]
mod tests;
