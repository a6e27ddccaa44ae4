//! The tables of one statement: resolved lazily, for its user alone, all under one read view. It is at once the
//! statement's catalog list, so that whatever DataFusion looks up finds this user's tables or nothing.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;
use datafusion::{
    catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider},
    common::TableReference,
    error::DataFusionError,
};
use insula_proto::UserNo;
use insula_storage::{ReadView, Store, TableDef, TableKind};
use parking_lot::Mutex;

use super::UserTable;
use crate::{
    Engine, Error, Identity, Result,
    catalog::{Snapshot, require_catalog},
    sql::SystemColumns,
};

/// The catalog name under which a statement that writes reads its target with the hidden row id. It has a NUL, which
/// no SQL text can bring through the tokenizer's words unnoticed, and resolves only where a target is set.
const TARGET_CATALOG: &str = "\0target";

/// The table that a statement writes.
#[derive(Clone, Debug)]
pub(crate) struct Target(pub Arc<TableDef>);

impl Target {
    /// How the statement's own query names the table that it changes.
    pub fn reference(&self) -> [&str; 3] {
        [TARGET_CATALOG, &self.0.namespace, &self.0.name]
    }
}

pub(crate) struct Tables {
    pub store: Arc<Store>,
    pub catalog: Arc<Snapshot>,
    user: UserNo,
    /// Namespace of one-part names.
    namespace: String,
    /// System columns that tables list.
    columns: SystemColumns,
    /// Soft-deleted rows are part of the tables.
    deleted: bool,
    view: OnceLock<Arc<ReadView>>,
    target: OnceLock<Target>,
    made: Mutex<Vec<(Arc<TableDef>, bool, Arc<UserTable>)>>,
}

impl Tables {
    pub fn new(
        store: Arc<Store>,
        catalog: Arc<Snapshot>,
        user: &Identity,
        namespace: String,
        columns: SystemColumns,
        deleted: bool,
    ) -> Arc<Self> {
        let (view, target, made) = Default::default();
        Arc::new(Self { store, catalog, user: user.no, namespace, columns, deleted, view, target, made })
    }

    /// The one snapshot of this statement, taken when it is first needed.
    pub fn view(&self) -> &Arc<ReadView> {
        self.view.get_or_init(|| self.store.view())
    }

    /// Whose rows of `def` this statement sees.
    pub fn owner(&self, def: &TableDef) -> UserNo {
        match def.kind {
            TableKind::Shared => UserNo::SHARED,
            TableKind::User | TableKind::Stream => self.user,
        }
    }

    /// Declares what the statement writes, before it is planned.
    pub fn set_target(&self, def: &Arc<TableDef>) -> Target {
        self.target.get_or_init(|| Target(Arc::clone(def))).clone()
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
        self.catalog.table(namespace, table)
    }

    pub fn provider(self: &Arc<Self>, name: &TableReference) -> Result<Arc<UserTable>> {
        if name.catalog() == Some(TARGET_CATALOG) {
            let target = self.target.get().filter(|t| Some(t.0.namespace.as_str()) == name.schema());
            let Some(target) = target.filter(|t| t.0.name == name.table()) else {
                return Err(Error::not_found(format!("table \"{}\" does not exist", name.table())));
            };
            return Ok(self.made(&target.0, true));
        }
        if let Some(catalog) = name.catalog() {
            require_catalog(catalog)?;
        }
        let namespace = name.schema().unwrap_or(&self.namespace);
        Ok(self.made(self.catalog.table(namespace, name.table())?, false))
    }

    /// A name that stands twice in a statement is one provider.
    fn made(self: &Arc<Self>, def: &Arc<TableDef>, as_target: bool) -> Arc<UserTable> {
        let mut made = self.made.lock();
        if let Some((.., table)) = made.iter().find(|(known, target, _)| known.id == def.id && *target == as_target) {
            return Arc::clone(table);
        }
        let table = Arc::new(UserTable::new(def, self.owner(def), Arc::clone(self), as_target));
        made.push((Arc::clone(def), as_target, Arc::clone(&table)));
        table
    }

    /// System columns of the tables of this statement; a target is given as its statement sees it.
    pub(super) fn columns(&self) -> SystemColumns {
        self.columns
    }

    /// Are soft-deleted rows to be seen? Never those of a target: what is deleted can not be changed again.
    pub(super) fn deleted(&self, as_target: bool) -> bool {
        self.deleted && !as_target
    }
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").field("user", &self.user).finish_non_exhaustive()
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
        let tables = self.tables.catalog.tables();
        tables.filter(|t| t.namespace == self.namespace).map(|t| t.name.clone()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let def = self.tables.catalog.get(&self.namespace, name);
        Ok(def.map(|def| self.tables.made(def, false) as _))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.catalog.get(&self.namespace, name).is_some()
    }
}
