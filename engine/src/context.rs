//! A statement's session context: made fresh for every statement of every user from one template, with a catalog list
//! of its own, so that no registry is ever shared by two users.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::{
    catalog::TableFunctionArgs,
    common::{TableReference, config::ConfigOptions, file_options::file_type::FileType, plan_datafusion_err},
    datasource::{cte_worktable::CteWorkTable, provider_as_source},
    error::Result as PlanResult,
    execution::{SessionState, SessionStateBuilder, TaskContext, memory_pool::MemoryPool, runtime_env::RuntimeEnv},
    logical_expr::{
        AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF,
        planner::{ContextProvider, ExprPlanner, TypePlanner},
    },
    optimizer::{Analyzer, AnalyzerRule, Optimizer, OptimizerRule},
    prelude::SessionConfig,
    sql::{
        planner::{ParserOptions, SqlToRel},
        sqlparser::ast::{ObjectName, Query, Statement as Ast, Visit},
    },
};

use crate::{
    Engine, Identity, Result, Role,
    bounded::{BigLiterals, Room},
    functions::{Constant, Functions, Now, TypedCast, WHERE, WHO},
    guards::Guards,
    intervals::OrderedIntervals,
    moments::ComparedMoments,
    multisets::Multisets,
    outside::{self, Files},
    overflow::CheckedArithmetic,
    session::Settings,
    share::Share,
    similar::WholePatterns,
    sql::{SystemColumns, types::Types},
    statement::held,
    subqueries::{Marks, Subqueries},
    system::{self, Asking, SystemTable},
    table::{CatalogList, Tables},
};

/// So many sorts can begin at least.
const SORTS: usize = 64;

/// Rows of a batch: DataFusion's 8192 from 128 MB on, in proportion below. Operators hold a few batches each at least,
/// and what is read back from disk counts several times, for its columns share one allocation.
fn batch_rows(memory: usize) -> usize {
    (memory >> 14).clamp(1024, 8192)
}

/// DataFusion's rules, with some before its type coercion and some after it.
fn analyzer_rules(room: &Room) -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>> = vec![
        Arc::new(Multisets),
        Arc::new(Subqueries),
        Arc::new(ComparedMoments),
        Arc::new(WholePatterns),
        Arc::new(OrderedIntervals::before_coercion()),
    ];
    rules.extend(Analyzer::new().rules);
    rules.push(Arc::new(Guards));
    rules.push(Arc::new(CheckedArithmetic::new(room)));
    rules.push(Arc::new(OrderedIntervals::after_coercion()));
    rules
}

/// DataFusion's rules for logical plans, and ours before the one that it is for.
fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = Optimizer::new().rules;
    let place = rules.iter().position(|rule| rule.name() == "decorrelate_predicate_subquery").unwrap_or_default();
    rules.insert(place, Arc::new(Marks));
    rules
}

/// What every statement's context is cloned from: configuration, rules, the shared runtime; no functions, no tables.
pub(crate) struct Template {
    state: SessionState,
    /// The same without rules for physical plans. It makes plans only, of sources that are bound already; so it can be
    /// shared, and has no tables at all.
    direct: Arc<SessionState>,
    functions: Arc<Functions>,
    /// What the tables of `system` ask.
    engine: Weak<Engine>,
    /// Admins may reach outside the database.
    external: AtomicBool,
}

impl Template {
    /// `memory`: bytes of the statements of one user.
    pub fn new(
        runtime: Arc<RuntimeEnv>,
        memory: usize,
        room: Room,
        functions: Arc<Functions>,
        engine: Weak<Engine>,
    ) -> Self {
        let mut config = SessionConfig::new()
            .with_batch_size(batch_rows(memory))
            .with_default_catalog_and_schema(Engine::CATALOG, crate::catalog::DEFAULT_NAMESPACE)
            .with_create_default_catalog_and_schema(false)
            .with_information_schema(false);
        let options = config.options_mut();
        options.sql_parser.collect_spans = true;
        // Without one, TIMESTAMP WITH TIME ZONE would be planned as a timestamp without.
        options.execution.time_zone = Some(Settings::DEFAULT_TIME_ZONE.into());
        // Each sort takes so much at its beginning, however few rows it has, that it can merge two runs in any case. Room
        // for all else that a merge needs is kept by the pool.
        options.execution.sort_spill_reservation_bytes = (memory / SORTS).clamp(1 << 20, 10 << 20);
        // On 55.2 the rule that hands a limit to a scan forgets that an order rests on it; then partitions take each
        // other's files, and `ORDER BY key LIMIT n` over files whose keys overlap comes out of order.
        options.execution.enable_file_stream_work_stealing = false;
        // Our scans come divided by rows. Divided anew by bytes, all of a file's rows fall to the partition in which its
        // one row group begins.
        options.optimizer.repartition_file_scans = false;
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(runtime)
            .with_analyzer_rules(analyzer_rules(&room))
            .with_optimizer_rules(optimizer_rules())
            .with_optimizer_rule(Arc::new(BigLiterals { room, rows: batch_rows(memory) }))
            // The only function that an optimizer rule looks up in the session: DISTINCT ON becomes first_value.
            .with_aggregate_functions(functions.aggregate.get("first_value").cloned().into_iter().collect())
            .build();
        let direct = SessionStateBuilder::new_from_existing(state.clone()).with_physical_optimizer_rules(Vec::new());
        Self { state, direct: Arc::new(direct.build()), functions, engine, external: AtomicBool::new(false) }
    }

