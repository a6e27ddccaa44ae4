//! One entry of the audit: who, as whom, when, what, with what effect.
//!
//! It never has values of rows: parameters are not in it, and a text, whose literals may be such values, is told to the
//! statement's own user alone, and written to disk only where the settings say so.

use std::{borrow::Cow, net::IpAddr, sync::Arc, time::SystemTime};

use insula_proto::UserNo;
use uuid::Uuid;

use super::Verb;
use crate::{ErrorKind, Identity};

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A statement ended.
    Statement,
    /// Somebody proved who they are, and a session began.
    Login,
    /// Somebody did not, or asked for what is not theirs before any statement.
    Refusal,
    /// A session began in which one user runs as another.
    RunAs,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Statement, Self::Login, Self::Refusal, Self::RunAs];

    pub fn name(self) -> &'static str {
        match self {
            Self::Statement => "statement",
            Self::Login => "login",
            Self::Refusal => "refusal",
            Self::RunAs => "run_as",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

#[derive(Clone, Debug)]
pub struct Event {
    /// When it began.
    pub at: SystemTime,
    pub kind: Kind,
    /// As whom it ran; for a refusal the name that was claimed, if any.
    pub user: Option<Arc<str>>,
    /// `None`: the name is no user's.
    pub user_no: Option<UserNo>,
    /// Who really asked, where that is another user.
    pub actor: Option<Arc<str>>,
    pub actor_no: Option<UserNo>,
    /// Address of the client, where that is known.
    pub from: Option<IpAddr>,
    /// How a login was tried: password, token, jwt, vouched (header or certificate), run_as.
    pub method: Option<&'static str>,
    pub query_id: Option<Uuid>,
    /// Of a statement.
    pub verb: Option<Verb>,
    /// Without passwords. `None`: it is not kept, as of one that does not parse, which may have a password anywhere.
    pub text: Option<Arc<str>>,
    /// Where the text is not kept, or not whole.
    pub text_hash: Option<u64>,
    /// Names of the tables that it read, wrote or defined.
    pub tables: Arc<[Arc<str>]>,
    /// Returned, or changed.
    pub rows: u64,
    /// Of the rows returned or ingested, as Arrow has them.
    pub bytes: u64,
    pub queue_micros: u64,
    pub plan_micros: u64,
    pub run_micros: u64,
    /// `OK`, or the name of a gRPC code.
    pub result: Cow<'static, str>,
}

impl Event {
    /// With everything else unset, as of now.
    pub fn new(kind: Kind, result: &'static str) -> Self {
        Self {
            at: SystemTime::now(),
            kind,
            user: None,
            user_no: None,
            actor: None,
            actor_no: None,
            from: None,
            method: None,
            query_id: None,
            verb: None,
            text: None,
            text_hash: None,
            tables: Arc::default(),
            rows: 0,
            bytes: 0,
            queue_micros: 0,
            plan_micros: 0,
            run_micros: 0,
            result: Cow::Borrowed(result),
        }
    }

    /// Of this user, and of whoever acts as them.
    #[must_use]
    pub fn by(self, identity: &Identity) -> Self {
        let actor = identity.actor.as_ref();
        Self {
            user: Some(Arc::clone(&identity.name)),
            user_no: Some(identity.no),
            actor: actor.map(|actor| Arc::clone(&actor.name)),
            actor_no: actor.map(|actor| actor.no),
            ..self
        }
    }

    /// Does it concern a user: as theirs, or as what they did as another?
    pub fn concerns(&self, user: UserNo) -> bool {
        self.user_no == Some(user) || self.actor_no == Some(user)
    }

    /// Must it never be lost? Reads and writes of rows may be, where there are more than can be written down.
    pub fn is_weighty(&self) -> bool {
        self.kind != Kind::Statement || self.verb.is_some_and(Verb::is_weighty) || self.actor.is_some()
    }

    /// What it takes up in memory, about.
    pub(super) fn weight(&self) -> usize {
        let text = self.text.as_ref().map_or(0, |text| text.len());
        std::mem::size_of::<Self>() + text + 64
    }
}

/// The result of what failed, by the name of its gRPC code.
pub fn result(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Unauthenticated => "UNAUTHENTICATED",
        ErrorKind::PermissionDenied => "PERMISSION_DENIED",
        ErrorKind::NotFound => "NOT_FOUND",
        ErrorKind::AlreadyExists => "ALREADY_EXISTS",
        ErrorKind::InvalidArgument => "INVALID_ARGUMENT",
        ErrorKind::FailedPrecondition => "FAILED_PRECONDITION",
        ErrorKind::Aborted | ErrorKind::Stale => "ABORTED",
        ErrorKind::ResourceExhausted => "RESOURCE_EXHAUSTED",
        ErrorKind::DeadlineExceeded => "DEADLINE_EXCEEDED",
        ErrorKind::Cancelled => "CANCELLED",
        ErrorKind::Unavailable => "UNAVAILABLE",
        ErrorKind::DataLoss => "DATA_LOSS",
        ErrorKind::Unimplemented => "UNIMPLEMENTED",
        ErrorKind::Internal => "INTERNAL",
    }
}

pub const OK: &str = "OK";
/// Of what its time limit ended.
pub const DEADLINE_EXCEEDED: &str = "DEADLINE_EXCEEDED";
/// Of what ended before it was through, as when a client stops reading.
pub const CANCELLED: &str = "CANCELLED";
