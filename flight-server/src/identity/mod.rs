//! Who a request is from: a claim in its metadata ([`metadata`]), checked here, made a [`Caller`].
//!
//! [`layer`] runs this before any Flight RPC, whatever its name, so that none can be reached without an identity.

pub mod layer;
mod metadata;
pub mod tokens;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use http::HeaderMap;
use insula_engine::{Engine, Identity, Role, Session};
use tonic::Status;

pub use self::metadata::Ways;
use self::{metadata::Claim, tokens::Tokens};
use crate::{
    deadline::Deadline,
    session::{Key, Origin, Sessions},
    status,
};

/// A request's sender, with what belongs to it. It lies in the request's extensions.
#[derive(Clone)]
pub struct Caller {
    pub identity: Identity,
    pub session: Arc<Session>,
    pub session_key: Key,
    pub deadline: Deadline,
    /// Issued for this request, to be sent back.
    pub new_token: Option<Arc<str>>,
}

pub struct Authenticator {
    engine: Arc<Engine>,
    ways: Ways,
    tokens: Tokens,
    sessions: Sessions,
    statement_timeout: Option<Duration>,
}

impl Authenticator {
    pub fn new(engine: Arc<Engine>, ways: Ways, idle_limit: Duration, statement_timeout: Option<Duration>) -> Self {
        let (tokens, sessions) = (Tokens::new(idle_limit), Sessions::new(idle_limit));
        Self { engine, ways, tokens, sessions, statement_timeout }
    }

    /// `handshake`: a token is wanted even by those who were vouched for.
    async fn caller(&self, headers: &HeaderMap, peer: Option<SocketAddr>, handshake: bool) -> Result<Caller, Status> {
        let claim = self.ways.claim(headers)?;
        let wants_token = handshake || matches!(claim, Claim::Password { .. });
        let has_token = matches!(claim, Claim::Token(_));
        let (user, origin) = self.check(claim, peer).await?;
        let new_token = match wants_token && !has_token {
            true => Some(self.tokens.issue(user.no, Instant::now()).map_err(status::internal)?.into()),
            false => None,
        };
        let identity = match metadata::run_as(headers)? {
            Some(name) => self.run_as(&user, &name)?,
            None => user,
        };
        let session_key = Key { user: identity.no, origin };
        let session = self.sessions.resolve(session_key, &identity);
        let deadline = Deadline::new(headers, self.statement_timeout);
        Ok(Caller { identity, session, session_key, deadline, new_token })
    }

    async fn check(&self, claim: Claim, peer: Option<SocketAddr>) -> Result<(Identity, Origin), Status> {
        let by_connection = Origin::Connection(peer);
        match claim {
            Claim::Vouched(user) => Ok((self.engine.vouched(&user).await.map_err(status::of)?, by_connection)),
            Claim::Password { user, password } => {
                Ok((self.engine.login(&user, &password).await.map_err(status::of)?, by_connection))
            }
            Claim::Token(token) => {
                let unknown = || Status::unauthenticated("unknown or expired session token; log in again");
                let (id, user) = self.tokens.resolve(&token, Instant::now()).ok_or_else(unknown)?;
                Ok((self.engine.identity(user).map_err(status::of)?, Origin::Token(id)))
            }
        }
    }

    fn run_as(&self, user: &Identity, name: &str) -> Result<Identity, Status> {
        match user.role {
            Role::Service | Role::Admin => {}
            Role::User => return Err(Status::permission_denied("x-insula-run-as needs the role service or admin")),
        }
        let unknown = || Status::not_found(format!("user \"{name}\" does not exist"));
        let target = self.engine.find_user(name).ok_or_else(unknown)?;
        tracing::info!(target: "audit", user = %user.name, run_as = %target.name, "running as another user");
        Ok(target)
    }

    pub fn close_session(&self, key: &Key) {
        self.sessions.close(key);
    }

    /// Forgets what has been idle too long.
    pub fn sweep(&self) {
        self.tokens.sweep(Instant::now());
        self.sessions.sweep();
    }
}
