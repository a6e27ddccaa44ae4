//! The orphan sweep of a running store: deletes objects that no manifest, no intent and no reader's view names.
//!
//! There should be none. What could leave one is an object that could not be deleted when its time came (a store out of
//! reach, for example), and that would cost its space until the next start. The start has a sweep of its own
//! (`flush::recover`), which also takes what a crash left of uploads.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use futures::TryStreamExt;
use insula_proto::TableId;
use object_store::path::Path;

use crate::{
    Error, ErrorKind, Result, Store,
    cold::{layout, manifest},
    flush::Flusher,
    hot::{db::Family, tables::record_key},
};

impl Store {
    /// Deletes the orphans that are older than `grace`. Returns how many there were.
    pub async fn sweep(&self, grace: Duration) -> Result<u64> {
        sweep(&self.flusher, grace).await
    }
}

pub(crate) async fn sweep(flusher: &Flusher, grace: Duration) -> Result<u64> {
    let mut swept = 0;
    for (table, objects) in old_objects(flusher, grace).await? {
        // With the table's turn nobody is between the commit that lets go of an object and its place among the
        // retired ones, so what is named nowhere now never will be again.
        let _turn = flusher.turns.take(table).await?;
        let named = named(flusher, table)?;
        for path in objects.iter().filter(|path| !named.contains(path)) {
            tracing::warn!(%path, "deleting an object of the cold tier that nothing names");
            flusher.cold.delete(path).await?;
            swept += 1;
        }
    }
    Ok(swept)
}

/// Objects of ours by table, except young ones. Listed before anything is asked about them: an object made later is
/// in an intent that is not looked at.
async fn old_objects(flusher: &Flusher, grace: Duration) -> Result<BTreeMap<TableId, Vec<Path>>> {
    let unreadable = |error| Error::new(ErrorKind::Unavailable, "cannot list the cold tier").with_source(error);
    let grace = i64::try_from(grace.as_micros()).unwrap_or(i64::MAX);
    let latest = flusher.clock.now_micros().saturating_sub(grace);
    // A restore brings objects long before the manifests that name them. One that begins now makes only young ones.
    if flusher.db.get(Family::Meta, record_key::RESTORING)?.is_some() {
        return Ok(BTreeMap::new());
    }
    let mut found: BTreeMap<TableId, Vec<Path>> = BTreeMap::new();
    let mut listing = flusher.cold.list();
    while let Some(object) = listing.try_next().await.map_err(unreadable)? {
        if let Some(table) = layout::table_of(&object.location)
            && object.last_modified.timestamp_micros() <= latest
        {
            found.entry(table).or_default().push(object.location);
        }
    }
    Ok(found)
}

/// Everything of the table that must stay.
fn named(flusher: &Flusher, table: TableId) -> Result<HashSet<Path>> {
    let mut named: HashSet<Path> = manifest::current(&flusher.db, table)?.objects(table).into_iter().collect();
    for intent in manifest::intents(&flusher.db)?.into_iter().filter(|intent| intent.table == table) {
        for id in intent.objects {
            named.extend([layout::file_path(table, id), layout::vector_path(table, id)]);
        }
    }
    named.extend(flusher.cold.retired());
    Ok(named)
}

#[cfg(test)]
mod tests;
