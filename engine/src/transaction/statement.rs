//! How a statement runs within a transaction: it reads at the transaction's moment and writes into what that has
//! pending. One that fails, or whose client goes away, leaves the transaction as it was before it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::StreamExt;

use super::{Transaction, open::Use};
use crate::{
    Outcome, Plan, Result, RowStream,
    statement::{Replans, Request, plan::Source, work_of},
};

pub(crate) async fn run(
    request: &Request<'_>,
    transaction: &Arc<Transaction>,
    plan: &Plan,
    params: Vec<RecordBatch>,
) -> Result<Outcome> {
    let mut turn = transaction.turn().await?;
    match &plan.source {
        Source::Query(_) | Source::Substrait(_) => {
            request.running.enter().await?;
            let mut replans = Replans::default();
            loop {
                let at = request.at(turn.moment(request.engine)?);
                match at.query_once(plan, &params).await {
                    Err(error) if replans.allow(request.engine, &error).await? => turn.renew_catalog(request.engine),
                    outcome => return Ok(held(outcome?, turn.into_use())),
                }
            }
        }
        Source::Write(write) => {
            turn.check_writable("a statement that writes")?;
            turn.begin()?;
            let outcome = write.run_within(request, &mut turn, plan.named, params).await?;
            turn.done()?;
            Ok(outcome)
        }
        Source::Control | Source::Other => {
            if let Some(what) = work_of(plan.sql())?.alone() {
                turn.renew(what)?;
            }
            request.run(plan, params).await
        }
    }
}

/// Rows that are still read keep the transaction from being idle.
fn held(outcome: Outcome, used: Use) -> Outcome {
    match outcome {
        Outcome::Rows { schema, rows } => {
            let rows: RowStream = rows
                .map(move |batch| {
                    let _ = &used;
                    batch
                })
                .boxed();
            Outcome::Rows { schema, rows }
        }
        count => count,
    }
}
