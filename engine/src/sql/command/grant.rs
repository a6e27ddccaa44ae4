//! `GRANT` and `REVOKE`: which privileges, on what, for whom.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::Cursor;
use crate::{
    Error, Result, Role,
    grants::{Privilege, Privileges},
};

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Grant {
    pub revoke: bool,
    /// `None`: all there are on the objects.
    pub privileges: Option<Privileges>,
    pub objects: Objects,
    pub grantees: Vec<GranteeName>,
}

/// Name parts, as SQL means them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Objects {
    Tables(Vec<Vec<String>>),
    Namespaces(Vec<Vec<String>>),
    /// The tables that are there now.
    TablesIn(Vec<Vec<String>>),
}

impl Objects {
    pub fn names(&self) -> &[Vec<String>] {
        match self {
            Self::Tables(names) | Self::Namespaces(names) | Self::TablesIn(names) => names,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum GranteeName {
    User(String),
    Role(Role),
}

/// Behind the first word.
pub(super) fn parse(cursor: &mut Cursor<'_>, revoke: bool) -> Result<Grant> {
    if revoke && cursor.words(&["GRANT", "OPTION", "FOR"]) {
        return Err(no_option());
    }
    let privileges = privileges(cursor)?;
    cursor.expect("ON")?;
    let objects = objects(cursor)?;
    cursor.expect(if revoke { "FROM" } else { "TO" })?;
    let grantees = cursor.list(grantee)?;
    if cursor.words(&["WITH", "GRANT", "OPTION"]) {
        return Err(no_option());
    }
    // Nobody has granted on what they were granted, so both are the same.
    if revoke && !cursor.words(&["CASCADE"]) {
        cursor.words(&["RESTRICT"]);
    }
    Ok(Grant { revoke, privileges, objects, grantees })
}

fn privileges(cursor: &mut Cursor<'_>) -> Result<Option<Privileges>> {
    if cursor.words(&["ALL"]) {
        cursor.words(&["PRIVILEGES"]);
        return Ok(None);
    }
    let listed = cursor.list(|cursor| {
        let found = Privilege::ALL.into_iter().find(|privilege| cursor.words(&[privilege.name()]));
        let privilege = found.ok_or_else(|| cursor.unexpected("SELECT, INSERT, UPDATE, DELETE, CREATE or ALL"))?;
        if *cursor.peek(0) == Token::LParen {
            return Err(Error::unimplemented("privileges are granted on whole tables, not on columns"));
        }
        Ok(privilege)
    })?;
    Ok(Some(listed.into_iter().collect()))
}

fn objects(cursor: &mut Cursor<'_>) -> Result<Objects> {
    if cursor.words(&["ALL", "TABLES", "IN", "NAMESPACE"]) || cursor.words(&["ALL", "TABLES", "IN", "SCHEMA"]) {
        return Ok(Objects::TablesIn(cursor.list(Cursor::name_parts)?));
    }
    // A table may be called so: `ON schema TO …`.
    let is_name = |cursor: &Cursor<'_>| ["TO", "FROM"].iter().any(|word| super::super::is_word(cursor.peek(1), word));
    if !is_name(cursor) && (cursor.words(&["NAMESPACE"]) || cursor.words(&["SCHEMA"])) {
        return Ok(Objects::Namespaces(cursor.list(Cursor::name_parts)?));
    }
    if !is_name(cursor) {
        cursor.words(&["TABLE"]);
    }
    Ok(Objects::Tables(cursor.list(Cursor::name_parts)?))
}

fn grantee(cursor: &mut Cursor<'_>) -> Result<GranteeName> {
    if cursor.words(&["PUBLIC"]) {
        return Ok(GranteeName::Role(Role::User));
    }
    if cursor.words(&["ROLE"]) {
        return Ok(GranteeName::Role(Role::parse(&cursor.name("a role")?)?));
    }
    cursor.words(&["USER"]);
    cursor.user_name().map(GranteeName::User)
}

fn no_option() -> Error {
    Error::unimplemented("there is no GRANT OPTION: admins grant, and nobody else does")
}
