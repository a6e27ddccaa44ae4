//! `BEGIN`, `COMMIT`, `ROLLBACK` and savepoints as SQL: they are about the one transaction of the client's session.

use datafusion::sql::sqlparser::ast::{
    Statement as Ast, TransactionAccessMode, TransactionIsolationLevel, TransactionMode,
};

use crate::{Error, ErrorKind, Result, audit::Verb, sql::normalize, statement::Request};

#[derive(Debug)]
pub(crate) enum Control {
    Begin { read_only: bool },
    Commit,
    RollBack,
    Savepoint(String),
    BackTo(String),
    Release(String),
}

impl Control {
    pub fn from_sql(ast: Ast) -> Result<Self> {
        match ast {
            Ast::StartTransaction {
                modes,
                modifier: None,
                statements,
                exception: None,
                has_end_keyword: false,
                ..
            } if statements.is_empty() => Ok(Self::Begin { read_only: read_only(&modes)? }),
            Ast::Commit { chain: false, modifier: None, .. } => Ok(Self::Commit),
            Ast::Rollback { chain: false, savepoint: None } => Ok(Self::RollBack),
            Ast::Rollback { chain: false, savepoint: Some(name) } => Ok(Self::BackTo(normalize(&name))),
            Ast::Savepoint { name } => Ok(Self::Savepoint(normalize(&name))),
            Ast::ReleaseSavepoint { name } => Ok(Self::Release(normalize(&name))),
            Ast::Commit { .. } | Ast::Rollback { .. } => {
                Err(Error::unimplemented("AND CHAIN is not there; send BEGIN afterwards"))
            }
            _ => {
                Err(Error::unimplemented("only BEGIN [TRANSACTION] with a level and READ ONLY or READ WRITE is there"))
            }
        }
    }

    pub fn verb(&self) -> Verb {
        match self {
            Self::Begin { .. } => Verb::Begin,
            Self::Commit => Verb::Commit,
            Self::RollBack => Verb::Rollback,
            Self::Savepoint(_) | Self::BackTo(_) | Self::Release(_) => Verb::Savepoint,
        }
    }

    pub async fn run(self, request: &Request<'_>) -> Result<()> {
        let (engine, session) = (request.engine, request.session);
        session.settings_of(request.user)?;
        match self {
            Self::Begin { read_only } => {
                session.set_current(|| engine.transactions().begin(request.user, read_only))?;
            }
            Self::Commit => {
                let transaction = session.current()?.ok_or_else(none_open)?;
                request.running.commits()?;
                engine.commit(&transaction).await?;
                session.clear_current()?;
            }
            Self::RollBack => {
                let transaction = session.current()?.ok_or_else(none_open)?;
                engine.roll_back(&transaction).await;
                session.clear_current()?;
            }
            Self::Savepoint(name) => {
                let transaction = session.transaction().ok_or_else(none_open)?;
                transaction.turn().await?.savepoint(&name)?;
            }
            Self::BackTo(name) => {
                let transaction = session.transaction().ok_or_else(none_open)?;
                let mut turn = transaction.turn().await?;
                let savepoint = turn.find_savepoint(&|_, of| of == name)?;
                turn.back_to(savepoint)?;
            }
            Self::Release(name) => {
                let transaction = session.transaction().ok_or_else(none_open)?;
                let mut turn = transaction.turn().await?;
                let savepoint = turn.find_savepoint(&|_, of| of == name)?;
                turn.release(savepoint)?;
            }
        }
        Ok(())
    }
}

/// A client that believes in a transaction must not be told that all is well: its statements have committed already.
fn none_open() -> Error {
    let message = "no transaction is open in this session; every statement has committed by itself";
    Error::new(ErrorKind::FailedPrecondition, message)
}

/// Weaker levels get what there is, as SQL allows; the one that is stronger is refused.
fn read_only(modes: &[TransactionMode]) -> Result<bool> {
    let mut read_only = false;
    for mode in modes {
        match mode {
            TransactionMode::AccessMode(mode) => read_only = *mode == TransactionAccessMode::ReadOnly,
            TransactionMode::IsolationLevel(TransactionIsolationLevel::Serializable) => {
                return Err(Error::unimplemented("transactions have snapshot isolation; use REPEATABLE READ"));
            }
            TransactionMode::IsolationLevel(_) => {}
        }
    }
    Ok(read_only)
}
