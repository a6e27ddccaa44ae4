//! `EXECUTE AS USER 'name' (statement)`: from here down it is a statement of that user, as one that came with
//! `x-insula-run-as`. Its handle and its tickets stay those of whoever sent it, and each use of them is judged anew.

use std::sync::Arc;

use insula_engine::{ExecuteAs, Identity, Session};
use tonic::Status;

use super::{Service, work::Source};
use crate::{identity::Caller, statements::Statement, status};

/// A statement, and as whom it runs.
pub(super) struct Acting {
    pub user: Identity,
    pub session: Arc<Session>,
    pub source: Source,
    /// The user's name, where it is not the caller.
    pub run_as: Option<Arc<str>>,
}

impl Service {
    pub(super) async fn acting(
        &self,
        caller: &Caller,
        session: &Arc<Session>,
        source: Source,
    ) -> Result<Acting, Status> {
        let found = match &source {
            Source::Sql(sql) => ExecuteAs::parse(sql).map_err(status::of)?,
            Source::Plan(_, Some(name)) => {
                let (user, run_as) = (self.authenticator.run_as(&caller.identity, name).await?, Some(Arc::clone(name)));
                return Ok(Acting { user, session: Arc::clone(session), source, run_as });
            }
            Source::Substrait(_) | Source::Plan(_, None) => None,
        };
        let Some(ExecuteAs { user: name, statement }) = found else {
            return Ok(Acting { user: caller.identity.clone(), session: Arc::clone(session), source, run_as: None });
        };
        let user = self.authenticator.run_as(&caller.identity, &name).await?;
        let session = session.acting(&user);
        Ok(Acting { user, session, source: Source::Sql(statement), run_as: Some(name.into()) })
    }

    /// The user as whom a statement runs now that the caller says so.
    pub(super) fn actor(&self, caller: &Caller, statement: &Statement) -> Result<Identity, Status> {
        match &statement.run_as {
            None => Ok(caller.identity.clone()),
            Some(name) => self.authenticator.runs_as(&caller.identity, name),
        }
    }
}
