//! The life of a statement: parsed, classified, planned in a fresh context of its user, described or run.

pub(crate) mod define;
mod direct;
mod explain;
mod jobs;
pub(crate) mod output;
pub(crate) mod parameters;
pub(crate) mod query;
mod utility;

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    datatypes::{Schema, SchemaRef},
};
use datafusion::sql::sqlparser::ast::Statement as Ast;

use crate::{
    Description, Engine, Error, ErrorKind, Identity, Outcome, Result, Session,
    context::{Context, visible_columns},
    session::Settings,
    sql::{Parsed, Statement, SystemColumns, parse, wildcard},
    table::Tables,
    write::Write,
};
use define::Definition;
use utility::Utility;

/// What a statement does, by how it has to be run.
enum Work {
    /// Returns rows and changes nothing.
    Query(Box<Ast>),
    /// Changes rows; returns a count.
    Write(Box<Write>),
    /// Changes definitions, users or settings; returns nothing.
    Define(Box<Definition>),
    /// Returns rows that Insula makes itself.
    Utility(Utility),
}

/// How often a statement was planned again because a table was altered while it was planned. That is rare, and once
/// more is enough; the bound is for those who alter in a loop.
#[derive(Default)]
pub(crate) struct Replans(u8);

impl Replans {
    const MOST: u8 = 20;

    /// Whether the statement may be planned again after `error`, which left nothing behind.
    pub async fn allow(&mut self, engine: &Arc<Engine>, error: &Error) -> Result<bool> {
        if error.kind() != ErrorKind::Stale || self.0 == Self::MOST {
            return Ok(false);
        }
        self.0 += 1;
        engine.catalog().refresh().await?;
        Ok(true)
    }
}

/// One client's request: who asks, in which session.
pub(crate) struct Request<'a> {
    pub engine: &'a Arc<Engine>,
    pub user: &'a Identity,
    pub session: &'a Arc<Session>,
}

impl Request<'_> {
    /// A fresh context. `named`: the system columns that the statement's text names.
    pub fn context(&self, named: SystemColumns) -> Result<Context> {
        let settings: Settings = self.session.settings_of(self.user)?;
        let tables = Tables::new(
            Arc::clone(self.engine.store()),
            self.engine.catalog().snapshot(),
            self.user,
            settings.schema.clone(),
            visible_columns(named, &settings),
            named.deleted,
            settings.oracle,
        );
        Ok(self.engine.template().context(self.user, &settings, tables))
    }

    /// Plans without running. `bound`: types of the parameters that are bound already.
    pub async fn describe(&self, sql: &str, bound: Option<&Schema>) -> Result<Description> {
        let Parsed { statement, named } = parse(sql)?;
        let nothing: SchemaRef = Arc::new(Schema::empty());
        Ok(match classify(statement, named)? {
            Work::Query(ast) => {
                let plan = explain::plan(&self.context(named)?, *ast)?;
                let parameters = parameters::schema(&plan, bound)?;
                let schema = output::schema(&parameters::with_types(&plan, &parameters)?);
                Description { schema, parameters, is_update: false, has_effect: false }
            }
            Work::Write(write) => {
                let parameters = parameters::schema(write.plan(&self.context(named)?)?.query(), bound)?;
                Description { schema: nothing, parameters, is_update: true, has_effect: true }
            }
            Work::Define(_) => {
                Description { parameters: Arc::clone(&nothing), schema: nothing, is_update: true, has_effect: true }
            }
            Work::Utility(utility) => Description {
                schema: utility.schema(),
                parameters: nothing,
                is_update: false,
                has_effect: utility.has_effect(),
            },
        })
    }

    pub async fn execute(&self, sql: &str, params: Vec<RecordBatch>) -> Result<Outcome> {
        let Parsed { statement, named } = parse(sql)?;
        match classify(statement, named)? {
            Work::Query(ast) => {
                let mut replans = Replans::default();
                loop {
                    let context = self.context(named)?;
                    let plan = explain::plan(&context, ast.as_ref().clone())?;
                    match query::run(context, plan, params.clone()).await {
                        Err(error) if replans.allow(self.engine, &error).await? => {}
                        outcome => return outcome,
                    }
                }
            }
            Work::Write(write) => write.run(self, named, params).await.map(Outcome::Count),
            Work::Define(definition) => definition.run(self, named).await.map(Outcome::Count),
            Work::Utility(utility) => utility.run(self).await,
        }
    }
}

fn classify(statement: Statement, named: SystemColumns) -> Result<Work> {
    let mut ast = match statement {
        Statement::Command(command) => {
            return Ok(match Definition::from_command(command) {
                Ok(definition) => Work::Define(Box::new(definition)),
                Err(command) => Work::Utility(Utility::from_command(command)?),
            });
        }
        Statement::CreateTable(ast, kind) => {
            return Definition::create_table(*ast, kind).map(Box::new).map(Work::Define);
        }
        Statement::Sql(ast) => *ast,
    };
    wildcard::expand(&mut ast, named)?;
    match ast {
        ast @ (Ast::Query(_) | Ast::Explain { .. }) => Ok(Work::Query(Box::new(ast))),
        ast @ (Ast::Insert(_) | Ast::Update(_) | Ast::Delete(_) | Ast::Truncate(_)) => {
            Write::new(ast).map(Box::new).map(Work::Write)
        }
        ast @ (Ast::CreateSchema { .. }
        | Ast::AlterTable(_)
        | Ast::Drop { .. }
        | Ast::Set(_)
        | Ast::Reset(_)
        | Ast::Use(_)) => Definition::from_sql(ast).map(Box::new).map(Work::Define),
        ast @ (Ast::ShowTables { .. }
        | Ast::ShowSchemas { .. }
        | Ast::ShowColumns { .. }
        | Ast::ShowVariable { .. }
        | Ast::ExplainTable { .. }) => Utility::from_sql(ast).map(Work::Utility),
        Ast::Copy { .. } | Ast::CopyIntoSnowflake { .. } | Ast::LoadData { .. } | Ast::AttachDatabase { .. } => {
            Err(Error::denied("statements that reach outside the server are not allowed; ingest or query instead"))
        }
        other => Err(Error::unimplemented(format!("not supported: {}", first_words(&other)))),
    }
}

/// Enough of a statement to say which one is meant, and none of its literals.
fn first_words(ast: &impl std::fmt::Display) -> String {
    ast.to_string().split_whitespace().take(2).collect::<Vec<_>>().join(" ").to_uppercase()
}
