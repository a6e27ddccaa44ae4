//! The interactive shell: lines until a `;`, a history, and an error that ends the statement, not the session.

use std::path::PathBuf;

use arrow::{array::RecordBatch, util::pretty::pretty_format_batches};
use arrow_flight::sql::CommandGetTables;
use futures::TryStreamExt;
use rustyline::{DefaultEditor, error::ReadlineError};

use super::{Format, output, statements};
use crate::{Client, Error, Result};

const HELP: &str = r"  SQL;        runs when a `;` ends it, over as many lines as it takes
  \d          lists the tables
  \d NAME     lists the columns of a table
  \q          leaves (so does Ctrl-D)
  Ctrl-C      drops the line, or cancels the running statement";

pub async fn run(client: &Client, format: Format) -> Result<()> {
    println!("insula sql {} — \\? for help", env!("CARGO_PKG_VERSION"));
    let mut editor = DefaultEditor::new().map_err(terminal)?;
    let history = history_file();
    if let Some(path) = &history {
        // The first session has none.
        let _ = editor.load_history(path);
    }
    let mut pending = String::new();
    loop {
        let prompt = if pending.is_empty() { "insula> " } else { "      > " };
        let line;
        (editor, line) = read_line(editor, prompt).await?;
        match line {
            Ok(line) if pending.is_empty() && line.trim_start().starts_with('\\') => {
                if line.trim() == "\\q" {
                    break;
                }
                remember(&mut editor, &line);
                report(command(client, line.trim()).await);
            }
            Ok(line) => {
                pending.push_str(&line);
                pending.push('\n');
                let split = statements::split(&pending);
                if !split.complete.is_empty() {
                    remember(&mut editor, pending.trim());
                }
                pending = split.open().cloned().unwrap_or_default();
                for statement in &split.complete {
                    report(run_statement(client, statement, format).await);
                }
                if !pending.is_empty() {
                    pending.push('\n');
                }
            }
            Err(ReadlineError::Interrupted) => pending.clear(),
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(terminal(error)),
        }
    }
    if let Some(path) = &history {
        // A history that cannot be kept is no reason to fail.
        let _ = editor.save_history(path);
    }
    Ok(())
}

/// Reading blocks the thread, so it happens on one that may be blocked.
async fn read_line(
    mut editor: DefaultEditor,
    prompt: &'static str,
) -> Result<(DefaultEditor, rustyline::Result<String>)> {
    let read = tokio::task::spawn_blocking(move || {
        let line = editor.readline(prompt);
        (editor, line)
    });
    read.await.map_err(|error| Error::Io(std::io::Error::other(error)))
}

/// Ctrl-C drops the statement, which cancels it on the server.
async fn run_statement(client: &Client, statement: &str, format: Format) -> Result<()> {
    let work = async { output::print(client.run(statement).await?, format).await };
    tokio::select! {
        done = work => done,
        _ = tokio::signal::ctrl_c() => {
            eprintln!("cancelled");
            Ok(())
        }
    }
}

fn report(done: Result<()>) {
    if let Err(error) = done {
        eprintln!("error: {error}");
    }
}

async fn command(client: &Client, line: &str) -> Result<()> {
    match line.split_once(char::is_whitespace) {
        None if line == "\\d" => list_tables(client).await,
        Some(("\\d", table)) => list_columns(client, table.trim().trim_end_matches(';')).await,
        _ if line == "\\?" => {
            println!("{HELP}");
            Ok(())
        }
        _ => Err(Error::Usage(format!("unknown command `{line}`; \\? lists them"))),
    }
}

async fn list_tables(client: &Client) -> Result<()> {
    let rows = client.command(&CommandGetTables::default()).await?;
    let batches: Vec<RecordBatch> = rows.try_collect().await?;
    println!("{}", pretty_format_batches(&batches)?);
    Ok(())
}

/// The name goes into a statement that is planned and never run.
async fn list_columns(client: &Client, table: &str) -> Result<()> {
    let schema = client.describe(&format!("SELECT * FROM {table}")).await?;
    for field in schema.fields() {
        let null = if field.is_nullable() { "" } else { " NOT NULL" };
        println!("  {} {}{null}", field.name(), field.data_type());
    }
    Ok(())
}

/// Passwords stay out of the history.
fn remember(editor: &mut DefaultEditor, text: &str) {
    if !text.to_lowercase().contains("password") {
        let _ = editor.add_history_entry(text);
    }
}

fn history_file() -> Option<PathBuf> {
    std::env::home_dir().map(|home| home.join(".insula_history"))
}

fn terminal(error: ReadlineError) -> Error {
    Error::Io(std::io::Error::other(error))
}
