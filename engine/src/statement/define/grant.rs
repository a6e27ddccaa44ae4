//! `GRANT` and `REVOKE`: names become numbers, and all of the statement takes effect or nothing.

use super::{Request, namespace_of};
use crate::{
    Error, Result,
    context::Context,
    grants::{Grantee, Object, Privilege, Privileges},
    sql::{
        SystemColumns,
        command::{Grant, GranteeName, Objects},
    },
};

pub(super) async fn run(request: &Request<'_>, grant: Grant) -> Result<()> {
    request.user.require_admin(if grant.revoke { "REVOKE" } else { "GRANT" })?;
    let context = request.context(SystemColumns::default())?;
    let on = objects(&context, &grant)?;
    let mut grantees = Vec::with_capacity(grant.grantees.len());
    for name in &grant.grantees {
        grantees.push(grantee(request, name).await?);
    }
    request.engine.catalog().change_grants(&on, &grantees, grant.revoke).await
}

fn objects(context: &Context, grant: &Grant) -> Result<Vec<(Object, Privileges)>> {
    let on_tables = grant.privileges.unwrap_or_else(Privileges::of_tables);
    if !matches!(grant.objects, Objects::Namespaces(_)) && on_tables.has(Privilege::Create) {
        return Err(Error::invalid("CREATE is a privilege on namespaces; write ON NAMESPACE and its name"));
    }
    match &grant.objects {
        Objects::Tables(names) => {
            let table = |name: &Vec<String>| Ok((Object::Table(context.tables.definition(name)?.id), on_tables));
            names.iter().map(table).collect()
        }
        Objects::Namespaces(names) => {
            let privileges = grant.privileges.unwrap_or_else(Privileges::of_namespaces);
            names.iter().map(|name| Ok((Object::Namespace(namespace_of(name)?), privileges))).collect()
        }
        Objects::TablesIn(names) => {
            let mut on = Vec::new();
            for name in names {
                let namespace = namespace_of(name)?;
                context.tables.catalog.require_namespace(&namespace)?;
                let tables = context.tables.catalog.tables().filter(|table| table.namespace == namespace);
                on.extend(tables.map(|table| (Object::Table(table.id), on_tables)));
            }
            Ok(on)
        }
    }
}

async fn grantee(request: &Request<'_>, name: &GranteeName) -> Result<Grantee> {
    match name {
        GranteeName::Role(role) => Ok(Grantee::Role(*role)),
        GranteeName::User(name) => {
            let unknown =
                || Error::not_found(format!("user \"{name}\" does not exist; for a role write ROLE and its name"));
            request.engine.users().meant(name).await?.map(|user| Grantee::User(user.no)).ok_or_else(unknown)
        }
    }
}
