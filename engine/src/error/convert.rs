//! Where the errors of the crates below become the engine's. DataFusion wraps errors in several layers; what decides
//! is the innermost one, and an error of ours that travelled through DataFusion comes out as it went in.

use arrow::error::ArrowError;
use datafusion::{common::SchemaError, error::DataFusionError};
use insula_storage as storage;

use super::{
    Error, ErrorKind,
    text::{of_regex, told},
};
use crate::sql::repeated;

impl From<storage::Error> for Error {
    fn from(error: storage::Error) -> Self {
        let kind = match error.kind() {
            storage::ErrorKind::Invalid => ErrorKind::InvalidArgument,
            storage::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
            storage::ErrorKind::NotFound => ErrorKind::NotFound,
            storage::ErrorKind::Stale => ErrorKind::Stale,
            storage::ErrorKind::Conflict => ErrorKind::Aborted,
            storage::ErrorKind::FailedPrecondition => ErrorKind::FailedPrecondition,
            storage::ErrorKind::ResourceExhausted => ErrorKind::ResourceExhausted,
            storage::ErrorKind::Unavailable => ErrorKind::Unavailable,
            storage::ErrorKind::DataLoss => ErrorKind::DataLoss,
            storage::ErrorKind::Internal => ErrorKind::Internal,
        };
        Self::new(kind, error.message())
    }
}

impl From<ArrowError> for Error {
    fn from(error: ArrowError) -> Self {
        match error {
            ArrowError::ExternalError(inner) => from_boxed(inner.as_ref()),
            ArrowError::MemoryError(message) => Self::new(ErrorKind::ResourceExhausted, message),
            ArrowError::CastError(message)
            | ArrowError::ParseError(message)
            | ArrowError::ComputeError(message)
            | ArrowError::InvalidArgumentError(message)
            | ArrowError::SchemaError(message)
            | ArrowError::ArithmeticOverflow(message)
            | ArrowError::NotYetImplemented(message) => Self::invalid(without_values(&message)),
            ArrowError::DivideByZero => Self::invalid("division by zero"),
            ArrowError::ParquetError(message) => Self::new(ErrorKind::DataLoss, message),
            other => Self::internal(other.to_string()),
        }
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        Self::External(Box::new(error))
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        let converted = from_datafusion(&error);
        let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
        match span.filter(|_| converted.kind == ErrorKind::InvalidArgument) {
            Some(span) => Self::invalid(format!(
                "{} at Line: {}, Column: {}",
                converted.message, span.start.line, span.start.column
            )),
            None => Self { lacks: lacks(&error), ..converted },
        }
    }
}

/// DataFusion says of some clauses alone (SELECT, WHERE) where in them a column is named that is not there.
fn lacks(error: &DataFusionError) -> Option<Box<str>> {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => lacks(inner),
        DataFusionError::Shared(inner) => lacks(inner),
        DataFusionError::Collection(errors) => errors.first().and_then(lacks),
        DataFusionError::SchemaError(inner, _) => match inner.as_ref() {
            SchemaError::FieldNotFound { field, .. } => Some(field.name.as_str().into()),
            _ => None,
        },
        _ => None,
    }
}

fn from_datafusion(error: &DataFusionError) -> Error {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => from_datafusion(inner),
        DataFusionError::Shared(inner) => from_datafusion(inner),
        DataFusionError::Collection(errors) => {
            errors.first().map_or_else(|| Error::internal("empty error collection"), from_datafusion)
        }
        DataFusionError::External(inner) => from_boxed(inner.as_ref()),
        DataFusionError::ArrowError(inner, _) => from_arrow(inner),
        DataFusionError::SQL(inner, _) => Error::invalid(inner.to_string()),
        DataFusionError::SchemaError(inner, _) => Error::invalid(schema_message(inner)),
        DataFusionError::Plan(message) | DataFusionError::NotImplemented(message) if is_of_subquery(message) => {
            Error::unimplemented(
                "a subquery, or its use of columns of the query around it, is not supported where it stands; write it as a join",
            )
        }
        DataFusionError::Plan(message) | DataFusionError::Substrait(message) => Error::invalid(told(message)),
        DataFusionError::NotImplemented(message) => Error::invalid(format!("not supported: {}", told(message))),
        // Only the end of the process takes a task from a stream that still reads it.
        DataFusionError::Execution(message) if message.starts_with("Non Panic Task error") => {
            Error::new(ErrorKind::Unavailable, "the server ended while the statement ran")
        }
        DataFusionError::Configuration(message) | DataFusionError::Execution(message) => Error::invalid(told(message)),
        DataFusionError::ResourcesExhausted(message) => Error::new(ErrorKind::ResourceExhausted, told(message)),
        DataFusionError::ObjectStore(inner) => from_object_store(inner),
        DataFusionError::ParquetError(inner) => from_parquet(inner),
        DataFusionError::IoError(inner) if inner.kind() == std::io::ErrorKind::StorageFull => disk_full(),
        DataFusionError::IoError(inner) if inner.get_ref().is_some_and(|inner| inner.is::<Error>()) => from_io(inner),
        // Not a bug, whatever it calls it: a size below zero.
        DataFusionError::Internal(message) if message.starts_with("array_resize:") => Error::invalid(told(message)),
        other => Error::internal(other.strip_backtrace()),
    }
}

