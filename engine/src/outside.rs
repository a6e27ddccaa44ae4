//! What reaches outside the database: `COPY … TO`, `CREATE EXTERNAL TABLE`, and files that are named as tables. It is for
//! admins of a server that was started with `--allow-external`, and refused to everyone else.
//!
//! These statements are DataFusion's own and are parsed by its parser, once it is known that their user may send them.
//! An external table is a part of the session that made it (`Externals`), so no other user can name it.

use std::{collections::HashMap, fmt, ops::ControlFlow, path::Path, sync::Arc};

use arrow::{array::AsArray, datatypes::UInt64Type};
use datafusion::{
    catalog::{TableProvider, TableProviderFactory},
    common::{TableReference, file_options::file_type::FileType},
    datasource::{
        file_format::{FileFormatFactory, format_as_file_type},
        listing::{ListingTable, ListingTableConfig, ListingTableConfigExt, ListingTableUrl},
        listing_table_factory::ListingTableFactory,
    },
    error::DataFusionError,
    execution::{SessionState, SessionStateDefaults},
    logical_expr::{DdlStatement, LogicalPlan},
    sql::{
        parser::{CopyToSource, DFParser, Statement as Parsed},
        sqlparser::{
            ast::{ObjectName, Visit, visit_relations},
            dialect::GenericDialect,
        },
    },
};
use futures::TryStreamExt;
use parking_lot::Mutex;

use crate::{
    Error, Result,
    context::Context,
    sql::parts,
    statement::{Request, query},
};

/// What a file's name ends with if it can be read as a table.
const ENDINGS: [&str; 6] = [".parquet", ".csv", ".json", ".ndjson", ".arrow", ".avro"];

/// A statement that reaches outside, as it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Outside(pub String);

impl Outside {
    /// Refuses whoever may not send it, whatever it says.
    pub fn check(request: &Request<'_>) -> Result<()> {
        match request.engine.template().reaches_outside(request.user) {
            true => Ok(()),
            false => Err(refusal("COPY and CREATE EXTERNAL TABLE reach")),
        }
    }

    /// Returns the number of rows written.
    pub async fn run(self, request: &Request<'_>, context: Context) -> Result<u64> {
        Self::check(request)?;
        match self.parse()? {
            Parsed::CopyTo(copy) => {
                match &copy.source {
                    CopyToSource::Relation(name) => context.reach([name]).await?,
                    CopyToSource::Query(query) => context.reach_of(query.as_ref()).await?,
                }
                copy_to(context, Parsed::CopyTo(copy)).await
            }
            Parsed::CreateExternalTable(create) => {
                request.running.commits()?;
                create_table(request, &context, Parsed::CreateExternalTable(create)).await
            }
            _ => Err(Error::invalid("only COPY … TO and CREATE EXTERNAL TABLE reach outside")),
        }
    }

    fn parse(&self) -> Result<Parsed> {
        let mut parsed = DFParser::parse_sql_with_dialect(&self.0, &GenericDialect {})?;
        match (parsed.pop_front(), parsed.is_empty()) {
            (Some(statement), true) => Ok(statement),
            _ => Err(Error::invalid("send one statement at a time")),
        }
    }
}

/// What would reach outside, and whom to ask.
pub(crate) fn refusal(what: &str) -> Error {
    Error::denied(format!(
        "{what} outside the database; that is for admins, and only where the server was started with --allow-external"
    ))
}

/// Whatever it is that a file lacks, the statement asks for the wrong one.
fn unreadable(path: &str, error: &DataFusionError) -> Error {
    let message = error.strip_backtrace();
    Error::invalid(format!("\"{path}\" cannot be read as a table: {}", message.lines().next().unwrap_or_default()))
}

/// Is this the name of a file rather than of a table?
pub(crate) fn is_path(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    name.contains('/') || ENDINGS.iter().any(|ending| lower.ends_with(ending))
}

/// The names of tables that a piece of syntax holds.
pub(crate) fn relations(ast: &impl Visit) -> Vec<ObjectName> {
    let mut names = Vec::new();
    let _: ControlFlow<()> = visit_relations(ast, |name| {
        names.push(name.clone());
        ControlFlow::Continue(())
    });
    names
}

/// The formats of files, by what the names of files end with.
pub(crate) fn file_type(ending: &str) -> Option<Arc<dyn FileType>> {
    let lower = ending.to_ascii_lowercase();
    let lower = if lower == "ndjson" { "json" } else { lower.as_str() };
    formats().into_iter().find(|format| format.get_ext() == lower).map(format_as_file_type)
}

fn formats() -> Vec<Arc<dyn FileFormatFactory>> {
    SessionStateDefaults::default_file_formats()
}

