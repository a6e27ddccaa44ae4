//! How a statement runs within a transaction: it reads at the transaction's moment and writes into what that has
//! pending. One that fails, or whose client goes away, leaves the transaction as it was before it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::StreamExt;

use super::{Transaction, open::Use};
use crate::{
    Outcome, Result, RowStream,
    sql::SystemColumns,
    statement::{Replans, Request, Work},
};

pub(crate) async fn run(
    request: &Request<'_>,
    transaction: &Arc<Transaction>,
    work: Work,
    named: SystemColumns,
    params: Vec<RecordBatch>,
) -> Result<Outcome> {
    let mut turn = transaction.turn().await?;
    match work {
        Work::Query(ast) => {
            let mut replans = Replans::default();
            loop {
                let at = request.at(turn.moment(request.engine)?);
                match at.query_once(&ast, named, &params).await {
                    Err(error) if replans.allow(request.engine, &error).await? => turn.renew_catalog(request.engine),
                    outcome => return Ok(held(outcome?, turn.into_use())),
                }
            }
        }
        Work::Write(write) => {
            turn.check_writable("a statement that writes")?;
            turn.begin()?;
            let changed = write.run_within(request, &mut turn, named, params).await?;
            turn.done()?;
            Ok(Outcome::Count(changed))
        }
        work => match work.alone() {
            Some(what) => {
                turn.renew(what)?;
                request.run(work, named, params).await
            }
            None => request.run(work, named, params).await,
        },
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
