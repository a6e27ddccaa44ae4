//! UPDATE and DELETE as queries: the target's old rows (and row ids), and for UPDATE the new values beside them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt64Array};
use arrow::datatypes::UInt64Type;
use datafusion::{
    logical_expr::{Expr as PlanExpr, LogicalPlan, LogicalPlanBuilder},
    sql::sqlparser::ast::{
        Assignment, AssignmentTarget, Delete, Expr, FromTable, ObjectName, SelectItem, TableWithJoins, Update,
        UpdateTableFromKind,
    },
};
use insula_storage::{TableDef, WriteSet, load::Mode, table};

use super::{
    merge::Merge,
    returning::{self, Returning},
    target::{TargetTable, reads_columns, select},
};
use crate::{
    Error, Result,
    checks::Checks,
    context::Context,
    grants::Privilege,
    sql::{exact, is_default_keyword, is_system_column, normalize, quoted},
};

/// The query of a statement that writes, and what its rows mean.
#[derive(Debug)]
pub(crate) struct WritePlan {
    pub(super) table: Arc<TableDef>,
    /// What the rows that it makes have to meet.
    pub(super) checks: Checks,
    pub(super) query: LogicalPlan,
    pub(super) effect: Effect,
    pub(super) returning: Option<Returning>,
}

/// Columns of the query: all declared columns of the table, then what the effect names, then the row id if there is no
/// primary key (not for the inserts).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    Insert,
    Replace,
    /// Indices of the declared columns that get a new value, in the order of the query's further columns.
    Update(Vec<usize>),
    Delete,
    /// What each row says; see there for its columns.
    Merge(Merge),
}

impl WritePlan {
    /// One that returns no rows.
    pub fn new(context: &Context, table: Arc<TableDef>, query: LogicalPlan, effect: Effect) -> Result<Self> {
        let checks = match effect {
            Effect::Delete => Checks::none(&table),
            Effect::Insert | Effect::Replace | Effect::Update(_) | Effect::Merge(_) => Checks::of(context, &table)?,
        };
        Ok(Self { table, checks, query, effect, returning: None })
    }

    /// What an INSERT or REPLACE does about keys that live.
    pub fn mode(&self) -> Result<Mode> {
        match self.effect {
            Effect::Insert => Ok(Mode::Insert),
            Effect::Replace => Ok(Mode::Replace),
            Effect::Update(_) | Effect::Delete | Effect::Merge(_) => {
                Err(Error::internal("a change of old rows is no insert"))
            }
        }
    }

    /// The rows that an INSERT or REPLACE makes of one batch of the query.
    pub fn inserted(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        self.checks.rows(batch.columns()[..self.table.columns.len()].to_vec())
    }

    /// Puts one batch of the query's rows into the set. Returns which of them are written, where not all are.
    pub fn add(&self, set: &mut WriteSet, batch: &RecordBatch) -> Result<Option<BooleanArray>> {
        let declared = self.table.columns.len();
        let columns = batch.columns();
        let old = &columns[..declared];
        let ids = |at: usize| row_ids(columns.get(at).filter(|_| self.table.has_row_id()));
        match &self.effect {
            Effect::Merge(merge) => return merge.add(&self.checks, set, batch).map(Some),
            Effect::Insert => {
                set.insert(&self.inserted(batch)?)?;
                return Ok(None);
            }
            Effect::Replace => {
                set.replace(&self.inserted(batch)?)?;
                return Ok(None);
            }
            Effect::Delete => set.delete(ids(declared)?, &stored_rows(&self.table, old.to_vec())?)?,
            Effect::Update(changed) => {
                let mut new = old.to_vec();
                for (i, column) in changed.iter().enumerate() {
                    new[*column] = Arc::clone(&columns[declared + i]);
                }
                let ids = ids(declared + changed.len())?;
                set.update(ids, &stored_rows(&self.table, old.to_vec())?, &self.checks.rows(new)?)?;
            }
        }
        if set.passed().is_empty() {
            return Ok(None);
        }
        let mut written = vec![true; batch.num_rows()];
        set.passed().iter().for_each(|row| written[*row] = false);
        Ok(Some(BooleanArray::from(written)))
    }
}

