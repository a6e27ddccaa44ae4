//! The commands `insula sql` and `insula import`: their arguments, and what each does. The server crate joins them to
//! its binary, which prints an error and chooses the exit code.

mod import;
mod output;
mod shell;
mod source;
mod statements;

use std::{
    io::{IsTerminal, Read},
    path::PathBuf,
};

use clap::{Args, ValueEnum};

pub use import::run as run_import;

use crate::{Client, Connection, Credentials, Error, Result};

/// How to reach the server, and as whom.
#[derive(Args, Clone)]
pub struct ConnectArgs {
    /// The server's address; `grpc+tls://` for TLS
    #[arg(long, value_name = "URL", default_value = "grpc://127.0.0.1:50051")]
    pub url: String,
    /// Name of the user
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Password of the user; better given by the environment, where no process list shows it
    #[arg(long, value_name = "PASSWORD", env = "INSULA_PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
    /// Session token or JWT, instead of user and password
    #[arg(long, value_name = "TOKEN", conflicts_with = "user")]
    pub token: Option<String>,
    /// PEM file of the authority behind the server's certificate
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
}

impl ConnectArgs {
    async fn connect(&self) -> Result<Client> {
        let credentials = match (&self.token, &self.user, &self.password) {
            (Some(token), _, _) => Credentials::Token(token.clone()),
            (None, Some(user), Some(password)) => Credentials::password(user, password),
            (None, Some(user), None) => Credentials::user(user),
            (None, None, _) => return Err(Error::Usage("who asks? Give --user NAME or --token TOKEN".to_owned())),
        };
        let connection = Connection { url: self.url.clone(), tls_ca: self.tls_ca.clone() };
        Client::open(&connection, &credentials).await
    }
}

/// How rows are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// Boxed columns, for people; holds the whole result in memory
    Table,
    /// With a header line
    Csv,
    /// One object per line
    Json,
    /// Arrow IPC stream
    Arrow,
}

/// `insula sql`: a shell, or statements given on the command line, in a file or on standard input.
#[derive(Args, Clone)]
pub struct SqlArgs {
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// Statements to run, separated by `;`
    #[arg(short = 'c', long = "command", value_name = "SQL")]
    pub commands: Vec<String>,
    /// File of statements to run, after those of -c
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// How rows are printed
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

/// `insula import`: files into one table, all or nothing.
#[derive(Args, Clone)]
pub struct ImportArgs {
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// Parquet, CSV (with a header line), NDJSON or Arrow IPC files, told by their ending
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// The table, with or without its namespace
    #[arg(long, value_name = "NS.TABLE")]
    pub into: String,
    /// Make the table first, with the columns of the files
    #[arg(long)]
    pub create: bool,
    /// Column of the files that names each row's user and is not stored; for the roles service and admin
    #[arg(long, value_name = "COLUMN")]
    pub user_column: Option<String>,
    /// Text that stands for NULL in a CSV file, beside the empty field
    #[arg(long, value_name = "TEXT")]
    pub null: Option<String>,
}

/// Runs `insula sql`.
pub async fn run_sql(args: SqlArgs) -> Result<()> {
    let script = script(&args)?;
    let client = args.connect.connect().await?;
    let done = match script {
        None => shell::run(&client, args.format).await,
        Some(script) => run_script(&client, &script, args.format).await,
    };
    match done {
        // `insula sql … | head` has what it wants.
        Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// The statements to run; `None` asks for the shell.
fn script(args: &SqlArgs) -> Result<Option<String>> {
    let mut parts = args.commands.clone();
    if let Some(path) = &args.file {
        parts.push(std::fs::read_to_string(path).map_err(|error| Error::file(path, error))?);
    } else if parts.is_empty() {
        if std::io::stdin().is_terminal() {
            return Ok(None);
        }
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        parts.push(text);
    }
    Ok(Some(parts.join("\n;\n")))
}

/// Runs statement after statement, and stops at the first that fails.
async fn run_script(client: &Client, script: &str, format: Format) -> Result<()> {
    let split = statements::split(script);
    for statement in split.complete.iter().chain(split.open()) {
        output::print(client.run(statement).await?, format).await?;
    }
    Ok(())
}
