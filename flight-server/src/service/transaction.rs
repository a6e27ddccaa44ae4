//! Transactions as Flight SQL has them: begun by an action, named by the statements that belong to them, ended by
//! another action. The names are sealed, and open for the user who began the transaction alone.
//!
//! A statement that names a transaction comes by a session that is the caller's within that transaction, so tickets and
//! prepared statements that are made of it belong to it too.

use std::{sync::Arc, time::Duration};

use arrow_flight::sql::{
    ActionBeginSavepointRequest, ActionBeginSavepointResult, ActionBeginTransactionResult, ActionEndSavepointRequest,
    ActionEndTransactionRequest, EndTransaction, ProstMessageExt,
};
use bytes::Bytes;
use insula_engine::{Session, Transaction};
use prost::Message;
use tonic::Status;

use super::Service;
use crate::{identity::Caller, seal::Kind, status};

/// The engine ends transactions; the seal must not end their names earlier.
const LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);
/// A savepoint's name holds the transaction's number above these bits, and the savepoint's own in them.
const SAVEPOINT_BITS: u32 = 16;

impl Service {
    /// The caller's session, within the transaction if one is named.
    pub(super) fn session(&self, caller: &Caller, transaction: Option<&Bytes>) -> Result<Arc<Session>, Status> {
        match transaction {
            Some(id) if !id.is_empty() => caller.session.within(&self.transaction(caller, id)?).map_err(status::of),
            _ => Ok(Arc::clone(&caller.session)),
        }
    }

    fn transaction(&self, caller: &Caller, id: &[u8]) -> Result<Arc<Transaction>, Status> {
        let number = self.seal.open(Kind::Transaction, id, caller.identity.no)?;
        self.engine.transaction(&caller.identity, number).map_err(status::of)
    }

    pub(super) fn begin_transaction(&self, caller: &Caller) -> Result<Bytes, Status> {
        let transaction = self.engine.begin_transaction(&caller.identity, &caller.session).map_err(status::of)?;
        let transaction_id = self.seal.close(Kind::Transaction, transaction.id(), caller.identity.no, LIFETIME)?;
        Ok(packed(&ActionBeginTransactionResult { transaction_id }))
    }

    pub(super) async fn end_transaction(
        &self,
        caller: &Caller,
        request: ActionEndTransactionRequest,
    ) -> Result<(), Status> {
        let action = request.action();
        let transaction = self.transaction(caller, &request.transaction_id)?;
        let commits = match action {
            EndTransaction::Commit => true,
            EndTransaction::Rollback => false,
            EndTransaction::Unspecified => return Err(unspecified("EndTransaction", "COMMIT or ROLLBACK")),
        };
        let (engine, user, session) = (Arc::clone(&self.engine), caller.identity.clone(), Arc::clone(&caller.session));
        let work =
            async move { engine.end_transaction(&user, &session, &transaction, commits).await.map_err(status::of) };
        self.executor.run(work).await?
    }

    pub(super) async fn begin_savepoint(
        &self,
        caller: &Caller,
        request: ActionBeginSavepointRequest,
    ) -> Result<Bytes, Status> {
        let transaction = self.transaction(caller, &request.transaction_id)?;
        let (user, session) = (&caller.identity, &caller.session);
        let made = self.engine.savepoint(user, session, transaction.savepoint(&request.name)).await;
        let number = made.map_err(status::of)?;
        let place = transaction.id() << SAVEPOINT_BITS | u64::from(number);
        let savepoint_id = self.seal.close(Kind::Savepoint, place, caller.identity.no, LIFETIME)?;
        Ok(packed(&ActionBeginSavepointResult { savepoint_id }))
    }

    pub(super) async fn end_savepoint(
        &self,
        caller: &Caller,
        request: ActionEndSavepointRequest,
    ) -> Result<(), Status> {
        let place = self.seal.open(Kind::Savepoint, &request.savepoint_id, caller.identity.no)?;
        let transaction = self.engine.transaction(&caller.identity, place >> SAVEPOINT_BITS).map_err(status::of)?;
        let number = (place & u64::from(u16::MAX)) as u16;
        // arrow-flight does not export the type of this one.
        let releases = match request.action().as_str_name() {
            "END_SAVEPOINT_RELEASE" => true,
            "END_SAVEPOINT_ROLLBACK" => false,
            _ => return Err(unspecified("EndSavepoint", "RELEASE or ROLLBACK")),
        };
        let work = async {
            match releases {
                true => transaction.release_savepoint(number).await,
                false => transaction.back_to_savepoint(number).await,
            }
        };
        self.engine.savepoint(&caller.identity, &caller.session, work).await.map_err(status::of)
    }
}

fn packed<M: ProstMessageExt>(message: &M) -> Bytes {
    message.as_any().encode_to_vec().into()
}

fn unspecified(action: &str, choices: &str) -> Status {
    Status::invalid_argument(format!("{action} does not say whether to {choices}"))
}
