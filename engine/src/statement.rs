//! The life of a statement: parsed, classified, planned in a fresh context of its user, described or run.

mod create_text;
pub(crate) mod define;
mod direct;
mod explain;
pub(crate) mod held;
mod jobs;
pub(crate) mod many;
pub(crate) mod output;
pub(crate) mod parameters;
pub(crate) mod parts;
pub(crate) mod plan;
pub(crate) mod query;
mod show;
pub(crate) mod substrait;
pub(crate) mod told;
mod utility;
pub(crate) mod weight;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::{
    array::RecordBatch,
    datatypes::{Schema, SchemaRef},
};
use datafusion::{execution::memory_pool::MemoryPool, sql::sqlparser::ast::Statement as Ast};

use crate::{
    Description, Engine, Error, ErrorKind, Identity, Outcome, Result, Running, Session,
    catalog::Snapshot,
    context::{Context, visible_columns},
    outside::Outside,
    session::Settings,
    size::batch_bytes,
    sql::{Parsed, Statement, SystemColumns, parse, wildcard},
    table::Tables,
    transaction::{Moment, control::Control, run_within},
    write::Write,
};
pub(crate) use define::Definition;
use parts::Parts;
use plan::{Plan, Source};
pub(crate) use utility::Utility;

/// What a statement does, by how it has to be run.
pub(crate) enum Work {
    /// Returns rows and changes nothing.
    Query(Box<Ast>),
    /// Changes rows; returns a count, or rows if it says so.
    Write(Box<Write>),
    /// Changes definitions, users or settings; returns nothing.
    Define(Box<Definition>),
    /// Returns rows that Insula makes itself.
    Utility(Utility),
    /// Begins, ends or marks a transaction; returns nothing.
    Control(Control),
    /// Reads or writes files; returns a count.
    Outside(Outside),
}

impl Work {
    /// What it does outside of any transaction, if it does.
    pub fn alone(&self) -> Option<&'static str> {
        match self {
            Self::Query(_) | Self::Write(_) | Self::Control(_) | Self::Utility(Utility::KillQuery(_)) => None,
            Self::Define(definition) => definition.is_lasting().then_some("a definition"),
            Self::Outside(_) => Some("what reaches outside the database"),
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
    /// Its place among the statements that run.
    pub running: &'a Running,
    /// Of the transaction in which it is made.
    moment: Option<Moment>,
}

impl<'a> Request<'a> {
    pub fn new(engine: &'a Arc<Engine>, user: &'a Identity, session: &'a Arc<Session>, running: &'a Running) -> Self {
        Self { engine, user, session, running, moment: None }
    }

    /// The same within a transaction.
    pub fn at(&self, moment: Moment) -> Self {
        Self { moment: Some(moment), ..*self }
    }

    /// Before a statement writes, and before it holds anything: it waits until its user may write.
    pub async fn may_write(&self) -> Result<()> {
        let rate = self.engine.rate();
        if !rate.is_off() {
            self.pause(rate.before_writing(self.user.no, Instant::now())?).await;
        }
        Ok(())
    }

    /// It has made so much of what it writes.
    pub fn wrote(&self, bytes: u64) {
        let rate = self.engine.rate();
        if !rate.is_off() {
            rate.wrote(self.user.no, bytes, Instant::now());
        }
    }

    /// Before each batch of a statement that writes as its rows come: it waits until its user may write more. Till then
    /// others have its slot, and the batch is memory of its user.
    pub async fn writes(&self, batch: &RecordBatch) -> Result<()> {
        let rate = self.engine.rate();
        if rate.is_off() {
            return Ok(());
        }
        let wait = rate.wait(self.user.no, Instant::now());
        let bytes = batch_bytes(batch);
        if !wait.is_zero() {
            let waiting = usize::try_from(bytes).unwrap_or(usize::MAX);
            let _held = self.running.hold("rows that wait to be written", waiting)?;
            self.pause(wait).await;
            self.running.enter().await?;
        }
        rate.wrote(self.user.no, bytes, Instant::now());
        Ok(())
    }