    pub fn allow_external(&self) {
        self.external.store(true, Ordering::Relaxed);
    }

    pub fn reaches_outside(&self, user: &Identity) -> bool {
        user.role == Role::Admin && self.external.load(Ordering::Relaxed)
    }

    /// What all statements share: caches, and where files are.
    pub fn runtime(&self) -> &RuntimeEnv {
        self.state.runtime_env()
    }

    /// A context for one statement of `user`.
    pub fn context(&self, user: &Identity, settings: Settings, tables: Arc<Tables>, share: &Arc<Share>) -> Context {
        let mut state = self.state.clone();
        state.register_catalog_list(Arc::new(CatalogList(Arc::clone(&tables))));
        if settings.time_zone != Settings::DEFAULT_TIME_ZONE {
            state.config_mut().options_mut().execution.time_zone = Some(settings.time_zone.clone());
        }
        let outside = self.reaches_outside(user).then(Files::default);
        if outside.is_some() {
            state.config_mut().options_mut().optimizer.repartition_file_scans = true;
        }
        state.mark_start_execution();
        Context {
            state,
            // Expressions take their time zone from the state that plans them.
            direct: (settings.time_zone == Settings::DEFAULT_TIME_ZONE).then(|| Arc::clone(&self.direct)),
            functions: Arc::clone(&self.functions),
            types: Arc::new(Types { zone: settings.time_zone.as_str().into() }),
            engine: Weak::clone(&self.engine),
            outside,
            user: user.clone(),
            share: Arc::clone(share),
            settings,
            tables,
        }
    }
}

/// One statement's session: its planner and its tables.
pub(crate) struct Context {
    state: SessionState,
    direct: Option<Arc<SessionState>>,
    functions: Arc<Functions>,
    types: Arc<Types>,
    engine: Weak<Engine>,
    /// Files that the statement names, of a user who may name some.
    outside: Option<Files>,
    user: Identity,
    share: Arc<Share>,
    pub settings: Settings,
    pub tables: Arc<Tables>,
}

impl Context {
    /// The logical plan of one SQL statement; nothing is read or changed.
    pub fn plan(&self, statement: Ast) -> Result<LogicalPlan> {
        Ok(held::text(self.planner().sql_statement_to_plan(statement)?)?)
    }

    pub fn plan_query(&self, query: Query) -> Result<LogicalPlan> {
        self.plan(Ast::Query(Box::new(query)))
    }

    /// Plans an expression that names no column, such as a default.
    pub fn plan_constant(&self, sql: &str) -> Result<Expr> {
        use datafusion::sql::sqlparser::{dialect::GenericDialect, parser::Parser};
        let ast = Parser::new(&GenericDialect {})
            .try_with_sql(sql)
            .and_then(|mut parser| parser.parse_expr())
            .map_err(|e| crate::Error::invalid(format!("\"{sql}\" is no expression: {e}")))?;
        self.plan_constant_ast(ast)
    }

    /// The same of an expression that is parsed already; its errors say where it stands in its statement.
    pub fn plan_constant_ast(&self, ast: datafusion::sql::sqlparser::ast::Expr) -> Result<Expr> {
        let empty = datafusion::common::DFSchema::empty();
        Ok(self.planner().sql_to_expr(ast, &empty, &mut datafusion::sql::planner::PlannerContext::new())?)
    }

