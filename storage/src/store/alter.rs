//! Changes of a table's definition: the next version, durable together with its place in the history.

use std::sync::Arc;

use insula_proto::{TableId, UserNo};

use super::Store;
use crate::{
    Alteration, Error, ErrorKind, Result, TableDef,
    cold::writer,
    fail_points::FailPoint,
    hot::{
        db::{Batch, Family},
        tables::record_key,
    },
    table::{Altered, TableVersion},
};

/// Adds to the batch what is kept of a version: the definition, and the entry of the history.
pub(super) fn put_version(
    batch: &mut Batch,
    def: &TableDef,
    change: String,
    author: Option<UserNo>,
    at_micros: i64,
) -> Result<()> {
    let version = TableVersion { version: def.schema_version, at_micros, change, author };
    batch.put(Family::Meta, record_key::definition(def.id), def.to_record()?);
    batch.put(Family::Meta, record_key::version(def.id, def.schema_version), version.to_record(def)?);
    Ok(())
}

impl Store {
    /// All actions or none; durable when it returns. No row is touched: each is read through the version under which
    /// it was written. Returns the definition as it is now.
    pub async fn alter_table(
        self: &Arc<Self>,
        table: TableId,
        actions: &[Alteration],
        author: Option<UserNo>,
    ) -> Result<Arc<TableDef>> {
        let _alone = self.definitions.lock().await;
        let old = self.tables.get(table)?;
        let Some(altered) = old.altered(actions)? else { return Ok(old) };
        self.check_name_is_free(&altered.def)?;
        writer::check(&altered.def)?;
        let _nobody_writes = self.before_options(&old, &altered.def.options).await?;
        let Altered { def, change, needs_empty, outdates_writes } = altered;
        let def = Arc::new(def);
        let mut batch = Batch::default();
        put_version(&mut batch, &def, change, author, self.clock.now_micros())?;
        FailPoint::AlterBegun.reached()?;
        self.committer.alter(Arc::clone(&def), needs_empty, outdates_writes, batch).await?;
        FailPoint::AlterDone.reached()?;
        Ok(def)
    }

    /// Is no other table called as this one will be?
    fn check_name_is_free(&self, def: &TableDef) -> Result<()> {
        let is_other = |t: &Arc<TableDef>| t.id != def.id && t.namespace == def.namespace && t.name == def.name;
        if !self.tables.all().iter().any(is_other) {
            return Ok(());
        }
        let message = format!("table \"{}\" exists already", def.full_name());
        Err(Error::new(ErrorKind::AlreadyExists, message))
    }

    /// The versions of a table, oldest first.
    pub fn history(&self, table: TableId) -> Result<Vec<TableVersion>> {
        let records = self.db.scan(Family::Meta, &record_key::versions(table))?;
        records.into_iter().map(|(_, sealed)| Ok(TableVersion::from_record(&sealed)?.0)).collect()
    }
}

#[cfg(test)]
mod tests;
