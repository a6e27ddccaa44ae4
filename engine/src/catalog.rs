//! Which namespaces and tables there are, and who may do what with them: an immutable snapshot that statements hold,
//! replaced whole by each change. Whose rows a table yields is decided in [`crate::table`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use insula_proto::UserNo;
use insula_storage::{Alteration, Filling, MetaBatch, NewTable, Store, TableDef, TableKind};
use parking_lot::RwLock;

use crate::{
    Engine, Error, ErrorKind, GrantInfo, Identity, Result, Role,
    checks::Conditions,
    grants::{Grantee, Grants, Object, Privilege, Privileges},
    system,
    table::SeenTables,
};

const NAMESPACE_PREFIX: &[u8] = b"namespace/";
/// Names that users cannot take: they belong to tables that the server makes itself.
const RESERVED: [&str; 3] = ["system", "information_schema", "pg_catalog"];
pub(crate) const DEFAULT_NAMESPACE: &str = "public";

/// All definitions and grants at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    namespaces: Arc<BTreeSet<String>>,
    tables: Arc<BTreeMap<(String, String), Arc<TableDef>>>,
    seen: Arc<SeenTables>,
    conditions: Arc<Conditions>,
    grants: Arc<Grants>,
}

impl Snapshot {
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.namespaces.iter().map(String::as_str)
    }

    /// All tables, whoever asks.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<TableDef>> {
        self.tables.values()
    }

    /// The tables of which the user is told.
    pub fn visible_tables<'a>(&'a self, user: &'a Identity) -> impl Iterator<Item = &'a Arc<TableDef>> {
        self.tables().filter(|table| self.sees(user, table))
    }

    pub fn has_namespace(&self, namespace: &str) -> bool {
        self.namespaces.contains(namespace)
    }

    /// For statements that change something in it: those that read meet the tables of the server before they ask here.
    pub fn require_namespace(&self, namespace: &str) -> Result<()> {
        if self.has_namespace(namespace) {
            return Ok(());
        }
        if system::NAMESPACES.contains(&namespace) {
            return Err(Error::denied(format!("\"{namespace}\" is made by the server and cannot be changed")));
        }
        let hint =
            nearest(namespace, self.namespaces()).map(|n| format!("; did you mean \"{n}\"?")).unwrap_or_default();
        Err(Error::not_found(format!("namespace \"{namespace}\" does not exist{hint}")))
    }

    pub fn get(&self, namespace: &str, table: &str) -> Option<&Arc<TableDef>> {
        self.tables.get(&(namespace.to_owned(), table.to_owned()))
    }

    /// The table of a name that the user says. As in PostgreSQL, one that is not for them is denied rather than said not
    /// to be there, but lists and hints never name it.
    pub fn table(&self, user: &Identity, namespace: &str, table: &str) -> Result<&Arc<TableDef>> {
        if let Some(def) = self.get(namespace, table) {
            return if self.sees(user, def) { Ok(def) } else { Err(none_granted(def)) };
        }
        self.require_namespace(namespace)?;
        let names = self.visible_tables(user).filter(|t| t.namespace == namespace).map(|t| t.name.as_str());
        let hint = nearest(table, names).map(|n| format!("; did you mean \"{namespace}.{n}\"?")).unwrap_or_default();
        Err(Error::not_found(format!("table \"{namespace}.{table}\" does not exist{hint}")))
    }

    /// How statements see the tables.
    pub fn seen(&self) -> &SeenTables {
        &self.seen
    }

    /// What the checks of the tables are computed by.
    pub fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    pub fn grants(&self) -> &Arc<Grants> {
        &self.grants
    }

    /// Grants as people read them: those of which the user is told, a privilege each. `name_of`: of a user's number.
    pub fn grants_of(&self, user: &Identity, name_of: impl Fn(UserNo) -> Option<String>) -> Vec<GrantInfo> {
        let names: HashMap<_, _> = self.tables().map(|table| (table.id, table)).collect();
        let mut told = Vec::new();
        for (object, grantee, privileges) in self.grants.all().filter(|(_, grantee, _)| grantee.is_told_to(user)) {
            let (namespace, table) = match object {
                Object::Namespace(namespace) => (namespace, None),
                Object::Table(id) => match names.get(&id) {
                    Some(table) => (table.namespace.clone(), Some(table.name.clone())),
                    None => continue,
                },
            };
            let (grantee_kind, grantee) = match grantee {
                Grantee::Role(role) => ("role", role.name().to_owned()),
                Grantee::User(no) => match name_of(no) {
                    Some(name) => ("user", name),
                    // They are being dropped.
                    None => continue,
                },
            };
            told.extend(privileges.iter().map(|privilege| GrantInfo {
                object: if table.is_some() { "table" } else { "namespace" },
                namespace: namespace.clone(),
                table: table.clone(),
                grantee_kind,
                grantee: grantee.clone(),
                privilege: privilege.name(),
            }));
        }
        told.sort();
        told
    }

    /// The same definitions under other grants.
    pub fn with_grants(&self, grants: &Arc<Grants>) -> Self {
        Self { grants: Arc::clone(grants), ..self.clone() }
    }

    /// Is the user told that the table is there? Whoever holds any privilege on it is.
    pub fn sees(&self, user: &Identity, table: &TableDef) -> bool {
        is_own(table) || user.role == Role::Admin || !self.grants.held(user, table).is_empty()
    }

    /// Everyone has their own rows of a user table; those of a shared one need a grant, or the role admin.
    pub fn allows(&self, user: &Identity, table: &TableDef, privilege: Privilege) -> bool {
        is_own(table) || user.role == Role::Admin || self.grants.held(user, table).has(privilege)
    }

    pub fn require(&self, user: &Identity, table: &TableDef, privilege: Privilege) -> Result<()> {
        match self.allows(user, table, privilege) {
            true => Ok(()),
            false => Err(not_granted(table, privilege)),
        }
    }

    /// May the user create, alter and drop tables of the namespace? `what` completes "… needs".
    pub fn require_create(&self, user: &Identity, namespace: &str, what: &str) -> Result<()> {
        if user.role == Role::Admin || self.grants.held_in(user, namespace).has(Privilege::Create) {
            return Ok(());
        }
        let message = format!("{what} needs the role admin, or from one GRANT CREATE ON NAMESPACE \"{namespace}\"");
        Err(Error::denied(message))
    }
}

