//! Statements that write. Each is a query of ours whose rows go into a write set: the query is planned like any other
//! SELECT of the user, so that every predicate a SELECT takes works, and the set is committed all or nothing.

mod insert;
mod intake;
mod plan;
mod target;

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::{
    execution::memory_pool::{MemoryConsumer, MemoryReservation},
    logical_expr::LogicalPlan,
    sql::sqlparser::ast::{Delete, Insert, Statement as Ast, Update},
};
use futures::TryStreamExt;
use insula_storage::{Store, TableDef, WriteSet, load::Scope};

use crate::{
    Error, Result,
    context::Context,
    sql::SystemColumns,
    statement::{Replans, Request, parameters, query, told::names_of_write},
    transaction::{Turn, too_large},
};
pub(crate) use intake::Intake;
pub(crate) use plan::{WritePlan, rows};

/// A statement that writes one table.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Insert(Insert),
    Update(Box<Update>),
    Delete(Delete),
}

impl Write {
    pub fn new(ast: Ast) -> Result<Self> {
        target::refuse_target_names(&ast)?;
        match ast {
            Ast::Insert(insert) => Ok(Self::Insert(insert)),
            Ast::Update(update) => Ok(Self::Update(Box::new(update))),
            Ast::Delete(delete) => Ok(Self::Delete(delete)),
            Ast::Truncate(truncate) => target::delete_of(truncate).map(Self::Delete),
            _ => Err(Error::internal("not a statement that writes")),
        }
    }

    /// The statement's query, and what happens to its rows. Refused where the user lacks a privilege that it takes.
    pub fn plan(&self, context: &Context) -> Result<WritePlan> {
        match self {
            Self::Insert(insert) => insert::plan(context, insert),
            Self::Update(update) => plan::update(context, update),
            Self::Delete(delete) => plan::delete(context, delete),
        }
    }

    /// The same of a statement that may read files, where its user may.
    pub async fn plan_with_files(&self, context: &Context) -> Result<WritePlan> {
        if let Self::Insert(insert) = self
            && let Some(source) = &insert.source
        {
            context.reach_of(source.as_ref()).await?;
        }
        self.plan(context)
    }

    /// Runs once per row of parameters, and returns the rows changed. All rows of an INSERT are one commit; executions
    /// of UPDATE and DELETE follow one another, because each must see what the one before it did.
    pub async fn run(&self, request: &Request<'_>, named: SystemColumns, params: Vec<RecordBatch>) -> Result<u64> {
        let rows = params.iter().map(RecordBatch::num_rows).sum::<usize>();
        if rows == 0 || matches!(self, Self::Insert(_)) {
            return self.run_once(request, named, &params).await;
        }
        let mut changed = 0;
        for batch in &params {
            for row in 0..batch.num_rows() {
                changed += self.run_once(request, named, &[batch.slice(row, 1)]).await?;
            }
        }
        Ok(changed)
    }

    /// One execution, planned again where the table was altered under it: nothing was written then.
    async fn run_once(&self, request: &Request<'_>, named: SystemColumns, params: &[RecordBatch]) -> Result<u64> {
        let mut replans = Replans::default();
        loop {
            let result = match self {
                Self::Insert(_) => self.run_insert(request, named, params).await,
                _ => self.run_change(request, named, params).await,
            };
            match result {
                Err(error) if replans.allow(request.engine, &error).await? => {}
                result => return result,
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
    ) -> Result<u64> {
        let rows = params.iter().map(RecordBatch::num_rows).sum::<usize>();
        if rows == 0 || matches!(self, Self::Insert(_)) {
            return self.run_once_within(request, turn, named, &params).await;
        }
        let mut changed = 0;
        for batch in &params {
            for row in 0..batch.num_rows() {
                changed += self.run_once_within(request, turn, named, &[batch.slice(row, 1)]).await?;
            }
        }
        Ok(changed)
    }

    async fn run_once_within(
        &self,
        request: &Request<'_>,
        turn: &mut Turn,
        named: SystemColumns,
        params: &[RecordBatch],
    ) -> Result<u64> {
        let mut replans = Replans::default();
        loop {
            let context = Arc::new(request.at(turn.moment(request.engine)?).context(named)?);
            let plan = self.plan_with_files(&context).await?;
            plan.tell(request)?;
            match collect(&context, &plan, params, turn.room()?).await {
                Ok((set, memory)) => return turn.write(set, memory).await,
                Err(error) if replans.allow(request.engine, &error).await? => turn.renew_catalog(request.engine),
                Err(error) => return Err(error),
            }
        }
    }

    async fn run_insert(&self, request: &Request<'_>, named: SystemColumns, params: &[RecordBatch]) -> Result<u64> {
        let context = Arc::new(request.context(named)?);
        let plan = self.plan_with_files(&context).await?;
        plan.tell(request)?;
        let intake = take_in(request.engine.store(), &context, &plan, params).await?;
        request.running.commits()?;
        intake.commit().await
    }

    /// The lock comes before the snapshot: no other write of this user to this table happens between the two, so what
    /// was read is still true when it is written.
    async fn run_change(&self, request: &Request<'_>, named: SystemColumns, params: &[RecordBatch]) -> Result<u64> {
        let context = Arc::new(request.context(named)?);
        let plan = self.plan(&context)?;
        plan.tell(request)?;
        let store = request.engine.store();
        let lock = store.lock(plan.table(), context.tables.owner(plan.table())).await;
        let (set, _memory) = collect(&context, &plan, params, usize::MAX).await?;
        if set.affected() == 0 {
            return Ok(0);
        }
        request.running.commits()?;
        Ok(store.commit(&lock, set).await?.rows)
    }
}

/// Runs the query of an INSERT or REPLACE and takes its rows in.
pub(crate) async fn take_in(
    store: &Arc<Store>,
    context: &Arc<Context>,
    plan: &WritePlan,
    params: &[RecordBatch],
) -> Result<Intake> {
    let scope = Scope::One(context.tables.owner(plan.table()));
    let pool = &context.state().runtime_env().memory_pool;
    let mut intake = Intake::new(store, plan.table(), scope, plan.mode()?, pool);
    for execution in parameters::executions(plan.query(), params)? {
        let mut rows = query::rows(context, &execution).await?;
        while let Some(batch) = rows.try_next().await? {
            intake.add(plan.inserted(&batch)?).await?;
        }
    }
    Ok(intake)
}

/// Runs the query of a statement that writes and gathers what it says is to be written, `room` bytes at most, in memory
/// that is accounted for.
async fn collect(
    context: &Arc<Context>,
    plan: &WritePlan,
    params: &[RecordBatch],
    room: usize,
) -> Result<(WriteSet, MemoryReservation)> {
    let owner = context.tables.owner(plan.table());
    let mut set = WriteSet::new(Arc::clone(plan.table()), owner);
    let memory = MemoryConsumer::new("write").register(&context.state().runtime_env().memory_pool);
    for execution in parameters::executions(plan.query(), params)? {
        let mut rows = query::rows(context, &execution).await?;
        while let Some(batch) = rows.try_next().await? {
            plan.add(&mut set, &batch)?;
            memory.try_resize(set.memory())?;
            if set.memory() > room {
                return Err(too_large());
            }
        }
    }
    Ok((set, memory))
}

impl WritePlan {
    /// Inserts the rows of a query into a table that is not there yet.
    pub fn fill(table: Arc<TableDef>, query: LogicalPlan) -> Self {
        Self { table, query, effect: plan::Effect::Insert }
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

    pub fn table(&self) -> &Arc<TableDef> {
        &self.table
    }
}
