//! Has anybody committed a row that a transaction wrote, since its snapshot? The first committer wins.
//!
//! Asked under the locks of what is written, so the answer is true until the commit. A key's newest version is in the
//! hot tier, with its number, or, where a flush, a load or a compaction has moved things meanwhile, in a cold file that
//! holds numbers after the snapshot: only those files are looked into.

use std::{collections::HashSet, sync::Arc};

use insula_proto::Seq;

use crate::{
    Error, ErrorKind, Result, TableDef, TableKind, TableSlice,
    hot::{
        pending::{self, Run},
        scan::Presence,
    },
    write::check::INLINE_KEYS,
};

const CHANGED: &str = "a row that it wrote was written by another commit";

/// `then`: the user's rows at the snapshot, without what the transaction wrote; `now`: as they are.
pub(super) async fn check(then: TableSlice, now: TableSlice, runs: &[Arc<Run>]) -> Result<()> {
    let last = then.last()?;
    let table = Arc::clone(now.table());
    let keys: Vec<Vec<u8>> = pending::keys(runs).into_iter().map(<[u8]>::to_vec).collect();
    let absent = if keys.len() <= INLINE_KEYS && now.hot_rows().is_settled() {
        hot(&now, last, keys)?
    } else {
        let now = now.clone();
        let work = move || hot(&now, last, keys);
        let died = |e| Error::new(ErrorKind::Internal, "a look-up of keys died").with_source(e);
        tokio::task::spawn_blocking(work).await.map_err(died)??
    };
    // The rows of a stream go by themselves, with or without a change of the manifest.
    let may_vanish = table.kind == TableKind::Stream || then.manifest().version != now.manifest().version;
    if absent.is_empty() || !may_vanish {
        return Ok(());
    }
    let absent: Vec<&[u8]> = absent.iter().map(Vec::as_slice).collect();
    let newer = now.cold_tier().changed_after(last, now.manifest(), &table, now.user(), &absent).await?;
    if !newer.is_empty() {
        return Err(conflict(&table, CHANGED));
    }
    vanished(&then, &now, &absent).await
}

/// Returns the keys of which the hot tier knows nothing.
fn hot(now: &TableSlice, last: Seq, keys: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
    let mut lookup = now.hot_rows().lookup();
    let mut absent = Vec::new();
    for key in keys {
        match lookup.newest(&key)? {
            Some(seq) if seq > last => return Err(conflict(now.table(), CHANGED)),
            Some(_) => {}
            None => absent.push(key),
        }
    }
    Ok(absent)
}

/// A row that lived at the snapshot and is nowhere now was deleted, and a compaction has dropped it already; or it was a
/// stream's, and has expired.
async fn vanished(then: &TableSlice, now: &TableSlice, keys: &[&[u8]]) -> Result<()> {
    if now.table().options.deleted_retention.is_none() && now.table().kind != TableKind::Stream {
        return Ok(());
    }
    then.settle().await?;
    let mut lookup = then.hot_rows().lookup();
    let (mut lived, mut sought) = (Vec::new(), Vec::new());
    for key in keys {
        match lookup.presence(key)? {
            Presence::Live => lived.push(*key),
            Presence::Deleted => {}
            Presence::Absent => sought.push(*key),
        }
    }
    let hits = then.cold_tier().find(then.manifest(), then.table(), then.user(), &sought).await?;
    lived.extend(hits.iter().filter(|hit| !hit.deleted).map(|hit| sought[hit.key]));
    lived.sort_unstable();
    let there = now.cold_tier().find(now.manifest(), now.table(), now.user(), &lived).await?;
    let there: HashSet<usize> = there.into_iter().map(|hit| hit.key).collect();
    if there.len() < lived.len() { Err(conflict(now.table(), CHANGED)) } else { Ok(()) }
}

/// Names the table alone: which row it was is nothing that a retry needs.
pub(super) fn conflict(table: &TableDef, what: &str) -> Error {
    let message = format!(
        "conflict in table \"{}\": {what} since the transaction began; nothing of the transaction was stored, begin it \
         again",
        table.full_name()
    );
    Error::new(ErrorKind::Conflict, message)
}