pub(super) fn row_ids(column: Option<&ArrayRef>) -> Result<Option<&UInt64Array>> {
    let not_ids = || Error::internal("the query of a write has no row ids");
    column.map(|column| column.as_primitive_opt::<UInt64Type>().ok_or_else(not_ids)).transpose()
}

/// The columns as rows of the table; where NOT NULL is violated, the error names the column. New rows are made by
/// [`Checks::rows`], which asks more of them.
pub(crate) fn stored_rows(table: &TableDef, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    check_not_null(table, &columns)?;
    crate::statement::output::conform_columns(columns, &table.schema())
}

fn check_not_null(table: &TableDef, columns: &[ArrayRef]) -> Result<()> {
    for (field, column) in table.schema().fields().iter().zip(columns) {
        if !field.is_nullable() && column.null_count() > 0 {
            return Err(Error::invalid(format!(
                "null value in column \"{}\" of table \"{}.{}\" violates NOT NULL",
                field.name(),
                table.namespace,
                table.name
            )));
        }
    }
    Ok(())
}

pub(super) fn delete(context: &Context, delete: &Delete) -> Result<WritePlan> {
    let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
    let [target] = from.as_slice() else {
        return Err(Error::invalid("DELETE changes one table; name further tables in USING"));
    };
    if !delete.tables.is_empty() || !delete.order_by.is_empty() || delete.limit.is_some() {
        return Err(Error::invalid("DELETE takes FROM, USING and WHERE"));
    }
    returning::of_output(delete.output.as_ref())?;
    let target = TargetTable::new(context, target, Privilege::Delete)?;
    if delete.selection.is_some() || delete.using.is_some() {
        context.tables.require(&target.table, Privilege::Select)?;
    }
    let mut projection = target.old_columns();
    projection.extend(target.row_id());
    let query = select(&target, delete.using.clone().unwrap_or_default(), delete.selection.clone(), projection)?;
    let (query, name) = (context.plan_query(query)?, target.name());
    let plan = WritePlan::new(context, target.table, query, Effect::Delete)?;
    returning::add(context, plan, name, delete.returning.as_ref())
}

pub(super) fn update(context: &Context, update: &Update) -> Result<WritePlan> {
    if update.or.is_some() || !update.order_by.is_empty() || update.limit.is_some() {
        return Err(Error::invalid("UPDATE takes SET, FROM and WHERE"));
    }
    returning::of_output(update.output.as_ref())?;
    let target = TargetTable::new(context, &update.table, Privilege::Update)?;
    let from: Vec<TableWithJoins> = match &update.from {
        None => Vec::new(),
        Some(UpdateTableFromKind::BeforeSet(from) | UpdateTableFromKind::AfterSet(from)) => from.clone(),
    };
    let assigned = assignments(&target.table, &update.assignments)?;
    if update.selection.is_some() || !from.is_empty() || assigned.iter().any(|(_, value)| reads_columns(value)) {
        context.tables.require(&target.table, Privilege::Select)?;
    }
    let mut projection = target.old_columns();
    for (i, (column, value)) in assigned.iter().enumerate() {
        let mut value = if is_default_keyword(value) { default_of(&target.table, *column)? } else { value.clone() };
        exact::for_column(&mut value, target.table.columns[*column].field.data_type());
        projection.push(SelectItem::ExprWithAlias { expr: value, alias: quoted(&format!("new {i}")) });
    }
    projection.extend(target.row_id());
    let changed: Vec<usize> = assigned.into_iter().map(|(column, _)| column).collect();
    let query = select(&target, from, update.selection.clone(), projection)?;
    let query = assign(context.plan_query(query)?, &target.table, &changed)?;
    let name = target.name();
    let plan = WritePlan::new(context, target.table, query, Effect::Update(changed))?;
    returning::add(context, plan, name, update.returning.as_ref())
}

