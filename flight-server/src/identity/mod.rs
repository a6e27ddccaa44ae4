//! Who a request is from: a claim in its metadata ([`metadata`]), checked here, made a [`Caller`].
//!
//! [`layer`] runs this before any Flight RPC, whatever its name, so that none can be reached without an identity.

mod attempt;
pub mod certificate;
pub mod jwt;
pub mod layer;
pub mod metadata;
mod throttle;
pub mod tokens;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use http::HeaderMap;
use insula_engine::{
    Engine, Identity, Role, Session,
    audit::{self, Event, Verb},
};
use insula_proto::UserNo;
use tonic::{Code, Status};

pub use self::metadata::{UserHeader, Ways};
use self::{
    attempt::Attempt,
    certificate::NameIn,
    jwt::Jwt,
    metadata::Claim,
    throttle::Throttle,
    tokens::{Tokens, token_id},
};
use crate::{
    deadline::Deadline,
    format::Format,
    session::{Key, Origin, SessionInfo, Sessions},
    statements::Statements,
    status,
};

/// A request's sender, with what belongs to it. It lies in the request's extensions.
#[derive(Clone)]
pub struct Caller {
    pub identity: Identity,
    pub session: Arc<Session>,
    pub session_key: Key,
    pub deadline: Deadline,
    /// The statement timeout alone, for work that outlives the request.
    pub limit: Deadline,
    pub format: Format,
    /// Issued for this request, to be sent back.
    pub new_token: Option<Arc<str>>,
}

/// How the settings have identities checked.
pub struct Config {
    pub ways: Ways,
    pub jwt: Option<Jwt>,
    pub name_in_certificate: NameIn,
    /// Of sessions and their tokens.
    pub idle_limit: Duration,
    /// Of tokens, however busy; `None`: no limit.
    pub token_age: Option<Duration>,
    /// Sessions that one user may have open.
    pub user_sessions: usize,
    pub statement_timeout: Option<Duration>,
}

pub struct Authenticator {
    engine: Arc<Engine>,
    /// What was given out under the sessions.
    statements: Arc<Statements>,
    config: Config,
    tokens: Tokens,
    sessions: Sessions,
    throttle: Throttle,
}

/// The other end of a connection.
#[derive(Clone, Default)]
struct Peer {
    address: Option<SocketAddr>,
    /// Its own certificate, which the TLS library has checked.
    certificate: Option<Vec<u8>>,
}

impl Authenticator {
    pub fn new(engine: Arc<Engine>, statements: Arc<Statements>, config: Config) -> Self {
        let tokens = Tokens::new(config.idle_limit, config.token_age);
        let sessions = Sessions::new(config.idle_limit, config.user_sessions);
        if config.ways.dev || config.ways.trusted_header.is_some() || config.jwt.is_some() {
            engine.take_any_name();
        }
        Self { engine, statements, config, tokens, sessions, throttle: Throttle::default() }
    }

    /// `handshake`: a token is wanted even by those who were vouched for.
    async fn caller(&self, headers: &HeaderMap, peer: Peer, handshake: bool) -> Result<Caller, Status> {
        let mut attempt = Attempt::from(peer.address);
        let caller = self.admitted(headers, peer, handshake, &mut attempt).await;
        let trail = self.engine.trail();
        if let Err(status) = &caller {
            trail.note(attempt.refusal(status, &self.engine));
            trail.room().await;
        }
        caller
    }

    async fn admitted(
        &self,
        headers: &HeaderMap,
        peer: Peer,
        handshake: bool,
        attempt: &mut Attempt,
    ) -> Result<Caller, Status> {
        let certified = || peer.certificate.as_ref().map(|der| certificate::user(der, self.config.name_in_certificate));
        let claim = self.config.ways.claim(headers, certified)?;
        let wants_token = handshake || matches!(claim, Claim::Password { .. });
        let has_token = matches!(claim, Claim::Token(_));
        attempt.claims(&claim);
        let (user, era, origin) = self.check(claim, peer.address).await?;
        let new_token = match wants_token && !has_token {
            true => Some(self.tokens.issue(user.no, era, Instant::now()).map_err(status::internal)?.into()),
            false => None,
        };
        let proved_anew = matches!(attempt.method, Some("password"));
        attempt.user = Some(user.clone());
        let identity = match metadata::run_as(headers)? {
            Some(name) => {
                attempt.method = Some("run_as");
                self.run_as(&user, &name).await?
            }
            None => user,
        };
        let session_key = Key { user: identity.no, origin };
        let (session, is_new) = self.session(session_key, &identity, metadata::schema(headers))?;
        if is_new || proved_anew {
            let trail = self.engine.trail();
            trail.note(attempt.login(&identity));
            trail.room().await;
        }
        let deadline = Deadline::new(headers, self.config.statement_timeout);
        let limit = Deadline::new(&HeaderMap::new(), self.config.statement_timeout);
        let format = Format::of(headers)?;
        Ok(Caller { identity, session, session_key, deadline, limit, format, new_token })
    }

