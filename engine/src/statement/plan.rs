//! A statement that is parsed once, and planned once for as long as its plan is true.
//!
//! Drivers plan a statement three times: when they prepare it, when they ask for its schema, when they fetch its rows.
//! A [`Plan`] is handed from the one to the next. It is one user's, like everything made of a statement, and its query
//! is planned again as soon as the catalog, the session's settings or the user's role are others than when it was made.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, Ordering},
};

use arrow::{
    array::{ArrayRef, RecordBatch},
    datatypes::Schema,
};
use datafusion::{
    execution::memory_pool::MemoryReservation, logical_expr::LogicalPlan, sql::sqlparser::ast::Statement as Ast,
};
use insula_proto::UserNo;
use insula_storage::Store;
use parking_lot::Mutex;

use super::{
    Request, Work, classify, explain,
    query::Query,
    substrait,
    told::{self, Names},
    weight::{self, Weight},
};
use crate::{
    Description, Error, Identity, Result, Role, Session,
    audit::Verb,
    catalog::Snapshot,
    context::Context,
    session::Settings,
    sql::{Parsed, SystemColumns, parse, redact::without_passwords, repeated},
    write::Write,
};

/// A statement of one user, ready to be described and run any number of times.
pub struct Plan {
    user: UserNo,
    text: Arc<str>,
    /// How much planning it may ask of the server.
    planning: Weight,
    /// Memory of what it is parsed to, where that is much.
    _held: Option<MemoryReservation>,
    /// The text without secrets.
    shown: Arc<str>,
    pub(crate) verb: Verb,
    pub(crate) named: SystemColumns,
    pub(crate) source: Source,
    /// Known to be light: of a query since it was described last. Some are described and not kept.
    is_light: AtomicBool,
    kept: Mutex<Option<Kept>>,
}

pub(crate) enum Source {
    Query(Box<Ast>),
    Substrait(Box<substrait::Message>),
    Write(Box<Write>),
    /// Begins, ends or marks a transaction.
    Control,
    /// Definitions and what Insula answers itself: parsed anew each time, which is seldom.
    Other,
}

/// A query's plan, and what it rests on.
struct Kept {
    /// Weak, so that a forgotten handle holds no definitions; the address cannot be taken by another one meanwhile.
    catalog: Weak<Snapshot>,
    settings: Settings,
    role: Role,
    query: Arc<Query>,
}

impl Plan {
    /// Parsed, and not planned yet.
    pub fn of_sql(user: &Identity, sql: &str) -> Result<Self> {
        let Parsed { statement, named } = parse(sql)?;
        let work = classify(statement, named)?;
        let verb = work.verb();
        let mut is_light = false;
        let source = match work {
            Work::Query(ast) => Source::Query(ast),
            Work::Write(write) => Source::Write(write),
            Work::Control(_) => {
                is_light = true;
                Source::Control
            }
            Work::Define(definition) => {
                is_light = !definition.gathers_rows();
                Source::Other
            }
            Work::Outside(_) => Source::Other,
            Work::Utility(_) => {
                is_light = true;
                Source::Other
            }
        };
        let text = sql.into();
        let shown = match source {
            // Only these can have passwords.
            Source::Other => without_passwords(&text),
            _ => Arc::clone(&text),
        };
        let (planning, is_light) = (Weight::of_text(sql), is_light.into());
        Ok(Self {
            user: user.no,
            text,
            planning,
            _held: None,
            shown,
            verb,
            named,
            source,
            is_light,
            kept: Mutex::default(),
        })
    }

    /// Of a Substrait plan.
    pub(crate) fn of_substrait(user: &Identity, message: &[u8]) -> Result<Self> {
        let source = Source::Substrait(Box::new(substrait::decode(message)?));
        let named = SystemColumns::default();
        let text: Arc<str> = substrait::TEXT.into();
        let (shown, verb) = (Arc::clone(&text), Verb::Select);
        let (planning, is_light) = (Weight::of_message(message), false.into());
        Ok(Self {
            user: user.no,
            text,
            planning,
            _held: None,
            shown,
            verb,
            named,
            source,
            is_light,
            kept: Mutex::default(),
        })
    }

    /// Keeps what it takes reserved for as long as it is there.
    #[must_use]
    pub(crate) fn holding(self, held: MemoryReservation) -> Self {
        Self { _held: Some(held), ..self }
    }

    /// How much its planning may ask of the server.
    pub fn planning(&self) -> Weight {
        self.planning
    }

    /// What `system.queries` and the audit show to its user.
    pub fn shown_text(&self) -> &Arc<str> {
        &self.shown
    }

    /// As it was sent.
    pub(crate) fn sql(&self) -> &str {
        &self.text
    }

    /// May it be kept beyond its handle? Other statements are rare, and may hold passwords.
    pub(crate) fn is_worth_keeping(&self) -> bool {
        matches!(self.source, Source::Query(_) | Source::Write(_))
    }

