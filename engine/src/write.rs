//! Statements that write. Each is a query of ours whose rows go into a write set: the query is planned like any other
//! SELECT of the user, so that every predicate a SELECT takes works, and the set is committed all or nothing.

mod by_key;
mod insert;
mod intake;
mod merge;
mod plan;
mod returning;
mod subqueries;
mod target;

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::{
    execution::memory_pool::{MemoryConsumer, MemoryReservation},
    logical_expr::LogicalPlan,
    sql::sqlparser::ast::{Delete, Insert, Merge, Statement as Ast, Update},
};
use futures::TryStreamExt;
use insula_storage::{TableDef, Transaction, WriteSet, load::Scope};

use crate::{
    Error, Outcome, Result,
    catalog::Snapshot,
    context::Context,
    sql::SystemColumns,
    statement::{
        Replans, Request, parameters, query,
        told::names_of_write,
        weight::{self, Weight},
    },
    transaction::{Moment, Turn, too_large},
};
pub(crate) use intake::Intake;
use merge::conflict;
use plan::Effect;
pub(crate) use plan::{WritePlan, stored_rows};
use returning::Returned;

/// A statement that writes one table.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Insert(Insert),
    /// An INSERT that changes or passes over the rows whose key lives.
    Upsert(Insert),
    Update(Box<Update>),
    Delete(Delete),
    Merge(Box<Merge>),
}

impl Write {
    pub fn new(ast: Ast) -> Result<Self> {
        target::refuse_target_names(&ast)?;
        match ast {
            Ast::Insert(insert) if conflict::is_said(&insert) => Ok(Self::Upsert(insert)),
            Ast::Insert(insert) => Ok(Self::Insert(insert)),
            Ast::Update(update) => Ok(Self::Update(Box::new(update))),
            Ast::Delete(delete) => Ok(Self::Delete(delete)),
            Ast::Merge(merge) => Ok(Self::Merge(Box::new(merge))),
            Ast::Truncate(truncate) => target::delete_of(truncate).map(Self::Delete),
            _ => Err(Error::internal("not a statement that writes")),
        }
    }

    /// A fresh context for planning and running it.
    pub fn context(&self, request: &Request<'_>, named: SystemColumns) -> Result<Context> {
        match self {
            Self::Insert(_) | Self::Upsert(_) => request.storing_context(named),
            Self::Update(_) | Self::Delete(_) | Self::Merge(_) => request.context(named),
        }
    }

    /// The statement's query, and what happens to its rows. Refused where the user lacks a privilege that it takes.
    pub fn plan(&self, context: &Context) -> Result<WritePlan> {
        let plan = match self {
            Self::Insert(insert) => insert::plan(context, insert),
            Self::Upsert(insert) => conflict::plan(context, insert),
            Self::Merge(merge) => merge::statement::plan(context, merge),
            Self::Update(update) => plan::update(context, update),
            Self::Delete(delete) => plan::delete(context, delete),
        }?;
        Ok(WritePlan { query: subqueries::settle(plan.query)?, ..plan })
    }

    /// The same of a statement that may read files, where its user may.
    pub async fn plan_with_files(&self, context: &Context) -> Result<WritePlan> {
        match self {
            Self::Insert(insert) | Self::Upsert(insert) => context.reach_of(&insert.source).await?,
            Self::Merge(merge) => context.reach_of(&merge.source).await?,
            Self::Update(_) | Self::Delete(_) => {}
        }
        self.plan(context)
    }

    /// How much it asks for with so many rows of parameters. `namespace`: of one-part names.
    pub fn weight(&self, parameters: usize, catalog: &Snapshot, namespace: &dyn Fn() -> Result<String>) -> Weight {
        let (target, selection, others) = match self {
            Self::Insert(insert) | Self::Upsert(insert) => return weight::of_insert(insert, parameters),
            Self::Merge(_) => return Weight::Heavy,
            Self::Update(update) => {
                let reads_more = update.from.is_some()
                    || weight::holds_query(&update.assignments)
                    || weight::holds_query(&update.returning);
                (Some(&update.table), update.selection.as_ref(), reads_more)
            }
            Self::Delete(delete) => {
                let reads_more = delete.using.is_some() || weight::holds_query(&delete.returning);
                (target::of_delete(delete), delete.selection.as_ref(), reads_more)
            }
        };
        let table = target.filter(|_| !others).and_then(|target| target::definition(target, catalog, namespace));
        table.map_or(Weight::Heavy, |table| weight::of_change(table, selection, parameters))
    }

    /// Does it return rows?
    pub fn returns(&self) -> bool {
        match self {
            Self::Insert(insert) | Self::Upsert(insert) => insert.returning.is_some(),
            Self::Update(update) => update.returning.is_some(),
            Self::Delete(delete) => delete.returning.is_some(),
            Self::Merge(merge) => merge.output.is_some(),
        }
    }

