//! What the start does about a crash in the middle of a flush: nothing but tidying.
//!
//! A flush that did not commit left its rows hot and, at most, objects that no manifest names. A flush that did commit
//! may have left objects that its manifest replaced. Both are swept; the intents then have nothing to account for.

use std::{collections::HashSet, sync::Arc};

use uuid::Uuid;

use crate::{
    Result,
    cold::{ColdTier, manifest},
    fail_points::FailPoint,
    hot::{
        committer::Committer,
        db::{Batch, Db},
    },
};

/// Must end before the first flush begins.
pub(crate) async fn recover(db: &Arc<Db>, cold: &ColdTier, committer: &Committer) -> Result<()> {
    claim(db, cold, committer).await?;
    FailPoint::RecoverClaimed.reached()?;
    let swept = cold.sweep(&named(db)?).await?;
    if swept > 0 {
        tracing::info!(objects = swept, "removed objects of the cold tier that no manifest names");
    }
    FailPoint::RecoverSwept.reached()?;
    let intents = manifest::intents(db)?;
    if intents.is_empty() {
        return Ok(());
    }
    let mut batch = Batch::default();
    for intent in intents {
        tracing::info!(table = %intent.table, kind = intent.kind.as_str_name(), "a change of the cold tier was cut short");
        manifest::delete_intent(&mut batch, &intent);
    }
    committer.write(batch).await?;
    FailPoint::RecoverEnded.reached()
}

/// Paths of all objects that a manifest names.
pub(crate) fn named(db: &Arc<Db>) -> Result<HashSet<String>> {
    let mut named = HashSet::new();
    for (table, manifest) in manifest::all(db)? {
        named.extend(manifest.objects(table).iter().map(ToString::to_string));
    }
    Ok(named)
}

/// The id is durable before it is shown to the object store; the other way round, a crash in between would leave a
/// store that no database can ever claim.
async fn claim(db: &Arc<Db>, cold: &ColdTier, committer: &Committer) -> Result<()> {
    let owner = match manifest::owner(db)? {
        Some(owner) => owner,
        None => {
            let owner = Uuid::now_v7();
            let mut batch = Batch::default();
            manifest::put_owner(&mut batch, owner);
            committer.write(batch).await?;
            FailPoint::RecoverOwned.reached()?;
            owner
        }
    };
    cold.claim(owner).await
}
