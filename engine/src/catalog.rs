//! Which namespaces and tables there are: an immutable snapshot that statements hold, replaced whole by each change.
//! Definitions only; whose rows a table yields is decided in [`crate::table`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use insula_proto::UserNo;
use insula_storage::{Alteration, Filling, MetaBatch, NewTable, Store, TableDef};
use parking_lot::RwLock;

use crate::{Engine, Error, ErrorKind, Result};

const NAMESPACE_PREFIX: &[u8] = b"namespace/";
/// Names that users cannot take: they belong to tables that the server makes itself.
const RESERVED: [&str; 3] = ["system", "information_schema", "pg_catalog"];
pub(crate) const DEFAULT_NAMESPACE: &str = "public";

/// All definitions at one moment.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    namespaces: BTreeSet<String>,
    tables: BTreeMap<(String, String), Arc<TableDef>>,
}

impl Snapshot {
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.namespaces.iter().map(String::as_str)
    }

    pub fn tables(&self) -> impl Iterator<Item = &Arc<TableDef>> {
        self.tables.values()
    }

    pub fn has_namespace(&self, namespace: &str) -> bool {
        self.namespaces.contains(namespace)
    }

    pub fn require_namespace(&self, namespace: &str) -> Result<()> {
        if self.has_namespace(namespace) {
            return Ok(());
        }
        let hint =
            nearest(namespace, self.namespaces()).map(|n| format!("; did you mean \"{n}\"?")).unwrap_or_default();
        Err(Error::not_found(format!("namespace \"{namespace}\" does not exist{hint}")))
    }

    pub fn get(&self, namespace: &str, table: &str) -> Option<&Arc<TableDef>> {
        self.tables.get(&(namespace.to_owned(), table.to_owned()))
    }

    pub fn table(&self, namespace: &str, table: &str) -> Result<&Arc<TableDef>> {
        if let Some(def) = self.get(namespace, table) {
            return Ok(def);
        }
        self.require_namespace(namespace)?;
        let names = self.tables().filter(|t| t.namespace == namespace).map(|t| t.name.as_str());
        let hint = nearest(table, names).map(|n| format!("; did you mean \"{namespace}.{n}\"?")).unwrap_or_default();
        Err(Error::not_found(format!("table \"{namespace}.{table}\" does not exist{hint}")))
    }
}

/// The current [`Snapshot`], and the only place that changes definitions, one at a time.
pub(crate) struct Catalog {
    store: Arc<Store>,
    current: RwLock<Arc<Snapshot>>,
    /// Held over check, write and publication of one change.
    change: tokio::sync::Mutex<()>,
}