    /// Its time limit goes on counting.
    async fn pause(&self, wait: Duration) {
        if !wait.is_zero() {
            self.running.stands_still(tokio::time::sleep(wait)).await;
        }
    }

    /// The definitions that the request sees.
    pub fn catalog(&self) -> Arc<Snapshot> {
        self.moment.as_ref().map_or_else(|| self.engine.catalog().snapshot(), |moment| Arc::clone(&moment.catalog))
    }

    /// Memory of its user.
    pub fn pool(&self) -> Arc<dyn MemoryPool> {
        Arc::clone(self.running.share()) as _
    }

    /// A fresh context. `named`: the system columns that the statement's text names.
    pub fn context(&self, named: SystemColumns) -> Result<Context> {
        self.context_with(self.session.settings_of(self.user)?, named)
    }

    /// The same for a query whose rows are stored: of its `*`, system columns are no part, for they cannot be written.
    pub fn storing_context(&self, named: SystemColumns) -> Result<Context> {
        let settings = Settings { show_system_columns: false, ..self.session.settings_of(self.user)? };
        self.context_with(settings, named)
    }

    /// For planning and running a query.
    fn context_of(&self, plan: &Plan) -> Result<Context> {
        match &plan.source {
            Source::Query(ast) if explains_insert(ast) => self.storing_context(plan.named),
            _ => self.context(plan.named),
        }
    }

    fn context_with(&self, settings: Settings, named: SystemColumns) -> Result<Context> {
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
        Ok(self.engine.template().context(self.user, settings, tables, self.running.share()))
    }

    /// Plans without running. `bound`: types of the parameters that are bound already.
    pub async fn describe(&self, plan: &Plan, bound: Option<&Schema>) -> Result<Description> {
        plan.check(self.user)?;
        self.description(plan, bound).await.map_err(|error| error.placed(plan.sql()))
    }

    async fn description(&self, plan: &Plan, bound: Option<&Schema>) -> Result<Description> {
        let nothing: SchemaRef = Arc::new(Schema::empty());
        Ok(match &plan.source {
            Source::Query(_) | Source::Substrait(_) => {
                let context = self.context_of(plan)?;
                let query = plan.query(self, &context).await?;
                let (parameters, schema) = query.schemas(bound)?;
                plan.is_of(query.weight(&context));
                Description { schema, parameters, is_update: false, has_effect: false }
            }
            Source::Write(write) => {
                let context = write.context(self, plan.named)?;
                let plan = write.plan_with_files(&context).await?;
                let (parameters, returned) = (parameters::schema(plan.query(), bound)?, plan.returned_schema(bound)?);
                let is_update = returned.is_none();
                Description { schema: returned.unwrap_or(nothing), parameters, is_update, has_effect: true }
            }
            Source::Control | Source::Other => match work_of(plan.sql())? {
                Work::Utility(utility) => Description {
                    schema: utility.schema(),
                    parameters: nothing,
                    is_update: false,
                    has_effect: utility.has_effect(),
                },
                work => {
                    if matches!(work, Work::Outside(_)) {
                        Outside::check(self)?;
                    }
                    Description { parameters: Arc::clone(&nothing), schema: nothing, is_update: true, has_effect: true }
                }
            },
        })
    }

    /// See [`parts::of_query`]; `None` for whatever is no query. Within a transaction rows are read whole, for they are
    /// those of its moment, and keep it from being idle.
    pub async fn parts(&self, plan: &Plan, params: Vec<RecordBatch>) -> Result<Option<Parts>> {
        plan.check(self.user)?;
        if !plan.is_query() || self.session.in_transaction() {
            return Ok(None);
        }
        let mut replans = Replans::default();
        loop {
            let context = self.context_of(plan)?;
            let query = plan.query(self, &context).await.map_err(|error| error.placed(plan.sql()))?;
            match parts::of_query(self.user.no, context, &query, &params).await {
                Err(error) if replans.allow(self.engine, &error).await? => {}
                parts => return parts,
            }
        }
    }

