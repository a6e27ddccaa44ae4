//! The engine's face to the server: opened once, shared by all requests.

use std::{
    sync::{Arc, OnceLock, Weak},
    time::Instant,
};

use arrow::{
    array::{ArrayRef, RecordBatch},
    datatypes::{Schema, SchemaRef},
};
use datafusion::execution::{
    memory_pool::MemoryReservation,
    object_store::ObjectStoreUrl,
    runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
};
use futures::stream::BoxStream;
use insula_proto::UserNo;
use insula_storage::{CheckReport, Figures, Finding, Store, StoreConfig};
use object_store::local::LocalFileSystem;

use crate::{
    AuditConfig, GrantInfo, Identity, Limits, Parts, Plan, QueryInfo, Result, Running, Session, Transaction,
    TransactionLimits, UserInfo, Weight,
    admission::Admission,
    audit::{self, Event, Trail, Verb},
    bounded::Room,
    catalog::Catalog,
    context::Template,
    functions::Functions,
    memory_pool::StatementPool,
    plans::Plans,
    rate::WriteRate,
    running::Queries,
    share::Shares,
    statement::{
        Request,
        weight::{LONGEST_LIGHT, message_memory, text_memory},
    },
    system::{self, Host},
    table::OBJECT_STORE_URL,
    transaction::Transactions,
    users::Users,
};

pub struct EngineConfig {
    pub store: StoreConfig,
    /// Bytes of all statements together.
    pub memory_limit: usize,
    pub limits: Limits,
    pub transactions: TransactionLimits,
    /// Password of `admin` at first start; `None`: a random one, written to `DATA_DIR/admin-password` (0600).
    pub admin_password: Option<String>,
}

pub type RowStream = BoxStream<'static, Result<RecordBatch>>;

/// What a statement will give, known before it runs.
#[derive(Clone, Debug)]
pub struct Description {
    /// Of the rows; without fields for a statement that returns none.
    pub schema: SchemaRef,
    /// One nullable field per parameter, `$1` first.
    pub parameters: SchemaRef,
    /// It changes rows or definitions (and so must run exactly once), and returns a count, not rows.
    pub is_update: bool,
    /// It must run exactly once, though it may return rows (FLUSH). True whenever `is_update` is.
    pub has_effect: bool,
}

pub enum Outcome {
    /// `schema` equals the description's, nullability included, and every batch has it.
    Rows { schema: SchemaRef, rows: RowStream },
    /// Rows changed; 0 for definitions.
    Count(u64),
}

/// A table as the session's user sees it.
#[derive(Clone, Debug)]
pub struct TableInfo {
    pub namespace: String,
    pub name: String,
    /// `TABLE` or `SYSTEM TABLE`.
    pub table_type: &'static str,
    pub schema: SchemaRef,
    /// Column names of the primary key, in key order.
    pub key: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IngestMode {
    /// Fails where the table is.
    Create,
    /// Fails where the table is not.
    Append,
    /// Drops the table first.
    Replace,
    CreateAppend,
}

#[derive(Clone, Debug)]
pub struct IngestTarget {
    /// `None`: the session's current one.
    pub namespace: Option<String>,
    pub table: String,
    pub mode: IngestMode,
    /// The column of the stream that names each row's user and is not stored; `None`: all rows are the caller's.
    pub user_column: Option<String>,
}

/// Names of the SQL functions, by kind, for GetSqlInfo.
#[derive(Clone, Default, Debug)]
pub struct FunctionNames {
    pub numeric: Vec<String>,
    pub string: Vec<String>,
    pub datetime: Vec<String>,
    pub system: Vec<String>,
}

pub struct Engine {
    store: Arc<Store>,
    catalog: Catalog,
    users: Users,
    functions: Arc<Functions>,
    template: Template,
    transactions: Transactions,
    plans: Plans,
    queries: Arc<Queries>,
    trail: Arc<Trail>,
    /// The server around it, once it is there.
    host: OnceLock<Weak<dyn Host>>,
    shares: Arc<Shares>,
    admission: Arc<Admission>,
    rate: WriteRate,
    limits: Limits,
}

/// What statements take now, of all users or of one.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Heavy statements that compute.
    pub computing: usize,
    /// Heavy statements that wait for their turn.
    pub waiting: usize,
    /// Bytes that statements have reserved.
    pub memory: usize,
    /// Bytes that they may reserve.
    pub memory_limit: usize,
    /// Bytes of temporary files.
    pub spilled: u64,
}