    /// `schema`: of a session that is new. A driver that was given one relies on it, so its first call says what is wrong.
    fn session(&self, key: Key, user: &Identity, schema: Option<&str>) -> Result<(Arc<Session>, bool), Status> {
        if let Some(schema) = schema.filter(|_| !self.sessions.knows(&key)) {
            let names = self.engine.namespaces(user);
            if !names.iter().any(|name| name == schema) {
                return Err(Status::not_found(format!(
                    "the schema \"{schema}\" of the connection's settings does not exist; there are {}",
                    names.join(", ")
                )));
            }
        }
        Ok(self.sessions.resolve(key, user, schema))
    }

    /// Who it is, and the era of their password, which was read before anything was checked.
    async fn check(&self, claim: Claim, peer: Option<SocketAddr>) -> Result<(Identity, u64, Origin), Status> {
        let by_connection = Origin::Connection(peer);
        match claim {
            Claim::Vouched(user) => {
                let era = self.era(&user);
                let identity = self.engine.vouched(&user).await.map_err(status::of)?;
                Ok((identity, era, by_connection))
            }
            Claim::Password { user, password } => {
                let era = self.era(&user);
                let identity = self.login(&user, &password, peer.map(|peer| peer.ip())).await?;
                Ok((identity, era, by_connection))
            }
            Claim::Token(token) if Jwt::is_jwt(&token) => {
                let not_taken = || Status::unauthenticated("JWTs are not taken here; log in with a password");
                let user = self.config.jwt.as_ref().ok_or_else(not_taken)?.user(&token).await?;
                let era = self.era(&user);
                let identity = self.engine.vouched(&user).await.map_err(status::of)?;
                Ok((identity, era, Origin::Token(token_id(&token))))
            }
            Claim::Token(token) => {
                let unknown = || {
                    Status::unauthenticated(
                        "unknown or expired session token: it ends by --session-timeout without use, and by \
                         --token-max-age in any case; log in again",
                    )
                };
                let (id, user, issued) = self.tokens.resolve(&token, Instant::now()).ok_or_else(unknown)?;
                match self.engine.identity_and_era(user) {
                    Ok((identity, era)) if era == issued => Ok((identity, era, Origin::Token(id))),
                    Ok(_) => {
                        self.close_session(&Key { user, origin: Origin::Token(id) });
                        Err(Status::unauthenticated("the password has been changed; log in again"))
                    }
                    Err(error) => {
                        self.close_session(&Key { user, origin: Origin::Token(id) });
                        Err(status::of(error))
                    }
                }
            }
        }
    }

    /// Of a user who is yet to be registered: the first one.
    fn era(&self, user: &str) -> u64 {
        let known = self.engine.find_user(user).and_then(|user| self.engine.identity_and_era(user.no).ok());
        known.map_or(0, |(_, era)| era)
    }

    async fn login(&self, user: &str, password: &str, from: Option<IpAddr>) -> Result<Identity, Status> {
        let attempt = self.throttle.begin(user, from).await?;
        match self.engine.login(user, password).await {
            Ok(identity) => {
                attempt.succeeded();
                Ok(identity)
            }
            Err(error) => {
                let status = status::of(error);
                if status.code() == tonic::Code::Unauthenticated {
                    attempt.failed(Instant::now());
                }
                Err(status)
            }
        }
    }

    /// The user as whom `user` runs a statement, by `x-insula-run-as` or EXECUTE AS. Nobody gets a higher role that way.
    pub async fn run_as(&self, user: &Identity, name: &str) -> Result<Identity, Status> {
        may_run_as(user)?;
        self.engine.meant_user(name).await.map_err(status::of)?;
        self.runs_as(user, name)
    }

