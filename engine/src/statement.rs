//! The life of a statement: parsed, classified, planned in a fresh context of its user, described or run.

pub(crate) mod define;
mod direct;
mod explain;
pub(crate) mod held;
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
    catalog::Snapshot,
    context::{Context, visible_columns},
    session::Settings,
    sql::{Parsed, Statement, SystemColumns, parse, wildcard},
    table::Tables,
    transaction::{Moment, control::Control, run_within},
    write::Write,
};
pub(crate) use define::Definition;
pub(crate) use utility::Utility;

/// What a statement does, by how it has to be run.
pub(crate) enum Work {
    /// Returns rows and changes nothing.
    Query(Box<Ast>),
    /// Changes rows; returns a count.
    Write(Box<Write>),
    /// Changes definitions, users or settings; returns nothing.
    Define(Box<Definition>),
    /// Returns rows that Insula makes itself.
    Utility(Utility),
    /// Begins, ends or marks a transaction; returns nothing.
    Control(Control),
}

impl Work {
    /// What it does outside of any transaction, if it does.
    pub fn alone(&self) -> Option<&'static str> {
        match self {
            Self::Query(_) | Self::Write(_) | Self::Control(_) => None,
            Self::Define(definition) => definition.is_lasting().then_some("a definition"),
            Self::Utility(utility) => utility.has_effect().then_some("maintenance"),
        }
    }
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
    /// Of the transaction in which it is made.
    moment: Option<Moment>,
}

impl<'a> Request<'a> {
    pub fn new(engine: &'a Arc<Engine>, user: &'a Identity, session: &'a Arc<Session>) -> Self {
        Self { engine, user, session, moment: None }
    }

    /// The same within a transaction.
    pub fn at(&self, moment: Moment) -> Self {
        Self { moment: Some(moment), ..*self }
    }

    /// The definitions that the request sees.
    pub fn catalog(&self) -> Arc<Snapshot> {
        self.moment.as_ref().map_or_else(|| self.engine.catalog().snapshot(), |moment| Arc::clone(&moment.catalog))
    }

    /// A fresh context. `named`: the system columns that the statement's text names.
    pub fn context(&self, named: SystemColumns) -> Result<Context> {
        let settings: Settings = self.session.settings_of(self.user)?;
        let tables = Tables::new(
            Arc::clone(self.engine.store()),
            self.catalog(),
            self.user,
            settings.schema.clone(),
            visible_columns(named, &settings),
            named.deleted,
            settings.oracle,
        );
        if let Some(moment) = &self.moment {
            tables.read_at(&moment.view);
        }
        Ok(self.engine.template().context(self.user, &settings, tables))
    }

    /// Plans without running. `bound`: types of the parameters that are bound already.
    pub async fn describe(&self, sql: &str, bound: Option<&Schema>) -> Result<Description> {
        let Parsed { statement, named } = parse(sql)?;
        let nothing: SchemaRef = Arc::new(Schema::empty());
        let work = classify(statement, named)?;
        let at_once = matches!(work, Work::Control(_));
        Ok(match work {
            Work::Query(ast) => {
                let plan = explain::plan(&self.context(named)?, *ast)?;
                let parameters = parameters::schema(&plan, bound)?;
                let schema = output::schema(&parameters::with_types(&plan, &parameters)?);
                Description { schema, parameters, is_update: false, has_effect: false, at_once: false }
            }
            Work::Write(write) => {
                let parameters = parameters::schema(write.plan(&self.context(named)?)?.query(), bound)?;
                Description { schema: nothing, parameters, is_update: true, has_effect: true, at_once }
            }
            Work::Define(_) | Work::Control(_) => Description {
                parameters: Arc::clone(&nothing),
                schema: nothing,
                is_update: true,
                has_effect: true,
                at_once,
            },
            Work::Utility(utility) => Description {
                schema: utility.schema(),
                parameters: nothing,
                is_update: false,
                has_effect: utility.has_effect(),
                at_once,
            },
        })
    }

    pub async fn execute(&self, sql: &str, params: Vec<RecordBatch>) -> Result<Outcome> {
        let Parsed { statement, named } = parse(sql)?;
        let work = classify(statement, named)?;
        match self.session.transaction() {
            Some(transaction) if !matches!(work, Work::Control(_)) => {
                run_within(self, &transaction, work, named, params).await
            }
            _ => self.run(work, named, params).await,
        }
    }

    /// Runs a statement by itself, or at the request's moment.
    pub async fn run(&self, work: Work, named: SystemColumns, params: Vec<RecordBatch>) -> Result<Outcome> {
        match work {
            Work::Query(ast) => {
                let mut replans = Replans::default();
                loop {
                    match self.query_once(&ast, named, &params).await {
                        Err(error) if replans.allow(self.engine, &error).await? => {}
                        outcome => return outcome,
                    }
                }
            }
            Work::Write(write) => write.run(self, named, params).await.map(Outcome::Count),
            Work::Define(definition) => definition.run(self, named).await.map(Outcome::Count),
            Work::Utility(utility) => utility.run(self).await,
            Work::Control(control) => control.run(self).await.map(|()| Outcome::Count(0)),
        }
    }

    /// `Stale` if a table was altered while it was planned.
    pub async fn query_once(&self, ast: &Ast, named: SystemColumns, params: &[RecordBatch]) -> Result<Outcome> {
        let context = self.context(named)?;
        let plan = explain::plan(&context, ast.clone())?;
        query::run(context, plan, params.to_vec()).await
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
        ast @ (Ast::StartTransaction { .. }
        | Ast::Commit { .. }
        | Ast::Rollback { .. }
        | Ast::Savepoint { .. }
        | Ast::ReleaseSavepoint { .. }) => Control::from_sql(ast).map(Work::Control),
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
