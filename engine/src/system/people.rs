//! Who there is and what they may: `system.users` and `grants`. Users see themselves, and what is granted to them or to
//! their role; admins see all.

use arrow::datatypes::SchemaRef;

use super::{
    Asking, View,
    fields::{flag, maybe_text, text},
    rows::{self, attempt, flags, maybe_texts, texts},
};
use crate::{GrantInfo, Role, RowStream, UserInfo};

pub(super) static VIEWS: [View; 2] = [
    View {
        namespace: "system",
        name: "users",
        fields: || vec![text("user"), text("role"), flag("has_password")],
        rows: users,
    },
    View {
        namespace: "system",
        name: "grants",
        fields: || {
            vec![
                text("object"),
                text("namespace"),
                maybe_text("table"),
                text("privilege"),
                text("grantee_kind"),
                text("grantee"),
            ]
        },
        rows: grants,
    },
];

fn users(asking: Asking, schema: SchemaRef) -> RowStream {
    attempt(|| {
        let known = asking.engine()?.users_list(&asking.user);
        Ok(rows::of(known, schema, |part: &[UserInfo]| {
            let role = |user: &UserInfo| match user.role {
                Role::User => "user",
                Role::Service => "service",
                Role::Admin => "admin",
            };
            vec![texts(part, |user| &user.name), texts(part, |user| role(user)), flags(part, |user| user.has_password)]
        }))
    })
}

fn grants(asking: Asking, schema: SchemaRef) -> RowStream {
    attempt(|| {
        let granted = asking.engine()?.grants(&asking.user);
        Ok(rows::of(granted, schema, |part: &[GrantInfo]| {
            vec![
                texts(part, |grant| grant.object),
                texts(part, |grant| &grant.namespace),
                maybe_texts(part, |grant| grant.table.clone()),
                texts(part, |grant| grant.privilege),
                texts(part, |grant| grant.grantee_kind),
                texts(part, |grant| &grant.grantee),
            ]
        }))
    })
}
