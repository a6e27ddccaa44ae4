//! The tables of one statement: resolved lazily, for its user alone, all under one read view. It is at once the
//! statement's catalog list, so that whatever DataFusion looks up finds this user's tables or nothing.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;
use datafusion::{
    catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider},
    common::{TableReference, tree_node::Transformed},
    datasource::{provider_as_source, source_as_provider},
    error::DataFusionError,
    logical_expr::{Expr, LogicalPlan},
};
use insula_proto::UserNo;
use insula_storage::{ReadView, Store, TableDef, TableKind};
use parking_lot::Mutex;

use super::{UserTable, provider::Shape};
use crate::{
    Engine, Error, Identity, Result,
    catalog::{Snapshot, require_catalog},
    grants::Privilege,
    outside::{is_path, refusal},
    sql::SystemColumns,
};

/// The catalog name under which a statement that writes means its target. It resolves only where a target is set;
/// whoever quoted it there would see the row ids of rows that are theirs.
const TARGET_CATALOG: &str = "(target)";
/// The same of a table that is filled: it says what new rows look like, and nobody reads it.
const FILLED_CATALOG: &str = "(filled)";

/// How the statement's own query names the table that it changes.
pub(crate) fn target_name(table: &TableDef) -> [&str; 3] {
    [TARGET_CATALOG, &table.namespace, &table.name]
}

/// How an INSERT names the table that it fills.
pub(crate) fn filled_name(table: &TableDef) -> [&str; 3] {
    [FILLED_CATALOG, &table.namespace, &table.name]
}

/// Does the name mean a target, whatever it is?
pub(crate) fn is_target_name(parts: &[String]) -> bool {
    parts.first().is_some_and(|catalog| [TARGET_CATALOG, FILLED_CATALOG].contains(&catalog.as_str()))
}

/// The one snapshot of a statement, taken when it is first needed, or its transaction's.
pub(super) struct LazyView {
    store: Arc<Store>,
    view: OnceLock<Arc<ReadView>>,
    /// Scans are those of the tests' oracle.
    pub oracle: bool,
}

impl LazyView {
    pub fn get(&self) -> &Arc<ReadView> {
        self.view.get_or_init(|| self.store.view())
    }
}

pub(crate) struct Tables {
    pub catalog: Arc<Snapshot>,
    user: Identity,
    /// Namespace of one-part names.
    namespace: String,
    /// System columns that tables list.
    columns: SystemColumns,
    /// Soft-deleted rows are part of the tables.
    deleted: bool,
    /// Shared with the providers, which must not hold this list, since it holds them.
    view: Arc<LazyView>,
    target: OnceLock<Arc<UserTable>>,
    filled: OnceLock<Arc<UserTable>>,
    made: Mutex<Vec<Arc<UserTable>>>,
}

impl Tables {
    pub fn new(
        store: Arc<Store>,
        catalog: Arc<Snapshot>,
        user: &Identity,
        namespace: String,
        columns: SystemColumns,
        deleted: bool,
        oracle: bool,
    ) -> Arc<Self> {
        let view = Arc::new(LazyView { store, view: OnceLock::new(), oracle });
        let (target, filled, made) = Default::default();
        Arc::new(Self { catalog, user: user.clone(), namespace, columns, deleted, view, target, filled, made })
    }

    /// Reads at this moment instead of the one at which the first table is resolved.
    pub fn read_at(&self, view: &Arc<ReadView>) {
        self.view.view.get_or_init(|| Arc::clone(view));
    }

    /// Whose rows of `def` this statement sees.
    pub fn owner(&self, def: &TableDef) -> UserNo {
        owner_of(def, &self.user)
    }

    /// Declares the table whose rows a statement changes, before it is planned: with the hidden row id, and live rows
    /// only, since what is deleted cannot be changed again.
    pub fn set_changed(&self, def: &Arc<TableDef>) {
        let shape = Shape { columns: self.columns, deleted: false, row_id: true };
        self.target.get_or_init(|| Arc::new(UserTable::new(def, self.owner(def), Arc::clone(&self.view), shape)));
    }

    /// Declares the table that an INSERT fills, before it is planned, with the defaults of its columns.
    pub fn set_filled(&self, def: &Arc<TableDef>, defaults: Vec<(String, Expr)>) {
        self.filled.get_or_init(|| Arc::new(UserTable::filled(def, self.owner(def), Arc::clone(&self.view), defaults)));
    }

    /// Definition of the table that a name means.
    pub fn definition(&self, parts: &[String]) -> Result<&Arc<TableDef>> {
        let (namespace, table) = match parts {
            [table] => (self.namespace.as_str(), table),
            [namespace, table] => (namespace.as_str(), table),
            [catalog, namespace, table] => {
                require_catalog(catalog)?;
                (namespace.as_str(), table)
            }
            _ => return Err(Error::invalid(format!("\"{}\" is no table name", parts.join(".")))),
        };
        self.catalog.table(&self.user, namespace, table)
    }