/// No rule has made a join of it.
fn is_of_subquery(message: &str) -> bool {
    let left = message.strip_prefix("Physical plan does not support logical expression ");
    let kinds = ["Exists", "InSubquery", "ScalarSubquery", "OuterReferenceColumn"];
    let wrong_places =
        ["In/Exist/SetComparison subquery can only be used in", "Correlated scalar subquery can only be used in"];
    left.is_some_and(|expr| kinds.iter().any(|kind| expr.starts_with(kind)))
        || wrong_places.iter().any(|place| message.starts_with(place))
}

/// An error of ours that travelled through one of reading or writing.
fn from_io(error: &std::io::Error) -> Error {
    error.get_ref().map_or_else(|| Error::internal(error.to_string()), from_boxed)
}

fn from_arrow(error: &ArrowError) -> Error {
    match error {
        ArrowError::ExternalError(inner) => from_boxed(inner.as_ref()),
        ArrowError::DivideByZero => Error::invalid("division by zero"),
        ArrowError::CastError(message)
        | ArrowError::ParseError(message)
        | ArrowError::ComputeError(message)
        | ArrowError::InvalidArgumentError(message)
        | ArrowError::ArithmeticOverflow(message) => Error::invalid(without_values(message)),
        // A full disk, or a full quota, under the file that a sort writes.
        ArrowError::IoError(_, inner) if inner.kind() == std::io::ErrorKind::StorageFull => disk_full(),
        ArrowError::IoError(_, inner) => from_io(inner),
        other => Error::internal(other.to_string()),
    }
}

fn disk_full() -> Error {
    Error::new(ErrorKind::ResourceExhausted, "the disk for temporary files is full")
}

fn from_boxed(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Error {
    if let Some(error) = error.downcast_ref::<Error>() {
        return error.clone();
    }
    if let Some(error) = error.downcast_ref::<storage::Error>() {
        return Error::new(Error::from_kind(error.kind()), error.message());
    }
    if let Some(error) = error.downcast_ref::<DataFusionError>() {
        return from_datafusion(error);
    }
    if let Some(error) = error.downcast_ref::<ArrowError>() {
        return from_arrow(error);
    }
    if let Some(error) = error.downcast_ref::<object_store::Error>() {
        return from_object_store(error);
    }
    let message = error.to_string();
    of_regex(&message).map_or_else(|| Error::internal(message), Error::invalid)
}

fn from_object_store(error: &object_store::Error) -> Error {
    match error {
        // The cold tier's own errors, such as a failed checksum, travel through this interface.
        object_store::Error::Generic { source, .. } if source.is::<storage::Error>() => from_boxed(source.as_ref()),
        // A manifest names the file, so a file that is not there is lost data, not a wrong question.
        object_store::Error::NotFound { .. } => Error::new(ErrorKind::DataLoss, "a file of the cold tier is missing"),
        _ => Error::new(ErrorKind::Unavailable, "the object store cannot be reached"),
    }
}

fn from_parquet(error: &parquet::errors::ParquetError) -> Error {
    match error {
        parquet::errors::ParquetError::External(inner) => from_boxed(inner.as_ref()),
        _ => Error::new(ErrorKind::DataLoss, "a file of the cold tier cannot be decoded"),
    }
}

fn schema_message(error: &SchemaError) -> String {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            if valid_fields.iter().any(|valid| repeated::said(&valid.name) == Some(&field.name)) {
                return format!(
                    "column \"{}\" is ambiguous: a query in FROM has several of that name; name them apart with AS",
                    field.flat_name()
                );
            }
            let mut message = format!("column \"{}\" does not exist", field.flat_name());
            let names = valid_fields.iter().map(|f| repeated::said(&f.name).unwrap_or(&f.name));
            if let Some(nearest) = crate::catalog::nearest(&field.name, names) {
                message.push_str(&format!("; did you mean \"{nearest}\"?"));
            }
            message
        }
        other => other.to_string(),
    }
}

/// Arrow's messages quote the value that does not fit, and that is the content of a row.
fn without_values(message: &str) -> String {
    if let Some(message) = of_regex(message) {
        return message;
    }
    if message.starts_with("Overflow happened on") {
        return "arithmetic overflow".into();
    }
    if let Some(target) = message.strip_prefix("Can't cast value ").and_then(|rest| rest.split_once(" to type ")) {
        return format!("a value does not fit type {}", target.1);
    }
    // Text that is quoted, from the first quotation mark to the last: the value itself may hold some.
    match (message.find('\''), message.rfind('\'')) {
        (Some(first), Some(last)) if first < last => format!("{}'…'{}", &message[..first], &message[last + 1..]),
        _ => message.to_owned(),
    }
}

impl Error {
    fn from_kind(kind: storage::ErrorKind) -> ErrorKind {
        Self::from(storage::Error::new(kind, "")).kind
    }
}
