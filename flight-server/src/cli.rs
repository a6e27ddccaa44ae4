//! The command line. `serve` is this crate's; the client commands are those of the crate `insula-client`.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use insula_client::cli as client;

use crate::{
    serve,
    settings::{Flags, Settings},
};

/// A database in which every user sees only their own rows. Speaks Arrow Flight SQL.
#[derive(Parser)]
#[command(name = "insula", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    Serve(ServeArgs),
    /// Run statements, or a shell
    Sql(client::SqlArgs),
    /// Load files into a table
    Import(client::ImportArgs),
}

#[derive(clap::Args)]
struct ServeArgs {
    /// Configuration file (TOML) with the flags' names as keys
    #[arg(long, env = "INSULA_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

pub fn run() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(args) => run_serve(args),
        Command::Sql(args) => block_on(async { Ok(client::run_sql(args).await?) }),
        Command::Import(args) => block_on(async { Ok(client::run_import(args).await?) }),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("insula: {error}");
            ExitCode::FAILURE
        }
    }
}

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn run_serve(args: ServeArgs) -> Outcome {
    let settings = Settings::load(args.flags, args.config.as_deref())?;
    block_on(serve::serve(settings))
}

fn block_on(work: impl Future<Output = Outcome>) -> Outcome {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}
