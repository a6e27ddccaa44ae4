//! The hot tier: rows in RocksDB until a flush moves them to the cold one.
//!
//! `key` and `value` say how a row lies on disk (`decode` reads it back, `raw` takes arrays apart), `chunk` how many rows of
//! one write do, `record` frames what is no row, `db` is the database under them, `committer` the only writer, `tables` what is known of each table
//! in memory, `scan` the ways to read, `bounds` what keys a reader wants. `decoded` remembers decoded rows between
//! statements, and `last_writes` says until when they are true. `expiry` says which rows of a stream table are gone, and
//! `garbage` finds what of them lies on disk still. `pending` are rows of transactions that are not
//! committed yet, and lie in memory alone.

pub mod bounds;
pub(crate) mod changes;
pub(crate) mod chunk;
pub(crate) mod committer;
pub(crate) mod db;
pub(crate) mod decode;
pub(crate) mod decoded;
pub(crate) mod expiry;
pub(crate) mod fuzz;
pub(crate) mod garbage;
pub mod key;
pub(crate) mod last_writes;
mod logs;
pub(crate) mod pending;
pub(crate) mod raw;
pub(crate) mod record;
pub(crate) mod scan;
pub(crate) mod sealed;
pub(crate) mod tables;
pub(crate) mod value;

use insula_proto::{Generation, TableId};

pub(crate) use scan::frozen;

/// Adds to `batch` the end of a table's rows in generations up to and including `up_to`.
pub(crate) fn delete_generations(batch: &mut db::Batch, table: TableId, up_to: Generation) {
    let (from, to) = key::generation_range(table, up_to);
    batch.delete_range(db::Family::Hot, from.as_slice(), to.as_slice());
    batch.delete_range(db::Family::Chunk, from, to);
}

/// Adds to `batch` the end of all of a table's rows.
pub(crate) fn delete_table(batch: &mut db::Batch, table: TableId) {
    let from = table.0.to_be_bytes().to_vec();
    let to = key::after_prefix(&from);
    batch.delete_range(db::Family::Hot, from.as_slice(), to.as_slice());
    batch.delete_range(db::Family::Chunk, from, to);
}

/// Gives back the disk space of a dropped table's rows. Blocking.
pub(crate) fn shrink_table(db: &db::Db, table: TableId) -> crate::Result<()> {
    let from = table.0.to_be_bytes();
    let to = key::after_prefix(&from);
    [db::Family::Hot, db::Family::Chunk].into_iter().try_for_each(|family| db.shrink(family, &from, &to))
}

#[cfg(test)]
pub(crate) mod tests;
