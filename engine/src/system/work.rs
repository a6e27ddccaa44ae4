//! What is done: `system.queries`, `jobs`, `audit`. Users see their own statements and entries; admins see those of all,
//! without texts, and the jobs of the store, whose counts are of all users' rows.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use insula_storage::{Job, JobOutcome, JobWork};

use super::{
    Asking, View,
    fields::{maybe_number, maybe_text, maybe_time, number, text, time},
    rows::{self, attempt, made, maybe_numbers, maybe_texts, numbers, texts, times},
};
use crate::{
    QueryInfo, RowStream,
    audit::{Event, micros},
};

pub(super) static VIEWS: [View; 3] = [
    View {
        namespace: "system",
        name: "queries",
        fields: || {
            vec![
                text("query_id"),
                text("user"),
                maybe_text("text"),
                text("text_hash"),
                time("began"),
                number("elapsed_micros"),
                number("rows"),
                text("state"),
                number("queued_micros"),
                maybe_text("actor"),
                maybe_text("tables"),
            ]
        },
        rows: queries,
    },
    View {
        namespace: "system",
        name: "jobs",
        fields: || {
            vec![
                text("job"),
                maybe_text("namespace"),
                maybe_text("table"),
                text("state"),
                time("at"),
                maybe_number("rows"),
                maybe_number("files"),
                maybe_number("bytes"),
                maybe_number("failures"),
                maybe_time("retry_at"),
                maybe_text("error"),
            ]
        },
        rows: jobs,
    },
    View {
        namespace: "system",
        name: "audit",
        fields: || {
            vec![
                time("at"),
                text("event"),
                maybe_text("user"),
                maybe_text("actor"),
                maybe_text("client"),
                maybe_text("method"),
                maybe_text("query_id"),
                maybe_text("statement"),
                maybe_text("text"),
                maybe_text("text_hash"),
                maybe_text("tables"),
                number("rows"),
                number("bytes"),
                number("queue_micros"),
                number("plan_micros"),
                number("run_micros"),
                text("result"),
            ]
        },
        rows: audit,
    },
];

fn queries(asking: Asking, schema: SchemaRef) -> RowStream {
    attempt(|| {
        let seen = asking.engine()?.queries().visible_to(&asking.user);
        Ok(rows::of(seen, schema, |part: &[QueryInfo]| {
            vec![
                texts(part, |query| &query.id),
                texts(part, |query| &query.user),
                maybe_texts(part, |query| query.text.clone()),
                texts(part, |query| &query.text_hash),
                times(part, |query| Some(micros(query.began))),
                numbers(part, |query| query.elapsed_micros),
                numbers(part, |query| query.rows),
                texts(part, |query| query.state),
                numbers(part, |query| query.queued_micros),
                maybe_texts(part, |query| query.actor.clone()),
                maybe_texts(part, |query| joined(&query.tables)),
            ]
        }))
    })
}

fn jobs(asking: Asking, schema: SchemaRef) -> RowStream {
    attempt(|| {
        let told = if asking.is_admin() { asking.engine()?.store().jobs() } else { Vec::new() };
        Ok(rows::of(told, schema, |part: &[Job]| {
            let table = |job: &Job| job.table.clone();
            let done = |of: fn(&JobWork) -> u64| maybe_numbers(part, move |job| done(job).map(of));
            vec![
                texts(part, |job| job.kind.name()),
                maybe_texts(part, |job| table(job).map(|(namespace, _)| namespace)),
                maybe_texts(part, |job| table(job).map(|(_, table)| table)),
                texts(part, |job| if failing(job).is_some() { "failing" } else { "done" }),
                times(part, |job| Some(job.at_micros)),
                done(|work| work.rows),
                done(|work| work.files),
                done(|work| work.bytes),
                maybe_numbers(part, |job| failing(job).map(|(failures, ..)| failures.into())),
                times(part, |job| failing(job).map(|(_, retry, _)| retry)),
                maybe_texts(part, |job| failing(job).map(|(_, _, error)| error.to_owned())),
            ]
        }))
    })
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

fn audit(asking: Asking, schema: SchemaRef) -> RowStream {
    attempt(|| {
        let trail = Arc::clone(asking.engine()?.trail());
        let (seen, reader) = (trail.visible_to(&asking.user), asking.user.no);
        Ok(rows::of(seen, schema, move |part: &[Arc<Event>]| {
            // Literals are contents of rows: a text is for the user as whom it ran.
            let own_text = |event: &Arc<Event>| event.text.clone().filter(|_| event.user_no == Some(reader));
            vec![
                times(part, |event| Some(micros(event.at))),
                texts(part, |event| event.kind.name()),
                maybe_texts(part, |event| event.user.clone()),
                maybe_texts(part, |event| event.actor.clone()),
                maybe_texts(part, |event| event.from.map(|from| from.to_string())),
                maybe_texts(part, |event| event.method),
                maybe_texts(part, |event| event.query_id.map(|id| id.to_string())),
                maybe_texts(part, |event| event.verb.map(crate::audit::Verb::name)),
                maybe_texts(part, own_text),
                maybe_texts(part, |event| trail.hash_of(event).map(|hash| format!("{hash:016x}"))),
                maybe_texts(part, |event| joined(&event.tables)),
                numbers(part, |event| event.rows),
                numbers(part, |event| event.bytes),
                numbers(part, |event| event.queue_micros),
                numbers(part, |event| event.plan_micros),
                numbers(part, |event| event.run_micros),
                made(part, |event| event.result.to_string()),
            ]
        }))
    })
}

/// `None`: of no table.
fn joined(tables: &[Arc<str>]) -> Option<String> {
    (!tables.is_empty()).then(|| tables.join(", "))
}
