//! Who may do what with shared tables, and in namespaces: grants to users and to roles.
//!
//! They are a part of the catalog's snapshot ([`crate::catalog`]), so a plan that is kept is made again when one changes,
//! and a check costs a look into a map. A record names its table and its user by their numbers, which are never used
//! twice: one that a crash has left behind is nobody's, and the next start takes it away.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use insula_proto::{TableId, UserNo};
use insula_storage::{MetaBatch, Store, TableDef};
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Identity, Result, Role};

#[cfg(test)]
mod tests;

const PREFIX: &[u8] = b"grant/";

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Privilege {
    Select,
    Insert,
    Update,
    Delete,
    /// To create, alter and drop the tables of a namespace.
    Create,
}

impl Privilege {
    pub const ALL: [Self; 5] = [Self::Select, Self::Insert, Self::Update, Self::Delete, Self::Create];

    pub fn name(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Create => "CREATE",
        }
    }
}

/// A set of privileges.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Privileges(u8);

impl Privileges {
    /// All that can be granted on a table.
    pub fn of_tables() -> Self {
        Privilege::ALL.into_iter().filter(|privilege| *privilege != Privilege::Create).collect()
    }

    pub fn of_namespaces() -> Self {
        Privilege::ALL.into_iter().collect()
    }

    pub fn has(self, privilege: Privilege) -> bool {
        self.0 & bit(privilege) != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub fn iter(self) -> impl Iterator<Item = Privilege> {
        Privilege::ALL.into_iter().filter(move |privilege| self.has(*privilege))
    }
}

impl FromIterator<Privilege> for Privileges {
    fn from_iter<T: IntoIterator<Item = Privilege>>(privileges: T) -> Self {
        Self(privileges.into_iter().fold(0, |set, privilege| set | bit(privilege)))
    }
}

fn bit(privilege: Privilege) -> u8 {
    1 << privilege as u8
}

/// What a grant is on. One on a namespace is on each of its tables, those to come included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Object {
    Table(TableId),
    Namespace(String),
}

/// To whom. What a role is granted, the roles above it have too, so `Role::User` is everyone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Grantee {
    Role(Role),
    User(UserNo),
}

impl Grantee {
    /// Admins are told of all grants, others of what they have by them.
    pub fn is_told_to(self, user: &Identity) -> bool {
        user.role == Role::Admin
            || match self {
                Self::Role(role) => user.role.includes(role),
                Self::User(no) => user.no == no,
            }
    }
}

/// One privilege that was granted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct GrantInfo {
    pub namespace: String,
    /// `None`: on the whole namespace.
    pub table: Option<String>,
    /// `table` or `namespace`.
    pub object: &'static str,
    /// `role` or `user`.
    pub grantee_kind: &'static str,
    pub grantee: String,
    /// In upper case.
    pub privilege: &'static str,
}

type Holders = Arc<BTreeMap<Grantee, Privileges>>;

/// All grants at one moment. A copy shares what does not change.
#[derive(Clone, Default, Debug)]
pub(crate) struct Grants {
    tables: HashMap<TableId, Holders>,
    namespaces: HashMap<String, Holders>,
}

impl Grants {
    /// The grants of the store on what there is, and what removes the records of all others.
    pub fn load(
        store: &Store,
        is_known: impl Fn(&Object) -> bool,
        is_user: impl Fn(UserNo) -> bool,
    ) -> Result<(Self, Option<MetaBatch>)> {
        let (mut grants, mut left) = (Self::default(), None);
        for (key, value) in store.meta().scan(PREFIX)? {
            let damaged = || Error::new(ErrorKind::DataLoss, "a record of a grant cannot be read");
            let (grantee, object) = parse_key(&key).ok_or_else(damaged)?;
            let privileges: Vec<Privilege> = serde_json::from_slice(&value).map_err(|_| damaged())?;
            let is_somebody = match grantee {
                Grantee::Role(_) => true,
                Grantee::User(user) => is_user(user),
            };
            match is_somebody && is_known(&object) {
                true => grants.set(&object, grantee, privileges.into_iter().collect()),
                false => left.get_or_insert_with(MetaBatch::default).delete(key),
            }
        }
        Ok((grants, left))
    }

    /// What the user may do with a table: by their name, by their roles, by the table and by its namespace.
    pub fn held(&self, user: &Identity, table: &TableDef) -> Privileges {
        let on_table = self.tables.get(&table.id).map_or_else(Privileges::default, |holders| held_by(holders, user));
        on_table.and(self.held_in(user, &table.namespace))
    }

    pub fn held_in(&self, user: &Identity, namespace: &str) -> Privileges {
        self.namespaces.get(namespace).map_or_else(Privileges::default, |holders| held_by(holders, user))
    }

    /// Gives or takes away, here and in the batch. Returns whether that changed anything.
    pub fn change(
        &mut self,
        object: &Object,
        grantee: Grantee,
        privileges: Privileges,
        revoke: bool,
        batch: &mut MetaBatch,
    ) -> bool {
        let before = self.holders(object).and_then(|holders| holders.get(&grantee)).copied().unwrap_or_default();
        let after = if revoke { before.without(privileges) } else { before.and(privileges) };
        if after == before {
            return false;
        }
        match after.is_empty() {
            true => batch.delete(key(grantee, object)),
            false => batch.put(key(grantee, object), record(after)),
        }
        self.set(object, grantee, after);
        true
    }

