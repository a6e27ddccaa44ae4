//! `insula import`: reads files on a thread of its own and streams them into one ingest.

use std::{
    io::IsTerminal,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use futures::{SinkExt, channel::mpsc};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    ImportArgs,
    source::{Options, Source},
};
use crate::{Client, Error, Ingest, IngestMode, Result};

/// Batches read ahead of the network.
const READ_AHEAD: usize = 4;

/// Runs `insula import`.
pub async fn run(args: ImportArgs) -> Result<()> {
    let client = args.connect.connect().await?;
    let target = target(&args);
    let options = Options { table: table_schema(&client, &args).await?, null: args.null.clone() };
    let sources = args.files.iter().map(|path| Source::open(path, &options)).collect::<Result<Vec<_>>>()?;
    let schema = common_schema(&sources)?;
    let start = Instant::now();
    let bar = progress_bar(&sources);
    let (sender, batches) = mpsc::channel(READ_AHEAD);
    let reader = tokio::task::spawn_blocking({
        let (schema, bar) = (Arc::clone(&schema), bar.clone());
        move || read(sources, &schema, sender, &bar)
    });
    let stored = client.ingest(&target, schema, batches).await;
    bar.finish_and_clear();
    // The reader ends by itself: its channel is closed, or it has sent all there is.
    let _ = reader.await;
    let rows = stored?;
    let seconds = start.elapsed().as_secs_f64();
    eprintln!("{rows} rows into {} in {seconds:.1} s ({:.0} rows/s)", args.into, rows as f64 / seconds.max(1e-3));
    Ok(())
}

/// `a.b` is a table in a namespace. Quotes as in SQL keep a dot or a capital letter; else names fold to lower case.
fn target(args: &ImportArgs) -> Ingest {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    for character in args.into.chars() {
        match character {
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            other => {
                if let Some(part) = parts.last_mut() {
                    if quoted { part.push(other) } else { part.extend(other.to_lowercase()) }
                }
            }
        }
    }
    let table = parts.pop().unwrap_or_default();
    let mode = if args.create { IngestMode::Create } else { IngestMode::Append };
    Ingest { namespace: parts.pop(), table, mode, user_column: args.user_column.clone() }
}

/// Columns of the table that is there already. A table that is not is reported before any file is read.
async fn table_schema(client: &Client, args: &ImportArgs) -> Result<Option<SchemaRef>> {
    if args.create {
        return Ok(None);
    }
    let table = client.describe(&format!("SELECT * FROM {}", args.into)).await?;
    // The table does not have the column that names the users, but the files do.
    let users = args.user_column.iter().map(|column| Arc::new(Field::new(column, DataType::Utf8, false)));
    Ok(Some(Arc::new(Schema::new(table.fields().iter().cloned().chain(users).collect::<Vec<_>>()))))
}

/// One ingest has one schema.
fn common_schema(sources: &[Source]) -> Result<SchemaRef> {
    let Some(first) = sources.first() else {
        return Err(Error::Usage("no file to import".to_owned()));
    };
    let shape = |source: &Source| -> Vec<_> {
        source.schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
    };
    match sources.iter().find(|source| shape(source) != shape(first)) {
        None => Ok(Arc::clone(&first.schema)),
        Some(other) => {
            let reason = format!("its columns differ from those of {}; import them apart", first.path.display());
            Err(Error::file(&other.path, reason))
        }
    }
}

/// Reads every file into the channel, until the end, an error, or a receiver that is gone.
fn read(sources: Vec<Source>, schema: &SchemaRef, mut sender: mpsc::Sender<Result<RecordBatch>>, bar: &ProgressBar) {
    let mut before = 0;
    for mut source in sources {
        while let Some(batch) = source.next() {
            // Files of one shape may differ in what they say of nulls; the stream has one schema.
            let batch = batch.and_then(|batch| {
                let columns = batch.columns().to_vec();
                RecordBatch::try_new(Arc::clone(schema), columns).map_err(|error| Error::file(&source.path, error))
            });
            bar.set_position(before + source.position.load(Ordering::Relaxed));
            if futures::executor::block_on(sender.send(batch)).is_err() {
                return;
            }
        }
        before += source.size;
        bar.set_position(before);
    }
}

fn progress_bar(sources: &[Source]) -> ProgressBar {
    let total = sources.iter().map(|source| source.size).sum();
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    let template = "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