    /// Runs once per row of parameters. All executions are one commit; those that change rows see what the ones before
    /// them did. Planned again where the table was altered meanwhile: nothing was written then.
    pub async fn run(&self, request: &Request<'_>, named: SystemColumns, params: Vec<RecordBatch>) -> Result<Outcome> {
        request.may_write().await?;
        let mut replans = Replans::default();
        loop {
            let mut returned = Returned::new(&request.pool());
            let result = match self {
                Self::Insert(_) => self.run_insert(request, named, &params, &mut returned).await,
                _ => self.run_change(request, named, &params, &mut returned).await,
            };
            match result {
                Err(error) if replans.allow(request.engine, &error).await? => {}
                result => return result.map(|count| returned.outcome(request.running, count)),
            }
        }
    }

    /// The same within a transaction: what is written lies there until its commit. Undoing what an error leaves half-done
    /// is the caller's.
    pub async fn run_within(
        &self,
        request: &Request<'_>,
        turn: &mut Turn,
        named: SystemColumns,
        params: Vec<RecordBatch>,
    ) -> Result<Outcome> {
        request.may_write().await?;
        let mut returned = Returned::new(&request.pool());
        if let Some(changed) = self.run_once_within(request, turn, named, &params, &mut returned).await? {
            return Ok(returned.outcome(request.running, changed));
        }
        let mut changed = 0;
        for row in single_rows(&params) {
            changed += self.run_once_within(request, turn, named, &[row], &mut returned).await?.unwrap_or_default();
        }
        Ok(returned.outcome(request.running, changed))
    }

    /// `None`: the rows of parameters must follow one another.
    async fn run_once_within(
        &self,
        request: &Request<'_>,
        turn: &mut Turn,
        named: SystemColumns,
        params: &[RecordBatch],
        returned: &mut Returned,
    ) -> Result<Option<u64>> {
        let mut replans = Replans::default();
        let before = returned.mark();
        loop {
            returned.back_to(before);
            request.running.enter().await?;
            let context = Arc::new(self.context(&request.at(turn.moment(request.engine)?), named)?);
            let plan = self.plan_with_files(&context).await?;
            plan.tell(request)?;
            returned.expect(&plan, params)?;
            let Some(executions) = plan.executions(&context, params).await? else { return Ok(None) };
            match collect(request, &context, &plan, executions, turn.room()?, returned).await {
                Ok((set, memory)) => return turn.write(set, memory).await.map(Some),
                Err(error) if replans.allow(request.engine, &error).await? => turn.renew_catalog(request.engine),
                Err(error) => return Err(error),
            }
        }
    }

    async fn run_insert(
        &self,
        request: &Request<'_>,
        named: SystemColumns,
        params: &[RecordBatch],
        returned: &mut Returned,
    ) -> Result<u64> {
        request.running.enter().await?;
        let context = Arc::new(self.context(request, named)?);
        let plan = self.plan_with_files(&context).await?;
        plan.tell(request)?;
        returned.expect(&plan, params)?;
        let intake = take_in(request, &context, &plan, params, Some(returned)).await?;
        request.running.commits()?;
        intake.commit().await
    }

    /// The lock comes before the snapshot: no other write of this user to this table happens between the two, so what
    /// was read is still true when it is written.
    async fn run_change(
        &self,
        request: &Request<'_>,
        named: SystemColumns,
        params: &[RecordBatch],
        returned: &mut Returned,
    ) -> Result<u64> {
        request.running.enter().await?;
        let context = Arc::new(self.context(request, named)?);
        let plan = self.plan_with_files(&context).await?;
        plan.tell(request)?;
        returned.expect(&plan, params)?;
        let store = request.engine.store();
        // In this order, so that nobody who holds a slot waits for a lock.
        request.running.rest();
        let lock = store.lock(plan.table(), context.tables.owner(plan.table())).await;
        request.running.enter().await?;
        let Some(executions) = plan.executions(&context, params).await? else {
            let changes = self.run_in_turn(request, named, &context, params, returned).await?;
            request.running.commits()?;
            changes.rows.commit_under(&lock).await?;
            return Ok(changes.count);
        };
        let (set, _memory) = collect(request, &context, &plan, executions, usize::MAX, returned).await?;
        if set.affected() == 0 {
            return Ok(0);
        }
        request.running.commits()?;
        Ok(store.commit(&lock, set).await?.rows)
    }