/// Memory that counts as a user's until it is dropped.
#[derive(Debug)]
pub struct Held(MemoryReservation);

impl Held {
    /// As much more; refused where the user has no more.
    pub fn grow(&self, bytes: usize) -> Result<()> {
        Ok(self.0.try_grow(bytes)?)
    }
}

/// Statements that limits refused since the start, by the limit.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Refused {
    /// They found too many before them, or waited too long for their turn.
    pub queue: u64,
    /// Their user had written faster than may be.
    pub ingest_rate: u64,
}

impl Engine {
    pub const CATALOG: &'static str = "insula";

    /// Looks for damage in a database that no server has open; see [`Store::check`].
    pub async fn check(config: &StoreConfig, tell: &mut (dyn FnMut(Finding) + Send)) -> Result<CheckReport> {
        Ok(Store::check(config, tell).await?)
    }

    /// Without an audit on disk.
    pub async fn open(config: EngineConfig) -> Result<Arc<Self>> {
        Self::open_audited(config, AuditConfig::default()).await
    }

    pub async fn open_audited(config: EngineConfig, audit: AuditConfig) -> Result<Arc<Self>> {
        let store = Store::open(config.store.clone()).await?;
        Self::over(store, config, audit).await
    }

    /// With a clock of the store that tests set.
    #[doc(hidden)]
    pub async fn open_with_clock(config: EngineConfig, clock: Arc<dyn insula_storage::Clock>) -> Result<Arc<Self>> {
        let store = Store::open_with_clock(config.store.clone(), clock).await?;
        Self::over(store, config, AuditConfig::default()).await
    }

    async fn over(store: Arc<Store>, config: EngineConfig, audit: AuditConfig) -> Result<Arc<Self>> {
        let data_dir = config.store.data_dir.clone();
        // After the store: the directory is ours then, and nobody else writes there.
        let trail = Trail::open(audit)?;
        let users = Users::open(Arc::clone(&store), &data_dir, config.admin_password).await?;
        let catalog = Catalog::open(Arc::clone(&store), |no| users.identity(no).is_ok()).await?;
        let pool = Arc::new(StatementPool::new(config.memory_limit));
        let room = Room::new(Arc::clone(&pool) as _, config.memory_limit.min(config.limits.user_memory));
        let functions = Arc::new(Functions::new(&store, &room));
        let runtime = runtime(&store, &pool, data_dir.join("spill"))?;
        let limits = config.limits;
        let shares = Shares::new(Arc::clone(&runtime), pool, limits);
        let admission = Arc::new(Admission::new(limits));
        let transactions = Transactions::new(&store, &shares, config.transactions);
        let queries = Queries::new(Arc::clone(&trail));
        let (plans, memory) = (Plans::new(), config.memory_limit.min(limits.user_memory));
        Ok(Arc::new_cyclic(|own| {
            let template = Template::new(runtime, memory, room, Arc::clone(&functions), own.clone());
            let host = OnceLock::new();
            Self {
                store,
                catalog,
                users,
                functions,
                template,
                transactions,
                plans,
                queries,
                trail,
                host,
                shares,
                admission,
                rate: WriteRate::new(&limits),
                limits,
            }
        }))
    }

