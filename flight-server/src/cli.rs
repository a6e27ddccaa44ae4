//! The command line. `serve` is this crate's; the client commands are those of the crate `insula-client`.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use insula_client::cli as client;
use insula_engine::{Engine, Finding};

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
    /// Look for damage in the database of a stopped server; changes nothing
    Check(CheckArgs),
}

#[derive(clap::Args)]
struct ServeArgs {
    /// Configuration file (TOML) with the flags' names as keys
    #[arg(long, env = "INSULA_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(clap::Args)]
struct CheckArgs {
    /// The server's configuration file
    #[arg(long, env = "INSULA_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of the database [default: ./insula-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Object store of the cold tier, as given to the server [default: DATA_DIR/cold]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// One line for each fault, as text or as JSON, and one for the sum of all
    #[arg(long, value_enum, default_value_t)]
    format: CheckFormat,
}

#[derive(clap::ValueEnum, Clone, Copy, Default)]
enum CheckFormat {
    #[default]
    Text,
    Json,
}

pub fn run() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(args) => run_serve(args),
        Command::Sql(args) => block_on(async { Ok(client::run_sql(args).await?) }),
        Command::Import(args) => block_on(async { Ok(client::run_import(args).await?) }),
        Command::Check(args) => run_check(args),
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

fn run_check(args: CheckArgs) -> Outcome {
    let settings = Settings::load(Flags::of_database(args.data_dir, args.store), args.config.as_deref())?;
    let config = serve::store_config(&settings);
    block_on(async move {
        let json = matches!(args.format, CheckFormat::Json);
        let mut tell = |finding: Finding| if json { println!("{}", finding.to_json()) } else { println!("{finding}") };
        let report = Engine::check(&config, &mut tell).await?;
        if json {
            println!("{}", report.to_json());
        } else {
            println!("{report}");
        }
        match report.faults {
            0 => Ok(()),
            1 => Err("1 fault was found".into()),
            n => Err(format!("{n} faults were found").into()),
        }
    })
}

fn block_on(work: impl Future<Output = Outcome>) -> Outcome {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    // Futures of whole requests are deep where nothing is optimized.
    runtime.thread_stack_size(4 << 20).enable_all().build()?.block_on(work)
}
