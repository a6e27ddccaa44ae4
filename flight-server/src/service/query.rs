//! Statements that return rows, or are treated so: GetFlightInfo, GetSchema and DoGet.
//!
//! Drivers send DDL and DML this way too. They run at GetFlightInfo, once, and their ticket has what they returned: a
//! driver may fetch in the background and give that up when its cursor is closed, and the statement must not be lost.

use std::{sync::Arc, time::SystemTime};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use arrow_flight::{
    FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, Ticket,
    sql::{Command, ProstMessageExt, SubstraitPlan, TicketStatementQuery},
};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use insula_engine::{Outcome, Pace, RowStream};
use prost::Message;
use tonic::Status;

use super::{
    Service, described, message_bytes, unserved,
    work::{Done, Source},
};
use crate::{
    encode::{self, DataStream, Encoding, schema_message, wire_schema},
    format::Format,
    identity::Caller,
    seal::Kind,
    statements::{Bound, Execution, Prepared, Ran, Run, Started, Statement, TICKET_LIFETIME},
    status,
};

/// The answer to a DoGet.
pub(super) enum Rows {
    /// All of it.
    Ready(Vec<FlightData>),
    Coming {
        data: DataStream,
        /// Ready when the statement behind it is cancelled.
        stop: BoxFuture<'static, ()>,
        pace: Option<Pace>,
    },
}

impl Rows {
    fn whole(data: DataStream) -> Self {
        Self::Coming { data, stop: std::future::pending().boxed(), pace: None }
    }
}

impl Service {
    pub(super) async fn flight_info(
        &self,
        caller: &Caller,
        descriptor: FlightDescriptor,
    ) -> Result<FlightInfo, Status> {
        let command = described(&descriptor)?;
        if let Some(bound) = self.bound(caller, &command).await? {
            return self.bound_info(caller, descriptor, bound).await;
        }
        let schema = self.metadata_schema(&command).ok_or_else(|| unserved(&command, "GetFlightInfo"))?;
        // The command is its own ticket: it is answered anew, for whoever sends it.
        let ticket = descriptor.cmd.clone();
        let endpoint = FlightEndpoint { ticket: Some(Ticket { ticket }), ..FlightEndpoint::default() };
        Ok(info(descriptor, schema_message(&schema)?, endpoint))
    }

    pub(super) async fn bound_info(
        &self,
        caller: &Caller,
        descriptor: FlightDescriptor,
        bound: Bound,
    ) -> Result<FlightInfo, Status> {
        let (statement, owner) = (Arc::clone(&bound.statement), caller.identity.no);
        if statement.description.has_effect {
            let id = self.statements.issue(owner, bound);
            drop(self.redeem(caller, &*self.statements.execution(id)?).await?);
            return self.statement_info(caller, descriptor, &statement, id);
        }
        let parts = match caller.format.partitions {
            true => self.parts(caller, &bound).await?,
            false => None,
        };
        let Some(parts) = parts else {
            let id = self.statements.issue(owner, bound);
            return self.statement_info(caller, descriptor, &statement, id);
        };
        let mut endpoints = Vec::with_capacity(parts.count());
        for part in 0..parts.count() {
            let id = self.statements.issue_part(owner, bound.clone(), Some((Arc::clone(&parts), part)));
            endpoints.push(self.endpoint(caller, id)?);
        }
        let first = endpoints.first().cloned().unwrap_or_default();
        Ok(FlightInfo { endpoint: endpoints, ..info(descriptor, statement.schema_message()?, first) })
    }

    pub(super) async fn schema_of(&self, caller: &Caller, command: &Command) -> Result<SchemaRef, Status> {
        match self.bound(caller, command).await? {
            Some(bound) => Ok(Arc::clone(&bound.statement.wire)),
            None => self.metadata_schema(command).ok_or_else(|| unserved(command, "GetSchema")),
        }
    }

    pub(super) async fn rows_of(&self, caller: &Caller, command: Command) -> Result<Rows, Status> {
        if let Command::TicketStatementQuery(ticket) = command {
            let id = self.seal.open(Kind::Ticket, &ticket.statement_handle, caller.identity.no)?;
            return self.redeem(caller, &*self.statements.execution(id)?).await;
        }
        // The commands themselves as tickets: one round trip less, and each DoGet is a statement of its own.
        if let Some(bound) = self.bound(caller, &command).await? {
            return self.run(caller, &bound, None).await;
        }
        let batch = self.metadata_rows(caller, &command).ok_or_else(|| unserved(&command, "DoGet"))??;
        Ok(Rows::whole(encode::batches(batch.schema(), self.encoding(caller), vec![batch])?))
    }

