//! Statements that change definitions: namespaces, tables, users, settings. They return no rows and the count 0.

mod alter;
mod default;
mod grant;
mod options;
mod table;

use datafusion::sql::sqlparser::ast::{
    AlterTable, ContextModifier, Expr, ObjectName, ObjectType, Reset, SchemaName, Set, Statement as Ast, Use, Value,
};
use insula_storage::TableKind;

use super::Request;
use crate::{
    Error, ErrorKind, Identity, Result, Role,
    catalog::require_catalog,
    sql::{
        SystemColumns,
        command::{Command, Grant},
        parts,
    },
};
pub(crate) use table::of_ingest;

#[derive(Debug)]
pub(crate) enum Definition {
    CreateNamespace { name: String, if_not_exists: bool },
    DropNamespace { names: Vec<String>, if_exists: bool, cascade: bool },
    CreateTable { ast: Box<Ast>, kind: Option<TableKind> },
    AlterTable(Box<AlterTable>),
    DropTables { names: Vec<Vec<String>>, if_exists: bool },
    CreateUser { name: String, password: String, role: Role },
    AlterUser { name: String, password: Option<String>, role: Option<Role> },
    DropUser { name: String, if_exists: bool },
    Grant(Grant),
    Set { name: String, value: String },
    Reset { names: Vec<String> },
}

impl Definition {
    /// Gives back a command that defines nothing.
    pub fn from_command(command: Command) -> Result<Self, Command> {
        match command {
            Command::CreateUser { name, password, role } => Ok(Self::CreateUser { name, password, role }),
            Command::AlterUser { name, password, role } => Ok(Self::AlterUser { name, password, role }),
            Command::DropUser { name, if_exists } => Ok(Self::DropUser { name, if_exists }),
            Command::Grant(grant) => Ok(Self::Grant(grant)),
            other => Err(other),
        }
    }

    pub fn create_table(ast: Ast, kind: Option<TableKind>) -> Result<Self> {
        Ok(Self::CreateTable { ast: Box::new(ast), kind })
    }

    pub fn from_sql(ast: Ast) -> Result<Self> {
        match ast {
            Ast::CreateSchema { schema_name: SchemaName::Simple(name), if_not_exists, .. } => {
                Ok(Self::CreateNamespace { name: namespace(&name)?, if_not_exists })
            }
            Ast::AlterTable(alter) => Ok(Self::AlterTable(Box::new(alter))),
            Ast::Drop { object_type: ObjectType::Schema, names, if_exists, cascade, .. } => {
                let names: Result<_> = names.iter().map(namespace).collect();
                Ok(Self::DropNamespace { names: names?, if_exists, cascade })
            }
            Ast::Drop { object_type: ObjectType::Table, names, if_exists, .. } => {
                let names: Result<_> = names.iter().map(parts).collect();
                Ok(Self::DropTables { names: names?, if_exists })
            }
            Ast::Drop { object_type, .. } => Err(Error::unimplemented(format!("DROP {object_type} is not there"))),
            Ast::Set(set) => from_set(set),
            Ast::Use(Use::Schema(name) | Use::Object(name)) => {
                Ok(Self::Set { name: "schema".into(), value: namespace(&name)? })
            }
            Ast::Reset(reset) => Ok(Self::Reset {
                names: match reset.reset {
                    Reset::ALL => Vec::new(),
                    Reset::ConfigurationParameter(name) => vec![name.to_string()],
                },
            }),
            other => Err(Error::unimplemented(format!("not supported: {}", super::first_words(&other)))),
        }
    }

    /// Settings are the session's alone; all else is everybody's.
    pub fn is_lasting(&self) -> bool {
        !matches!(self, Self::Set { .. } | Self::Reset { .. })
    }

    /// It runs a query for the rows of what it defines.
    pub fn gathers_rows(&self) -> bool {
        matches!(self, Self::CreateTable { ast, .. } if matches!(&**ast, Ast::CreateTable(create) if create.query.is_some()))
    }

