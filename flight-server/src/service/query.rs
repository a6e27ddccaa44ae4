//! Statements that return rows, or are treated so: GetFlightInfo, GetSchema and DoGet.
//!
//! Drivers send DDL and DML this way too. GetFlightInfo only plans them; they run at DoGet, once per ticket. Within a
//! transaction they run at GetFlightInfo: the end of the transaction may overtake a DoGet that its driver sends in the
//! background, and what runs there can be undone.

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    datatypes::{Schema, SchemaRef},
};
use arrow_flight::{
    FlightDescriptor, FlightEndpoint, FlightInfo, Ticket,
    sql::{Command, ProstMessageExt, TicketStatementQuery},
};
use bytes::Bytes;
use insula_engine::Outcome;
use prost::Message;
use tonic::Status;

use super::{Service, described, unserved};
use crate::{
    encode::{self, DataStream, schema_message, wire_schema},
    identity::Caller,
    seal::Kind,
    statements::{Bound, Execution, Prepared, Run, TICKET_LIFETIME},
};

impl Service {
    pub(super) async fn flight_info(
        &self,
        caller: &Caller,
        descriptor: FlightDescriptor,
    ) -> Result<FlightInfo, Status> {
        match described(&descriptor)? {
            Command::CommandStatementQuery(query) => {
                let session = self.session(caller, query.transaction_id.as_ref())?;
                let statement = Arc::new(self.describe(caller, &session, &query.query, None).await?);
                self.statement_info(caller, descriptor, Bound::new(statement, None)).await
            }
            Command::CommandPreparedStatementQuery(query) => {
                let bound = self.prepared(caller, &query.prepared_statement_handle)?.bound();
                self.statement_info(caller, descriptor, bound).await
            }
            command => {
                let schema = self.metadata_schema(&command).ok_or_else(|| unserved(&command, "GetFlightInfo"))?;
                // The command is its own ticket: it is answered anew, for whoever sends it.
                let ticket = descriptor.cmd.clone();
                info(descriptor, &schema, ticket)
            }
        }
    }

    pub(super) async fn schema_of(&self, caller: &Caller, command: &Command) -> Result<SchemaRef, Status> {
        match command {
            Command::CommandStatementQuery(query) => {
                let session = self.session(caller, query.transaction_id.as_ref())?;
                Ok(self.describe(caller, &session, &query.query, None).await?.wire)
            }
            Command::CommandPreparedStatementQuery(query) => {
                Ok(Arc::clone(&self.prepared(caller, &query.prepared_statement_handle)?.bound().statement.wire))
            }
            command => self.metadata_schema(command).ok_or_else(|| unserved(command, "GetSchema")),
        }
    }

    pub(super) async fn rows_of(&self, caller: &Caller, command: Command) -> Result<DataStream, Status> {
        match command {
            Command::TicketStatementQuery(ticket) => {
                let id = self.seal.open(Kind::Ticket, &ticket.statement_handle, caller.identity.no)?;
                self.redeem(caller, &*self.statements.execution(id)?).await
            }
            // The commands themselves as tickets: one round trip less, and each DoGet is a statement of its own.
            Command::CommandStatementQuery(query) => {
                let session = self.session(caller, query.transaction_id.as_ref())?;
                let statement = Arc::new(self.describe(caller, &session, &query.query, None).await?);
                self.run(caller, &Bound::new(statement, None)).await
            }
            Command::CommandPreparedStatementQuery(query) => {
                let bound = self.prepared(caller, &query.prepared_statement_handle)?.bound();
                self.run(caller, &bound).await
            }
            command => {
                let batch = self.metadata_rows(caller, &command).ok_or_else(|| unserved(&command, "DoGet"))??;
                Ok(encode::batches(batch.schema(), vec![batch]))
            }
        }
    }

    pub(super) fn prepared(&self, caller: &Caller, handle: &[u8]) -> Result<Arc<Prepared>, Status> {
        self.statements.prepared(self.seal.open(Kind::Handle, handle, caller.identity.no)?)
    }