    /// The statement that a command means, ready to run; `None` where it means none.
    pub(super) async fn bound(&self, caller: &Caller, command: &Command) -> Result<Option<Bound>, Status> {
        let (session, source) = match command {
            Command::CommandStatementQuery(query) => {
                (self.session(caller, query.transaction_id.as_ref())?, Source::Sql(query.query.clone()))
            }
            Command::CommandStatementSubstraitPlan(query) => {
                (self.session(caller, query.transaction_id.as_ref())?, substrait(query.plan.as_ref())?)
            }
            Command::CommandPreparedStatementQuery(query) => {
                let prepared = self.prepared(caller, &query.prepared_statement_handle)?;
                return self.current(caller, &prepared).await.map(Some);
            }
            _ => return Ok(None),
        };
        let statement = Arc::new(self.describe(caller, &session, source, None).await?);
        Ok(Some(Bound::new(statement, None)))
    }

    pub(super) fn prepared(&self, caller: &Caller, handle: &[u8]) -> Result<Arc<Prepared>, Status> {
        self.statements.prepared(self.seal.open(Kind::Handle, handle, caller.identity.no)?)
    }

    /// A prepared statement as it is bound, described anew if something has changed since that was done last.
    async fn current(&self, caller: &Caller, prepared: &Prepared) -> Result<Bound, Status> {
        let bound = prepared.bound();
        let (Statement { plan, types, run_as, .. }, session) = (&*bound.statement, &bound.session);
        if self.engine.is_true(&self.actor(caller, &bound.statement)?, session, plan) {
            return Ok(bound);
        }
        let parameters = bound.parameters.as_ref().and_then(|bound| bound.batches.first()).map(RecordBatch::schema);
        let as_prepared = Caller { format: Format { types: *types, ..caller.format }, ..caller.clone() };
        let source = Source::Plan(Arc::clone(plan), run_as.clone());
        let statement = self.describe(&as_prepared, session, source, parameters).await?;
        let anew = Bound::new(Arc::new(statement), bound.parameters);
        prepared.bind(anew.clone());
        Ok(anew)
    }

    pub(super) fn encoding(&self, caller: &Caller) -> Encoding {
        Encoding { format: caller.format, message_size: self.limits.result_message }
    }

    /// The endpoint has no location: the ticket is for this server, and clients that follow locations retry, which a
    /// statement with an effect must not meet.
    pub(super) fn statement_info(
        &self,
        caller: &Caller,
        descriptor: FlightDescriptor,
        statement: &Statement,
        execution: u64,
    ) -> Result<FlightInfo, Status> {
        Ok(info(descriptor, statement.schema_message()?, self.endpoint(caller, execution)?))
    }

    pub(super) fn endpoint(&self, caller: &Caller, execution: u64) -> Result<FlightEndpoint, Status> {
        let statement_handle = self.seal.close(Kind::Ticket, execution, caller.identity.no, TICKET_LIFETIME)?;
        let ticket = TicketStatementQuery { statement_handle }.as_any().encode_to_vec().into();
        let expiration_time = Some((SystemTime::now() + TICKET_LIFETIME).into());
        Ok(FlightEndpoint { ticket: Some(Ticket { ticket }), expiration_time, ..FlightEndpoint::default() })
    }

    async fn redeem(&self, caller: &Caller, execution: &Execution) -> Result<Rows, Status> {
        let bound = &execution.bound;
        let statement = &bound.statement;
        if !statement.description.has_effect {
            return match self.started(execution).await? {
                Some(ran) => self.encoded(caller, statement, ran),
                None => self.run(caller, bound, Some(execution)).await,
            };
        }
        let mut run = execution.run.lock().await;
        if matches!(*run, Run::Pending) {
            *run = Run::Begun;
            *run = match self.run_to_end(caller, execution).await {
                Ok(rows) => Run::Done(rows),
                Err(status) => Run::Failed(status),
            };
        }
        match &*run {
            Run::Done(rows) => {
                let data = encode::batches(Arc::clone(&statement.wire), self.encoding(caller), rows.clone())?;
                Ok(Rows::whole(data))
            }
            Run::Failed(status) => Err(status.clone()),
            Run::Pending | Run::Begun => Err(Status::aborted(
                "the statement was begun with this ticket and cut off; see whether it took effect, then send it again",
            )),
        }
    }