    pub async fn run(self, request: &Request<'_>, named: SystemColumns) -> Result<u64> {
        let (engine, user) = (request.engine, request.user);
        // Definitions are quick; one that gathers rows first says itself when it commits.
        if !matches!(self, Self::CreateTable { .. }) {
            request.running.commits()?;
        }
        match self {
            Self::CreateNamespace { name, if_not_exists } => {
                user.require_admin("CREATE NAMESPACE")?;
                engine.catalog().create_namespace(&name, if_not_exists).await?;
            }
            Self::DropNamespace { names, if_exists, cascade } => {
                user.require_admin("DROP NAMESPACE")?;
                for name in names {
                    engine.catalog().drop_namespace(&name, if_exists, cascade).await?;
                }
            }
            Self::CreateTable { ast, kind } => return table::create(request, *ast, kind, named).await,
            Self::AlterTable(ast) => return alter::alter(request, *ast).await,
            Self::DropTables { names, if_exists } => {
                for name in names {
                    drop_table(request, &name, if_exists).await?;
                }
            }
            Self::CreateUser { name, password, role } => {
                user.require_admin("CREATE USER")?;
                engine.users().create(&name, &password, role).await?;
            }
            Self::AlterUser { name, password, role } => {
                // People may change their own password, never their own role.
                if *name != *user.name || role.is_some() {
                    user.require_admin("ALTER USER for another user or a role")?;
                } else if user.actor.is_some() && user.role != Role::Admin {
                    // Whoever may run as a user for a while must not become them for good.
                    return Err(Error::denied(
                        "a password is changed by its user or by an admin, not by who runs as them",
                    ));
                }
                engine.users().meant(&name).await?;
                engine.users().alter(&name, password.as_deref(), role).await?;
                // All else that was opened with the old one ends.
                if password.is_some() && *name == *user.name && user.actor.is_none() {
                    engine.host().iter().for_each(|host| host.password_changed(request.session));
                }
            }
            Self::DropUser { name, if_exists } => {
                user.require_admin("DROP USER")?;
                match engine.users().find(&name) {
                    None if if_exists => {}
                    dropped => {
                        engine.users().drop(&name).await?;
                        forget(request, dropped.as_ref()).await?;
                    }
                }
            }
            Self::Grant(grant) => grant::run(request, grant).await?,
            Self::Set { name, value } => request.session.set(&name, &value)?,
            Self::Reset { names } if names.is_empty() => {
                for (name, _) in request.session.options() {
                    request.session.reset(&name)?;
                }
            }
            Self::Reset { names } => names.iter().try_for_each(|name| request.session.reset(name))?,
        }
        Ok(0)
    }
}

async fn drop_table(request: &Request<'_>, name: &[String], if_exists: bool) -> Result<()> {
    let context = request.context(SystemColumns::default())?;
    if forget_external(request, &context.settings.schema, name) {
        return Ok(());
    }
    match context.tables.definition(name) {
        Ok(def) => {
            context.tables.catalog.require_create(request.user, &def.namespace, "DROP TABLE")?;
            request.engine.catalog().drop_table(&def.namespace, &def.name, if_exists).await
        }
        Err(error) if error.kind() == ErrorKind::NotFound && if_exists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether the name was one of the session's own external tables.
fn forget_external(request: &Request<'_>, schema: &str, name: &[String]) -> bool {
    let (namespace, table) = match name {
        [table] => (schema, table),
        [namespace, table] | [_, namespace, table] => (namespace.as_str(), table),
        _ => return false,
    };
    request.engine.template().reaches_outside(request.user)
        && request.session.set_external((namespace.to_owned(), table.clone()), None)
}

/// Ends what a user who is no more has left running, and what was granted to them.
pub(crate) async fn forget(request: &Request<'_>, dropped: Option<&Identity>) -> Result<()> {
    let Some(user) = dropped else { return Ok(()) };
    request.engine.queries().cancel_user(user.no);
    request.engine.transactions().end_of(user.no);
    request.engine.catalog().forget_user(user.no).await
}

/// `n` or `insula.n`.
fn namespace(name: &ObjectName) -> Result<String> {
    namespace_of(&parts(name)?)
}

pub(super) fn namespace_of(parts: &[String]) -> Result<String> {
    match parts {
        [namespace] => Ok(namespace.clone()),
        [catalog, namespace] => require_catalog(catalog).map(|()| namespace.clone()),
        _ => Err(Error::invalid(format!("\"{}\" is no name of a namespace", parts.join(".")))),
    }
}

fn from_set(set: Set) -> Result<Definition> {
    match set {
        Set::SingleAssignment { scope: Some(ContextModifier::Local), .. } | Set::SetTimeZone { local: true, .. } => {
            Err(Error::unimplemented("SET LOCAL is not there: a setting lasts for the session; RESET takes it back"))
        }
        Set::SingleAssignment { scope: Some(ContextModifier::Global), .. } => {
            Err(Error::unimplemented("SET GLOBAL is not there: settings are those of a session"))
        }
        Set::SingleAssignment { variable, values, .. } => {
            let [value] = values.as_slice() else {
                return Err(Error::invalid(format!("SET {variable} takes one value")));
            };
            let name = parts(&variable)?.join(".");
            Ok(Definition::Set { name, value: text(value)? })
        }
        Set::SetTimeZone { value, .. } => Ok(Definition::Set { name: "timezone".into(), value: text(&value)? }),
        _ => Err(Error::invalid("SET takes one name and one value, as in SET timezone = 'UTC'")),
    }
}

/// A literal or a bare word, as text.
fn text(value: &Expr) -> Result<String> {
    match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => Ok(text.clone()),
            other => Ok(other.to_string()),
        },
        Expr::Identifier(ident) => Ok(ident.value.clone()),
        _ => Err(Error::invalid("SET and WITH take a literal as value")),
    }
}