    async fn statement_info(
        &self,
        caller: &Caller,
        descriptor: FlightDescriptor,
        bound: Bound,
    ) -> Result<FlightInfo, Status> {
        let user = caller.identity.no;
        let wire = Arc::clone(&bound.statement.wire);
        let (description, session) = (&bound.statement.description, &bound.session);
        let at_once = description.at_once || description.has_effect && session.in_transaction();
        let id = self.statements.issue(user, bound);
        if at_once {
            // What it returned stays with the ticket.
            drop(self.redeem(caller, &*self.statements.execution(id)?).await?);
        }
        let statement_handle = self.seal.close(Kind::Ticket, id, user, TICKET_LIFETIME)?;
        let ticket = TicketStatementQuery { statement_handle }.as_any().encode_to_vec();
        info(descriptor, &wire, ticket.into())
    }

    async fn redeem(&self, caller: &Caller, execution: &Execution) -> Result<DataStream, Status> {
        let bound = &execution.bound;
        let statement = &bound.statement;
        if !statement.description.has_effect {
            return self.run(caller, bound).await;
        }
        let mut run = execution.run.lock().await;
        if matches!(*run, Run::Pending) {
            *run = Run::Begun;
            *run = match self.run_to_end(caller, bound).await {
                Ok(rows) => Run::Done(rows),
                Err(status) => Run::Failed(status),
            };
        }
        match &*run {
            Run::Done(rows) => Ok(encode::batches(Arc::clone(&statement.wire), rows.clone())),
            Run::Failed(status) => Err(status.clone()),
            Run::Pending | Run::Begun => Err(Status::aborted(
                "the statement was begun with this ticket and cut off; see whether it took effect, then send it again",
            )),
        }
    }

    async fn run(&self, caller: &Caller, bound: &Bound) -> Result<DataStream, Status> {
        let statement = &bound.statement;
        match self.execute_bound(caller, bound).await? {
            Some(Outcome::Rows { schema, rows }) => {
                if wire_schema(&schema) != statement.wire {
                    return Err(Status::failed_precondition(
                        "the statement's columns have changed since it was described; prepare it again",
                    ));
                }
                Ok(encode::rows(Arc::clone(&statement.wire), rows))
            }
            Some(Outcome::Count(_)) | None => Ok(encode::batches(Arc::clone(&statement.wire), Vec::new())),
        }
    }

    /// For statements with an effect, whose rows are few.
    async fn run_to_end(&self, caller: &Caller, bound: &Bound) -> Result<Vec<RecordBatch>, Status> {
        match self.execute_bound(caller, bound).await? {
            Some(Outcome::Rows { rows, .. }) => self.collect(rows).await,
            Some(Outcome::Count(_)) | None => Ok(Vec::new()),
        }
    }

    /// `None`: parameters without a single row were bound, so there was nothing to run.
    pub(super) async fn execute_bound(&self, caller: &Caller, bound: &Bound) -> Result<Option<Outcome>, Status> {
        let parameters = match &bound.parameters {
            Some(batches) if batches.iter().all(|batch| batch.num_rows() == 0) => return Ok(None),
            Some(batches) => batches.as_ref().clone(),
            None => Vec::new(),
        };
        self.execute(caller, &bound.session, &bound.statement.sql, parameters).await.map(Some)
    }
}

/// The endpoint has no location: the ticket is for this server, and clients that follow locations retry, which a
/// statement with an effect must not meet.
fn info(descriptor: FlightDescriptor, schema: &Schema, ticket: Bytes) -> Result<FlightInfo, Status> {
    let endpoint = FlightEndpoint { ticket: Some(Ticket { ticket }), ..FlightEndpoint::default() };
    Ok(FlightInfo {
        schema: schema_message(schema)?,
        flight_descriptor: Some(descriptor),
        endpoint: vec![endpoint],
        total_records: -1,
        total_bytes: -1,
        ordered: false,
        app_metadata: Bytes::new(),
    })
}