    /// Takes away all grants on something that is no more.
    pub fn forget(&mut self, object: &Object, batch: &mut MetaBatch) {
        let holders = match object {
            Object::Table(table) => self.tables.remove(table),
            Object::Namespace(namespace) => self.namespaces.remove(namespace),
        };
        holders.iter().flat_map(|holders| holders.keys()).for_each(|grantee| batch.delete(key(*grantee, object)));
    }

    /// Takes away all that a user was granted by name. Returns whether there was anything.
    pub fn forget_user(&mut self, user: UserNo, batch: &mut MetaBatch) -> bool {
        let own = Grantee::User(user);
        let has = |holders: &Holders| holders.contains_key(&own);
        let tables = self.tables.iter().filter(|(_, holders)| has(holders)).map(|(id, _)| Object::Table(*id));
        let namespaces = self.namespaces.iter().filter(|(_, holders)| has(holders));
        let objects: Vec<_> = tables.chain(namespaces.map(|(name, _)| Object::Namespace(name.clone()))).collect();
        for object in &objects {
            batch.delete(key(own, object));
            self.set(object, own, Privileges::default());
        }
        !objects.is_empty()
    }

    /// Whether everyone may read this shared table.
    pub fn is_read_by_all(&self, table: TableId) -> bool {
        let holders = self.tables.get(&table);
        holders.and_then(|all| all.get(&Grantee::Role(Role::User))).is_some_and(|held| held.has(Privilege::Select))
    }

    /// Who was granted what, in no order.
    pub fn all(&self) -> impl Iterator<Item = (Object, Grantee, Privileges)> {
        let tables = self.tables.iter().map(|(id, holders)| (Object::Table(*id), holders));
        let namespaces = self.namespaces.iter().map(|(name, holders)| (Object::Namespace(name.clone()), holders));
        tables.chain(namespaces).flat_map(|(object, holders)| {
            holders.iter().map(move |(grantee, privileges)| (object.clone(), *grantee, *privileges))
        })
    }

    fn holders(&self, object: &Object) -> Option<&Holders> {
        match object {
            Object::Table(table) => self.tables.get(table),
            Object::Namespace(namespace) => self.namespaces.get(namespace),
        }
    }

    fn set(&mut self, object: &Object, grantee: Grantee, privileges: Privileges) {
        let holders = match object {
            Object::Table(table) => self.tables.entry(*table).or_default(),
            Object::Namespace(namespace) => self.namespaces.entry(namespace.clone()).or_default(),
        };
        match privileges.is_empty() {
            true => Arc::make_mut(holders).remove(&grantee),
            false => Arc::make_mut(holders).insert(grantee, privileges),
        };
    }
}

fn held_by(holders: &BTreeMap<Grantee, Privileges>, user: &Identity) -> Privileges {
    let own = holders.get(&Grantee::User(user.no)).copied().unwrap_or_default();
    Role::ALL
        .into_iter()
        .filter(|role| user.role.includes(*role))
        .filter_map(|role| holders.get(&Grantee::Role(role)))
        .fold(own, |all, privileges| all.and(*privileges))
}

/// `grant/user/NUMBER/table/NUMBER`, `grant/role/NAME/namespace/NAME`: names of namespaces, which may hold anything, last.
fn key(grantee: Grantee, object: &Object) -> Vec<u8> {
    let grantee = match grantee {
        Grantee::Role(role) => format!("role/{}", role.name()),
        Grantee::User(user) => format!("user/{user}"),
    };
    let object = match object {
        Object::Table(table) => format!("table/{table}"),
        Object::Namespace(namespace) => format!("namespace/{namespace}"),
    };
    [PREFIX, grantee.as_bytes(), b"/", object.as_bytes()].concat()
}

fn parse_key(key: &[u8]) -> Option<(Grantee, Object)> {
    let text = std::str::from_utf8(key.strip_prefix(PREFIX)?).ok()?;
    let mut parts = text.splitn(4, '/');
    let grantee = match (parts.next()?, parts.next()?) {
        ("role", role) => Grantee::Role(Role::parse(role).ok()?),
        ("user", user) => Grantee::User(UserNo(user.parse().ok()?)),
        _ => return None,
    };
    let object = match (parts.next()?, parts.next()?) {
        ("table", table) => Object::Table(TableId(table.parse().ok()?)),
        ("namespace", namespace) => Object::Namespace(namespace.to_owned()),
        _ => return None,
    };
    Some((grantee, object))
}

/// A list of names, so that a later version can add to them.
fn record(privileges: Privileges) -> Vec<u8> {
    let names = privileges.iter().map(|privilege| format!("\"{}\"", privilege.name().to_lowercase()));
    format!("[{}]", names.collect::<Vec<_>>().join(",")).into_bytes()
}
