//! The engine's work, done on the [`crate::executor`]: nothing else in the service calls what computes.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use bytes::Bytes;
use futures::{TryStreamExt, future::BoxFuture};
use insula_engine::{IngestTarget, Outcome, Pace, Parts, Plan, RowStream, Session, Weight};
use tonic::Status;

use super::{Service, acting::Acting};
use crate::{
    deadline::Deadline,
    identity::Caller,
    statements::{Bound, Execution, Statement},
    status,
};

/// What a client sends as a statement.
pub(super) enum Source {
    Sql(String),
    Substrait(Bytes),
    /// Planned before, for a statement that runs as that user, if not as the caller.
    Plan(Arc<Plan>, Option<Arc<str>>),
}

impl Source {
    /// Where it is planned: what is long must not hold up what is short.
    fn planning(&self) -> Weight {
        match self {
            Self::Sql(sql) => Weight::of_text(sql),
            Self::Substrait(message) => Weight::of_message(message),
            Self::Plan(plan, _) => plan.planning(),
        }
    }
}

/// What a statement came to.
pub(super) struct Done {
    pub outcome: Outcome,
    /// Ready when the statement is cancelled while its rows are taken.
    pub stop: BoxFuture<'static, ()>,
    pub pace: Pace,
}

impl Service {
    /// `bound`: the types of its parameters, once they are bound.
    pub(super) async fn describe(
        &self,
        caller: &Caller,
        session: &Arc<Session>,
        source: Source,
        bound: Option<SchemaRef>,
    ) -> Result<Statement, Status> {
        let Acting { user, session, source, run_as } = self.acting(caller, session, source).await?;
        let (engine, types) = (Arc::clone(&self.engine), caller.format.types);
        let known = match &source {
            Source::Sql(sql) => engine.known_plan(&user, sql),
            Source::Substrait(_) => None,
            Source::Plan(plan, _) => Some(Arc::clone(plan)),
        };
        if let Some(plan) = known {
            // What was said before needs no planning, and no other thread.
            if let Some(description) = engine.described(&user, &session, &plan, bound.as_deref()) {
                return Ok(Statement::new(plan, session, run_as, description, types));
            }
        }
        let weight = source.planning();
        let work = Box::pin(async move {
            let plan = match source {
                Source::Sql(sql) => engine.plan_in_turn(&user, &sql).await?,
                Source::Substrait(message) => engine.plan_substrait(&user, &message).await?,
                Source::Plan(plan, _) => plan,
            };
            let description = engine.describe(&user, &session, &plan, bound.as_deref()).await?;
            Ok(Statement::new(plan, session, run_as, description, types))
        });
        self.executor.run_as(weight, work).await?.map_err(status::of)
    }

    /// `None`: parameters without a single row were bound, so there was nothing to run. `execution`: what it runs for,
    /// and through which it can be cancelled.
    pub(super) async fn execute(
        &self,
        caller: &Caller,
        bound: &Bound,
        execution: Option<&Execution>,
    ) -> Result<Option<Done>, Status> {
        match self.work_of(caller, caller.deadline, bound, execution)? {
            Some((weight, work)) => self.executor.run_as(weight, work).await?.map(Some),
            None => Ok(None),
        }
    }

    /// The work of [`Self::execute`] and how heavy it is, entered among the statements that run.
    pub(super) fn work_of(
        &self,
        caller: &Caller,
        deadline: Deadline,
        bound: &Bound,
        execution: Option<&Execution>,
    ) -> Result<Option<(Weight, BoxFuture<'static, Result<Done, Status>>)>, Status> {
        let parameters = match &bound.parameters {
            Some(bound) if bound.batches.iter().all(|batch| batch.num_rows() == 0) => return Ok(None),
            Some(bound) => bound.batches.clone(),
            None => Vec::new(),
        };
        let (engine, user) = (Arc::clone(&self.engine), self.actor(caller, &bound.statement)?);
        let (session, statement) = (Arc::clone(&bound.session), Arc::clone(&bound.statement));
        let running = engine.begin_run(&user, &session, &statement.plan, &parameters);
        running.ends_by(deadline.at());
        if let Some(execution) = execution {
            execution.enter(running.handle())?;
        }
        let (stop, pace, weight) = (running.cancelled(), running.pace(), running.weight());
        let part = execution.and_then(|execution| execution.part.clone());
        let work = async move {
            if let Some((parts, part)) = part {
                running.enter().await.map_err(status::of)?;
                let outcome = engine.part(&user, &parts, part, running).map_err(status::of)?;
                return Ok(Done { outcome, stop, pace });
            }
            let outcome = engine.run(&user, &session, &statement.plan, parameters, running).await;
            Ok(Done { outcome: outcome.map_err(status::of)?, stop, pace })
        };
        Ok(Some((weight, Box::pin(work))))
    }

