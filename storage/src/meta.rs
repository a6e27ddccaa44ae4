//! Opaque key-value records of the layers above (users, namespaces, grants), synced like rows.

use std::sync::Arc;

use crate::{
    Result,
    fail_points::FailPoint,
    hot::{
        committer::Committer,
        db::{Batch, Db, Family},
        tables::record_key,
    },
};

/// Changes to [`Meta`] that become durable together.
#[derive(Default, Clone, Debug)]
pub struct MetaBatch {
    batch: Batch,
}

impl MetaBatch {
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.batch.put(Family::Meta, stored_key(&key.into()), value);
    }

    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        self.batch.delete(Family::Meta, stored_key(&key.into()));
    }

    pub(crate) fn into_batch(self) -> Batch {
        self.batch
    }
}

pub struct Meta {
    db: Arc<Db>,
    committer: Committer,
}

impl Meta {
    pub(crate) fn new(db: Arc<Db>, committer: Committer) -> Self {
        Self { db, committer }
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.db.get(Family::Meta, &stored_key(key))
    }

    /// All records whose keys begin with `prefix`, in key order.
    pub fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let records = self.db.scan(Family::Meta, &stored_key(prefix))?;
        Ok(records.into_iter().map(|(key, value)| (key[record_key::OPAQUE.len()..].to_vec(), value)).collect())
    }

    /// Synced when it returns.
    pub async fn write(&self, batch: MetaBatch) -> Result<()> {
        FailPoint::MetaBegun.reached()?;
        self.committer.write_guarded(batch.into_batch()).await?;
        FailPoint::MetaWritten.reached()
    }
}

/// Opaque records lie behind a prefix of their own, where no key of theirs can meet one of ours.
fn stored_key(key: &[u8]) -> Vec<u8> {
    [record_key::OPAQUE, key].concat()
}