/// `SET` as pairs of column index and value.
pub(super) fn assignments(table: &TableDef, assignments: &[Assignment]) -> Result<Vec<(usize, Expr)>> {
    let mut assigned: Vec<(usize, Expr)> = Vec::new();
    for Assignment { target, value } in assignments {
        let pairs: Vec<(&ObjectName, Expr)> = match (target, value) {
            (AssignmentTarget::ColumnName(name), value) => vec![(name, value.clone())],
            (AssignmentTarget::Tuple(names), Expr::Tuple(values)) if names.len() == values.len() => {
                names.iter().zip(values.iter().cloned()).collect()
            }
            (AssignmentTarget::Tuple(_), _) => {
                return Err(Error::invalid("SET (a, b, …) takes as many values in parentheses"));
            }
        };
        for (name, value) in pairs {
            let column = column_index(table, name)?;
            if assigned.iter().any(|(known, _)| *known == column) {
                return Err(Error::invalid(format!("column \"{name}\" is set twice")));
            }
            assigned.push((column, value));
        }
    }
    Ok(assigned)
}

/// Index of a declared column; system columns cannot be written.
pub(super) fn column_index(table: &TableDef, name: &ObjectName) -> Result<usize> {
    let ident = name.0.last().and_then(|part| part.as_ident());
    let column = ident.map(normalize).unwrap_or_default();
    if let Some(index) = table.columns.iter().position(|c| *c.field.name() == column) {
        return Ok(index);
    }
    if is_system_column(&column) {
        return Err(Error::invalid(format!("\"{column}\" is a system column and cannot be written")));
    }
    let names = table.columns.iter().map(|c| c.field.name().as_str());
    let hint = crate::catalog::nearest(&column, names).map(|n| format!("; did you mean \"{n}\"?")).unwrap_or_default();
    let (line, place) = ident.map_or((0, 0), |ident| (ident.span.start.line, ident.span.start.column));
    Err(Error::invalid(format!(
        "column \"{column}\" does not exist in table \"{}.{}\"{hint} at Line: {line}, Column: {place}",
        table.namespace, table.name
    )))
}

/// The declared default as an expression; NULL where there is none.
pub(super) fn default_of(table: &TableDef, column: usize) -> Result<Expr> {
    use datafusion::sql::sqlparser::{dialect::GenericDialect, parser::Parser};
    let text = table.columns[column].default.as_deref().unwrap_or("NULL");
    Parser::new(&GenericDialect {})
        .try_with_sql(text)
        .and_then(|mut parser| parser.parse_expr())
        .map_err(|e| Error::internal(format!("a stored default cannot be parsed: {e}")))
}

/// Casts the new values to the types of their columns; a bare parameter takes its column's type.
fn assign(query: LogicalPlan, table: &TableDef, changed: &[usize]) -> Result<LogicalPlan> {
    let declared = table.columns.len();
    let query = typed_parameters(query, table, changed)?;
    let schema = Arc::clone(query.schema());
    let mut projection = Vec::new();
    for (i, (qualifier, field)) in schema.iter().enumerate() {
        let column = PlanExpr::Column(datafusion::common::Column::from((qualifier, field)));
        let new = i.checked_sub(declared).and_then(|i| changed.get(i));
        projection.push(match new {
            Some(new) => {
                use datafusion::logical_expr::ExprSchemable;
                let name = field.name().clone();
                column.cast_to(table.columns[*new].field.data_type(), &schema)?.alias(name)
            }
            None => column,
        });
    }
    Ok(LogicalPlanBuilder::from(query).project(projection)?.build()?)
}

fn typed_parameters(query: LogicalPlan, table: &TableDef, changed: &[usize]) -> Result<LogicalPlan> {
    let LogicalPlan::Projection(mut projection) = query else { return Ok(query) };
    let declared = table.columns.len();
    for (i, column) in changed.iter().enumerate() {
        let field = &table.columns[*column].field;
        if let Some(PlanExpr::Alias(alias)) = projection.expr.get_mut(declared + i)
            && let PlanExpr::Placeholder(parameter) = alias.expr.as_mut()
        {
            parameter.field.get_or_insert_with(|| Arc::clone(field));
        }
    }
    Ok(LogicalPlanBuilder::from(projection.input.as_ref().clone()).project(projection.expr)?.build()?)
}

/// Name of the hidden row id in the query of a write.
pub(super) const ROW_ID: &str = table::ROW_ID;
