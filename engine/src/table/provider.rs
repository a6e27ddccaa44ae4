//! One user's table as DataFusion sees it. It cannot be built without the owner's number, and its scan asks storage
//! for that owner's slice only.

use std::{fmt, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    error::Result,
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_plan::{ExecutionPlan, empty::EmptyExec, union::UnionExec},
};
use insula_proto::UserNo;
use insula_storage::{KeyBounds, TableDef, table};

use super::{
    cold::{KeyedExec, Scan},
    hot::HotExec,
    keys,
    oracle::OracleExec,
    resolver::LazyView,
    seen::Seen,
};
use crate::{Error, sql::SystemColumns, types::seen_field};

/// A column as the statement sees it, and where storage keeps it.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub field: Arc<Field>,
    /// Index in [`TableDef::stored_schema`].
    pub stored: usize,
}

/// What of a table a statement sees beside its declared columns.
#[derive(Clone, Copy, Default)]
pub(super) struct Shape {
    pub columns: SystemColumns,
    /// Soft-deleted rows too.
    pub deleted: bool,
    /// The hidden row id, for the query of a statement that writes.
    pub row_id: bool,
}

impl Shape {
    /// Nothing but the declared columns.
    pub fn is_plain(self) -> bool {
        !self.row_id && self.columns.names().next().is_none()
    }
}

pub(crate) struct UserTable {
    pub def: Arc<TableDef>,
    owner: UserNo,
    view: Arc<LazyView>,
    seen: Arc<Seen>,
    deleted: bool,
    /// Planned defaults by column, of the table that an INSERT fills.
    defaults: Vec<(String, Expr)>,
}

impl UserTable {
    pub(super) fn new(def: &Arc<TableDef>, owner: UserNo, view: Arc<LazyView>, shape: Shape) -> Self {
        Self::of(def, owner, view, shape.deleted, Seen::of(def, shape))
    }

    /// With columns that are known.
    pub(super) fn of(def: &Arc<TableDef>, owner: UserNo, view: Arc<LazyView>, deleted: bool, seen: Arc<Seen>) -> Self {
        Self { def: Arc::clone(def), owner, view, seen, deleted, defaults: Vec::new() }
    }

    /// The target of an INSERT. Its columns are nullable for the planner, because our own check of NOT NULL names the
    /// column, and DataFusion's does not; their types are those that are stored.
    pub(super) fn filled(
        def: &Arc<TableDef>,
        owner: UserNo,
        view: Arc<LazyView>,
        defaults: Vec<(String, Expr)>,
    ) -> Self {
        let mut columns = columns(def, Shape::default());
        for (column, declared) in columns.iter_mut().zip(&def.columns) {
            column.field = Arc::new(declared.field.as_ref().clone().with_nullable(true));
        }
        let mut table = Self::of(def, owner, view, false, Seen::new(columns));
        table.defaults = defaults;
        table
    }
}

impl UserTable {
    /// Whether the filters let single keys through, and no others.
    pub fn is_of_keys(&self, filters: &[Expr]) -> Result<bool> {
        Ok(matches!(keys::wanted(&self.def, &self.seen.columns, filters)?, KeyBounds::Keys(_)))
    }

    /// What reading single rows takes: the definition, whether soft-deleted ones count, and where storage keeps the
    /// columns of the projection. `None`: its rows are not found by values of the key, or are the oracle's.
    pub(super) fn read_by_key(&self, projection: Option<&[usize]>) -> Option<(Arc<TableDef>, bool, Vec<usize>)> {
        let key = self.def.stored_key();
        let named = |stored: &usize| self.seen.columns.iter().find(|column| column.stored == *stored);
        // The order of floats is Arrow's in filters and ours in keys.
        let exact =
            key.iter().all(|stored| named(stored).is_some_and(|column| !column.field.data_type().is_floating()));
        if !exact || self.view.oracle {
            return None;
        }
        let columns = match projection {
            Some(projection) => projection.iter().map(|i| self.seen.columns[*i].stored).collect(),
            None => self.seen.columns.iter().map(|column| column.stored).collect(),
        };
        Some((Arc::clone(&self.def), self.deleted, columns))
    }
}

/// Declared columns, then the named system columns, then the hidden row id where it is asked for.
pub(super) fn columns(def: &TableDef, shape: Shape) -> Vec<Column> {
    let first = def.first_declared();
    let declared = def.columns.iter().enumerate();
    let mut columns: Vec<_> =
        declared.map(|(i, c)| Column { field: seen_field(&c.field), stored: first + i }).collect();
    let mut hidden = |name: &str, stored: usize, data_type: DataType| {
        columns.push(Column { field: Arc::new(Field::new(name, data_type, false)), stored });
    };
    for name in shape.columns.names() {
        match name {
            table::SEQ => hidden(name, 1, DataType::Int64),
            table::UPDATED => hidden(name, 2, table::updated_type()),
            _ => hidden(name, 3, DataType::Boolean),
        }
    }
    if shape.row_id && def.has_row_id() {
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
        Arc::clone(&self.seen.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn get_column_default(&self, column: &str) -> Option<&Expr> {
        self.defaults.iter().find(|(name, _)| name == column).map(|(_, expr)| expr)
    }

    /// Inexact: the filter stays in the plan, and the optimizer offers it to the scans as far as each node lets it pass.
    /// There it prunes and skips; what it drops is dropped above.
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
            Some(projection) => projection.iter().map(|i| self.seen.columns[*i].clone()).collect(),
            None => self.seen.columns.clone(),
        };
        let schema = Arc::new(Schema::new(columns.iter().map(|c| Arc::clone(&c.field)).collect::<Vec<_>>()));
        let slice = self.view.get().slice(&self.def, self.owner).map_err(Error::from)?;
        slice.settle().await.map_err(Error::from)?;
        if self.view.oracle {
            return Ok(Arc::new(OracleExec::new(slice, &columns, schema, self.deleted)));
        }
        let wanted = keys::wanted(&self.def, &self.seen.columns, filters)?;
        let hot = slice.hot_span(&wanted).map_err(Error::from)?;
        let mut parts: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        if !hot.as_ref().is_some_and(|span| span.is_complete) {
            let keyed = KeyedExec::of(&slice, &wanted, &columns, &schema, self.deleted, hot.is_some());
            let scan = Scan { slice: &slice, columns: &columns, filters, deleted: self.deleted, wanted: &wanted };
            match keyed {
                Some(keyed) => parts.push(Arc::new(keyed)),
                None => parts.extend(scan.plan(state, hot.as_ref().map(|span| &span.bounds)).await?),
            }
        }
        if hot.is_some() {
            let (schema, config) = (Arc::clone(&schema), state.config());
            parts.push(Arc::new(HotExec::new(slice, wanted, columns, schema, self.deleted, config)?));
        }
        match parts.len() {
            0 => Ok(Arc::new(EmptyExec::new(schema))),
            1 => Ok(parts.remove(0)),
            _ => UnionExec::try_new(parts),
        }
    }
}