    /// How much it asks for with so many rows of parameters. Of a query that was not described it is not known.
    pub(crate) fn weight(
        &self,
        parameters: usize,
        catalog: &Snapshot,
        namespace: &dyn Fn() -> Result<String>,
    ) -> Weight {
        match &self.source {
            _ if self.planning() == Weight::Heavy => Weight::Heavy,
            Source::Write(write) => write.weight(parameters, catalog, namespace),
            _ => Weight::light_if(self.is_light.load(Ordering::Relaxed) && parameters <= weight::FEW_ROWS),
        }
    }

    /// What its description has found out.
    pub(super) fn is_of(&self, weight: Weight) {
        self.is_light.store(weight == Weight::Light, Ordering::Relaxed);
    }

    /// Does it change rows? If it returns rows too, it is those that it has changed.
    pub fn is_write(&self) -> bool {
        matches!(self.source, Source::Write(_))
    }

    pub(crate) fn is_query(&self) -> bool {
        matches!(self.source, Source::Query(_) | Source::Substrait(_))
    }

    /// Whoever got hold of another user's plan gets nothing out of it.
    pub(super) fn check(&self, user: &Identity) -> Result<()> {
        if user.no == self.user { Ok(()) } else { Err(Error::denied("the statement belongs to another user")) }
    }

    /// Would a run find the query as it was planned last? Then what was said of it still holds.
    pub(crate) fn is_true(&self, catalog: &Arc<Snapshot>, user: &Identity, session: &Session) -> bool {
        match &self.source {
            Source::Query(_) | Source::Substrait(_) => self.kept(catalog, user, session).is_some(),
            // Nothing is kept of what it returns.
            Source::Write(write) => !write.returns(),
            Source::Control | Source::Other => true,
        }
    }

    /// The query, if a run would find it as it was planned last.
    fn kept(&self, catalog: &Arc<Snapshot>, user: &Identity, session: &Session) -> Option<Arc<Query>> {
        self.check(user).ok()?;
        let settings = session.settings_of(user).ok()?;
        let kept = self.kept.lock();
        kept.as_ref().filter(|kept| kept.is_true(catalog, &settings, user.role)).map(|kept| Arc::clone(&kept.query))
    }

    /// What was said of the query before, if it still holds. `bound`: see [`Query::schemas`].
    pub(crate) fn described(
        &self,
        catalog: &Arc<Snapshot>,
        user: &Identity,
        session: &Session,
        bound: Option<&Schema>,
    ) -> Option<Description> {
        let (parameters, schema) = self.kept(catalog, user, session)?.described(bound)?;
        Some(Description { schema, parameters, is_update: false, has_effect: false })
    }

    /// See [`Query::row`]; with the names of the tables that it reads.
    pub(crate) fn row(
        &self,
        catalog: &Arc<Snapshot>,
        store: &Arc<Store>,
        user: &Identity,
        session: &Session,
        params: &[RecordBatch],
    ) -> Option<(Result<Vec<ArrayRef>>, Names)> {
        if session.in_transaction() {
            return None;
        }
        let query = self.kept(catalog, user, session)?;
        let row = query.is_of_row().then(|| query.row(&store.view(), user, params)).flatten()?;
        Some((row, Arc::clone(query.tables())))
    }

    /// The query, planned now if it has to be.
    pub(super) async fn query(&self, request: &Request<'_>, context: &Context) -> Result<Arc<Query>> {
        let (catalog, settings, role) = (&context.tables.catalog, &context.settings, request.user.role);
        if let Some(kept) = self.kept.lock().as_ref().filter(|kept| kept.is_true(catalog, settings, role)) {
            request.running.touches(kept.query.tables());
            return Ok(Arc::clone(&kept.query));
        }
        let logical = match &self.source {
            Source::Query(ast) => {
                context.reach_of(ast.as_ref()).await?;
                planned(context, ast)?
            }
            Source::Substrait(message) => substrait::plan(context, message).await?,
            Source::Write(_) | Source::Control | Source::Other => {
                return Err(Error::internal("the statement is no query"));
            }
        };
        let keeps = !told::reads_system(&logical)?;
        let query = Arc::new(Query::new(logical)?);
        request.running.touches(query.tables());
        if !keeps {
            return Ok(query);
        }
        let kept =
            Kept { catalog: Arc::downgrade(catalog), settings: settings.clone(), role, query: Arc::clone(&query) };
        *self.kept.lock() = Some(kept);
        Ok(query)
    }
}

/// Of a query, as often as it takes to tell its columns apart.
fn planned(context: &Context, ast: &Ast) -> Result<LogicalPlan> {
    let mut told_apart = None;
    loop {
        let ast = told_apart.as_ref().unwrap_or(ast);
        let error = match explain::plan(context, ast.clone()) {
            Ok(plan) => return Ok(plan),
            Err(error) => error,
        };
        // Each time some column more has another name.
        told_apart = Some(repeated::apart(ast, &error)?.ok_or(error)?);
    }
}

impl Kept {
    fn is_true(&self, catalog: &Arc<Snapshot>, settings: &Settings, role: Role) -> bool {
        std::ptr::eq(self.catalog.as_ptr(), Arc::as_ptr(catalog)) && self.settings == *settings && self.role == role
    }
}
