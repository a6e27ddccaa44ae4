//! What every read of a table asks first: its active generation and its manifest, as its snapshot sees them.
//!
//! They are remembered by the state in which they were read ([`crate::hot::changes`]), since hardly any read finds
//! another one than the last did.

use std::sync::Arc;

use insula_proto::TableId;

use super::ReadView;
use crate::{
    Error, ErrorKind, Result, TableDef,
    cache::Cache,
    cold::{Manifest, manifest},
    hot::{
        db::Family,
        tables::{Active, record_key},
    },
};

/// What all that is remembered may take.
const REMEMBERED: usize = 4 << 20;
/// A guess at what a file takes in a manifest in memory.
const FILE_BYTES: usize = 400;

#[derive(Clone)]
pub(crate) struct State {
    pub active: Active,
    pub manifest: Arc<Manifest>,
}

/// The states read last, with the number of each.
pub(crate) struct States(Cache<TableId, (u64, State)>);

impl Default for States {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED))
    }
}

impl ReadView {
    pub(super) fn state(&self, table: &TableDef) -> Result<State> {
        let states = &self.tables.states.0;
        let known = self.state.and_then(|_| states.get(&table.id));
        if let Some((_, state)) = known.as_deref().filter(|(number, _)| Some(*number) == self.state) {
            return Ok(state.clone());
        }
        let state = self.read_state(table)?;
        // A view may be old; what it sees must not push out what new ones see.
        if let Some(number) = self.state.filter(|number| known.is_none_or(|known| known.0 < *number)) {
            let bytes = FILE_BYTES * (1 + state.manifest.files.len());
            states.insert(table.id, Arc::new((number, state.clone())), bytes);
        }
        Ok(state)
    }

    fn read_state(&self, table: &TableDef) -> Result<State> {
        let record = self.snapshot.get(Family::Meta, &record_key::generation(table.id))?;
        let gone = || Error::new(ErrorKind::NotFound, format!("no table \"{}\"", table.full_name()));
        let active = Active::from_record(&record.ok_or_else(gone)?)?;
        Ok(State { active, manifest: manifest::load(&self.snapshot, table.id)? })
    }
}

#[cfg(test)]
mod tests;
