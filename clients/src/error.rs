//! The client's error: what the server said, or why it could not be asked.

use arrow::error::ArrowError;
use arrow_flight::error::FlightError;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection came about.
    #[error("cannot connect to {url}: {reason}")]
    Connect { url: String, reason: String },
    /// The server, or the connection under a running statement, answered with an error.
    #[error("{}", server_message(.0))]
    Server(Box<tonic::Status>),
    /// The server's answer is not what Flight SQL prescribes.
    #[error("the server's answer does not follow Flight SQL: {0}")]
    Protocol(String),
    /// A file of the user's own that cannot be read.
    #[error("{path}: {reason}")]
    File { path: String, reason: String },
    /// The call itself makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Standard input, output or the terminal.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Data that Arrow cannot decode, convert or print.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}

impl Error {
    /// The gRPC code, where the server or the connection gave one.
    pub fn code(&self) -> Option<tonic::Code> {
        match self {
            Self::Server(status) => Some(status.code()),
            _ => None,
        }
    }

    pub(crate) fn protocol(message: impl Into<String>) -> Self {
        Self::Protocol(message.into())
    }

    pub(crate) fn file(path: &std::path::Path, reason: impl ToString) -> Self {
        Self::File { path: path.display().to_string(), reason: reason.to_string() }
    }
}

/// tonic calls every broken connection "transport error": the cause beneath says which.
fn server_message(status: &tonic::Status) -> String {
    let mut message = status.message().to_owned();
    if message.is_empty() {
        message = status.code().description().to_owned();
    }
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let text = error.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        cause = error.source();
    }
    message
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        Self::Server(Box::new(told_to_leave(status)))
    }
}

/// What a draining server leaves undone, by its GOAWAY (RFC 9113, 6.8) or by closing the connection before the statement
/// was sent, was not run and may be sent again. tonic calls the one an internal error and the other cancelled.
fn told_to_leave(status: tonic::Status) -> tonic::Status {
    let mut cause = std::error::Error::source(&status);
    while let Some(error) = cause {
        let go_away = error.downcast_ref::<h2::Error>().is_some_and(|error| {
            error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
        });
        if go_away || error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled) {
            return tonic::Status::unavailable("the server has closed the connection and not run this; send it again");
        }
        cause = error.source();
    }
    status
}

impl From<FlightError> for Error {
    fn from(error: FlightError) -> Self {
        match error {
            FlightError::Tonic(status) => Self::from(*status),
            FlightError::Arrow(error) => Self::Arrow(error),
            other => Self::Protocol(other.to_string()),
        }
    }
}

impl From<prost::DecodeError> for Error {
    fn from(error: prost::DecodeError) -> Self {
        Self::Protocol(error.to_string())
    }
}
