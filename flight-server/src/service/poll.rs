//! PollFlightInfo: a long query is started by the first call, and the following ones wait for its first rows.
//!
//! The query then stands still, holding one batch, until DoGet takes its rows: what nobody fetches fills no memory.
//! Statements with an effect run to their end in the first call, as they do by GetFlightInfo.

use std::{sync::Arc, time::Duration};

use arrow_flight::{
    FlightDescriptor, FlightInfo, PollInfo,
    sql::{Command, ProstMessageExt, TicketStatementQuery},
};
use futures::{StreamExt, stream};
use prost::Message;
use tonic::Status;

use super::{Service, described, query::same_columns};
use crate::{
    identity::Caller,
    seal::Kind,
    statements::{Execution, Ran, Started, Statement, TICKET_LIFETIME},
    status,
};

/// How long one call waits for the query; clients ask again.
const PATIENCE: Duration = Duration::from_secs(2);

impl Service {
    pub(super) async fn poll(&self, caller: &Caller, descriptor: FlightDescriptor) -> Result<PollInfo, Status> {
        let command = described(&descriptor)?;
        // Whoever is gone before the first answer has nothing by which to ask again, or to cancel.
        let mut begun = Abandoned(None);
        let id = match command {
            Command::TicketStatementQuery(ticket) => {
                self.seal.open(Kind::Poll, &ticket.statement_handle, caller.identity.no)?
            }
            command => match self.bound(caller, &command).await? {
                Some(bound) if bound.statement.description.has_effect => {
                    return self.bound_info(caller, descriptor, bound).await.map(complete);
                }
                Some(bound) => {
                    let id = self.statements.issue(caller.identity.no, bound);
                    let execution = self.statements.execution(id)?;
                    begun.0 = Some(Arc::clone(&execution));
                    self.start(caller, &execution).await?;
                    id
                }
                None => return self.flight_info(caller, descriptor).await.map(complete),
            },
        };
        let execution = self.statements.execution(id)?;
        let is_ready = self.wait(&execution).await?;
        execution.renew();
        let handle = |kind| self.seal.close(kind, id, caller.identity.no, TICKET_LIFETIME);
        let next = TicketStatementQuery { statement_handle: handle(Kind::Poll)? }.as_any().encode_to_vec();
        let next = FlightDescriptor::new_cmd(next);
        let info = self.statement_info(caller, next.clone(), &execution.bound.statement, id)?;
        let expiration_time = info.endpoint.first().and_then(|endpoint| endpoint.expiration_time);
        begun.0 = None;
        Ok(match is_ready {
            true => PollInfo { expiration_time, ..complete(info) },
            false => {
                let progress = execution.progress();
                PollInfo { info: Some(info), flight_descriptor: Some(next), progress, expiration_time }
            }
        })
    }

    async fn start(&self, caller: &Caller, execution: &Execution) -> Result<(), Status> {
        let bound = &execution.bound;
        let limit = caller.limit;
        let Some((weight, work)) = self.work_of(caller, limit, bound, Some(execution))? else { return Ok(()) };
        let statement = Arc::clone(&bound.statement);
        let work = async move {
            let first = async {
                let done = work.await?;
                let ran = same_columns(&statement, done)?.ok_or_else(|| not_rows(&statement))?;
                first_rows(ran).await
            };
            limit.run(first).await
        };
        *execution.started.lock().await = Started::Running(self.executor.start(weight, work)?);
        Ok(())
    }

    /// Whether the rows, or the error, are there.
    async fn wait(&self, execution: &Execution) -> Result<bool, Status> {
        let mut started = execution.started.lock().await;
        if let Started::Running(task) = &mut *started {
            match tokio::time::timeout(PATIENCE, task.join()).await {
                Err(_) => return Ok(false),
                Ok(Ok(Ok(ran))) => *started = Started::Ready(ran),
                Ok(Ok(Err(status)) | Err(status)) => *started = Started::Failed(status),
            }
        }
        match &*started {
            Started::Failed(status) => Err(status.clone()),
            _ => Ok(true),
        }
    }
}

/// A query whose first call is not answered yet; dropped before, it is cancelled.
struct Abandoned(Option<Arc<Execution>>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.iter().for_each(|execution| {
            execution.cancel();
        });
    }
}

fn complete(info: FlightInfo) -> PollInfo {
    PollInfo { info: Some(info), flight_descriptor: None, progress: Some(1.0), expiration_time: None }
}

fn not_rows(statement: &Statement) -> Status {
    status::internal(format!("a query of {} columns returned a count", statement.wire.fields().len()))
}

/// Runs the query until its first batch is there.
async fn first_rows(ran: Ran) -> Result<Ran, Status> {
    let Ran { mut rows, stop, pace } = ran;
    let first = match rows.next().await.transpose() {
        Ok(first) => first,
        Err(error) => return Err(status::of(error)),
    };
    // Nothing is computed until somebody fetches them.
    pace.rest();
    Ok(Ran { rows: stream::iter(first.map(Ok)).chain(rows).boxed(), stop, pace })
}