    /// Lets admins reach outside the database: files of the server, by COPY … TO, external tables, and paths as tables.
    pub fn allow_external(&self) {
        let url = ObjectStoreUrl::local_filesystem();
        self.template.runtime().register_object_store(url.as_ref(), Arc::new(LocalFileSystem::new()));
        self.template.allow_external();
    }

    /// Checks a password. Wrong password and unknown user are the same `Unauthenticated`, in the same time.
    pub async fn login(&self, user: &str, password: &str) -> Result<Identity> {
        self.users.login(user, password).await
    }

    /// A user that the server's configuration vouches for (`--dev`, trusted header); registered at first sight.
    pub async fn vouched(&self, user: &str) -> Result<Identity> {
        self.users.vouched(user).await
    }

    /// The server is set up so that any name may come ([`Self::vouched`]): then nobody who is named is unknown.
    pub fn take_any_name(&self) {
        self.users.take_any_name();
    }

    /// The user whom a name means; registered by that, where any name is taken.
    pub async fn meant_user(&self, user: &str) -> Result<Option<Identity>> {
        self.users.meant(user).await
    }

    /// A registered user by name.
    pub fn find_user(&self, user: &str) -> Option<Identity> {
        self.users.find(user)
    }

    /// The user of a number, as of now: role changes show, dropped users are `Unauthenticated`. Cheap; no I/O.
    pub fn identity(&self, user: UserNo) -> Result<Identity> {
        self.users.identity(user)
    }

    /// The same, and the era of their password: it is another one once that has been changed.
    pub fn identity_and_era(&self, user: UserNo) -> Result<(Identity, u64)> {
        self.users.identity_and_era(user)
    }

    /// A statement, parsed, and planned no more often than needed. Nothing is run.
    pub fn plan(&self, user: &Identity, sql: &str) -> Result<Arc<Plan>> {
        self.plans.of_sql(user, sql).inspect_err(|error| self.trail.unparsed(user, sql, error.kind()))
    }

    /// The same of a text of any length: where it takes long and much to read, it waits for its user's turn before, and
    /// counts as their memory.
    pub async fn plan_in_turn(&self, user: &Identity, sql: &str) -> Result<Arc<Plan>> {
        if sql.len() <= LONGEST_LIGHT {
            return self.plan(user, sql);
        }
        let planned = self.read_in_turn(user, text_memory(sql), || Plan::of_sql(user, sql)).await;
        planned.inspect_err(|error| self.trail.unparsed(user, sql, error.kind()))
    }

    /// The same of a Substrait plan.
    pub async fn plan_substrait(&self, user: &Identity, message: &[u8]) -> Result<Arc<Plan>> {
        if message.len() <= LONGEST_LIGHT {
            return Plan::of_substrait(user, message).map(Arc::new);
        }
        self.read_in_turn(user, message_memory(message), || Plan::of_substrait(user, message)).await
    }

    /// The slot is given back then: whatever is done with the plan takes one again.
    async fn read_in_turn(
        &self,
        user: &Identity,
        memory: usize,
        read: impl FnOnce() -> Result<Plan>,
    ) -> Result<Arc<Plan>> {
        let held = self.shares.of(user.no).hold("the text of a statement", memory)?;
        let slot = self.admission.slot(user.no);
        slot.enter().await?;
        Ok(Arc::new(read()?.holding(held)))
    }

    /// A place for a statement that is only planned; before that it waits for a slot if it takes one.
    async fn begin_planning(&self, user: &Identity, session: &Arc<Session>, plan: &Plan) -> Result<Running> {
        let mut running = self.begin(user, session, plan.shown_text());
        running.does(plan.verb);
        running.is_planned_only();
        if plan.planning() == Weight::Heavy {
            running.needs(self.admission.slot(user.no));
            running.guard(running.enter()).await?;
        }
        Ok(running)
    }

