//! Who a request is from.

use std::sync::Arc;

use insula_proto::UserNo;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Own rows of all user tables, shared tables as granted.
    User,
    /// May also run as another user.
    Service,
    /// DDL, users, grants; no implicit sight of other users' rows.
    Admin,
}

impl Role {
    pub(crate) const ALL: [Self; 3] = [Self::User, Self::Service, Self::Admin];

    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Service => "service",
            Self::Admin => "admin",
        }
    }

    /// Whoever has this role may do what the other one may.
    pub(crate) fn includes(self, other: Self) -> bool {
        self >= other
    }

    pub fn parse(name: &str) -> Result<Self> {
        match name.to_ascii_lowercase().as_str() {
            "user" => Ok(Self::User),
            "service" => Ok(Self::Service),
            "admin" => Ok(Self::Admin),
            _ => Err(Error::invalid(format!("unknown role \"{name}\"; there are user, service, admin"))),
        }
    }
}

/// A user whom something has vouched for: a password, a session token, a trusted proxy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    pub name: Arc<str>,
    pub no: UserNo,
    pub role: Role,
    /// Who really asks, where that is another user who runs as this one. It gives no right: all else is this user's.
    pub actor: Option<Arc<Actor>>,
}

/// A user who runs as another one; for the audit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Actor {
    pub name: Arc<str>,
    pub no: UserNo,
}

impl Identity {
    /// `target`, as whom `actor` acts.
    pub fn on_behalf(target: Self, actor: &Self) -> Self {
        let by = || Arc::new(Actor { name: Arc::clone(&actor.name), no: actor.no });
        Self { actor: Some(actor.actor.clone().unwrap_or_else(by)), ..target }
    }

    /// Refuses everyone but admins; `what` completes "… needs the role admin".
    pub(crate) fn require_admin(&self, what: &str) -> Result<()> {
        if self.role == Role::Admin { Ok(()) } else { Err(Error::denied(format!("{what} needs the role admin"))) }
    }
}
