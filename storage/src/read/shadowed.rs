//! Which cold rows a user's hot rows shadow, by their place in the files: what a scan that compared keys would find,
//! remembered while it is true, so that the next ones need not even read the keys.
//!
//! Finding it reads the keys of all the user's cold rows. So it is done for those who have compared many already.

use std::sync::Arc;

use super::{ColdSlice, TableSlice};
use crate::{Error, ErrorKind, Result, cold::Shadowed};

/// As many scans of all rows that compare keys cost about as much as finding the places once.
const SCANS: u64 = 3;

impl TableSlice {
    /// The shadowed rows of `files`, if they are known or have become worth finding. `None`: compare the keys.
    pub async fn shadowed(&self, files: &[ColdSlice]) -> Result<Option<Arc<Shadowed>>> {
        let Some(moment) = self.moment()? else { return Ok(None) };
        let (decoded, table, user) = (&self.view.decoded, self.table(), self.user());
        // A compaction puts rows into other files, and no row becomes newer by that.
        let known = decoded.shadowed(table.id, user, moment);
        if let Some(known) = known.filter(|known| files.iter().all(|file| known.of(file.id).is_some())) {
            return Ok(Some(known));
        }
        let compared = decoded.compared(table.id, user, moment, files.iter().map(ColdSlice::rows).sum());
        if compared <= SCANS * self.cold_tier().rows_of(self.manifest(), table.id, user).await? {
            return Ok(None);
        }
        let slice = self.clone();
        let hot = tokio::task::spawn_blocking(move || slice.hot_keys()).await;
        let hot = hot.map_err(|e| Error::new(ErrorKind::Internal, "the hot keys were not read").with_source(e))??;
        let found = Arc::new(self.cold_tier().shadowed(self.manifest(), table, user, &hot).await?);
        decoded.keep_shadowed(table.id, user, moment, &found);
        Ok(Some(found))
    }
}

#[cfg(test)]
mod tests;