    pub async fn execute(&self, plan: &Plan, params: Vec<RecordBatch>) -> Result<Outcome> {
        plan.check(self.user)?;
        self.session.step_aside().await?;
        let outcome = match self.session.transaction() {
            Some(transaction) if !matches!(plan.source, Source::Control) => {
                run_within(self, &transaction, plan, params).await
            }
            _ => self.run(plan, params).await,
        };
        outcome.map_err(|error| error.placed(plan.sql()))
    }

    /// Runs a statement by itself, or at the request's moment.
    pub async fn run(&self, plan: &Plan, params: Vec<RecordBatch>) -> Result<Outcome> {
        match &plan.source {
            Source::Query(_) | Source::Substrait(_) => {
                let mut replans = Replans::default();
                loop {
                    match self.query_once(plan, &params).await {
                        Err(error) if replans.allow(self.engine, &error).await? => {}
                        outcome => return outcome,
                    }
                }
            }
            Source::Write(write) => write.run(self, plan.named, params).await,
            Source::Control | Source::Other => match work_of(plan.sql())? {
                Work::Define(definition) => {
                    self.running.touches(&definition.names());
                    definition.run(self, plan.named).await.map(Outcome::Count)
                }
                Work::Utility(utility) => {
                    self.running.touches(&utility.names());
                    utility.run(self).await
                }
                Work::Control(control) => control.run(self).await.map(|()| Outcome::Count(0)),
                Work::Outside(outside) => {
                    self.running.enter().await?;
                    outside.run(self, self.context(plan.named)?).await.map(Outcome::Count)
                }
                Work::Query(_) | Work::Write(_) => Err(Error::internal("a text changed its meaning")),
            },
        }
    }

    /// `Stale` if a table was altered while it was planned.
    pub async fn query_once(&self, plan: &Plan, params: &[RecordBatch]) -> Result<Outcome> {
        let context = self.context_of(plan)?;
        let query = plan.query(self, &context).await?;
        let outcome = query::run(context, query, params, self.running).await;
        self.running.planned();
        outcome
    }
}

fn explains_insert(ast: &Ast) -> bool {
    matches!(ast, Ast::Explain { statement, .. } if matches!(statement.as_ref(), Ast::Insert(_)))
}

/// What a statement that is parsed anew each time does.
pub(crate) fn work_of(text: &str) -> Result<Work> {
    let Parsed { statement, named } = parse(text)?;
    classify(statement, named)
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
        Statement::Outside(outside) => return Ok(Work::Outside(outside)),
        Statement::Sql(ast) => *ast,
    };
    wildcard::expand(&mut ast, named)?;
    match ast {
        ast @ (Ast::Query(_) | Ast::Explain { .. }) => Ok(Work::Query(Box::new(ast))),
        ast @ (Ast::Insert(_) | Ast::Update(_) | Ast::Delete(_) | Ast::Merge(_) | Ast::Truncate(_)) => {
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
        | Ast::ShowCreate { .. }
        | Ast::ShowVariable { .. }
        | Ast::ExplainTable { .. }) => Utility::from_sql(ast).map(Work::Utility),
        ast @ (Ast::StartTransaction { .. }
        | Ast::Commit { .. }
        | Ast::Rollback { .. }
        | Ast::Savepoint { .. }
        | Ast::ReleaseSavepoint { .. }) => Control::from_sql(ast).map(Work::Control),
        Ast::CopyIntoSnowflake { .. } | Ast::LoadData { .. } | Ast::AttachDatabase { .. } => {
            Err(Error::denied("statements that reach outside the server are not allowed; ingest or query instead"))
        }
        other => Err(Error::unimplemented(format!("not supported: {}", first_words(&other)))),
    }
}

/// Enough of a statement to say which one is meant, and none of its literals.
fn first_words(ast: &impl std::fmt::Display) -> String {
    ast.to_string().split_whitespace().take(2).collect::<Vec<_>>().join(" ").to_uppercase()
}
