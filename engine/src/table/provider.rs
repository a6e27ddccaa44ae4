//! One user's table as DataFusion sees it. It cannot be built without the owner's number, and its scan asks storage
//! for that owner's slice only.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    error::Result,
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_plan::{ExecutionPlan, empty::EmptyExec, union::UnionExec},
};
use insula_proto::UserNo;
use insula_storage::{TableDef, table};

use super::{Tables, cold, hot::HotExec};
use crate::Error;

/// A column as the statement sees it, and where storage keeps it.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub field: Arc<Field>,
    /// Index in [`TableDef::stored_schema`].
    pub stored: usize,
}

pub(crate) struct UserTable {
    pub def: Arc<TableDef>,
    owner: UserNo,
    tables: Arc<Tables>,
    columns: Vec<Column>,
    schema: SchemaRef,
    deleted: bool,
    /// Planned defaults by column; set where the table is the target of an INSERT.
    defaults: OnceLock<Vec<(String, Expr)>>,
}

impl UserTable {
    /// `as_target`: for the query of a statement that writes, with the hidden row id.
    pub(super) fn new(def: &Arc<TableDef>, owner: UserNo, tables: Arc<Tables>, as_target: bool) -> Self {
        let columns = columns(def, tables.columns(), as_target);
        let schema = Arc::new(Schema::new(columns.iter().map(|c| Arc::clone(&c.field)).collect::<Vec<_>>()));
        let deleted = tables.deleted(as_target);
        Self { def: Arc::clone(def), owner, tables, columns, schema, deleted, defaults: OnceLock::new() }
    }

    pub fn set_defaults(&self, defaults: Vec<(String, Expr)>) {
        // The same statement would set the same ones again.
        let _ = self.defaults.set(defaults);
    }
}

/// Declared columns, then the named system columns, then the hidden row id where it is asked for.
fn columns(def: &TableDef, system: crate::sql::SystemColumns, as_target: bool) -> Vec<Column> {
    let first = def.first_declared();
    let declared = def.columns.iter().enumerate();
    let mut columns: Vec<_> =
        declared.map(|(i, c)| Column { field: Arc::clone(&c.field), stored: first + i }).collect();
    let mut hidden = |name: &str, stored: usize, data_type: DataType| {
        columns.push(Column { field: Arc::new(Field::new(name, data_type, false)), stored });
    };
    for name in system.names() {
        match name {
            table::SEQ => hidden(name, 1, DataType::Int64),
            table::UPDATED => hidden(name, 2, table::updated_type()),
            _ => hidden(name, 3, DataType::Boolean),
        }
    }
    if as_target && def.has_row_id() {
        hidden(table::ROW_ID, 4, DataType::UInt64);
    }
    columns
}

impl fmt::Debug for UserTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserTable({}.{})", self.def.namespace, self.def.name)
    }
}

#[async_trait]
impl TableProvider for UserTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn get_column_default(&self, column: &str) -> Option<&Expr> {
        self.defaults.get()?.iter().find(|(name, _)| name == column).map(|(_, expr)| expr)
    }

    /// Filters prune and thin out what is read, and DataFusion applies them once more: a filter that Parquet cannot
    /// evaluate costs time, never an answer.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns: Vec<Column> = match projection {
            Some(projection) => projection.iter().map(|i| self.columns[*i].clone()).collect(),
            None => self.columns.clone(),
        };
        let schema = Arc::new(Schema::new(columns.iter().map(|c| Arc::clone(&c.field)).collect::<Vec<_>>()));
        let slice = self.tables.view().slice(&self.def, self.owner).map_err(Error::from)?;
        let hot = slice.hot_bounds().map_err(Error::from)?;
        let cold = slice.cold().await.map_err(Error::from)?;

        let mut parts: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        if !cold.is_empty() {
            let scan = cold::Scan { slice: &slice, columns: &columns, all: &self.columns, deleted: self.deleted };
            parts.push(scan.plan(state, cold, hot.as_ref(), filters)?);
        }
        if hot.is_some() {
            parts.push(Arc::new(HotExec::new(slice, columns, Arc::clone(&schema), self.deleted)));
        }
        match parts.len() {
            0 => Ok(Arc::new(EmptyExec::new(schema))),
            1 => Ok(parts.remove(0)),
            _ => UnionExec::try_new(parts),
        }
    }
}