    /// Changes nothing. `bound`: types of the parameters that are bound already, where they are; they decide the types
    /// of parameters about which the statement itself says nothing.
    pub async fn describe(
        self: &Arc<Self>,
        user: &Identity,
        session: &Arc<Session>,
        plan: &Plan,
        bound: Option<&Schema>,
    ) -> Result<Description> {
        let running = &self.begin_planning(user, session, plan).await?;
        let described =
            running.guard(Box::pin(Request::new(self, user, session, running).describe(plan, bound))).await?;
        running.succeeded();
        Ok(described)
    }

    /// Does the last description of the statement still hold? Cheap.
    pub fn is_true(&self, user: &Identity, session: &Session, plan: &Plan) -> bool {
        plan.is_true(&self.catalog.snapshot(), user, session)
    }

    /// The plan of a text that came lately.
    pub fn known_plan(&self, user: &Identity, sql: &str) -> Option<Arc<Plan>> {
        self.plans.known(user, sql)
    }

    /// What was said of a query before, if it still holds. Cheap; plans nothing.
    pub fn described(
        &self,
        user: &Identity,
        session: &Session,
        plan: &Plan,
        bound: Option<&Schema>,
    ) -> Option<Description> {
        plan.described(&self.catalog.snapshot(), user, session, bound)
    }

    /// The row of a query that reads one by its key, and has run before: columns of one row or of none, in the types in
    /// which they are stored. `None`: it has to be [`Self::run`]. Never waits: what takes no longer than this need
    /// not be entered among the statements that run, nor be cancelled.
    pub fn row(
        &self,
        user: &Identity,
        session: &Session,
        plan: &Plan,
        params: &[RecordBatch],
    ) -> Option<Result<Vec<ArrayRef>>> {
        let began = Instant::now();
        let (row, tables) = plan.row(&self.catalog.snapshot(), &self.store, user, session, params)?;
        self.trail.note(crate::running::of_row(user, plan, tables, &row, began));
        Some(row)
    }

    /// Enters a statement among those that run, where its user sees it and can end it.
    pub fn begin(&self, user: &Identity, session: &Arc<Session>, text: &Arc<str>) -> Running {
        self.queries.begin(user, session, text, self.shares.of(user.no))
    }

    /// The same for a statement that is to be run with these parameters, which it must be by [`Self::run`].
    pub fn begin_run(&self, user: &Identity, session: &Arc<Session>, plan: &Plan, params: &[RecordBatch]) -> Running {
        let mut running = self.begin(user, session, plan.shown_text());
        let rows = params.iter().map(RecordBatch::num_rows).sum();
        let namespace = || session.settings_of(user).map(|settings| settings.schema);
        if plan.weight(rows, &self.catalog.snapshot(), &namespace) == Weight::Heavy {
            running.needs(self.admission.slot(user.no));
        }
        running
    }

    /// Runs one statement. `params`: batches whose columns are `$1, $2, …`; each row is one execution; a query's results
    /// are concatenated, an update's counts added up.
    pub async fn run(
        self: &Arc<Self>,
        user: &Identity,
        session: &Arc<Session>,
        plan: &Plan,
        params: Vec<RecordBatch>,
        running: Running,
    ) -> Result<Outcome> {
        running.does(plan.verb);
        let request = Request::new(self, user, session, &running);
        let work = async {
            // Before its snapshot is taken, and before there is a future of the size that planning takes: many may wait.
            if plan.is_query() && !session.in_transaction() {
                running.enter().await?;
            }
            Box::pin(request.execute(plan, params)).await
        };
        match running.guard(work).await? {
            // What they tell of is done, and they are at hand.
            Outcome::Rows { schema, rows } if plan.is_write() => {
                running.succeeded();
                Ok(Outcome::Rows { schema, rows })
            }
            Outcome::Rows { schema, rows } => Ok(Outcome::Rows { schema, rows: running.watch(rows) }),
            Outcome::Count(count) => {
                running.changed(count);
                running.succeeded();
                drop(running);
                // Who has changed a definition or a right may rely on it that this is written down.
                if plan.verb.is_weighty() {
                    self.trail.settled().await;
                }
                Ok(Outcome::Count(count))
            }
        }
    }

