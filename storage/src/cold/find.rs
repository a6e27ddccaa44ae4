//! Looks primary keys up in the cold files: for unique checks, and for flushes that replace older versions.
//!
//! Per file: its users' bounds (in the manifest), then the user index, which narrows a key to one block of rows, then
//! the key columns of those blocks only, merged with the sought keys. Keys that grow with time lie past each older
//! file's last key and cost no read.

mod keys;

use std::{cmp::Ordering, ops::Range, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, RecordBatch},
    datatypes::{Int64Type, UInt64Type},
};
use futures::TryStreamExt;
use insula_proto::{Seq, UserNo};
use roaring::RoaringBitmap;

use super::{ColdFile, ColdTier, Manifest, open_file::OpenFile, user_index::UserIndex};
use crate::{
    Error, ErrorKind, KeyCodec, Result, TableDef,
    table::{DELETED, SEQ, USER_NO},
};

pub(crate) use keys::KeyWindow;

/// What a look-up is after beside the place of each key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    Place,
    /// The row's `_seq` too.
    Seq,
}

/// Where a key lies. There is at most one such place per key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hit {
    /// Index into the keys asked for.
    pub(crate) key: usize,
    /// Index into the manifest's files.
    pub(crate) file: usize,
    /// Row of the file.
    pub(crate) row: u32,
    /// The row is there, but soft-deleted.
    pub(crate) deleted: bool,
}

impl ColdTier {
    /// Where `user`'s `keys`, which ascend, lie in the files of `manifest`. Replaced rows are not found.
    pub(crate) async fn find(
        &self,
        manifest: &Manifest,
        table: &TableDef,
        user: UserNo,
        keys: &[&[u8]],
    ) -> Result<Vec<Hit>> {
        let sought: Vec<_> = keys.iter().map(|key| (user, *key)).collect();
        self.find_all(manifest, table, &sought).await
    }

    /// As [`Self::find`], for the keys of many users, ascending by user and key.
    pub(crate) async fn find_all(
        &self,
        manifest: &Manifest,
        table: &TableDef,
        sought: &[(UserNo, &[u8])],
    ) -> Result<Vec<Hit>> {
        let mut hits = Vec::new();
        if manifest.files.is_empty() {
            return Ok(hits);
        }
        let codec = KeyCodec::new(table)?;
        for (number, file) in manifest.files.iter().enumerate() {
            let start = sought.partition_point(|(user, _)| *user < file.users.0);
            let end = sought.partition_point(|(user, _)| *user <= file.users.1);
            let Some(within) = sought.get(start..end).filter(|within| !within.is_empty()) else { continue };
            for found in self.find_in(file, table, &codec, within, Want::Place).await? {
                hits.push(Hit { key: start + found.key, file: number, row: found.row, deleted: found.deleted });
            }
        }
        Ok(hits)
    }

    /// Of `user`'s `keys`, which ascend, those whose version was committed after `last`, by index.
    pub(crate) async fn changed_after(
        &self,
        last: Seq,
        manifest: &Manifest,
        table: &TableDef,
        user: UserNo,
        keys: &[&[u8]],
    ) -> Result<Vec<usize>> {
        let codec = KeyCodec::new(table)?;
        let sought: Vec<_> = keys.iter().map(|key| (user, *key)).collect();
        let mut changed = Vec::new();
        for file in manifest.files.iter().filter(|file| file.spans(user) && file.seqs.1 > last.0) {
            let found = self.find_in(file, table, &codec, &sought, Want::Seq).await?;
            let seq = |found: &Found| file.stamp.map_or(found.seq, |stamp| stamp.seq);
            changed.extend(found.iter().filter(|found| seq(found) > last).map(|found| found.key));
        }
        Ok(changed)
    }

    async fn find_in(
        &self,
        file: &ColdFile,
        table: &TableDef,
        codec: &KeyCodec,
        sought: &[(UserNo, &[u8])],
        want: Want,
    ) -> Result<Vec<Found>> {
        let open = self.open_file(table.id, file).await?;
        let (ranges, candidates) = blocks(&open.users, sought)?;
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        let columns = Columns::of(table, want);
        let mut rows = open.read(&columns.names(), &ranges)?;
        let mut merge = Merge {
            replaced: self.vector(table.id, file).await?,
            positions: ranges.into_iter().flatten(),
            sought,
            candidates: candidates.into_iter().peekable(),
            found: Vec::new(),
        };
        while let Some(batch) = rows.try_next().await.map_err(|error| open.read_error(error))? {
            merge.push(&open, &columns.pick(&open, &batch)?, codec)?;
        }
        if merge.positions.next().is_some() {
            return Err(Error::new(ErrorKind::DataLoss, format!("{} ended early", open.path())));
        }
        Ok(merge.found)
    }
}

