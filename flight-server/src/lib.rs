//! Insula's server: gRPC metadata in, an identity out, and Arrow Flight SQL for it.
//!
//! A request passes [`identity::layer`], which refuses whoever it cannot name, then [`service`], which turns Flight SQL
//! commands into calls of the engine, and returns through [`encode`] or [`status`]. The engine knows no gRPC; this
//! crate knows no key layout, no Parquet and no plan.

mod admin;
mod body;
pub mod cli;
mod deadline;
mod encode;
mod executor;
mod format;
#[doc(hidden)]
pub mod fuzz;
mod host;
mod http;
mod identity;
mod memory;
mod metrics;
mod seal;
pub mod serve;
mod service;
mod session;
pub mod settings;
mod socket;
mod statements;
mod status;