    /// One execution after the other, each of which sees what is written so far, under the definitions of `first`.
    async fn run_in_turn(
        &self,
        request: &Request<'_>,
        named: SystemColumns,
        first: &Context,
        params: &[RecordBatch],
        returned: &mut Returned,
    ) -> Result<Changes> {
        let memory = MemoryConsumer::new("write").register(&first.pool());
        let mut changes = Changes { rows: request.engine.store().transaction(), count: 0, memory };
        for row in single_rows(params) {
            let moment = Moment { view: changes.rows.view(), catalog: Arc::clone(&first.tables.catalog) };
            let context = Arc::new(self.context(&request.at(moment), named)?);
            let plan = self.plan_with_files(&context).await?;
            let executions = plan.executions(&context, &[row]).await?;
            let executions = executions.ok_or_else(|| Error::internal("one row of parameters follows another"))?;
            let (set, _) = collect(request, &context, &plan, executions, usize::MAX, returned).await?;
            changes.memory.try_resize(changes.rows.memory() + set.memory())?;
            changes.count += changes.rows.write(set).await?;
        }
        Ok(changes)
    }
}

struct Executions {
    queries: Vec<LogicalPlan>,
    /// Of rows that the queries hold.
    _memory: MemoryReservation,
}

/// What the executions of one statement wrote, before its commit.
struct Changes {
    rows: Transaction,
    /// A row that was changed twice counts twice.
    count: u64,
    memory: MemoryReservation,
}

/// Each row by itself.
fn single_rows(batches: &[RecordBatch]) -> impl Iterator<Item = RecordBatch> {
    batches.iter().flat_map(|batch| (0..batch.num_rows()).map(|row| batch.slice(row, 1)))
}

/// Runs the query of an INSERT or REPLACE and takes its rows in.
pub(crate) async fn take_in(
    request: &Request<'_>,
    context: &Arc<Context>,
    plan: &WritePlan,
    params: &[RecordBatch],
    mut returned: Option<&mut Returned>,
) -> Result<Intake> {
    let scope = Scope::One(context.tables.owner(plan.table()));
    let mut intake = Intake::new(request.engine.store(), plan.table(), scope, plan.mode()?, &context.pool());
    for execution in parameters::executions(plan.query(), params)? {
        let mut rows = query::rows(context, &execution).await?;
        while let Some(batch) = rows.try_next().await? {
            let rows = plan.inserted(&batch)?;
            if let Some(returned) = &mut returned {
                returned.add(plan, &batch, None)?;
            }
            request.writes(&rows).await?;
            intake.add(rows).await?;
        }
    }
    Ok(intake)
}

/// Runs the query of a statement that writes and gathers what it says is to be written, `room` bytes at most, in memory
/// that is accounted for.
async fn collect(
    request: &Request<'_>,
    context: &Arc<Context>,
    plan: &WritePlan,
    executions: Executions,
    room: usize,
    returned: &mut Returned,
) -> Result<(WriteSet, MemoryReservation)> {
    let owner = context.tables.owner(plan.table());
    let mut set = request.engine.store().write_set(plan.table(), owner);
    let memory = MemoryConsumer::new("write").register(&context.pool());
    for execution in executions.queries {
        let mut rows = query::rows(context, &execution).await?;
        while let Some(batch) = rows.try_next().await? {
            let written = plan.add(&mut set, &batch)?;
            returned.add(plan, &batch, written.as_ref())?;
            memory.try_resize(set.memory())?;
            if set.memory() > room {
                return Err(too_large());
            }
        }
    }
    request.wrote(set.memory() as u64);
    Ok((set, memory))
}

impl WritePlan {
    /// Inserts the rows of a query into a table that is not there yet.
    pub fn fill(context: &Context, table: Arc<TableDef>, query: LogicalPlan) -> Result<Self> {
        Self::new(context, table, query, Effect::Insert)
    }

    /// Tells the statement's place what it is about.
    fn tell(&self, request: &Request<'_>) -> Result<()> {
        request.running.planned();
        request.running.touches(&names_of_write(&self.table.namespace, &self.table.name, &self.query)?);
        Ok(())
    }

    pub fn query(&self) -> &LogicalPlan {
        &self.query
    }

    /// The queries that find at one moment all that is written for these rows of parameters; `None` if one of them might
    /// see what another one did.
    async fn executions(&self, context: &Arc<Context>, params: &[RecordBatch]) -> Result<Option<Executions>> {
        let many = params.iter().map(RecordBatch::num_rows).sum::<usize>() > 1;
        let mut memory = MemoryConsumer::new("write").register(&context.pool());
        let (query, table) = (&self.query, &self.table);
        let queries = match &self.effect {
            Effect::Update(changed) if many => by_key::executions(query, table, changed, params)?,
            Effect::Delete if many => by_key::executions(query, table, &[], params)?,
            Effect::Merge(merge) => merge.executions(context, query, &self.checks, params, &mut memory).await?,
            _ => Some(parameters::executions(query, params)?),
        };
        Ok(queries.map(|queries| Executions { queries, _memory: memory }))
    }

    pub fn table(&self) -> &Arc<TableDef> {
        &self.table
    }
}
