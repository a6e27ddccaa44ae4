//! Rows on their way into the Parquet files of a change: a blocking half that encodes and cuts, an asynchronous one
//! that uploads. Between them goes a short channel of [`Piece`]s, so that no more than a row group is in memory.
//!
//! Files are cut where a user ends, so that a read of one user opens one file of each level. A user who would fill a
//! good part of a file, or whose table has `placement = 'file'`, gets files of their own.

use std::ops::Range;

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::UInt64Type,
};
use bytes::Bytes;
use insula_proto::UserNo;

use super::{Change, NewFile};
use crate::{
    Error, ErrorKind, KeyRows, Result, TableDef,
    cold::{
        ColdFile,
        writer::{FileWriter, Summary},
    },
    table::Placement,
};

/// A file that waits for its user to end grows to so many times its size, and no further.
const OVERSIZE: u64 = 2;

pub(crate) enum Piece {
    /// The next bytes of the file under way, or the first of a new one.
    Bytes(Bytes),
    /// The file under way is complete.
    End(Summary),
}

#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    /// Target size of a Parquet file, in bytes.
    pub file: u64,
    /// Bytes of a row group that are gathered in memory.
    pub row_group: usize,
}

/// Encodes rows that come sorted by user and key into as few files as their target size allows.
pub(crate) struct Encoder<'a> {
    table: &'a TableDef,
    sizes: Sizes,
    send: &'a dyn Fn(Piece) -> Result<()>,
    file: Option<FileWriter>,
    user: Option<UserNo>,
    /// The file under way is `user`'s alone.
    alone: bool,
}

impl<'a> Encoder<'a> {
    pub(crate) fn new(table: &'a TableDef, sizes: Sizes, send: &'a dyn Fn(Piece) -> Result<()>) -> Self {
        Self { table, sizes, send, file: None, user: None, alone: false }
    }

    /// `rows`: of the stored schema, with their `keys`. `is_large`: whether a user, asked for once when their first row
    /// comes, is to have files of their own.
    pub(crate) fn write(
        &mut self,
        rows: &RecordBatch,
        keys: &KeyRows,
        mut is_large: impl FnMut(UserNo) -> bool,
    ) -> Result<()> {
        let users = rows.columns().first().and_then(|users| users.as_primitive_opt::<UInt64Type>());
        let users = users.ok_or_else(|| Error::new(ErrorKind::Internal, "rows for a cold file lack their users"))?;
        let by_file = self.table.options.placement == Placement::File;
        let mut full = self.is_full(1);
        let (mut start, mut at) = (0, 0);
        for of_user in users.values().chunk_by(|a, b| a == b) {
            let user = UserNo(of_user[0]);
            if self.user.replace(user) != Some(user) {
                let alone = by_file || is_large(user);
                if alone || self.alone || full {
                    self.put(rows, keys, start..at)?;
                    self.end_file()?;
                    (start, full) = (at, false);
                }
                self.alone = alone;
            }
            at += of_user.len();
        }
        self.put(rows, keys, start..at)?;
        if self.is_full(if self.alone { 1 } else { OVERSIZE }) {
            return self.end_file();
        }
        let bytes = self.file.as_mut().map(FileWriter::take).unwrap_or_default();
        if bytes.is_empty() { Ok(()) } else { (self.send)(Piece::Bytes(bytes.into())) }
    }

    pub(crate) fn finish(mut self) -> Result<()> {
        self.end_file()
    }

    fn is_full(&self, times: u64) -> bool {
        self.file.as_ref().is_some_and(|file| file.is_full(self.sizes.file.saturating_mul(times)))
    }

    fn put(&mut self, rows: &RecordBatch, keys: &KeyRows, range: Range<usize>) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(FileWriter::new(self.table)?.bound(self.sizes.row_group)),
        };
        let rows = rows.slice(range.start, range.len());
        file.write(self.table, &rows, range.map(|i| keys.row(i)))
    }

    fn end_file(&mut self) -> Result<()> {
        let Some(file) = self.file.take() else { return Ok(()) };
        let (bytes, summary) = file.finish(self.table)?;
        (self.send)(Piece::Bytes(bytes.into()))?;
        (self.send)(Piece::End(summary))
    }
}

/// Takes the pieces into the object store.
pub(crate) struct Uploads {
    level: u32,
    under_way: Option<NewFile>,
    /// Those that are complete.
    pub(crate) files: Vec<ColdFile>,
}

impl Uploads {
    pub(crate) fn new(level: u32) -> Self {
        Self { level, under_way: None, files: Vec::new() }
    }

    pub(crate) async fn take(&mut self, change: &mut Change, piece: Piece) -> Result<()> {
        match piece {
            Piece::Bytes(bytes) => {
                if self.under_way.is_none() {
                    self.under_way = Some(change.new_file().await?);
                }
                if let Some(file) = &mut self.under_way {
                    file.upload.write(bytes).await?;
                }
            }
            Piece::End(summary) => {
                let file = self.under_way.take();
                let file = file.ok_or_else(|| Error::new(ErrorKind::Internal, "a file without bytes"))?;
                self.files.push(change.finish_file(file, &summary, self.level).await?);
            }
        }
        Ok(())
    }

    /// After the last piece, or an error: gives up a file that is not complete.
    pub(crate) async fn end(&mut self) {
        if let Some(file) = self.under_way.take() {
            file.upload.abort().await;
        }
    }
}

#[cfg(test)]
mod tests;