    /// The same once more, for a statement that [`Self::run_as`] was asked for before.
    pub fn runs_as(&self, user: &Identity, name: &str) -> Result<Identity, Status> {
        may_run_as(user)?;
        let unknown = || Status::not_found(format!("user \"{name}\" does not exist"));
        let target = self.engine.find_user(name).ok_or_else(unknown)?;
        if target.role > user.role {
            let text = format!("user \"{name}\" has the role {}, and you are none", target.role.name());
            return Err(Status::permission_denied(text));
        }
        Ok(Identity::on_behalf(target, user))
    }

    /// A call was refused to a user who is known: it asked for what is another's, or needs another role.
    async fn denied(&self, identity: &Identity, from: Option<IpAddr>) {
        let trail = self.engine.trail();
        let event = Event::new(audit::Kind::Refusal, status::name(Code::PermissionDenied));
        trail.note(Event { from, ..event.by(identity) });
        trail.room().await;
    }

    /// The token in whose session a password was changed stands for the new one: whoever made the change has just been
    /// there, and its answer is still to be fetched.
    pub fn password_changed(&self, session: &Session) {
        if let Some(Key { user, origin: Origin::Token(token) }) = self.sessions.key_of(session)
            && let Ok((_, era)) = self.engine.identity_and_era(user)
        {
            self.tokens.renew(&token, era);
        }
    }

    /// The session's settings are gone, and so is the token that stood for it.
    pub fn close_session(&self, key: &Key) {
        self.sessions.close(key);
        if let Origin::Token(token) = key.origin {
            self.tokens.revoke(&token);
        }
    }

    /// Ends a session by its id, with all that was begun in it: for its own user, and for admins. With it goes the token
    /// under which it is known, if that is its user's; a token of somebody who runs as them goes for admins alone.
    pub fn kill_session(&self, user: &Identity, id: &str) -> Result<(), Status> {
        let killed = self.end_session(user, id);
        let result = killed.as_ref().map_or_else(|status| status::name(status.code()), |()| audit::OK);
        let event = Event { verb: Some(Verb::Kill), ..Event::new(audit::Kind::Statement, result) };
        self.engine.trail().note(event.by(user));
        killed
    }

    fn end_session(&self, user: &Identity, id: &str) -> Result<(), Status> {
        let unknown = || Status::not_found(format!("no session \"{id}\" is open; ListSessions tells those that are"));
        let id = id.parse().map_err(|_| unknown())?;
        let key = self.sessions.find(id).ok_or_else(unknown)?;
        let is_admin = user.role == Role::Admin;
        if key.user != user.no && !is_admin {
            return Err(Status::permission_denied("the session is another user's"));
        }
        let revoked = match key.origin {
            Origin::Token(token) if is_admin => self.tokens.revoke(&token).then_some(token),
            Origin::Token(token) => self.tokens.revoke_of(&token, key.user).then_some(token),
            Origin::Connection(_) => None,
        };
        let mut closed = self.sessions.close_of(&revoked.into_iter().collect());
        closed.extend(self.sessions.close(&key));
        for session in closed {
            self.engine.cancel_session(&session);
            self.statements.close_session(&session);
        }
        Ok(())
    }

    /// Sessions of a user, or of all users, the longest known first.
    pub fn sessions(&self, of: Option<UserNo>) -> Vec<SessionInfo> {
        self.sessions.list(of)
    }

    pub fn session_count(&self) -> usize {
        self.sessions.count()
    }

    /// Forgets what has been idle too long.
    pub fn sweep(&self) {
        let ended = self.tokens.sweep(Instant::now());
        // Statements that run go on to their end, which nobody can do anything about any more but their time limit.
        for session in self.sessions.close_of(&ended) {
            self.statements.close_session(&session);
        }
        self.sessions.sweep();
        self.throttle.sweep(Instant::now());
    }
}

fn may_run_as(user: &Identity) -> Result<(), Status> {
    match user.role {
        Role::User => Err(Status::permission_denied(
            "running as another user (x-insula-run-as, EXECUTE AS) needs the role service or admin",
        )),
        Role::Service | Role::Admin => Ok(()),
    }
}
