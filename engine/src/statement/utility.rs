//! Statements whose rows Insula makes itself: SHOW, DESCRIBE, FLUSH, COMPACT, ERASE, KILL.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use datafusion::sql::sqlparser::ast::{ShowCreateObject, Statement as Ast};
use futures::{StreamExt, stream};
use insula_storage::{BackupReport, EraseReport, FlushReport, TableDef, TableKind, table::updated_type};

use super::{Request, create_text::create_text, jobs, show::Shown};
use crate::{
    Error, ErrorKind, Outcome, Result, Role,
    sql::{
        SystemColumns,
        command::{Command, Like},
        normalize, parts,
    },
    system,
};

#[derive(Debug)]
pub(crate) enum Utility {
    FlushTable(Vec<String>),
    FlushAll,
    CompactTable(Vec<String>),
    EraseUser {
        name: String,
        if_exists: bool,
    },
    ShowNamespaces(Option<Like>),
    ShowJobs,
    /// `within`: of one namespace, with its catalog or without.
    ShowTables {
        within: Option<Vec<String>>,
        like: Option<Like>,
    },
    ShowColumns(Vec<String>, Option<Like>),
    ShowCreate(Vec<String>),
    TableHistory(Vec<String>),
    Backup(String),
    Restore(String),
    KillQuery(String),
    /// `None`: all settings.
    ShowSetting(Option<String>),
}

impl Utility {
    pub fn from_command(command: Command) -> Result<Self> {
        match command {
            Command::FlushTable(name) => Ok(Self::FlushTable(name)),
            Command::FlushAll => Ok(Self::FlushAll),
            Command::CompactTable(name) => Ok(Self::CompactTable(name)),
            Command::EraseUser { name, if_exists } => Ok(Self::EraseUser { name, if_exists }),
            Command::ShowNamespaces(like) => Ok(Self::ShowNamespaces(like)),
            Command::Describe(name) => Ok(Self::ShowColumns(name, None)),
            Command::ShowJobs => Ok(Self::ShowJobs),
            Command::Backup(url) => Ok(Self::Backup(url)),
            Command::Restore(url) => Ok(Self::Restore(url)),
            Command::KillQuery(id) => Ok(Self::KillQuery(id)),
            Command::TableHistory(name) => Ok(Self::TableHistory(name)),
            other => Err(Error::internal(format!("not a utility: {}", std::any::type_name_of_val(&other)))),
        }
    }

    pub fn from_sql(ast: Ast) -> Result<Self> {
        match ast {
            Ast::ShowTables { terse, history, extended, full, external, show_options } => {
                let more = terse || history || extended || full || external;
                let Shown { within, like } = Shown::of(show_options, more)?;
                Ok(Self::ShowTables { within, like })
            }
            Ast::ShowSchemas { terse, history, show_options } => match Shown::of(show_options, terse || history)? {
                Shown { within: None, like } => Ok(Self::ShowNamespaces(like)),
                Shown { within: Some(_), .. } => Err(Error::unimplemented("SHOW SCHEMAS takes no FROM")),
            },
            Ast::ShowColumns { extended, full, show_options } => match Shown::of(show_options, extended || full)? {
                Shown { within: Some(table), like } => Ok(Self::ShowColumns(table, like)),
                Shown { within: None, .. } => Err(Error::invalid("SHOW COLUMNS takes FROM and a table")),
            },
            Ast::ShowCreate { obj_type: ShowCreateObject::Table, obj_name } => Ok(Self::ShowCreate(parts(&obj_name)?)),
            Ast::ShowCreate { obj_type, .. } => {
                Err(Error::unimplemented(format!("SHOW CREATE shows tables, and there is no {obj_type}")))
            }
            Ast::ExplainTable { table_name, .. } => Ok(Self::ShowColumns(parts(&table_name)?, None)),
            Ast::ShowVariable { variable } => {
                let name = variable.iter().map(normalize).collect::<Vec<_>>().join(".");
                let name = if name == "time.zone" { "timezone".to_owned() } else { name };
                Ok(Self::ShowSetting((name != "all").then_some(name)))
            }
            _ => Err(Error::internal("not a utility")),
        }
    }