struct Found {
    key: usize,
    row: u32,
    deleted: bool,
    /// 0 unless it was asked for.
    seq: Seq,
}

/// The ranges of rows in which the sought keys may lie, ascending and merged, and the keys that may lie there.
fn blocks(users: &UserIndex, sought: &[(UserNo, &[u8])]) -> Result<(Vec<Range<u64>>, Vec<usize>)> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut candidates = Vec::new();
    let mut key = 0;
    for of_user in sought.chunk_by(|a, b| a.0 == b.0) {
        if let Some(entry) = users.get(of_user[0].0)? {
            for (i, (_, bytes)) in of_user.iter().enumerate() {
                let Some(block) = entry.block_of(bytes) else { continue };
                candidates.push(key + i);
                match ranges.last_mut() {
                    Some(last) if last.end >= block.start => last.end = last.end.max(block.end),
                    _ => ranges.push(block),
                }
            }
        }
        key += of_user.len();
    }
    Ok((ranges, candidates))
}

/// Names of the columns that a lookup reads.
struct Columns {
    key: Vec<String>,
    want: Want,
}

struct Picked<'a> {
    users: &'a arrow::array::UInt64Array,
    deleted: &'a arrow::array::BooleanArray,
    seqs: Option<&'a arrow::array::Int64Array>,
    key: Vec<ArrayRef>,
}

impl Columns {
    fn of(table: &TableDef, want: Want) -> Self {
        let schema = table.stored_schema();
        Self { key: table.stored_key().iter().map(|column| schema.field(*column).name().clone()).collect(), want }
    }

    fn names(&self) -> Vec<String> {
        let seq = (self.want == Want::Seq).then_some(SEQ);
        let system = [USER_NO, DELETED].into_iter().chain(seq).map(str::to_owned);
        system.chain(self.key.iter().cloned()).collect()
    }

    /// A projection comes in the order of the file, so columns are picked by name.
    fn pick<'a>(&self, open: &OpenFile, batch: &'a RecordBatch) -> Result<Picked<'a>> {
        let missing = || Error::new(ErrorKind::DataLoss, format!("{} lacks a key or system column", open.path()));
        let column = |name: &str| batch.column_by_name(name).ok_or_else(missing);
        Ok(Picked {
            users: column(USER_NO)?.as_primitive_opt::<UInt64Type>().ok_or_else(missing)?,
            deleted: column(DELETED)?.as_boolean_opt().ok_or_else(missing)?,
            seqs: match self.want {
                Want::Place => None,
                Want::Seq => Some(column(SEQ)?.as_primitive_opt::<Int64Type>().ok_or_else(missing)?),
            },
            key: self.key.iter().map(|name| column(name).cloned()).collect::<Result<_>>()?,
        })
    }
}

/// Merges rows of a file with the sought keys; both ascend by user and key.
struct Merge<'a, P: Iterator<Item = u64>, C: Iterator<Item = usize>> {
    replaced: Arc<RoaringBitmap>,
    /// Row numbers of the rows to come.
    positions: P,
    sought: &'a [(UserNo, &'a [u8])],
    candidates: std::iter::Peekable<C>,
    found: Vec<Found>,
}

impl<P: Iterator<Item = u64>, C: Iterator<Item = usize>> Merge<'_, P, C> {
    fn push(&mut self, open: &OpenFile, batch: &Picked<'_>, codec: &KeyCodec) -> Result<()> {
        let keys = codec.encode(&batch.key)?;
        for i in 0..keys.len() {
            let row = self.positions.next().and_then(|row| u32::try_from(row).ok());
            let row =
                row.ok_or_else(|| Error::new(ErrorKind::DataLoss, format!("{} has too many rows", open.path())))?;
            let here = (UserNo(batch.users.value(i)), keys.row(i));
            while let Some(candidate) = self.candidates.peek().copied() {
                match self.sought[candidate].cmp(&here) {
                    Ordering::Less => {
                        self.candidates.next();
                    }
                    Ordering::Equal => {
                        if !self.replaced.contains(row) {
                            let seq = Seq(batch.seqs.map_or(0, |seqs| seqs.value(i).cast_unsigned()));
                            self.found.push(Found { key: candidate, row, deleted: batch.deleted.value(i), seq });
                        }
                        break;
                    }
                    Ordering::Greater => break,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
