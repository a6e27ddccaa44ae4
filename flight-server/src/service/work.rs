//! The engine's work, done on the [`crate::executor`]: nothing else in the service calls what computes.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use futures::TryStreamExt;
use insula_engine::{IngestTarget, Outcome, RowStream, Session};
use tonic::Status;

use super::Service;
use crate::{identity::Caller, statements::Statement, status};

impl Service {
    /// `bound`: the types of its parameters, once they are bound.
    pub(super) async fn describe(
        &self,
        caller: &Caller,
        session: &Arc<Session>,
        sql: &str,
        bound: Option<SchemaRef>,
    ) -> Result<Statement, Status> {
        let (engine, user, session) = (Arc::clone(&self.engine), caller.identity.clone(), Arc::clone(session));
        let sql = sql.to_owned();
        let work = async move {
            let description = engine.describe(&user, &session, &sql, bound.as_deref()).await?;
            Ok(Statement::new(&sql, session, description))
        };
        self.executor.run(work).await?.map_err(status::of)
    }

    pub(super) async fn execute(
        &self,
        caller: &Caller,
        session: &Arc<Session>,
        sql: &str,
        parameters: Vec<RecordBatch>,
    ) -> Result<Outcome, Status> {
        let (engine, user, session) = (Arc::clone(&self.engine), caller.identity.clone(), Arc::clone(session));
        let sql = sql.to_owned();
        let work = async move { engine.execute(&user, &session, &sql, parameters).await };
        self.executor.run(work).await?.map_err(status::of)
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
        let work = async move { engine.ingest(&user, &session, target, schema, rows).await };
        self.executor.run(work).await?.map_err(status::of)
    }

    /// For rows known to be few.
    pub(super) async fn collect(&self, rows: RowStream) -> Result<Vec<RecordBatch>, Status> {
        self.executor.run(rows.try_collect()).await?.map_err(status::of)
    }

    /// Reads rows that nobody wants, so that what they come from has run.
    pub(super) async fn exhaust(&self, rows: RowStream) -> Result<(), Status> {
        self.executor.run(rows.try_for_each(|_| async { Ok(()) })).await?.map_err(status::of)
    }
}