    /// What does something must run exactly once.
    pub fn has_effect(&self) -> bool {
        let of_storage = matches!(self, Self::FlushTable(_) | Self::FlushAll | Self::CompactTable(_));
        let of_all = matches!(self, Self::EraseUser { .. } | Self::Backup(_) | Self::Restore(_) | Self::KillQuery(_));
        of_storage || of_all
    }

    pub fn schema(&self) -> SchemaRef {
        let text = |name: &str| Field::new(name, DataType::Utf8, false);
        let count = |name: &str| Field::new(name, DataType::Int64, true);
        Arc::new(Schema::new(match self {
            Self::FlushTable(_) | Self::FlushAll => {
                vec![text("namespace"), text("table"), count("rows"), count("files"), count("bytes"), count("replaced")]
            }
            Self::CompactTable(_) => vec![
                text("namespace"),
                text("table"),
                count("rows"),
                count("removed"),
                count("files_before"),
                count("files"),
                count("bytes_before"),
                count("bytes"),
            ],
            Self::EraseUser { .. } => {
                vec![text("user"), count("tables"), count("rows"), count("files"), count("bytes")]
            }
            Self::ShowJobs => jobs::fields(),
            Self::ShowNamespaces(_) => vec![text("namespace")],
            Self::ShowTables { .. } => vec![text("namespace"), text("table"), text("kind")],
            Self::ShowColumns(..) => vec![
                text("column"),
                text("type"),
                Field::new("nullable", DataType::Boolean, false),
                Field::new("default", DataType::Utf8, true),
                Field::new("key_position", DataType::Int64, true),
            ],
            Self::ShowCreate(_) => vec![text("namespace"), text("table"), text("definition")],
            Self::TableHistory(_) => vec![
                Field::new("version", DataType::Int64, false),
                Field::new("at", updated_type(), false),
                text("change"),
                Field::new("by", DataType::Utf8, true),
            ],
            Self::Backup(_) | Self::Restore(_) => vec![count("tables"), count("files"), count("bytes")],
            Self::KillQuery(_) => vec![text("query_id")],
            Self::ShowSetting(_) => vec![text("name"), text("value")],
        }))
    }

    /// Of which rows it tells: the column whose text decides, and how.
    fn told(&self) -> Option<(&'static str, Like)> {
        match self {
            Self::ShowNamespaces(like) => like.clone().map(|like| ("namespace", like)),
            Self::ShowTables { like, .. } => like.clone().map(|like| ("table", like)),
            Self::ShowColumns(_, like) => like.clone().map(|like| ("column", like)),
            _ => None,
        }
    }

    pub async fn run(self, request: &Request<'_>) -> Result<Outcome> {
        let schema = self.schema();
        let told = self.told();
        let columns = match self {
            Self::FlushTable(name) => {
                let context = request.context(SystemColumns::default())?;
                let table = Arc::clone(context.tables.definition(&name)?);
                let report = request.engine.store().flush(table.id).await?;
                flushed(request, &[(table, report)])
            }
            Self::FlushAll => {
                let catalog = request.engine.catalog().snapshot();
                let has_files = |table: &&Arc<TableDef>| table.kind != TableKind::Stream;
                flush_all(request, catalog.visible_tables(request.user).filter(has_files)).await?
            }
            Self::CompactTable(name) => {
                let context = request.context(SystemColumns::default())?;
                compact(request, context.tables.definition(&name)?).await?
            }
            Self::EraseUser { name, if_exists } => erase(request, &name, if_exists).await?,
            Self::ShowNamespaces(_) => vec![texts(request.engine.catalog().snapshot().namespaces())],
            Self::ShowJobs => {
                request.user.require_admin("SHOW JOBS")?;
                jobs::columns(&request.engine.store().jobs())
            }
            Self::ShowTables { within, .. } => tables(request, within.as_deref())?,
            Self::ShowCreate(name) => {
                let context = request.context(SystemColumns::default())?;
                if system::named(&name, &context.settings.schema)?.is_some() {
                    let name = name.join(".");
                    return Err(Error::invalid(format!("\"{name}\" is the server's own; no statement makes it")));
                }
                let table = context.tables.definition(&name)?;
                let texts = |text: &str| texts(std::iter::once(text));
                let text = create_text(table, context.tables.catalog.grants().is_read_by_all(table.id));
                vec![texts(&table.namespace), texts(&table.name), texts(&text)]
            }
            Self::ShowColumns(name, _) => {
                let context = request.context(SystemColumns::default())?;
                match system::named(&name, &context.settings.schema)? {
                    Some(view) => describe(&view.schema(), &[], |_| None),
                    None => {
                        let table = context.tables.definition(&name)?;
                        describe(&table.schema(), &table.key, |i| table.columns[i].default.as_deref())
                    }
                }
            }
            Self::Backup(url) => {
                request.user.require_admin("BACKUP DATABASE")?;
                copied(request.engine.store().backup(&url).await?)
            }
            Self::Restore(url) => {
                request.user.require_admin("RESTORE DATABASE")?;
                copied(restore(request, &url).await?)
            }
            Self::TableHistory(name) => {
                let context = request.context(SystemColumns::default())?;
                history(request, context.tables.definition(&name)?)?
            }
            Self::KillQuery(id) => {
                request.engine.queries().kill(request.user, &id)?;
                vec![texts(std::iter::once(id.as_str()))]
            }
            Self::ShowSetting(name) => settings(request, name.as_deref())?,
        };
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
        let batch = told.map_or(Ok(batch.clone()), |(column, like)| like.of(&batch, column))?;
        Ok(Outcome::Rows { schema, rows: stream::iter([Ok(batch)]).boxed() })
    }
}

