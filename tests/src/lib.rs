//! The harness of the process-level tests: starts the real binary, waits until it says that it listens, kills it,
//! starts it again on the same data. The tests are in `tests/`, one file per subject.
//!
//! Nobody sleeps and hopes: readiness is the server's own first line, and every wait has a limit after which the test
//! fails with the server's log.

mod rng;
mod server;
mod sql;

pub use rng::Rng;
pub use server::{Server, Setup, binary};
pub use sql::{count, execute, query, refused, rows};
