//! The commit of a write set: are its new keys free, and then the committer.

use std::sync::Arc;

use insula_proto::Seq;

use super::{Commit, WriteLock, WriteSet, primary};
use crate::{Error, ErrorKind, Result, Store, TableKind, TableSlice, hot::scan::Presence};

/// Keys that are looked up on the caller's thread; more of them might block it for too long.
pub(crate) const INLINE_KEYS: usize = 16;

pub(crate) async fn commit(store: &Arc<Store>, lock: &WriteLock, rows: WriteSet) -> Result<Commit> {
    if !lock.held().covers(rows.table.id, rows.user) {
        return Err(Error::new(ErrorKind::Internal, "a commit came with the lock of another user or table"));
    }
    store.check_not_erased(rows.user, rows.table.id)?;
    let affected = rows.affected();
    if rows.entries.is_empty() {
        return Ok(Commit { seq: Seq(0), rows: affected });
    }
    // First, since what the check finds is true only as long as nobody waits.
    store.room(&rows.table).await?;
    let rows = ready(store, rows).await?;
    let (table, durability) = (rows.table.id, rows.table.options.durability);
    let encoded = rows.into_rows(&store.ids);
    let seq = store.committer.rows(table, durability, encoded, Box::new(Arc::clone(lock.held()))).await?;
    Ok(Commit { seq, rows: affected })
}

/// One commit for rows of many users in one table, under the lock of all of it.
pub(crate) async fn commit_many(store: &Arc<Store>, lock: &WriteLock, sets: Vec<WriteSet>) -> Result<Commit> {
    let Some(first) = sets.first() else { return Ok(Commit { seq: Seq(0), rows: 0 }) };
    let table = Arc::clone(&first.table);
    store.room(&table).await?;
    let (mut affected, mut encoded) = (0, Vec::with_capacity(sets.len()));
    for rows in sets {
        if rows.table.id != table.id || !lock.held().covers(table.id, rows.user) {
            return Err(Error::new(ErrorKind::Internal, "a commit came with the lock of another user or table"));
        }
        store.check_not_erased(rows.user, table.id)?;
        affected += rows.affected();
        encoded.push((table.id, ready(store, rows).await?.into_rows(&store.ids)));
    }
    let durability = table.options.durability;
    let seq = store.committer.rows_of_all(encoded, durability, Box::new(Arc::clone(lock.held()))).await?;
    Ok(Commit { seq, rows: affected })
}

/// What has to be true of the table before the rows are committed.
async fn ready(store: &Arc<Store>, rows: WriteSet) -> Result<WriteSet> {
    // By the options of now: under the lock they do not get looser.
    let now =
        if rows.table.kind == TableKind::Stream { store.tables.get(rows.table.id)? } else { rows.table().clone() };
    store.streams.make_way(&now, rows.user, rows.entries.len() as u64, rows.entries.iter().any(|e| !e.live)).await?;
    // Fresh, since the statement's own view may be older than the last holder of the lock.
    free(|rows| store.view().key_slice(&now, rows.user), rows).await
}

/// Makes sure that no key which the set brings as new lives already in what `slice` gives.
pub(crate) async fn free(slice: impl FnOnce(&WriteSet) -> Result<TableSlice>, rows: WriteSet) -> Result<WriteSet> {
    let new: Vec<usize> =
        (0..rows.entries.len()).filter(|at| rows.entries[*at].is_new && !rows.entries[*at].taken).collect();
    if new.is_empty() {
        return Ok(rows);
    }
    let slice = slice(&rows)?;
    let (rows, absent) = if new.len() <= INLINE_KEYS && slice.hot_rows().is_settled() {
        let absent = check_hot(&slice, &rows, new)?;
        (rows, absent)
    } else {
        let slice = slice.clone();
        let work = move || check_hot(&slice, &rows, new).map(|absent| (rows, absent));
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|e| Error::new(ErrorKind::Internal, "a look-up of keys died").with_source(e))??
    };
    check_cold(&slice, &rows, &absent).await?;
    Ok(rows)
}

/// Returns, by key, the entries that the hot tier knows nothing of.
fn check_hot(slice: &TableSlice, rows: &WriteSet, mut new: Vec<usize>) -> Result<Vec<usize>> {
    let key = |at: usize| primary(&rows.bytes, &rows.entries[at]);
    new.sort_unstable_by(|a, b| key(*a).cmp(key(*b)));
    let mut lookup = slice.hot_rows().lookup();
    let mut absent = Vec::new();
    for at in new {
        match lookup.presence(key(at))? {
            Presence::Live => return Err(rows.duplicate(rows.entries[at].place)),
            // The newest version is a deletion, so whatever is cold has been replaced.
            Presence::Deleted => {}
            Presence::Absent => absent.push(at),
        }
    }
    Ok(absent)
}

async fn check_cold(slice: &TableSlice, rows: &WriteSet, absent: &[usize]) -> Result<()> {
    if absent.is_empty() || slice.manifest().files.is_empty() {
        return Ok(());
    }
    let keys: Vec<&[u8]> = absent.iter().map(|at| primary(&rows.bytes, &rows.entries[*at])).collect();
    let hits = slice.cold_tier().find(slice.manifest(), slice.table(), slice.user(), &keys).await?;
    match hits.iter().find(|hit| !hit.deleted) {
        Some(hit) => Err(rows.duplicate(rows.entries[absent[hit.key]].place)),
        None => Ok(()),
    }
}
