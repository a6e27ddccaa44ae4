//! The crate's error: what went wrong, in words, and a kind that says what the caller does next.

use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller does about an [`Error`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorKind {
    /// The statement is wrong: NOT NULL violated, type not storable, bad option.
    Invalid,
    /// A row with this primary key, or a thing of this name, is there already.
    AlreadyExists,
    /// No such table.
    NotFound,
    /// The table was altered since the statement was planned: plan it again.
    Stale,
    /// Another commit came first: run the transaction again from its beginning.
    Conflict,
    /// The thing is in use, or the data directory is another server's.
    FailedPrecondition,
    /// Disk or memory is short; nothing was written.
    ResourceExhausted,
    /// The store refuses writes (poisoned), or the object store is out of reach.
    Unavailable,
    /// Stored bytes fail their checksum or cannot be decoded.
    DataLoss,
    /// A bug.
    Internal,
}

#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as _)
    }
}
