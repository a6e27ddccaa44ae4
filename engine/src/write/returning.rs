//! `RETURNING`: further columns of the query of a statement that writes, computed from the rows as they are written. So
//! what fails there fails before the commit, and what is returned is as many rows as are changed.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{BooleanArray, RecordBatch},
    compute::filter_record_batch,
    datatypes::{Field, Schema, SchemaRef},
};
use datafusion::{
    common::{Column, DFSchema, TableReference},
    execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation},
    logical_expr::{Expr as PlanExpr, LogicalPlan, LogicalPlanBuilder},
    sql::{
        planner::PlannerContext,
        sqlparser::ast::{OutputClause, SelectItem, SelectItemQualifiedWildcardKind},
    },
};
use futures::{StreamExt, stream};
use insula_storage::load::memory_of;

use super::plan::{Effect, WritePlan};
use crate::{
    Error, Outcome, Result, Running,
    context::Context,
    grants::Privilege,
    sql::{normalize, parts},
    statement::{many, output, parameters},
};

/// The columns of a query that the statement returns.
#[derive(Debug)]
pub(super) struct Returning {
    /// They are those from this one on.
    first: usize,
    names: Vec<String>,
}

/// `RETURNING`, of those statements that the parser takes it for as a kind of `OUTPUT`.
pub(super) fn of_output(output: Option<&OutputClause>) -> Result<Option<&Vec<SelectItem>>> {
    match output {
        None => Ok(None),
        Some(OutputClause::Returning { select_items, .. }) => Ok(Some(select_items)),
        Some(OutputClause::Output { .. }) => Err(Error::unimplemented("OUTPUT is not there; use RETURNING")),
    }
}

/// The same plan, returning what the items say of the rows that it writes. `name`: by which they mean the table.
pub(super) fn add(
    context: &Context,
    plan: WritePlan,
    name: TableReference,
    items: Option<&Vec<SelectItem>>,
) -> Result<WritePlan> {
    let Some(items) = items else { return Ok(plan) };
    context.tables.require(&plan.table, Privilege::Select)?;
    let first = plan.query.schema().fields().len();
    let written = with_written(&plan, &name)?;
    let scope = written.schema().iter().filter(|(qualifier, _)| *qualifier == Some(&name));
    let scope = scope.map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field))).collect();
    let scope = DFSchema::new_with_metadata(scope, HashMap::new())?;
    let mut columns: Vec<PlanExpr> = (0..first).map(numbered).collect();
    let mut names = Vec::new();
    for item in items {
        for (expr, name) in expressions(context, item, &scope, &name)? {
            columns.push(expr.alias(format!("returned {}", names.len())));
            names.push(name);
        }
    }
    let query = LogicalPlanBuilder::from(written).project(columns)?.build()?;
    Ok(WritePlan { query, returning: Some(Returning { first, names }), ..plan })
}

/// The query's columns by their numbers, and the written row as one of the table.
fn with_written(plan: &WritePlan, name: &TableReference) -> Result<LogicalPlan> {
    let query: Vec<PlanExpr> =
        plan.query.schema().iter().map(|(of, field)| PlanExpr::Column(Column::from((of, field)))).collect();
    let mut columns: Vec<PlanExpr> =
        query.iter().enumerate().map(|(i, column)| column.clone().alias(i.to_string())).collect();
    for (i, column) in plan.table.columns.iter().enumerate() {
        let written = plan.effect.written(plan.table.columns.len(), i);
        columns.push(query[written].clone().alias_qualified(Some(name.clone()), column.field.name()));
    }
    Ok(LogicalPlanBuilder::from(plan.query.clone()).project(columns)?.build()?)
}

impl Effect {
    /// Which column of the query is a declared column of the rows that are written; of those that are deleted, as it was.
    fn written(&self, declared: usize, column: usize) -> usize {
        match self {
            Self::Insert | Self::Replace | Self::Delete => column,
            Self::Update(changed) => {
                changed.iter().position(|changed| *changed == column).map_or(column, |place| declared + place)
            }
            Self::Merge(_) => declared + column,
        }
    }
}

fn numbered(i: usize) -> PlanExpr {
    PlanExpr::Column(Column::new_unqualified(i.to_string()))
}

