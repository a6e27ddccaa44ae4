//! What there is at the moment of asking, and counters that others keep.

use insula_engine::{Engine, Figures};
use metrics::{counter, describe_counter, describe_gauge, gauge};

use super::Watched;

pub(super) fn note(watched: &Watched<'_>) {
    let engine = watched.engine;
    limits(engine);
    gauge!("insula_sessions").set(watched.authenticator.session_count() as f64);
    gauge!("insula_running_statements").set(engine.running_count() as f64);
    let (prepared, tickets) = watched.statements.counts();
    gauge!("insula_prepared_statements").set(prepared as f64);
    gauge!("insula_tickets").set(tickets as f64);
    let audit = engine.trail().figures();
    counter!("insula_audit_entries_total").absolute(audit.noted);
    counter!("insula_audit_dropped_total").absolute(audit.dropped);
    counter!("insula_audit_failed_total").absolute(audit.failed);
    store(&engine.figures());
}

/// Of all users together: what one of them takes is nobody's here.
fn limits(engine: &Engine) {
    let (load, limits, refused) = (engine.load(None), engine.limits(), engine.refused());
    gauge!("insula_memory_reserved_bytes").set(load.memory as f64);
    gauge!("insula_memory_limit_bytes").set(load.memory_limit as f64);
    gauge!("insula_spilled_bytes").set(load.spilled as f64);
    gauge!("insula_spill_limit_bytes").set(limits.spill as f64);
    gauge!("insula_computing_statements").set(load.computing as f64);
    gauge!("insula_computing_statements_limit").set(limits.concurrency as f64);
    gauge!("insula_queued_statements").set(load.waiting as f64);
    gauge!("insula_transactions").set(engine.transaction_count() as f64);
    counter!("insula_refused_statements_total", "limit" => "queue").absolute(refused.queue);
    counter!("insula_refused_statements_total", "limit" => "ingest_rate").absolute(refused.ingest_rate);
}

fn store(figures: &Figures) {
    gauge!("insula_tables").set(figures.tables as f64);
    gauge!("insula_hot_bytes").set(figures.hot_bytes as f64);
    gauge!("insula_hot_limit_bytes").set(figures.hot_bytes_limit as f64);
    for (kind, total) in &figures.jobs {
        let job = kind.name();
        counter!("insula_jobs_total", "job" => job, "result" => "done").absolute(total.done);
        counter!("insula_jobs_total", "job" => job, "result" => "failed").absolute(total.failed);
        counter!("insula_job_rows_total", "job" => job).absolute(total.work.rows);
        counter!("insula_job_files_total", "job" => job).absolute(total.work.files);
        counter!("insula_job_bytes_total", "job" => job).absolute(total.work.bytes);
    }
    gauge!("insula_jobs_failing").set(figures.jobs_failing as f64);
    counter!("insula_write_stalls_total").absolute(figures.stalls);
    counter!("insula_write_stalls_refused_total").absolute(figures.stalls_refused);
    gauge!("insula_write_stall_seconds").set(figures.stall_micros as f64 / 1e6);
    for (request, all, failed) in &figures.requests {
        counter!("insula_object_requests_total", "request" => *request).absolute(*all);
        counter!("insula_object_errors_total", "request" => *request).absolute(*failed);
    }
    for (property, value) in &figures.rocksdb {
        gauge!(format!("insula_rocksdb_{property}")).set(*value as f64);
    }
}

pub(super) fn describe() {
    describe_gauge!("insula_memory_reserved_bytes", "Memory that running statements have reserved");
    describe_gauge!("insula_memory_limit_bytes", "Memory that running statements may reserve");
    describe_gauge!("insula_spilled_bytes", "Temporary files of running statements");
    describe_gauge!("insula_spill_limit_bytes", "Temporary files that running statements may have");
    describe_gauge!("insula_computing_statements", "Heavy statements that hold a slot");
    describe_gauge!("insula_computing_statements_limit", "Slots that there are");
    describe_gauge!("insula_queued_statements", "Heavy statements that wait for a slot");
    describe_gauge!("insula_transactions", "Open transactions");
    describe_counter!(
        "insula_refused_statements_total",
        "Statements refused by a full or slow queue, or a user's rate of writes"
    );
    describe_gauge!("insula_sessions", "Open sessions");
    describe_gauge!("insula_running_statements", "Statements that run now");
    describe_gauge!("insula_prepared_statements", "Prepared statements that are open");
    describe_gauge!("insula_tickets", "Tickets that can still be redeemed");
    describe_counter!("insula_audit_entries_total", "Entries of the audit");
    describe_counter!(
        "insula_audit_dropped_total",
        "Entries of reads and writes of rows that were left out of the files"
    );
    describe_counter!("insula_audit_failed_total", "Entries that the disk did not take");
    describe_gauge!("insula_tables", "Tables");
    describe_gauge!("insula_hot_bytes", "Keys and values in the hot tier, uncompressed");
    describe_gauge!("insula_hot_limit_bytes", "Bytes in the hot tier beyond which writers wait");
    describe_counter!("insula_jobs_total", "Flushes, compactions, loads, dropped tables and erasures");
    describe_counter!("insula_job_rows_total", "Rows that they wrote or took out");
    describe_counter!("insula_job_files_total", "Files that they wrote or took out");
    describe_counter!("insula_job_bytes_total", "Bytes that they wrote or gave back");
    describe_gauge!("insula_jobs_failing", "Background work that fails and is tried again");
    describe_counter!("insula_write_stalls_total", "Writers that had to wait for a flush");
    describe_counter!("insula_write_stalls_refused_total", "Writers that waited in vain");
    describe_gauge!("insula_write_stall_seconds", "Time that writers waited, all together, since the start");
    describe_counter!("insula_object_requests_total", "Requests to the object store");
    describe_counter!("insula_object_errors_total", "Requests to the object store that failed");
}
