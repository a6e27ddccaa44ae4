//! What the audit is told of an attempt to be let in: the name that was claimed, by what means, and from where.

use std::net::{IpAddr, SocketAddr};

use insula_engine::{
    Engine, Identity,
    audit::{Event, Kind, OK},
};
use tonic::Status;

use super::{jwt::Jwt, metadata::Claim};
use crate::status;

/// Filled in as the attempt comes further.
#[derive(Default)]
pub struct Attempt {
    from: Option<IpAddr>,
    name: Option<String>,
    pub method: Option<&'static str>,
    /// Once it is proved.
    pub user: Option<Identity>,
}

impl Attempt {
    pub fn from(peer: Option<SocketAddr>) -> Self {
        Self { from: peer.map(|peer| peer.ip()), ..Self::default() }
    }

    /// Names only: a password or a token is never kept.
    pub fn claims(&mut self, claim: &Claim) {
        (self.name, self.method) = match claim {
            Claim::Password { user, .. } => (Some(user.clone()), Some("password")),
            Claim::Vouched(user) => (Some(user.clone()), Some("vouched")),
            Claim::Token(token) if Jwt::is_jwt(token) => (None, Some("jwt")),
            Claim::Token(_) => (None, Some("token")),
        };
    }

    pub fn login(&self, identity: &Identity) -> Event {
        let kind = if identity.actor.is_some() { Kind::RunAs } else { Kind::Login };
        Event { from: self.from, method: self.method, ..Event::new(kind, OK).by(identity) }
    }

    /// Where the name is a user's they are told that somebody tried to be them.
    pub fn refusal(self, refused: &Status, engine: &Engine) -> Event {
        let event = Event::new(Kind::Refusal, status::name(refused.code()));
        let event = Event { from: self.from, method: self.method, ..event };
        let known = || self.name.as_deref().and_then(|name| engine.find_user(name));
        match self.user.clone().or_else(known) {
            Some(user) => event.by(&user),
            None => Event { user: self.name.as_deref().map(Into::into), ..event },
        }
    }
}