/// What one item stands for, with names.
fn expressions(
    context: &Context,
    item: &SelectItem,
    scope: &DFSchema,
    table: &TableReference,
) -> Result<Vec<(PlanExpr, String)>> {
    let all = || scope.iter().map(|of| (PlanExpr::Column(Column::from(of)), of.1.name().clone())).collect();
    let planned = |expr| {
        let expr = context.planner().sql_to_expr(expr, scope, &mut PlannerContext::new())?;
        let gathers = |expr: &PlanExpr| {
            matches!(expr, PlanExpr::AggregateFunction(_) | PlanExpr::WindowFunction(_) | PlanExpr::Unnest(_))
        };
        match many::holds(&expr, gathers)? {
            true => Err(Error::invalid("RETURNING takes values of single rows, no aggregates")),
            false => Ok(expr),
        }
    };
    match item {
        SelectItem::Wildcard(_) => Ok(all()),
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _)
            if parts(name)?.last().is_some_and(|name| name == table.table()) =>
        {
            Ok(all())
        }
        SelectItem::UnnamedExpr(expr) => {
            let expr = planned(expr.clone())?;
            let name = match &expr {
                PlanExpr::Column(column) => column.name.clone(),
                expr => expr.schema_name().to_string(),
            };
            Ok(vec![(expr, name)])
        }
        SelectItem::ExprWithAlias { expr, alias } => Ok(vec![(planned(expr.clone())?, normalize(alias))]),
        other => Err(Error::invalid(format!("RETURNING does not take {other}"))),
    }
}

impl WritePlan {
    /// Of what is returned, if anything is. `bound`: types of the parameters that are bound already.
    pub fn returned_schema(&self, bound: Option<&Schema>) -> Result<Option<SchemaRef>> {
        let Some(Returning { first, names }) = &self.returning else { return Ok(None) };
        let parameters = parameters::schema(&self.query, bound)?;
        let query = output::schema(&parameters::with_types(&self.query, &parameters)?);
        let fields = query.fields()[*first..].iter().zip(names);
        let fields = fields.map(|(field, name)| Field::new(name, field.data_type().clone(), field.is_nullable()));
        Ok(Some(Arc::new(Schema::new(fields.collect::<Vec<_>>()))))
    }
}

/// What one statement returns of the rows that it has written so far.
pub(crate) struct Returned {
    schema: Option<SchemaRef>,
    rows: Vec<RecordBatch>,
    memory: MemoryReservation,
}

impl Returned {
    pub fn new(pool: &Arc<dyn MemoryPool>) -> Self {
        Self { schema: None, rows: Vec::new(), memory: MemoryConsumer::new("returned rows").register(pool) }
    }

    /// Executions of this plan follow.
    pub fn expect(&mut self, plan: &WritePlan, params: &[RecordBatch]) -> Result<()> {
        let bound = params.first().map(RecordBatch::schema);
        self.schema = plan.returned_schema(bound.as_deref())?;
        Ok(())
    }

    /// One batch of the plan's query; of its rows those that were `written`, or all.
    pub fn add(&mut self, plan: &WritePlan, batch: &RecordBatch, written: Option<&BooleanArray>) -> Result<()> {
        let (Some(schema), Some(returning)) = (&self.schema, &plan.returning) else { return Ok(()) };
        let columns: Vec<usize> = (returning.first..batch.num_columns()).collect();
        let mut rows = batch.project(&columns)?;
        if let Some(written) = written {
            rows = filter_record_batch(&rows, written)?;
        }
        let rows = output::conform(&rows, schema)?;
        self.memory.try_grow(memory_of(&rows))?;
        self.rows.push(rows);
        Ok(())
    }

    /// How much there is so far.
    pub fn mark(&self) -> usize {
        self.rows.len()
    }

    /// Forgets what came since then.
    pub fn back_to(&mut self, mark: usize) {
        let dropped = self.rows.drain(mark.min(self.rows.len())..).map(|rows| memory_of(&rows)).sum();
        self.memory.shrink(dropped);
    }

    /// What the statement comes to, `count` rows having been changed.
    pub fn outcome(self, running: &Running, count: u64) -> Outcome {
        running.changed(count);
        let Self { schema, rows, memory } = self;
        match schema {
            None => Outcome::Count(count),
            Some(schema) => {
                let rows = stream::iter(rows).map(move |rows| {
                    let _ = &memory;
                    Ok(rows)
                });
                Outcome::Rows { schema, rows: rows.boxed() }
            }
        }
    }
}

#[cfg(test)]
mod tests;
