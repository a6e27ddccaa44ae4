//! Counters and gauges for Prometheus.
//!
//! What happens is counted as the audit hears of it, by handles that are made once; what there is (sessions, memory, the
//! store's figures, the process) is asked for when somebody reads. No label is ever a name that a user chose: such
//! labels would be without bound, and would tell of users.

mod now;
mod process;

use std::sync::{Arc, OnceLock, Weak};

use insula_engine::{
    Engine,
    audit::{Event, Kind, Observer, Verb},
};
use metrics::{Counter, Histogram, counter, describe_counter, describe_histogram, histogram, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::{identity::Authenticator, statements::Statements};

/// Upper bounds of the classes of times, in seconds.
const SECONDS: [f64; 18] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0,
];

/// All that a statement can end with; the most frequent first.
const RESULTS: [&str; 17] = [
    "OK",
    "CANCELLED",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "ABORTED",
    "RESOURCE_EXHAUSTED",
    "DEADLINE_EXCEEDED",
    "FAILED_PRECONDITION",
    "UNAVAILABLE",
    "UNIMPLEMENTED",
    "UNAUTHENTICATED",
    "DATA_LOSS",
    "INTERNAL",
    "OUT_OF_RANGE",
    "UNKNOWN",
];

pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    /// In the order of [`Verb::ALL`], each made when it is first needed.
    statements: [OnceLock<OfVerb>; Verb::ALL.len()],
    queue: Histogram,
    watched: OnceLock<Held>,
}

/// Of one kind of statements.
struct OfVerb {
    seconds: Histogram,
    rows: Counter,
    bytes: Counter,
    /// In the order of [`RESULTS`].
    results: [OnceLock<Counter>; RESULTS.len()],
}

/// What is asked when somebody reads.
pub struct Watched<'a> {
    pub engine: &'a Arc<Engine>,
    pub authenticator: &'a Arc<Authenticator>,
    pub statements: &'a Arc<Statements>,
}

/// The same, not kept alive by its being watched.
struct Held {
    engine: Weak<Engine>,
    authenticator: Weak<Authenticator>,
    statements: Weak<Statements>,
}

impl Metrics {
    pub fn new() -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let recorder = PrometheusBuilder::new().set_buckets(&SECONDS)?.build_recorder();
        let handle = recorder.handle();
        let queue = with_local_recorder(&recorder, || {
            describe();
            now::describe();
            histogram!("insula_statement_queue_seconds")
        });
        let statements = std::array::from_fn(|_| OnceLock::new());
        Ok(Self { recorder, handle, statements, queue, watched: OnceLock::new() })
    }

    /// From now on these are asked, too.
    pub fn watch(&self, watched: Watched<'_>) {
        let held = Held {
            engine: Arc::downgrade(watched.engine),
            authenticator: Arc::downgrade(watched.authenticator),
            statements: Arc::downgrade(watched.statements),
        };
        self.watched.set(held).ok();
    }

    /// As Prometheus reads it.
    pub fn render(&self) -> String {
        with_local_recorder(&self.recorder, || {
            process::note();
            let Some(held) = self.watched.get() else { return };
            let (engine, authenticator) = (held.engine.upgrade(), held.authenticator.upgrade());
            if let (Some(engine), Some(authenticator), Some(statements)) =
                (engine, authenticator, held.statements.upgrade())
            {
                now::note(&Watched { engine: &engine, authenticator: &authenticator, statements: &statements });
            }
        });
        self.handle.render()
    }

    /// Gathers what histograms were given, which would else pile up until somebody reads.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    fn of(&self, verb: Verb) -> &OfVerb {
        self.statements[verb as usize].get_or_init(|| {
            let name = verb.name();
            with_local_recorder(&self.recorder, || OfVerb {
                seconds: histogram!("insula_statement_seconds", "statement" => name),
                rows: counter!("insula_statement_rows_total", "statement" => name),
                bytes: counter!("insula_statement_bytes_total", "statement" => name),
                results: std::array::from_fn(|_| OnceLock::new()),
            })
        })
    }

    fn statement(&self, verb: Verb, event: &Event) {
        let of = self.of(verb);
        let at = RESULTS.iter().position(|result| *result == event.result).unwrap_or(RESULTS.len() - 1);
        let ended = of.results[at].get_or_init(|| {
            let labels = [("statement", verb.name()), ("result", RESULTS[at])];
            with_local_recorder(&self.recorder, || counter!("insula_statements_total", &labels))
        });
        ended.increment(1);
        of.rows.increment(event.rows);
        of.bytes.increment(event.bytes);
        of.seconds.record((event.queue_micros + event.plan_micros + event.run_micros) as f64 / 1e6);
        if event.queue_micros > 0 {
            self.queue.record(event.queue_micros as f64 / 1e6);
        }
    }
}

impl Observer for Metrics {
    fn noted(&self, event: &Event) {
        let method = event.method.unwrap_or("none");
        match (event.kind, event.verb) {
            (Kind::Statement, verb) => self.statement(verb.unwrap_or(Verb::Unknown), event),
            // These are rare, and cost a hash or two.
            (Kind::Login, _) => with_local_recorder(&self.recorder, || {
                counter!("insula_logins_total", "method" => method).increment(1);
            }),
            (Kind::RunAs, _) => {
                with_local_recorder(&self.recorder, || counter!("insula_run_as_total").increment(1));
            }
            (Kind::Refusal, _) => with_local_recorder(&self.recorder, || {
                let labels = [("method", method.to_owned()), ("result", event.result.to_string())];
                counter!("insula_refusals_total", &labels).increment(1);
            }),
        }
    }
}

fn describe() {
    describe_counter!("insula_statements_total", "Statements that ended, by what they do and how they ended");
    describe_histogram!("insula_statement_seconds", "Time of statements from their arrival to their last row");
    describe_histogram!(
        "insula_statement_queue_seconds",
        "Time that statements waited for their turn, of those that did"
    );
    describe_counter!("insula_statement_rows_total", "Rows returned or changed");
    describe_counter!("insula_statement_bytes_total", "Bytes of rows returned or ingested, as Arrow has them");
    describe_counter!("insula_logins_total", "Passwords that were right, and sessions that began");
    describe_counter!(
        "insula_refusals_total",
        "Calls refused before any statement: no or bad credentials, another's handle"
    );
    describe_counter!("insula_run_as_total", "Sessions that began in which one user runs as another");
}

#[cfg(test)]
mod tests;