/// The session's state, with the formats that it has no other use for.
fn state_of(context: &Context) -> Result<SessionState> {
    let mut state = context.state().clone();
    for format in formats() {
        state.register_file_format(format, true)?;
    }
    Ok(state)
}

/// It can be cancelled to the end: a file appears under its name when it is complete.
async fn copy_to(context: Context, copy: Parsed) -> Result<u64> {
    let plan = context.planner().statement_to_plan(copy)?;
    let mut counts = query::rows(&Arc::new(context), &plan).await?;
    let mut written = 0;
    while let Some(batch) = counts.try_next().await? {
        let counted = batch.columns().first().and_then(|column| column.as_primitive_opt::<UInt64Type>());
        written += counted.map_or(0, |counts| counts.values().iter().sum());
    }
    Ok(written)
}

async fn create_table(request: &Request<'_>, context: &Context, create: Parsed) -> Result<u64> {
    let LogicalPlan::Ddl(DdlStatement::CreateExternalTable(create)) = context.planner().statement_to_plan(create)?
    else {
        return Err(Error::internal("CREATE EXTERNAL TABLE was not planned as one"));
    };
    let name = place(&create.name, &context.settings.schema);
    let is_there = request.session.externals().get(&name).is_some();
    match (is_there, create.if_not_exists, create.or_replace) {
        (true, true, _) => return Ok(0),
        (true, false, false) => {
            return Err(Error::exists(format!("external table \"{}.{}\" exists already", name.0, name.1)));
        }
        _ => {}
    }
    let mut create = create;
    // A directory without a slash at its end is taken for a file.
    for location in &mut create.locations {
        if Path::new(location.as_str()).is_dir() && !location.ends_with('/') {
            location.push('/');
        }
    }
    let table = ListingTableFactory::new().create(&state_of(context)?, &create).await;
    let table = table.map_err(|error| unreadable(&create.locations.join(", "), &error))?;
    request.session.set_external(name, Some(table));
    Ok(0)
}

/// Namespace and name.
fn place(name: &TableReference, schema: &str) -> (String, String) {
    (name.schema().unwrap_or(schema).to_owned(), name.table().to_owned())
}

/// The external tables of one session. A copy is cheap, and equal as long as none was made or dropped.
#[derive(Clone, Default)]
pub(crate) struct Externals(Option<Arc<HashMap<(String, String), Arc<dyn TableProvider>>>>);

impl Externals {
    pub fn get(&self, name: &(String, String)) -> Option<Arc<dyn TableProvider>> {
        self.0.as_ref()?.get(name).cloned()
    }

    /// With another table under the name, or none. Whether that name was taken before.
    pub fn set(&mut self, name: (String, String), table: Option<Arc<dyn TableProvider>>) -> bool {
        let mut tables = self.0.as_deref().cloned().unwrap_or_default();
        let before = match table {
            Some(table) => tables.insert(name, table),
            None => tables.remove(&name),
        };
        self.0 = (!tables.is_empty()).then(|| Arc::new(tables));
        before.is_some()
    }
}

impl PartialEq for Externals {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl Eq for Externals {}

impl fmt::Debug for Externals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} external tables", self.0.as_ref().map_or(0, |tables| tables.len()))
    }
}

/// The files that one statement names as tables.
#[derive(Default)]
pub(crate) struct Files(Mutex<Option<HashMap<String, Arc<dyn TableProvider>>>>);

impl Files {
    pub fn get(&self, path: &str) -> Option<Arc<dyn TableProvider>> {
        self.0.lock().as_ref()?.get(path).cloned()
    }

    /// Looks at the files among the names, so that they can be planned. Directories, patterns and `file://` are taken too.
    pub async fn open<'a>(&self, context: &Context, names: impl IntoIterator<Item = &'a ObjectName>) -> Result<()> {
        for name in names {
            let Ok([path]) = <[String; 1]>::try_from(parts(name)?) else { continue };
            if !is_path(&path) || self.get(&path).is_some() {
                continue;
            }
            let state = state_of(context)?;
            let directory = Path::new(&path).is_dir() && !path.ends_with('/');
            let url = ListingTableUrl::parse(if directory { format!("{path}/") } else { path.clone() })?;
            let config = ListingTableConfig::new(url).infer(&state).await;
            let table = config.and_then(ListingTable::try_new).map_err(|error| unreadable(&path, &error))?;
            self.0.lock().get_or_insert_default().insert(path, Arc::new(table));
        }
        Ok(())
    }
}

/// An external table or a file of the context's user.
pub(crate) fn table(
    name: &TableReference,
    schema: &str,
    externals: &Externals,
    files: &Files,
) -> Option<Arc<dyn TableProvider>> {
    if externals.0.is_some()
        && let Some(table) = externals.get(&place(name, schema))
    {
        return Some(table);
    }
    match name {
        TableReference::Bare { table } => files.get(table),
        _ => None,
    }
}