    /// Refuses what the statement's user is not granted on the table.
    pub fn require(&self, def: &TableDef, privilege: Privilege) -> Result<()> {
        self.catalog.require(&self.user, def, privilege)
    }

    /// Refuses rows of tables that their reader may not read any more, by the grants and the role of now.
    pub fn require_still(&self, now: &Snapshot, user: &Identity) -> Result<()> {
        self.made.lock().iter().try_for_each(|table| now.require(user, &table.def, Privilege::Select))
    }

    pub fn provider(&self, name: &TableReference) -> Result<Arc<UserTable>> {
        let target = match name.catalog() {
            Some(TARGET_CATALOG) => Some(&self.target),
            Some(FILLED_CATALOG) => Some(&self.filled),
            _ => None,
        };
        if let Some(target) = target {
            let target = target.get().filter(|t| Some(t.def.namespace.as_str()) == name.schema());
            let target = target.filter(|t| t.def.name == name.table());
            return target
                .cloned()
                .ok_or_else(|| Error::not_found(format!("table \"{}\" does not exist", name.table())));
        }
        if let Some(catalog) = name.catalog() {
            require_catalog(catalog)?;
        }
        let namespace = name.schema().unwrap_or(&self.namespace);
        let def = match self.catalog.table(&self.user, namespace, name.table()) {
            Err(_) if name.schema().is_none() && is_path(name.table()) => {
                return Err(refusal("a file in the place of a table reaches"));
            }
            def => def?,
        };
        self.require(def, Privilege::Select)?;
        Ok(self.made(def))
    }

    /// The plan with this statement's tables instead of those that it was made with, which must be the same user's, of
    /// the same catalog.
    pub fn put_into(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let plan = plan.transform_down_with_subqueries(|node| match node {
            LogicalPlan::TableScan(mut scan) => {
                let provider = source_as_provider(&scan.source)?;
                let Some(table) = provider.downcast_ref::<UserTable>() else {
                    return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
                };
                scan.source = provider_as_source(self.made(&table.def));
                Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(plan.data)
    }

    /// A name that stands twice in a statement is one provider.
    fn made(&self, def: &Arc<TableDef>) -> Arc<UserTable> {
        let mut made = self.made.lock();
        if let Some(table) = made.iter().find(|table| table.def.id == def.id) {
            return Arc::clone(table);
        }
        let shape = Shape { columns: self.columns, deleted: self.deleted, row_id: false };
        let seen = self.catalog.seen().get(def, shape);
        let table = UserTable::of(def, self.owner(def), Arc::clone(&self.view), shape.deleted, seen);
        let table = Arc::new(table);
        made.push(Arc::clone(&table));
        table
    }
}

/// Whose rows of a table a user sees.
pub(crate) fn owner_of(def: &TableDef, user: &Identity) -> UserNo {
    match def.kind {
        TableKind::Shared => UserNo::SHARED,
        TableKind::User | TableKind::Stream => user.no,
    }
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").field("user", &self.user.no).finish_non_exhaustive()
    }
}

/// DataFusion's view of [`Tables`].
#[derive(Debug)]
pub(crate) struct CatalogList(pub Arc<Tables>);

impl CatalogProviderList for CatalogList {
    fn register_catalog(&self, _: String, _: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![Engine::CATALOG.into()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == Engine::CATALOG).then(|| Arc::new(CatalogOfUser(Arc::clone(&self.0))) as _)
    }
}

#[derive(Debug)]
struct CatalogOfUser(Arc<Tables>);

impl CatalogProvider for CatalogOfUser {
    fn schema_names(&self) -> Vec<String> {
        self.0.catalog.namespaces().map(String::from).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let found = self.0.catalog.has_namespace(name);
        found.then(|| Arc::new(SchemaOfUser { tables: Arc::clone(&self.0), namespace: name.to_owned() }) as _)
    }
}

#[derive(Debug)]
struct SchemaOfUser {
    tables: Arc<Tables>,
    namespace: String,
}

#[async_trait]
impl SchemaProvider for SchemaOfUser {
    fn table_names(&self) -> Vec<String> {
        let tables = self.tables.catalog.visible_tables(&self.tables.user);
        tables.filter(|t| t.namespace == self.namespace).map(|t| t.name.clone()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let Some(def) = self.tables.catalog.get(&self.namespace, name) else { return Ok(None) };
        self.tables.require(def, Privilege::Select)?;
        Ok(Some(self.tables.made(def) as _))
    }

    fn table_exist(&self, name: &str) -> bool {
        let def = self.tables.catalog.get(&self.namespace, name);
        def.is_some_and(|def| self.tables.catalog.sees(&self.tables.user, def))
    }
}