    /// A query whose rows can be read in parts; `None`: it is read whole.
    pub async fn parts(
        self: &Arc<Self>,
        user: &Identity,
        session: &Arc<Session>,
        plan: &Plan,
        params: Vec<RecordBatch>,
    ) -> Result<Option<Arc<Parts>>> {
        let running = &self.begin_planning(user, session, plan).await?;
        let request = Request::new(self, user, session, running);
        let parts = running.guard(Box::pin(request.parts(plan, params))).await?;
        running.succeeded();
        Ok(parts.map(Arc::new))
    }

    /// The rows of one of the parts.
    pub fn part(&self, user: &Identity, parts: &Parts, part: usize, running: Running) -> Result<Outcome> {
        parts.rows(&self.catalog.snapshot(), user, part, running)
    }

    /// Plans and runs one statement.
    pub async fn execute(
        self: &Arc<Self>,
        user: &Identity,
        session: &Arc<Session>,
        sql: &str,
        params: Vec<RecordBatch>,
    ) -> Result<Outcome> {
        let plan = self.plan_in_turn(user, sql).await?;
        let running = self.begin_run(user, session, &plan, &params);
        self.run(user, session, &plan, params, running).await
    }

    /// The statements that run now: the user's own, for an admin everybody's.
    pub fn running(&self, user: &Identity) -> Vec<QueryInfo> {
        self.queries.visible_to(user)
    }

    /// How many run now, of all users.
    pub fn running_count(&self) -> usize {
        self.queries.count()
    }

    /// Cancels a statement of the user, or as admin of anybody.
    pub fn kill(&self, user: &Identity, query: &str) -> Result<()> {
        let killed = self.queries.kill(user, query);
        let result = killed.as_ref().map_or_else(|error| audit::result(error.kind()), |()| audit::OK);
        let event = Event { verb: Some(Verb::Kill), ..Event::new(audit::Kind::Statement, result) };
        self.trail.note(event.by(user));
        killed
    }

    /// Cancels whatever a session has left running.
    pub fn cancel_session(&self, session: &Arc<Session>) {
        self.queries.cancel_session(session);
    }

    /// Cancels whatever runs; for a server that ends.
    pub fn cancel_all(&self) {
        self.queries.cancel_all();
    }

    /// What statements take now: those of a user, or all.
    pub fn load(&self, of: Option<&Identity>) -> Load {
        let of = of.map(|user| user.no);
        let ((computing, waiting), (memory, memory_limit)) = (self.admission.load(of), self.shares.memory(of));
        Load { computing, waiting, memory, memory_limit, spilled: self.shares.spilled(of) }
    }

    pub fn refused(&self) -> Refused {
        Refused { queue: self.admission.refused(), ingest_rate: self.rate.refused() }
    }

    /// Transactions that are open, of all users.
    pub fn transaction_count(&self) -> usize {
        self.transactions.count()
    }

    /// Memory of a user that something takes which is no statement, such as what waits for one.
    pub fn hold(&self, user: &Identity, what: &str, bytes: usize) -> Result<Held> {
        self.shares.of(user.no).hold(what, bytes).map(Held)
    }

    /// Bytes that running statements have reserved, and bytes that they may reserve.
    pub fn memory(&self) -> (usize, usize) {
        self.shares.memory(None)
    }

    /// What each user may have, and all together.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Stores a stream of rows, all or nothing; an error item from the stream (client gone) stores nothing. Returns the
    /// rows stored.
    pub async fn ingest(
        self: &Arc<Self>,
        user: &Identity,
        session: &Arc<Session>,
        target: IngestTarget,
        schema: SchemaRef,
        rows: RowStream,
    ) -> Result<u64> {
        self.run_ingest(user, session, target, schema, rows, self.begin_ingest(user, session)).await
    }