impl Catalog {
    pub async fn open(store: Arc<Store>) -> Result<Self> {
        if store.meta().scan(NAMESPACE_PREFIX)?.is_empty() {
            let mut batch = MetaBatch::default();
            batch.put(namespace_key(DEFAULT_NAMESPACE), Vec::new());
            store.meta().write(batch).await?;
        }
        let catalog = Self { current: RwLock::default(), change: tokio::sync::Mutex::default(), store };
        catalog.publish()?;
        Ok(catalog)
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.read())
    }

    pub async fn create_namespace(&self, namespace: &str, if_not_exists: bool) -> Result<()> {
        let _change = self.change.lock().await;
        if self.snapshot().has_namespace(namespace) {
            return if if_not_exists {
                Ok(())
            } else {
                Err(Error::exists(format!("namespace \"{namespace}\" exists already")))
            };
        }
        if RESERVED.contains(&namespace) || namespace.is_empty() {
            return Err(Error::invalid(format!("\"{namespace}\" cannot be the name of a namespace: it is reserved")));
        }
        let mut batch = MetaBatch::default();
        batch.put(namespace_key(namespace), Vec::new());
        self.store.meta().write(batch).await?;
        self.publish()
    }

    pub async fn drop_namespace(&self, namespace: &str, if_exists: bool, cascade: bool) -> Result<()> {
        let _change = self.change.lock().await;
        let snapshot = self.snapshot();
        if let Err(error) = snapshot.require_namespace(namespace) {
            return if if_exists { Ok(()) } else { Err(error) };
        }
        let tables: Vec<_> = snapshot.tables().filter(|t| t.namespace == namespace).cloned().collect();
        if !tables.is_empty() && !cascade {
            let names = tables.iter().map(|t| t.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(Error::new(
                ErrorKind::FailedPrecondition,
                format!("namespace \"{namespace}\" is not empty: it has the tables {names}; drop them or use CASCADE"),
            ));
        }
        for table in tables {
            self.store.drop_table(table.id).await?;
        }
        let mut batch = MetaBatch::default();
        batch.delete(namespace_key(namespace));
        self.store.meta().write(batch).await?;
        self.publish()
    }

    pub async fn create_table(&self, table: NewTable, if_not_exists: bool) -> Result<()> {
        let _change = self.change.lock().await;
        match self.vacancy(&table.namespace, &table.name) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists && if_not_exists => return Ok(()),
            Err(error) => return Err(error),
        }
        self.store.create_table(table).await?;
        self.publish()
    }

    /// The table as it will be, so that its rows can be gathered; see [`Self::create_filled`].
    pub fn declare(&self, table: NewTable) -> Result<Arc<TableDef>> {
        self.snapshot().require_namespace(&table.namespace)?;
        Ok(self.store.declare_table(table)?)
    }

    /// Makes a declared table appear with its rows, all or nothing. With `replace`, a table of its name goes in the same
    /// moment; until then that one stays as it is.
    pub async fn create_filled(&self, def: &Arc<TableDef>, rows: Filling, replace: bool) -> Result<u64> {
        let _change = self.change.lock().await;
        let replaced = if replace { self.snapshot().get(&def.namespace, &def.name).map(|old| old.id) } else { None };
        if replaced.is_none() {
            self.vacancy(&def.namespace, &def.name)?;
        }
        let stored = self.store.create_filled(def, rows, replaced).await?;
        self.publish()?;
        Ok(stored)
    }

    /// Is the namespace there, and the name free in it?
    pub fn vacancy(&self, namespace: &str, table: &str) -> Result<()> {
        let snapshot = self.snapshot();
        snapshot.require_namespace(namespace)?;
        match snapshot.get(namespace, table) {
            None => Ok(()),
            Some(_) => Err(Error::exists(format!("table \"{namespace}.{table}\" exists already"))),
        }
    }

    pub async fn drop_table(&self, namespace: &str, table: &str, if_exists: bool) -> Result<()> {
        let _change = self.change.lock().await;
        let id = match self.snapshot().table(namespace, table) {
            Ok(def) => def.id,
            Err(_) if if_exists => return Ok(()),
            Err(error) => return Err(error),
        };
        self.store.drop_table(id).await?;
        self.publish()
    }

    /// All actions or none. `actions` are made under the lock, from the definition that they will change.
    pub async fn alter_table(
        &self,
        namespace: &str,
        table: &str,
        author: UserNo,
        actions: impl FnOnce(&TableDef) -> Result<Vec<Alteration>>,
    ) -> Result<()> {
        let _change = self.change.lock().await;
        let def = Arc::clone(self.snapshot().table(namespace, table)?);
        self.store.alter_table(def.id, &actions(&def)?, Some(author)).await?;
        self.publish()
    }

    /// Until the result is dropped, nobody else changes definitions.
    pub async fn exclusive(&self) -> Exclusive<'_> {
        Exclusive { catalog: self, _change: self.change.lock().await }
    }

    /// For a statement that met a newer definition than its own: waits for the change under way, if any, and makes
    /// sure that it is visible, even if whoever made it has gone away in the middle.
    pub async fn refresh(&self) -> Result<()> {
        let _change = self.change.lock().await;
        self.publish()
    }

    /// Makes what the store holds visible to the statements that start from now on.
    fn publish(&self) -> Result<()> {
        let mut namespaces = BTreeSet::new();
        for (key, _) in self.store.meta().scan(NAMESPACE_PREFIX)? {
            let name = String::from_utf8(key[NAMESPACE_PREFIX.len()..].to_vec())
                .map_err(|_| Error::new(ErrorKind::DataLoss, "a namespace record has a damaged name"))?;
            namespaces.insert(name);
        }
        let tables =
            self.store.tables().into_iter().map(|def| ((def.namespace.clone(), def.name.clone()), def)).collect();
        *self.current.write() = Arc::new(Snapshot { namespaces, tables });
        Ok(())
    }
}

/// The catalog, with nobody else changing it.
pub(crate) struct Exclusive<'a> {
    catalog: &'a Catalog,
    _change: tokio::sync::MutexGuard<'a, ()>,
}

impl Exclusive<'_> {
    pub fn publish(&self) -> Result<()> {
        self.catalog.publish()
    }
}

fn namespace_key(namespace: &str) -> Vec<u8> {
    [NAMESPACE_PREFIX, namespace.as_bytes()].concat()
}

/// Refuses a catalog other than the one there is.
pub(crate) fn require_catalog(catalog: &str) -> Result<()> {
    if catalog == Engine::CATALOG {
        Ok(())
    } else {
        Err(Error::not_found(format!("catalog \"{catalog}\" does not exist; there is only {}", Engine::CATALOG)))
    }
}

/// The candidate that a mistyped name most likely meant, if any is near.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    use datafusion::common::utils::datafusion_strsim::levenshtein;
    candidates
        .map(|candidate| (levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}