    /// The rows of a query that PollFlightInfo has started, for the first who fetches them.
    async fn started(&self, execution: &Execution) -> Result<Option<Ran>, Status> {
        let mut started = execution.started.lock().await;
        match std::mem::take(&mut *started) {
            Started::No => Ok(None),
            Started::Running(mut task) => task.join().await?.map(Some),
            Started::Ready(ran) => Ok(Some(ran)),
            Started::Failed(status) => Err(status),
        }
    }

    async fn run(&self, caller: &Caller, bound: &Bound, execution: Option<&Execution>) -> Result<Rows, Status> {
        let statement = &bound.statement;
        if let Some(ready) = self.row(caller, bound, execution)? {
            return Ok(Rows::Ready(ready));
        }
        match self.execute(caller, bound, execution).await? {
            Some(done) => match same_columns(statement, done)? {
                Some(ran) => self.encoded(caller, statement, ran),
                None => self.nothing(caller, statement),
            },
            None => self.nothing(caller, statement),
        }
    }

    /// The answer to a query that reads one row by its key, where it is at hand: it takes less time than to hand it over
    /// to the executor.
    fn row(
        &self,
        caller: &Caller,
        bound: &Bound,
        execution: Option<&Execution>,
    ) -> Result<Option<Vec<FlightData>>, Status> {
        let Bound { statement, parameters, session } = bound;
        if statement.description.has_effect || execution.is_some_and(|execution| execution.part.is_some()) {
            return Ok(None);
        }
        if let Some(execution) = execution {
            execution.check()?;
        }
        let parameters = parameters.as_ref().map(|bound| bound.batches.as_slice()).unwrap_or_default();
        let Some(row) = self.engine.row(&self.actor(caller, statement)?, session, &statement.plan, parameters) else {
            return Ok(None);
        };
        let encoding = Encoding { format: Format { types: statement.types, ..caller.format }, ..self.encoding(caller) };
        let messages = statement.header.message(&statement.wire, encoding, &row.map_err(status::of)?)?;
        // A row that is larger than a result may be is refused where all results are.
        let bytes = |messages: &Vec<FlightData>| messages.iter().map(message_bytes).sum::<usize>() as u64;
        Ok(messages.filter(|messages| bytes(messages) <= self.limits.result))
    }

    fn nothing(&self, caller: &Caller, statement: &Statement) -> Result<Rows, Status> {
        Ok(Rows::whole(encode::batches(Arc::clone(&statement.wire), self.encoding(caller), Vec::new())?))
    }

    fn encoded(&self, caller: &Caller, statement: &Statement, ran: Ran) -> Result<Rows, Status> {
        let mut encoding = self.encoding(caller);
        encoding.format.types = statement.types;
        let data = encode::rows(Arc::clone(&statement.wire), encoding, ran.rows)?;
        Ok(Rows::Coming { data, stop: ran.stop, pace: Some(ran.pace) })
    }

    /// For statements with an effect, whose rows are at hand or few.
    async fn run_to_end(&self, caller: &Caller, execution: &Execution) -> Result<Vec<RecordBatch>, Status> {
        let Some(done) = self.execute(caller, &execution.bound, Some(execution)).await? else { return Ok(Vec::new()) };
        match same_columns(&execution.bound.statement, done)? {
            Some(ran) => self.collect(ran.rows).await,
            None => Ok(Vec::new()),
        }
    }
}

/// The rows of a statement, if they have the columns that were announced; `None`: it returned a count.
pub(super) fn same_columns(statement: &Statement, done: Done) -> Result<Option<Ran>, Status> {
    let (schema, rows): (SchemaRef, RowStream) = match done.outcome {
        Outcome::Rows { schema, rows } => (schema, rows),
        Outcome::Count(_) => return Ok(None),
    };
    if schema != statement.description.schema && wire_schema(&schema, statement.types) != statement.wire {
        let text = "the statement's columns have changed since it was described; prepare it again";
        return Err(Status::failed_precondition(text));
    }
    Ok(Some(Ran { rows, stop: done.stop, pace: done.pace }))
}

/// `schema`: the IPC message.
pub(super) fn info(descriptor: FlightDescriptor, schema: Bytes, endpoint: FlightEndpoint) -> FlightInfo {
    FlightInfo {
        schema,
        flight_descriptor: Some(descriptor),
        endpoint: vec![endpoint],
        total_records: -1,
        total_bytes: -1,
        ordered: false,
        app_metadata: Bytes::new(),
    }
}

pub(super) fn substrait(plan: Option<&SubstraitPlan>) -> Result<Source, Status> {
    let plan = plan.ok_or_else(|| Status::invalid_argument("the command holds no Substrait plan"))?;
    Ok(Source::Substrait(plan.plan.clone()))
}