    /// The statement's rows in parts, where it has several.
    pub(super) async fn parts(&self, caller: &Caller, bound: &Bound) -> Result<Option<Arc<Parts>>, Status> {
        let parameters = bound.parameters.as_ref().map(|bound| bound.batches.clone()).unwrap_or_default();
        let (engine, user) = (Arc::clone(&self.engine), self.actor(caller, &bound.statement)?);
        let (session, statement) = (Arc::clone(&bound.session), Arc::clone(&bound.statement));
        let weight = statement.plan.planning();
        let work = Box::pin(async move { engine.parts(&user, &session, &statement.plan, parameters).await });
        self.executor.run_as(weight, work).await?.map_err(status::of)
    }

    /// A statement that was not described before, for its count.
    pub(super) async fn execute_sql(
        &self,
        caller: &Caller,
        session: &Arc<Session>,
        sql: String,
    ) -> Result<(Arc<Plan>, Outcome), Status> {
        let Acting { user, session, source, .. } = self.acting(caller, session, Source::Sql(sql)).await?;
        let Source::Sql(sql) = source else { return Err(status::internal("a text is no text any more")) };
        let engine = Arc::clone(&self.engine);
        let plan = match engine.known_plan(&user, &sql) {
            Some(plan) => plan,
            None => {
                let (engine, user, weight) = (Arc::clone(&engine), user.clone(), Weight::of_text(&sql));
                let work = async move { engine.plan_in_turn(&user, &sql).await };
                self.executor.run_as(weight, work).await?.map_err(status::of)?
            }
        };
        let running = engine.begin_run(&user, &session, &plan, &[]);
        running.ends_by(caller.deadline.at());
        let weight = running.weight();
        let ran = Arc::clone(&plan);
        let work = Box::pin(async move { engine.run(&user, &session, &plan, Vec::new(), running).await });
        let outcome = self.executor.run_as(weight, work).await?.map_err(status::of)?;
        Ok((ran, outcome))
    }

    /// The rows stored.
    pub(super) async fn store(
        &self,
        caller: &Caller,
        session: &Arc<Session>,
        target: IngestTarget,
        schema: SchemaRef,
        rows: RowStream,
    ) -> Result<u64, Status> {
        let (engine, user) = (Arc::clone(&self.engine), caller.identity.clone());
        let session = Arc::clone(session);
        let running = engine.begin_ingest(&user, &session);
        running.ends_by(caller.deadline.at());
        let work = Box::pin(async move { engine.run_ingest(&user, &session, target, schema, rows, running).await });
        self.executor.run_as(Weight::Heavy, work).await?.map_err(status::of)
    }

    /// For rows known to be few.
    pub(super) async fn collect(&self, rows: RowStream) -> Result<Vec<RecordBatch>, Status> {
        self.executor.run(rows.try_collect()).await?.map_err(status::of)
    }

    /// Reads rows that nobody wants, so that what they come from has run. Returns how many there were.
    pub(super) async fn exhaust(&self, rows: RowStream) -> Result<u64, Status> {
        let count = rows.try_fold(0, |count, batch| async move { Ok(count + batch.num_rows() as u64) });
        self.executor.run_as(Weight::Heavy, count).await?.map_err(status::of)
    }
}
