//! The namespaces `system` and `information_schema`: tables whose rows the server makes when they are read, for whoever
//! reads them.
//!
//! A [`View`] is a name, its columns, and a function that yields rows for one [`Asking`]. **That function decides who sees
//! what**, and nothing above it does: users see what concerns themselves, admins the metadata of all, nobody another
//! user's rows or the texts of their statements. Rows are made a batch at a time while they are read.
//!
//! Such a table is bound to its reader and their moment, so plans that read one are never kept.

mod catalog;
mod fields;
mod information;
mod people;
mod rows;
mod scan;
mod server;
mod storage;
mod work;

pub(crate) use catalog::options as options_of;

use std::{
    fmt,
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    datasource::source_as_provider,
    error::Result as PlanResult,
    logical_expr::{Expr, TableScan, TableType},
    physical_plan::ExecutionPlan,
};
use insula_proto::UserNo;
use insula_storage::TableDef;

use crate::{
    Engine, Error, ErrorKind, Identity, Result, Role, RowStream,
    catalog::{Snapshot, nearest},
    session::Settings,
};

pub(crate) const NAMESPACES: [&str; 2] = ["information_schema", "system"];

/// Does this scan of a query read one of the tables here?
pub(crate) fn is_system(scan: &TableScan) -> bool {
    source_as_provider(&scan.source).is_ok_and(|table| table.downcast_ref::<SystemTable>().is_some())
}

/// One of the tables.
pub(crate) struct View {
    pub namespace: &'static str,
    pub name: &'static str,
    fields: fn() -> Vec<Field>,
    rows: fn(Asking, SchemaRef) -> RowStream,
}

impl View {
    pub fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new((self.fields)()))
    }
}

/// All of them.
pub(crate) fn views() -> impl Iterator<Item = &'static View> {
    let groups: [&'static [View]; 6] =
        [&information::VIEWS, &catalog::VIEWS, &people::VIEWS, &server::VIEWS, &storage::VIEWS, &work::VIEWS];
    groups.into_iter().flatten()
}

/// Who reads, and what they see the catalog as.
#[derive(Clone)]
pub(crate) struct Asking {
    pub engine: Weak<Engine>,
    pub user: Identity,
    pub settings: Settings,
    pub catalog: Arc<Snapshot>,
}

impl Asking {
    fn engine(&self) -> Result<Arc<Engine>> {
        self.engine.upgrade().ok_or_else(|| Error::new(ErrorKind::Unavailable, "the server is shutting down"))
    }

    fn is_admin(&self) -> bool {
        self.user.role == Role::Admin
    }

    /// The declared tables that the reader may know of.
    fn tables(&self) -> impl Iterator<Item = &Arc<TableDef>> {
        self.catalog.visible_tables(&self.user)
    }

    /// Namespaces, those of the server among them, in the order of their names.
    fn namespaces(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.catalog.namespaces().chain(NAMESPACES).collect();
        names.sort_unstable();
        names
    }
}

/// What is known of the server around the engine.
pub trait Host: Send + Sync {
    /// Open sessions, the longest known first: one user's, or all.
    fn sessions(&self, of: Option<UserNo>) -> Vec<HostSession>;

    /// Names and values of its settings; none is a secret.
    fn settings(&self) -> Vec<(String, String)>;

    /// The user of this session has changed their own password in it, and goes on with it.
    fn password_changed(&self, session: &crate::Session);
}

/// An open session.
#[derive(Clone, Debug)]
pub struct HostSession {
    pub user: UserNo,
    /// By what its client is known again: `token` or `connection`.
    pub by: &'static str,
    pub began: SystemTime,
    pub idle: Duration,
}

/// A system table as one user reads it.
pub(crate) struct SystemTable {
    view: &'static View,
    asking: Asking,
}

/// The one of this name; `None` where the namespace is none of the server's. `current`: namespace of one-part names.
pub(crate) fn named(parts: &[String], current: &str) -> Result<Option<&'static View>> {
    let (namespace, name) = match parts {
        [name] => (current, name),
        [namespace, name] => (namespace.as_str(), name),
        [catalog, namespace, name] if catalog == Engine::CATALOG => (namespace.as_str(), name),
        _ => return Ok(None),
    };
    if NAMESPACES.contains(&namespace) { view(namespace, name).map(Some) } else { Ok(None) }
}

fn view(namespace: &str, name: &str) -> Result<&'static View> {
    let mut own = views().filter(|view| view.namespace == namespace);
    own.find(|view| view.name == name).ok_or_else(|| {
        let names = views().filter(|view| view.namespace == namespace).map(|view| view.name);
        let hint = nearest(name, names).map(|n| format!("; did you mean \"{namespace}.{n}\"?")).unwrap_or_default();
        Error::not_found(format!("table \"{namespace}.{name}\" does not exist{hint}"))
    })
}

impl SystemTable {
    pub fn new(namespace: &str, name: &str, asking: Asking) -> Result<Self> {
        Ok(Self { view: view(namespace, name)?, asking })
    }

    /// With its namespace.
    pub fn name(&self) -> String {
        format!("{}.{}", self.view.namespace, self.view.name)
    }
}

impl fmt::Debug for SystemTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SystemTable({})", self.name())
    }
}

#[async_trait]
impl TableProvider for SystemTable {
    fn schema(&self) -> SchemaRef {
        self.view.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        scan::plan(self.view, self.asking.clone(), projection, limit)
    }
}

#[cfg(test)]
mod tests;
