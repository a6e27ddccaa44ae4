//! The rows of `SHOW JOBS`: what the store does by itself and for statements, and what it tries in vain.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray},
    datatypes::{DataType, Field},
};
use insula_storage::{Job, JobKind, JobOutcome, JobWork, table::updated_type};

pub(super) fn fields() -> Vec<Field> {
    let count = |name: &str| Field::new(name, DataType::Int64, true);
    vec![
        Field::new("job", DataType::Utf8, false),
        Field::new("namespace", DataType::Utf8, true),
        Field::new("table", DataType::Utf8, true),
        Field::new("state", DataType::Utf8, false),
        Field::new("at", updated_type(), false),
        count("rows"),
        count("files"),
        count("bytes"),
        count("failures"),
        Field::new("retry_at", updated_type(), true),
        Field::new("error", DataType::Utf8, true),
    ]
}

pub(super) fn columns(jobs: &[Job]) -> Vec<ArrayRef> {
    let texts = |of: fn(&Job) -> Option<&str>| -> ArrayRef { Arc::new(jobs.iter().map(of).collect::<StringArray>()) };
    let counts = |of: fn(&JobWork) -> u64| -> ArrayRef {
        Arc::new(jobs.iter().map(|job| done(job).map(|work| of(work).cast_signed())).collect::<Int64Array>())
    };
    let times = |of: fn(&Job) -> Option<i64>| -> ArrayRef {
        Arc::new(jobs.iter().map(of).collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
    };
    vec![
        texts(|job| Some(kind(job.kind))),
        texts(|job| job.table.as_ref().map(|(namespace, _)| namespace.as_str())),
        texts(|job| job.table.as_ref().map(|(_, table)| table.as_str())),
        texts(|job| Some(if done(job).is_some() { "done" } else { "failing" })),
        times(|job| Some(job.at_micros)),
        counts(|work| work.rows),
        counts(|work| work.files),
        counts(|work| work.bytes),
        Arc::new(jobs.iter().map(|job| failing(job).map(|(failures, ..)| i64::from(failures))).collect::<Int64Array>()),
        times(|job| failing(job).map(|(_, retry, _)| retry)),
        texts(|job| failing(job).map(|(_, _, error)| error)),
    ]
}

fn kind(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Flush => "flush",
        JobKind::Compaction => "compaction",
        JobKind::Load => "load",
        JobKind::Drop => "drop",
        JobKind::Erase => "erase",
        JobKind::Purge => "purge",
    }
}

fn done(job: &Job) -> Option<&JobWork> {
    if let JobOutcome::Done(work) = &job.outcome { Some(work) } else { None }
}

fn failing(job: &Job) -> Option<(u32, i64, &str)> {
    match &job.outcome {
        JobOutcome::Failing { failures, retry_micros, error } => Some((*failures, *retry_micros, error)),
        JobOutcome::Done(_) => None,
    }
}
