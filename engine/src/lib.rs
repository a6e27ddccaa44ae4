//! Insula's engine: a statement of one user in, that user's rows out.
//!
//! A request comes with an [`Identity`] and a [`Session`]. [`Engine::execute`] parses the statement, makes a session
//! context for this statement alone, plans it over tables that can only yield this user's rows, and streams the
//! result. Statements that write are queries too, whose rows go into one atomic commit of the store.
//!
//! The engine knows DataFusion. It knows nothing of gRPC and nothing of RocksDB.

mod admission;
pub mod audit;
mod bounded;
mod catalog;
mod checks;
mod context;
mod engine;
mod error;
mod functions;
#[doc(hidden)]
pub mod fuzz;
mod grants;
mod guards;
mod identity;
mod ingest;
mod intervals;
mod limits;
mod memory_pool;
mod moments;
mod multisets;
mod outside;
mod overflow;
mod plans;
mod rate;
mod running;
mod session;
mod share;
mod similar;
mod size;
mod sql;
mod statement;
mod subqueries;
mod system;
mod table;
mod transaction;
mod types;
mod users;
#[cfg(test)]
mod world;
mod write;

pub use audit::{AuditConfig, AuditFigures, Trail};
pub use engine::{
    Description, Engine, EngineConfig, FunctionNames, Held, IngestMode, IngestTarget, Load, Outcome, Refused,
    RowStream, TableInfo,
};
pub use error::{Error, ErrorKind, Result};
pub use grants::GrantInfo;
pub use identity::{Actor, Identity, Role};
pub use insula_storage::{
    CheckReport, Figures, Finding, JobTotal, StoreConfig, StoreMemory, arm_fail_points, fail_points,
};
pub use limits::Limits;
pub use running::{Cancel, Pace, QueryInfo, Running};
pub use session::Session;
pub use size::batch_bytes;
pub use sql::execute_as::ExecuteAs;
pub use statement::{parts::Parts, plan::Plan, substrait::substrait_version, weight::Weight};
pub use system::{Host, HostSession};
pub use transaction::{Transaction, TransactionLimits};
pub use users::UserInfo;