async fn flush_all(request: &Request<'_>, tables: impl Iterator<Item = &Arc<TableDef>>) -> Result<Vec<ArrayRef>> {
    let mut reports = Vec::new();
    for table in tables {
        match request.engine.store().flush(table.id).await {
            Ok(report) => reports.push((Arc::clone(table), report)),
            // Dropped since the list was made.
            Err(error) if error.kind() == insula_storage::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(flushed(request, &reports))
}

/// A flush moves the rows of all users, so only an admin is told how many there were.
fn flushed(request: &Request<'_>, reports: &[(Arc<TableDef>, FlushReport)]) -> Vec<ArrayRef> {
    let told = request.user.role == Role::Admin;
    let counts = |count: fn(&FlushReport) -> u64| -> ArrayRef {
        Arc::new(reports.iter().map(|(_, report)| told.then(|| count(report).cast_signed())).collect::<Int64Array>())
    };
    vec![
        texts(reports.iter().map(|(table, _)| table.namespace.as_str())),
        texts(reports.iter().map(|(table, _)| table.name.as_str())),
        counts(|r| r.rows),
        counts(|r| r.files),
        counts(|r| r.bytes),
        counts(|r| r.replaced),
    ]
}

/// Flushes first: all rows of the table are to lie in one sorted run. Counts are told as by a flush.
async fn compact(request: &Request<'_>, table: &TableDef) -> Result<Vec<ArrayRef>> {
    request.engine.store().flush(table.id).await?;
    let report = request.engine.store().compact(table.id).await?;
    let told = request.user.role == Role::Admin;
    let count = |n: u64| -> ArrayRef { Arc::new(Int64Array::from(vec![told.then(|| n.cast_signed())])) };
    Ok(vec![
        texts(std::iter::once(table.namespace.as_str())),
        texts(std::iter::once(table.name.as_str())),
        count(report.rows),
        count(report.removed),
        count(report.files_before),
        count(report.files),
        count(report.bytes_before),
        count(report.bytes),
    ])
}

/// No row, where there is no such user and that is allowed.
async fn erase(request: &Request<'_>, name: &str, if_exists: bool) -> Result<Vec<ArrayRef>> {
    request.user.require_admin("DROP USER")?;
    // What a snapshot shows cannot go, and a transaction may keep its own for long.
    request.engine.transactions().end_all("a user was erased");
    let dropped = request.engine.users().find(name);
    if let Some(user) = &dropped {
        // The literals of their statements may be rows.
        request.engine.trail().forget_texts(user.no).await;
    }
    let report = match request.engine.users().erase(name).await {
        Err(error) if if_exists && error.kind() == ErrorKind::NotFound => None,
        report => Some(report?),
    };
    super::define::forget(request, dropped.as_ref()).await?;
    let count = |count: fn(&EraseReport) -> u64| -> ArrayRef {
        Arc::new(report.iter().map(|report| Some(count(report).cast_signed())).collect::<Int64Array>())
    };
    Ok(vec![
        texts(report.iter().map(|_| name)),
        count(|report| report.tables),
        count(|report| report.rows),
        count(|report| report.files),
        count(|report| report.bytes),
    ])
}

/// `within`: of one namespace.
fn tables(request: &Request<'_>, within: Option<&[String]>) -> Result<Vec<ArrayRef>> {
    let snapshot = request.engine.catalog().snapshot();
    let within = within.map(super::define::namespace_of).transpose()?;
    if let Some(namespace) = &within {
        if system::NAMESPACES.contains(&namespace.as_str()) {
            let views: Vec<_> = system::views().filter(|view| view.namespace == *namespace).collect();
            return Ok(vec![
                texts(views.iter().map(|view| view.namespace)),
                texts(views.iter().map(|view| view.name)),
                texts(views.iter().map(|_| "system")),
            ]);
        }
        snapshot.require_namespace(namespace)?;
    }
    let shown = snapshot.visible_tables(request.user);
    let shown: Vec<_> = shown.filter(|table| within.as_ref().is_none_or(|n| *n == table.namespace)).collect();
    let kind = |table: &Arc<TableDef>| match table.kind {
        TableKind::User => "user",
        TableKind::Shared => "shared",
        TableKind::Stream => "stream",
    };
    Ok(vec![
        texts(shown.iter().map(|t| t.namespace.as_str())),
        texts(shown.iter().map(|t| t.name.as_str())),
        texts(shown.iter().map(|t| kind(t))),
    ])
}

/// `key`: indices of the key's columns.
fn describe<'a>(schema: &Schema, key: &[usize], default: impl Fn(usize) -> Option<&'a str>) -> Vec<ArrayRef> {
    let columns = || schema.fields().iter();
    let types: Vec<String> = columns().map(|field| field.data_type().to_string()).collect();
    let position = |i: usize| key.iter().position(|key| *key == i).map(|p| p as i64 + 1);
    let all = || 0..schema.fields().len();
    vec![
        texts(columns().map(|field| field.name().as_str())),
        texts(types.iter().map(String::as_str)),
        Arc::new(columns().map(|field| Some(field.is_nullable())).collect::<BooleanArray>()),
        Arc::new(all().map(default).collect::<StringArray>()),
        Arc::new(all().map(position).collect::<Int64Array>()),
    ]
}

/// Nobody defines or creates anything meanwhile; afterwards everyone sees what was restored.
async fn restore(request: &Request<'_>, url: &str) -> Result<BackupReport> {
    let engine = request.engine;
    let catalog = engine.catalog().exclusive().await;
    let users = engine.users().exclusive_and_new().await?;
    let report = engine.store().restore(url).await?;
    users.reload()?;
    catalog.reload(|no| engine.users().identity(no).is_ok())?;
    Ok(report)
}

fn copied(report: BackupReport) -> Vec<ArrayRef> {
    let counts = [report.tables, report.files, report.bytes];
    counts.map(|count| Arc::new(Int64Array::from(vec![count.cast_signed()])) as ArrayRef).into()
}

/// Who changed a table is told to admins alone: names of others are nobody else's business.
fn history(request: &Request<'_>, table: &TableDef) -> Result<Vec<ArrayRef>> {
    let versions = request.engine.store().history(table.id)?;
    let told = request.user.role == Role::Admin;
    let name = |no| request.engine.users().identity(no).ok().map(|identity| identity.name.to_string());
    let authors = versions.iter().map(|v| v.author.filter(|_| told).and_then(name));
    Ok(vec![
        Arc::new(versions.iter().map(|v| Some(i64::from(v.version))).collect::<Int64Array>()),
        Arc::new(
            TimestampMicrosecondArray::from_iter_values(versions.iter().map(|v| v.at_micros)).with_timezone("UTC"),
        ),
        texts(versions.iter().map(|v| v.change.as_str())),
        Arc::new(authors.collect::<StringArray>()),
    ])
}

fn settings(request: &Request<'_>, name: Option<&str>) -> Result<Vec<ArrayRef>> {
    let shown = match name {
        Some(name) => vec![request.session.option(name)?],
        None => request.session.options(),
    };
    Ok(vec![texts(shown.iter().map(|(n, _)| n.as_str())), texts(shown.iter().map(|(_, v)| v.as_str()))])
}

fn texts<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}
