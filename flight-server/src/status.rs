//! Errors on their way out: the one place that gives them a gRPC code, and the one place that logs them.

use std::any::Any;

use insula_engine::{Error, ErrorKind};
use tonic::{Code, Status};
use uuid::Uuid;

#[cfg(test)]
mod tests;

/// Metadata of an answer has to fit in one header list, 16 KB on most clients; percent-encoding can treble the text.
const MESSAGE_LIMIT: usize = 4_000;

/// What the client is told of an engine's error.
pub fn of(error: Error) -> Status {
    let code = code(error.kind());
    match code {
        Code::Internal => internal(error.message()),
        Code::DataLoss => {
            tracing::error!(error = error.message(), "data failed its checks");
            Status::new(code, shortened(error.message()))
        }
        _ => {
            // No message here: it may quote the statement, and statements are seen by their user alone.
            tracing::debug!(?code, "refused");
            Status::new(code, shortened(error.message()))
        }
    }
}

/// A bug: the details go to the log, the client gets the id under which they stand there.
pub fn internal(details: impl std::fmt::Display) -> Status {
    let id = Uuid::new_v4();
    tracing::error!(%id, error = %details, "internal error");
    Status::internal(format!("internal error {id}; the server's log explains it"))
}

/// The name of a code, as the audit has it.
pub fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// What a panic says goes to the log.
pub fn panicked(panic: &(dyn Any + Send)) -> Status {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("without a message");
    // Arrow's arrays have offsets of 32 bits, and it panics where texts or lists of one array are longer together.
    if text.to_lowercase().contains("offset overflow") {
        tracing::debug!(panic = text, "refused");
        return Status::resource_exhausted(
            "a value, or the values of one batch, would be larger than 2 GiB; ask for less at a time",
        );
    }
    internal(format!("panic: {text}"))
}

fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Unauthenticated => Code::Unauthenticated,
        ErrorKind::PermissionDenied => Code::PermissionDenied,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::AlreadyExists => Code::AlreadyExists,
        ErrorKind::InvalidArgument => Code::InvalidArgument,
        ErrorKind::FailedPrecondition => Code::FailedPrecondition,
        ErrorKind::Aborted | ErrorKind::Stale => Code::Aborted,
        ErrorKind::ResourceExhausted => Code::ResourceExhausted,
        ErrorKind::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorKind::Cancelled => Code::Cancelled,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::DataLoss => Code::DataLoss,
        ErrorKind::Unimplemented => Code::Unimplemented,
        ErrorKind::Internal => Code::Internal,
    }
}

fn shortened(message: &str) -> String {
    match message.char_indices().nth(MESSAGE_LIMIT) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}