    pub fn planner(&self) -> SqlToRel<'_, Self> {
        let options = &self.state.config().options().sql_parser;
        SqlToRel::new_with_options(
            self,
            ParserOptions {
                parse_float_as_decimal: options.parse_float_as_decimal,
                enable_ident_normalization: options.enable_ident_normalization,
                enable_options_value_normalization: options.enable_options_value_normalization,
                support_varchar_with_length: options.support_varchar_with_length,
                map_string_types_to_utf8view: options.map_string_types_to_utf8view,
                collect_spans: options.collect_spans,
                default_null_ordering: options.default_null_ordering.as_str().into(),
            },
        )
    }

    /// Looks at the files among the names of a statement's tables, which must be done before it is planned.
    pub async fn reach<'a>(&self, names: impl IntoIterator<Item = &'a ObjectName>) -> Result<()> {
        match &self.outside {
            Some(files) => files.open(self, names).await,
            None => Ok(()),
        }
    }

    /// The same of all that a piece of syntax names.
    pub async fn reach_of(&self, ast: &impl Visit) -> Result<()> {
        if self.outside.is_some() { self.reach(&outside::relations(ast)).await } else { Ok(()) }
    }

    /// The same without what its session has set, where that is something: what a table is declared with means the same in
    /// all sessions.
    pub fn without_settings(&self) -> Result<Option<Self>> {
        if self.settings.time_zone == Settings::DEFAULT_TIME_ZONE {
            return Ok(None);
        }
        let engine = self.engine.upgrade().ok_or_else(|| crate::Error::internal("the engine is gone"))?;
        let tables = Arc::clone(&self.tables);
        Ok(Some(engine.template().context(&self.user, Settings::default(), tables, &self.share)))
    }

    pub fn state(&self) -> &SessionState {
        &self.state
    }

    fn asking(&self) -> Asking {
        Asking {
            engine: Weak::clone(&self.engine),
            user: self.user.clone(),
            settings: self.settings.clone(),
            catalog: Arc::clone(&self.tables.catalog),
        }
    }

    /// What plans without being optimized, where that is the same.
    pub fn direct(&self) -> Option<&SessionState> {
        self.direct.as_deref()
    }

    /// Plans from now on deal no rows out to other partitions for the sake of the processors alone.
    pub fn without_exchanges(mut self) -> Self {
        self.state.config_mut().options_mut().optimizer.enable_round_robin_repartition = false;
        self
    }

    /// Memory of the statement's user.
    pub fn pool(&self) -> Arc<dyn MemoryPool> {
        Arc::clone(&self.share) as _
    }

    /// What operators run with: memory and temporary files of the statement's user.
    pub fn task(&self) -> Result<Arc<TaskContext>> {
        let none = HashMap::new;
        Ok(Arc::new(TaskContext::new(
            None,
            self.state.session_id().to_owned(),
            self.state.config().clone(),
            none(),
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            self.share.runtime()?,
        )))
    }
}

impl ContextProvider for Context {
    fn get_table_source(&self, name: TableReference) -> PlanResult<Arc<dyn TableSource>> {
        let catalog = name.catalog().unwrap_or(Engine::CATALOG);
        // A bare name may mean one of them too, after `SET schema = system`.
        let namespace = name.schema().unwrap_or(&self.settings.schema);
        if catalog == Engine::CATALOG && system::NAMESPACES.contains(&namespace) {
            let table = SystemTable::new(namespace, name.table(), self.asking())?;
            return Ok(provider_as_source(Arc::new(table)));
        }
        if let Some(files) = &self.outside
            && let Some(table) = outside::table(&name, &self.settings.schema, &self.settings.externals, files)
        {
            return Ok(provider_as_source(table));
        }
        Ok(provider_as_source(self.tables.provider(&name)?))
    }

    fn get_file_type(&self, ending: &str) -> PlanResult<Arc<dyn FileType>> {
        outside::file_type(ending).ok_or_else(|| plan_datafusion_err!("there is no format of files called '{ending}'"))
    }

    fn get_table_function_source(&self, name: &str, args: Vec<Expr>) -> PlanResult<Arc<dyn TableSource>> {
        let function = self
            .functions
            .table
            .get(name)
            .ok_or_else(|| plan_datafusion_err!("table function '{name}' does not exist"))?;
        let provider = function.create_table_provider_with_args(TableFunctionArgs::new(&args, &self.state))?;
        Ok(provider_as_source(provider))
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> PlanResult<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.functions.planners
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::clone(&self.types) as Arc<dyn TypePlanner>)
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        if let Some(name) = WHO.iter().find(|who| **who == name) {
            return Some(Constant::function(name, &self.user.name));
        }
        if let Some(name) = WHERE.iter().find(|place| **place == name) {
            let value = if *name == "current_schema" { &self.settings.schema } else { Engine::CATALOG };
            return Some(Constant::function(name, value));
        }
        if Now::NAMES.contains(&name) && self.settings.time_zone != Settings::DEFAULT_TIME_ZONE {
            return Some(Now::function(&self.settings.time_zone));
        }
        if name == TypedCast::NAME {
            return Some(TypedCast::function());
        }
        self.functions.scalar.get(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.functions.higher_order.get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.functions.aggregate.get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.functions.window.get(name).cloned()
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.functions.scalar.keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.functions.higher_order.keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.functions.aggregate.keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.functions.window.keys().cloned().collect()
    }
}

/// Which system columns the tables of a statement list, and whether they hold soft-deleted rows.
pub(crate) fn visible_columns(named: SystemColumns, settings: &Settings) -> SystemColumns {
    if settings.show_system_columns { SystemColumns::ALL } else { named }
}