    /// Enters an ingest among the statements that run, to be run by [`Self::run_ingest`].
    pub fn begin_ingest(&self, user: &Identity, session: &Arc<Session>) -> Running {
        let running = self.begin(user, session, &"(ingest)".into());
        running.does(Verb::Ingest);
        running
    }

    pub async fn run_ingest(
        self: &Arc<Self>,
        user: &Identity,
        session: &Arc<Session>,
        target: IngestTarget,
        schema: SchemaRef,
        rows: RowStream,
        running: Running,
    ) -> Result<u64> {
        let request = Request::new(self, user, session, &running);
        running.enter().await?;
        let stored = running.guard(Box::pin(crate::ingest::run(&request, target, schema, rows))).await?;
        running.changed(stored);
        running.succeeded();
        Ok(stored)
    }

    /// Begins a transaction that statements name, by a session [`Session::within`] it. It ends with `session`.
    pub fn begin_transaction(&self, user: &Identity, session: &Arc<Session>) -> Result<Arc<Transaction>> {
        session.settings_of(user)?;
        let running = self.begin_call(user, session, Verb::Begin);
        let begun = self.transactions.begin(user, false).and_then(|transaction| {
            session.note(&transaction)?;
            Ok(transaction)
        });
        running.ended(&begun);
        begun
    }

    /// What a call does to a transaction is told as the SQL of the same effect is: while it takes, among the statements
    /// that run, and then in the audit.
    fn begin_call(&self, user: &Identity, session: &Arc<Session>, verb: Verb) -> Running {
        let running = self.begin(user, session, &verb.name().into());
        running.does(verb);
        running
    }

    /// One of the user's transactions, by [`Transaction::id`].
    pub fn transaction(&self, user: &Identity, id: u64) -> Result<Arc<Transaction>> {
        self.transactions.find(user, id)
    }

    /// Ends a transaction that a call names.
    pub async fn end_transaction(
        &self,
        user: &Identity,
        session: &Arc<Session>,
        transaction: &Arc<Transaction>,
        commits: bool,
    ) -> Result<()> {
        let running = self.begin_call(user, session, if commits { Verb::Commit } else { Verb::Rollback });
        let ended = match commits {
            true => self.commit(transaction).await,
            false => {
                self.roll_back(transaction).await;
                Ok(())
            }
        };
        running.ended(&ended);
        ended
    }

    /// Makes a savepoint, goes back to one, or gives one up, by a call: `work` of [`Transaction`].
    pub async fn savepoint<T>(
        &self,
        user: &Identity,
        session: &Arc<Session>,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let running = self.begin_call(user, session, Verb::Savepoint);
        let done = work.await;
        running.ended(&done);
        done
    }

    /// Stores all that the transaction has written, or nothing: then it is `Aborted`, or names another reason.
    pub async fn commit(&self, transaction: &Arc<Transaction>) -> Result<()> {
        transaction.commit().await?;
        self.transactions.forget(transaction);
        Ok(())
    }

    pub async fn roll_back(&self, transaction: &Arc<Transaction>) {
        transaction.roll_back().await;
        self.transactions.forget(transaction);
    }

    pub fn transaction_limits(&self) -> TransactionLimits {
        self.transactions.limits
    }

    /// Ends transactions that nobody uses any more.
    pub fn sweep(&self) {
        self.transactions.sweep();
    }

    /// Namespaces, in order of name.
    pub fn namespaces(&self, _user: &Identity) -> Vec<String> {
        let snapshot = self.catalog.snapshot();
        let mut names: Vec<String> = snapshot.namespaces().map(String::from).collect();
        names.extend(system::NAMESPACES.map(String::from));
        names.sort_unstable();
        names
    }

