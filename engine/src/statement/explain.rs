//! `EXPLAIN`, also of statements that write: those show the query by which they find their rows, and are never run.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use datafusion::{logical_expr::LogicalPlan, sql::sqlparser::ast::Statement as Ast};

use crate::{Error, Result, context::Context, write::Write};

/// The plan of a query or of an `EXPLAIN`.
pub(super) fn plan(context: &Context, ast: Ast) -> Result<LogicalPlan> {
    let Ast::Explain { analyze, statement, .. } = &ast else { return context.plan(ast) };
    match statement.as_ref() {
        Ast::Query(_) => context.plan(ast),
        Ast::Insert(_) | Ast::Update(_) | Ast::Delete(_) | Ast::Merge(_) if *analyze => {
            Err(Error::invalid("EXPLAIN ANALYZE would run a statement that writes; use EXPLAIN"))
        }
        Ast::Insert(_) | Ast::Update(_) | Ast::Delete(_) | Ast::Merge(_) => {
            let query = Write::new(statement.as_ref().clone())?.plan(context)?.query().clone();
            explain(query, &ast)
        }
        _ => Err(Error::invalid("EXPLAIN takes SELECT, INSERT, UPDATE, DELETE or MERGE")),
    }
}

fn explain(query: LogicalPlan, ast: &Ast) -> Result<LogicalPlan> {
    let verbose = matches!(ast, Ast::Explain { verbose: true, .. });
    Ok(datafusion::logical_expr::LogicalPlanBuilder::from(query).explain(verbose, false)?.build()?)
}

/// Metrics of a scan that count rows of the user's own ranges only. The others count whole row groups and pages, which
/// many users share, and so would tell how much other users have; even how often a filter was evaluated does, for it is
/// passed over where the bounds of a row group show that every row, whoever's, fulfils it.
const OWN_METRICS: [&str; 4] = ["output_rows", "output_batches", "elapsed_compute", "time_elapsed_"];

/// The rows of `EXPLAIN ANALYZE` without what they tell of others.
pub(super) fn without_foreign_counts(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(|column| -> ArrayRef {
        match column.as_string_opt::<i32>() {
            Some(texts) => Arc::new(texts.iter().map(|text| text.map(own_metrics)).collect::<StringArray>()),
            None => Arc::clone(column),
        }
    });
    Ok(RecordBatch::try_new(batch.schema(), columns.collect())?)
}

fn own_metrics(plan: &str) -> String {
    let lines = plan.lines().map(|line| match line.split_once("metrics=[") {
        Some((node, metrics)) if node.contains("DataSourceExec") => {
            let metrics = metrics.trim_end_matches(']').split(", ");
            let own: Vec<_> = metrics.filter(|metric| OWN_METRICS.iter().any(|own| metric.starts_with(own))).collect();
            format!("{node}metrics=[{}]", own.join(", "))
        }
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::own_metrics;

    #[test]
    fn metrics_of_shared_pages_are_not_shown() {
        let plan = "A, metrics=[output_rows=1, x=2]\n  DataSourceExec: f, metrics=[output_rows=2, page_index_rows_pruned=5 total, pushdown_rows_pruned=1, bytes_scanned=9]";
        assert_eq!(own_metrics(plan), "A, metrics=[output_rows=1, x=2]\n  DataSourceExec: f, metrics=[output_rows=2]");
    }
}
