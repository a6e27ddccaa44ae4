//! Insula from a program: a Flight SQL client, and the commands `insula sql` and `insula import` made of it.
//!
//! ```no_run
//! # async fn example() -> insula_client::Result<()> {
//! use futures::TryStreamExt;
//! use insula_client::{Client, Credentials};
//!
//! let client = Client::connect("grpc://127.0.0.1:50051", &Credentials::password("united", "secret")).await?;
//! client.update("INSERT INTO app.notes VALUES (1, 'first')").await?;
//! let rows = client.query("SELECT * FROM app.notes").await?;
//! println!("{}", rows.schema());
//! let batches: Vec<_> = rows.try_collect().await?;
//! # Ok(()) }
//! ```
//!
//! **Does a client hold a connection of its own?** A [`Client`] clones cheaply and its clones share one HTTP/2
//! connection, over which any number of statements run at once.
//!
//! **Who runs a statement twice if the network fails?** Nobody: nothing here retries.
//!
//! **Can it read results larger than memory?** Yes, [`Rows`] is a stream; dropping it cancels the statement.

mod client;
mod connect;
mod error;
mod ingest;
mod prepared;
mod rows;

pub mod cli;

pub use client::Client;
pub use connect::{Connection, Credentials};
pub use error::{Error, Result};
pub use ingest::{Ingest, IngestMode};
/// Messages of [`Client::admin`].
pub use insula_proto::admin;
pub use prepared::Prepared;
pub use rows::{Answer, Rows};