/// Whose rows each user has to themselves.
fn is_own(table: &TableDef) -> bool {
    match table.kind {
        TableKind::User | TableKind::Stream => true,
        TableKind::Shared => false,
    }
}

fn not_granted(table: &TableDef, privilege: Privilege) -> Error {
    let (privilege, name) = (privilege.name(), format!("\"{}\".\"{}\"", table.namespace, table.name));
    Error::denied(format!(
        "{privilege} on the shared table {name} is not granted to you; an admin can: GRANT {privilege} ON {name}"
    ))
}

fn none_granted(table: &TableDef) -> Error {
    not_granted(table, Privilege::Select)
}

/// The current [`Snapshot`], and the only place that changes definitions, one at a time.
pub(crate) struct Catalog {
    store: Arc<Store>,
    current: RwLock<Arc<Snapshot>>,
    /// Held over check, write and publication of one change.
    change: tokio::sync::Mutex<()>,
}

impl Catalog {
    /// `is_user`: whether there is a user of a number.
    pub async fn open(store: Arc<Store>, is_user: impl Fn(UserNo) -> bool) -> Result<Self> {
        if store.meta().scan(NAMESPACE_PREFIX)?.is_empty() {
            let mut batch = MetaBatch::default();
            batch.put(namespace_key(DEFAULT_NAMESPACE), Vec::new());
            store.meta().write(batch).await?;
        }
        let catalog = Self { current: RwLock::default(), change: tokio::sync::Mutex::default(), store };
        catalog.publish()?;
        if let Some(left) = catalog.load_grants(is_user)? {
            catalog.store.meta().write(left).await?;
        }
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
            return if if_exists && error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) };
        }
        let tables: Vec<_> = snapshot.tables().filter(|t| t.namespace == namespace).cloned().collect();
        if !tables.is_empty() && !cascade {
            let names = tables.iter().map(|t| t.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(Error::new(
                ErrorKind::FailedPrecondition,
                format!("namespace \"{namespace}\" is not empty: it has the tables {names}; drop them or use CASCADE"),
            ));
        }
        let mut grants = Grants::clone(&snapshot.grants);
        for table in tables {
            let mut batch = MetaBatch::default();
            grants.forget(&Object::Table(table.id), &mut batch);
            self.store.drop_table_with(table.id, batch).await?;
        }
        let mut batch = MetaBatch::default();
        grants.forget(&Object::Namespace(namespace.to_owned()), &mut batch);
        batch.delete(namespace_key(namespace));
        self.store.meta().write(batch).await?;
        self.publish_with(Arc::new(grants))
    }

    /// `first`: grants that the table comes with.
    pub async fn create_table(
        &self,
        table: NewTable,
        author: UserNo,
        first: &[FirstGrant],
        if_not_exists: bool,
    ) -> Result<()> {
        let _change = self.change.lock().await;
        match self.vacancy(&table.namespace, &table.name) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists && if_not_exists => return Ok(()),
            Err(error) => return Err(error),
        }
        let def = self.store.declare_table(table)?;
        self.fill((&def, author), Filling::Nothing, first, None).await.map(drop)
    }

    /// The table as it will be, so that its rows can be gathered; see [`Self::create_filled`].
    pub fn declare(&self, table: NewTable) -> Result<Arc<TableDef>> {
        self.snapshot().require_namespace(&table.namespace)?;
        Ok(self.store.declare_table(table)?)
    }

    /// Makes a declared table appear with its rows and its first grants, all or nothing. With `replace`, a table of its
    /// name goes in the same moment, and the grants on it; until then that one stays as it is.
    pub async fn create_filled(
        &self,
        def: &Arc<TableDef>,
        author: UserNo,
        rows: Filling,
        first: &[FirstGrant],
        replace: bool,
    ) -> Result<u64> {
        let _change = self.change.lock().await;
        let replaced = if replace { self.snapshot().get(&def.namespace, &def.name).map(Arc::clone) } else { None };
        if replaced.is_none() {
            self.vacancy(&def.namespace, &def.name)?;
        }
        self.fill((def, author), rows, first, replaced).await
    }

    /// Under `change`.
    async fn fill(
        &self,
        (def, author): (&Arc<TableDef>, UserNo),
        rows: Filling,
        first: &[FirstGrant],
        replaced: Option<Arc<TableDef>>,
    ) -> Result<u64> {
        let (mut grants, mut batch) = (Grants::clone(&self.snapshot().grants), MetaBatch::default());
        if let Some(old) = &replaced {
            grants.forget(&Object::Table(old.id), &mut batch);
        }
        for (grantee, privileges) in first {
            grants.change(&Object::Table(def.id), *grantee, *privileges, false, &mut batch);
        }
        let stored = self.store.create_filled(def, Some(author), rows, replaced.map(|old| old.id), batch).await?;
        self.publish_with(Arc::new(grants))?;
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
        let snapshot = self.snapshot();
        let Some(def) = snapshot.get(namespace, table) else {
            return if if_exists { Ok(()) } else { Err(gone(namespace, table)) };
        };
        let (mut grants, mut batch) = (Grants::clone(&snapshot.grants), MetaBatch::default());
        grants.forget(&Object::Table(def.id), &mut batch);
        self.store.drop_table_with(def.id, batch).await?;
        self.publish_with(Arc::new(grants))
    }

    /// Grants or revokes on all of the objects, for all of the grantees: all or nothing.
    pub async fn change_grants(&self, on: &[(Object, Privileges)], grantees: &[Grantee], revoke: bool) -> Result<()> {
        let _change = self.change.lock().await;
        let snapshot = self.snapshot();
        let (mut grants, mut batch, mut changed) = (Grants::clone(&snapshot.grants), MetaBatch::default(), false);
        for (object, privileges) in on {
            match object {
                Object::Namespace(namespace) => snapshot.require_namespace(namespace)?,
                Object::Table(id) if snapshot.tables().any(|table| table.id == *id) => {}
                Object::Table(_) => return Err(Error::not_found("the table was dropped meanwhile")),
            }
            for grantee in grantees {
                changed |= grants.change(object, *grantee, *privileges, revoke, &mut batch);
            }
        }
        if !changed {
            return Ok(());
        }
        self.store.meta().write(batch).await?;
        self.publish_with(Arc::new(grants))
    }

    /// After a user has gone. Their number is never used again, so nobody else could have used what is left meanwhile.
    pub async fn forget_user(&self, user: UserNo) -> Result<()> {
        let _change = self.change.lock().await;
        let (mut grants, mut batch) = (Grants::clone(&self.snapshot().grants), MetaBatch::default());
        if !grants.forget_user(user, &mut batch) {
            return Ok(());
        }
        self.store.meta().write(batch).await?;
        self.publish_with(Arc::new(grants))
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
        let def = self.snapshot().get(namespace, table).cloned().ok_or_else(|| gone(namespace, table))?;
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

    /// Makes what the store holds visible to the statements that start from now on; grants are as they were.
    fn publish(&self) -> Result<()> {
        let grants = Arc::clone(&self.current.read().grants);
        self.publish_with(grants)
    }

    /// Takes the grants from the store. Returns what removes records that are nobody's, or on nothing.
    fn load_grants(&self, is_user: impl Fn(UserNo) -> bool) -> Result<Option<MetaBatch>> {
        let snapshot = self.snapshot();
        let tables: HashSet<_> = snapshot.tables().map(|table| table.id).collect();
        let is_known = |object: &Object| match object {
            Object::Table(id) => tables.contains(id),
            Object::Namespace(namespace) => snapshot.has_namespace(namespace),
        };
        let (grants, left) = Grants::load(&self.store, is_known, is_user)?;
        self.publish_with(Arc::new(grants))?;
        Ok(left)
    }

    fn publish_with(&self, grants: Arc<Grants>) -> Result<()> {
        let mut namespaces = BTreeSet::new();
        for (key, _) in self.store.meta().scan(NAMESPACE_PREFIX)? {
            let name = String::from_utf8(key[NAMESPACE_PREFIX.len()..].to_vec())
                .map_err(|_| Error::new(ErrorKind::DataLoss, "a namespace record has a damaged name"))?;
            namespaces.insert(name);
        }
        let tables = self.store.tables();
        let seen = Arc::new(SeenTables::of(tables.iter()));
        let conditions = Arc::new(Conditions::of(tables.iter()));
        let tables = tables.into_iter().map(|def| ((def.namespace.clone(), def.name.clone()), def)).collect();
        let (namespaces, tables) = (Arc::new(namespaces), Arc::new(tables));
        *self.current.write() = Arc::new(Snapshot { namespaces, tables, seen, conditions, grants });
        Ok(())
    }
}

/// The catalog, with nobody else changing it.
pub(crate) struct Exclusive<'a> {
    catalog: &'a Catalog,
    _change: tokio::sync::MutexGuard<'a, ()>,
}

impl Exclusive<'_> {
    /// Takes over what the store says now, grants included.
    pub fn reload(&self, is_user: impl Fn(UserNo) -> bool) -> Result<()> {
        self.catalog.publish()?;
        // Records without a user or a table are no harm, and gone after the next start.
        self.catalog.load_grants(is_user).map(drop)
    }
}

/// What a table comes with.
pub(crate) type FirstGrant = (Grantee, Privileges);

/// The table was there when the statement began.
fn gone(namespace: &str, table: &str) -> Error {
    Error::not_found(format!("table \"{namespace}.{table}\" does not exist"))
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
