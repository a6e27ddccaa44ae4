//! The columns of tables as statements see them. Those of a table without system columns are the same for everybody, so
//! they are made once for a definition, and statements of all users share them: they are names and types, and nothing of
//! anybody's rows.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use arrow::datatypes::{Schema, SchemaRef};
use insula_proto::TableId;
use insula_storage::TableDef;

use super::provider::{Column, Shape, columns};

#[derive(Debug)]
pub(crate) struct Seen {
    pub(super) columns: Vec<Column>,
    pub(super) schema: SchemaRef,
}

impl Seen {
    pub(super) fn new(columns: Vec<Column>) -> Arc<Self> {
        let schema = Schema::new(columns.iter().map(|column| Arc::clone(&column.field)).collect::<Vec<_>>());
        Arc::new(Self { columns, schema: Arc::new(schema) })
    }

    pub(super) fn of(def: &TableDef, shape: Shape) -> Arc<Self> {
        Self::new(columns(def, shape))
    }
}

/// Of all definitions of one moment, each made when it is first asked for.
#[derive(Default, Debug)]
pub(crate) struct SeenTables(HashMap<(TableId, u32), OnceLock<Arc<Seen>>>);

impl SeenTables {
    pub fn of<'a>(tables: impl Iterator<Item = &'a Arc<TableDef>>) -> Self {
        Self(tables.map(|def| (key(def), OnceLock::new())).collect())
    }

    pub(super) fn get(&self, def: &TableDef, shape: Shape) -> Arc<Seen> {
        match self.0.get(&key(def)) {
            Some(seen) if shape.is_plain() => Arc::clone(seen.get_or_init(|| Seen::of(def, shape))),
            _ => Seen::of(def, shape),
        }
    }
}

/// Definitions of one number and version are the same.
fn key(def: &TableDef) -> (TableId, u32) {
    (def.id, def.schema_version)
}

#[cfg(test)]
mod tests;
