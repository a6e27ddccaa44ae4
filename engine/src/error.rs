//! The engine's error: a message for the user, and a kind that the wire protocol turns into its code.

mod convert;
mod text;

use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One per row of the contract's table of situations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorKind {
    Unauthenticated,
    PermissionDenied,
    NotFound,
    AlreadyExists,
    InvalidArgument,
    FailedPrecondition,
    Aborted,
    /// A table was altered while the statement was planned: the engine plans it again, and gives up after some tries.
    Stale,
    ResourceExhausted,
    DeadlineExceeded,
    Cancelled,
    Unavailable,
    DataLoss,
    Unimplemented,
    /// A bug: the message goes to the log, the user gets an id.
    Internal,
}

#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    /// A column that does not exist, named somewhere in the statement; whoever has its text says where.
    lacks: Option<Box<str>>,
}

impl Error {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), lacks: None }
    }

    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    /// The same error, of which it is said what it befell.
    pub(crate) fn within(self, what: &str) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }

    /// With the place of the column that it misses, if that is not said yet.
    #[must_use]
    pub(crate) fn placed(mut self, sql: &str) -> Self {
        let place = self.lacks.take().and_then(|name| crate::sql::place_of(&name, sql));
        match place {
            Some(at) => Self::invalid(format!("{} at Line: {}, Column: {}", self.message, at.line, at.column)),
            None => self,
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    pub(crate) fn exists(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::AlreadyExists, message)
    }

    pub(crate) fn denied(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::PermissionDenied, message)
    }

    pub(crate) fn unimplemented(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unimplemented, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
