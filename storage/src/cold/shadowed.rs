//! Finds the cold rows of a user that hot rows shadow.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::Schema;
use futures::TryStreamExt;
use insula_proto::{TableId, UserNo};
use uuid::Uuid;

use super::{ColdTier, Manifest};
use crate::{Bits, HotKeys, KeyCodec, Result, TableDef, table::conform};

/// Rows of files whose key is hot.
#[derive(Default, Debug)]
pub struct Shadowed {
    /// By file, those without such rows included.
    rows: HashMap<Uuid, Arc<Bits>>,
}

impl Shadowed {
    /// Rows of the file; `None`: it is not known.
    pub fn of(&self, file: Uuid) -> Option<&Arc<Bits>> {
        self.rows.get(&file)
    }

    /// Bytes.
    pub(crate) fn memory(&self) -> usize {
        self.rows.values().map(|rows| size_of::<Uuid>() + rows.memory()).sum()
    }
}

impl ColdTier {
    /// The user's rows in all files, replaced ones included.
    pub(crate) async fn rows_of(&self, manifest: &Manifest, table: TableId, user: UserNo) -> Result<u64> {
        let mut rows = 0;
        for file in manifest.files.iter().filter(|file| file.spans(user)) {
            let entry = self.open_file(table, file).await?.users.get(user)?.map(|entry| entry.rows);
            rows += entry.map_or(0, |rows| rows.end - rows.start);
        }
        Ok(rows)
    }

    /// Reads the keys of all the user's rows.
    pub(crate) async fn shadowed(
        &self,
        manifest: &Manifest,
        table: &TableDef,
        user: UserNo,
        hot: &HotKeys,
    ) -> Result<Shadowed> {
        let codec = KeyCodec::new(table)?;
        let (stored, key) = (table.stored_schema(), table.stored_key().into_iter());
        let key = Arc::new(Schema::new(key.map(|column| Arc::clone(&stored.fields()[column])).collect::<Vec<_>>()));
        let names: Vec<String> = key.fields().iter().map(|field| field.name().clone()).collect();
        let mut shadowed = Shadowed::default();
        for file in manifest.files.iter().filter(|file| file.spans(user)) {
            let open = self.open_file(table.id, file).await?;
            let Some(entry) = open.users.get(user)? else { continue };
            let mut batches = open.read(&names, std::slice::from_ref(&entry.rows))?;
            let (mut at, mut rows) = (entry.rows.start, Bits::between(entry.rows.start, entry.rows.end));
            while let Some(batch) = batches.try_next().await.map_err(|error| open.read_error(error))? {
                let batch = conform(table, &batch, &key)?;
                if let Some(seen) = hot.unshadowed(&codec, batch.columns())? {
                    let hidden = !seen.values();
                    hidden.set_indices().for_each(|row| rows.insert(at + row as u64));
                }
                at += batch.num_rows() as u64;
                // Who gives the statement up is not made to wait for all of it.
                tokio::task::consume_budget().await;
            }
            shadowed.rows.insert(file.id, Arc::new(rows));
        }
        Ok(shadowed)
    }
}