    /// Tables that the user may see, in order of namespace and name.
    pub fn tables(&self, user: &Identity) -> Vec<TableInfo> {
        let snapshot = self.catalog.snapshot();
        let info = |table: &Arc<insula_storage::TableDef>| TableInfo {
            namespace: table.namespace.clone(),
            name: table.name.clone(),
            table_type: "TABLE",
            schema: table.schema(),
            key: table.key.iter().map(|i| table.columns[*i].field.name().clone()).collect(),
        };
        let system = system::views().map(|view| TableInfo {
            namespace: view.namespace.into(),
            name: view.name.into(),
            table_type: "SYSTEM TABLE",
            schema: view.schema(),
            key: Vec::new(),
        });
        let mut tables: Vec<_> = snapshot.visible_tables(user).map(info).chain(system).collect();
        tables.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        tables
    }

    /// What was granted on shared tables and namespaces: to whom it may concern, for an admin all.
    pub fn grants(&self, user: &Identity) -> Vec<GrantInfo> {
        let name_of = |no| self.users.identity(no).ok().map(|identity| identity.name.to_string());
        self.catalog.snapshot().grants_of(user, name_of)
    }

    /// Users, in the order of their names: for an admin all, for others themselves.
    pub fn users_list(&self, user: &Identity) -> Vec<UserInfo> {
        self.users.list(user)
    }

    pub fn functions(&self) -> FunctionNames {
        self.functions.names()
    }

    pub async fn close(&self) -> Result<()> {
        let closed = self.store.close().await;
        self.trail.close().await;
        Ok(closed?)
    }

    /// Where entries of the audit go.
    pub fn trail(&self) -> &Arc<Trail> {
        &self.trail
    }

    /// Makes known the server that asks; its sessions and settings are what `system` tells of them.
    pub fn attach(&self, host: &Arc<dyn Host>) {
        self.host.set(Arc::downgrade(host)).ok();
    }

    /// Of the store; counts are of all users' rows.
    pub fn figures(&self) -> Figures {
        self.store.figures()
    }

    /// Makes the context of a statement that names these tables, and nothing more: what the benchmark measures.
    #[doc(hidden)]
    pub fn open_context(
        self: &Arc<Self>,
        user: &Identity,
        session: &Arc<Session>,
        tables: &[&str],
    ) -> Result<Box<dyn std::any::Any + Send>> {
        let running = &self.begin(user, session, &"".into());
        let context = Request::new(self, user, session, running).context(Default::default())?;
        for table in tables {
            context.tables.provider(&datafusion::common::TableReference::bare(*table))?;
        }
        Ok(Box::new(context))
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    pub(crate) fn rate(&self) -> &WriteRate {
        &self.rate
    }

    pub(crate) fn users(&self) -> &Users {
        &self.users
    }

    pub(crate) fn transactions(&self) -> &Transactions {
        &self.transactions
    }

    pub(crate) fn host(&self) -> Option<Arc<dyn Host>> {
        self.host.get().and_then(Weak::upgrade)
    }

    pub(crate) fn queries(&self) -> &Queries {
        &self.queries
    }

    pub(crate) fn template(&self) -> &Template {
        &self.template
    }
}

/// Spilled runs that a sort reads side by side. Without a bound it takes all the memory there is for as many as it can.
const SPILLS_MERGED: usize = 16;

/// What all sessions share: the memory pool, the disk manager for spills, the caches, the cold tier's object store.
fn runtime(store: &Arc<Store>, pool: &Arc<StatementPool>, spill_dir: std::path::PathBuf) -> Result<Arc<RuntimeEnv>> {
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::clone(pool) as _)
        .with_temp_file_path(spill_dir)
        .with_max_spill_merge_fan_in(SPILLS_MERGED)
        // Shares count them, by user.
        .with_max_temp_directory_size(u64::MAX)
        .build_arc()?;
    let url = ObjectStoreUrl::parse(OBJECT_STORE_URL)?;
    runtime.register_object_store(url.as_ref(), store.objects());
    // DataFusion has it there from the start; nothing of ours reads files by it.
    runtime.deregister_object_store(ObjectStoreUrl::local_filesystem().as_ref())?;
    Ok(runtime)
}
