//! `INSERT … ON CONFLICT`: the proposed rows are the source, and match the row of the target that has their key.

use std::{ops::ControlFlow, sync::Arc};

use arrow::datatypes::DataType;
use datafusion::{
    common::{Column, ScalarValue},
    functions::math::expr_fn::isnan,
    logical_expr::{Expr as PlanExpr, LogicalPlan, LogicalPlanBuilder, lit, when},
    sql::sqlparser::ast::{
        Assignment, ConflictTarget, DoUpdate, Expr, Ident, Insert, ObjectName, OnConflict, OnConflictAction, OnInsert,
        SqliteOnConflict, VisitMut, visit_expressions, visit_expressions_mut,
    },
};
use insula_storage::TableDef;

use super::{
    Key, Repeated,
    pairs::{Change, Clause, Matching, NewValue, Pairs},
};
use crate::{
    Error, Result,
    context::Context,
    grants::Privilege,
    sql::{is_default_keyword, normalize, quoted},
    write::{
        insert,
        plan::{WritePlan, assignments, column_index},
        returning,
        target::TargetTable,
    },
};

/// How expressions call the row that was to be inserted.
const EXCLUDED: &str = "excluded";

/// Does the INSERT say what becomes of a row whose key lives, other than that it is an error or replaces that row?
pub(in crate::write) fn is_said(insert: &Insert) -> bool {
    insert.on.is_some() || matches!(insert.or, Some(SqliteOnConflict::Ignore))
}

pub(in crate::write) fn plan(context: &Context, insert: &Insert) -> Result<WritePlan> {
    let (key, update) = parts(insert)?;
    let table = insert::table(context, insert)?;
    check_key(&table, key)?;
    let alias = insert.table_alias.as_ref().map_or_else(|| quoted(&table.name), |alias| alias.alias.clone());
    if normalize(&alias) == EXCLUDED {
        return Err(Error::invalid("\"excluded\" is the proposed row; give the table an alias: INSERT INTO t AS a …"));
    }
    let mut clauses = vec![Clause { matching: Matching::Source, condition: None, change: proposed_row(&table) }];
    clauses.extend(update.map(|update| clause_of(context, &table, update.clone())).transpose()?);
    let source = renamed(insert::proposed(context, &table, insert)?, &table)?;
    let target = TargetTable::of(context, &table, alias)?;
    let pairs = Pairs::new(context, &target, source)?;
    let (keys, on) = matching(&pairs, &table)?;
    let (name, repeated) = match update {
        Some(_) => ("ON CONFLICT DO UPDATE", Repeated::Refused),
        None => ("ON CONFLICT DO NOTHING", Repeated::Dropped),
    };
    let plan = pairs.plan(name, on, clauses, Some(keys), repeated)?;
    returning::add(context, plan, target.name(), insert.returning.as_ref())
}

/// The key that the statement names, and what it does if that lives.
fn parts(insert: &Insert) -> Result<(Option<&ConflictTarget>, Option<&DoUpdate>)> {
    match (&insert.on, insert.or) {
        (Some(_), Some(_)) => Err(Error::invalid("INSERT takes either OR or ON CONFLICT")),
        (Some(OnInsert::OnConflict(OnConflict { conflict_target, action })), None) => match action {
            OnConflictAction::DoNothing => Ok((conflict_target.as_ref(), None)),
            OnConflictAction::DoUpdate(update) => Ok((conflict_target.as_ref(), Some(update))),
        },
        (Some(_), None) => Err(Error::unimplemented("ON DUPLICATE KEY is not there; use ON CONFLICT DO UPDATE")),
        (None, _) => Ok((None, None)),
    }
}

/// There is nothing but the primary key that could conflict.
fn check_key(table: &TableDef, named: Option<&ConflictTarget>) -> Result<()> {
    if table.has_row_id() {
        let name = table.full_name();
        return Err(Error::invalid(format!("table \"{name}\" has no primary key, so none of its rows can conflict")));
    }
    let mut key: Vec<&str> = table.key.iter().map(|i| table.columns[*i].field.name().as_str()).collect();
    let refused = || {
        Error::invalid(format!("ON CONFLICT takes the primary key of \"{}\": ({})", table.full_name(), key.join(", ")))
    };
    let named = match named {
        None => return Ok(()),
        Some(ConflictTarget::OnConstraint(_)) => return Err(refused()),
        Some(ConflictTarget::Columns(columns)) => columns,
    };
    let mut named: Vec<String> = named.iter().map(normalize).collect();
    named.sort_unstable();
    let refused = refused();
    key.sort_unstable();
    if named == key { Ok(()) } else { Err(refused) }
}

fn proposed_row(table: &TableDef) -> Change {
    let columns = table.columns.iter().map(|column| NewValue::Source(excluded(column.field.name())));
    Change::Insert(columns.collect())
}

/// What DO UPDATE does, by a user who may. Reading the proposed row takes no privilege, reading the one that lives does.
fn clause_of(context: &Context, table: &Arc<TableDef>, mut update: DoUpdate) -> Result<Clause> {
    context.tables.require(table, Privilege::Update)?;
    let reads = |Assignment { value, .. }: &Assignment| reads_living(value);
    if update.assignments.iter().any(reads) || update.selection.as_ref().is_some_and(reads_living) {
        context.tables.require(table, Privilege::Select)?;
    }
    name_excluded(table, &mut update.assignments)?;
    name_excluded(table, &mut update.selection)?;
    let change = Change::Update(assignments(table, &update.assignments)?);
    Ok(Clause { matching: Matching::Both, condition: update.selection, change })
}

fn reads_living(expr: &Expr) -> bool {
    let found = visit_expressions(expr, |expr| match expr {
        Expr::CompoundIdentifier(idents) if is_excluded(idents) => ControlFlow::Continue(()),
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) if !is_default_keyword(expr) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

fn is_excluded(idents: &[Ident]) -> bool {
    matches!(idents, [relation, _] if normalize(relation) == EXCLUDED)
}

/// A column of the proposed row. Its name is not that of the table's column, so that a bare name means the row that lives.
fn excluded(column: &str) -> Column {
    Column::new(Some(EXCLUDED), format!("{EXCLUDED} {column}"))
}

/// `excluded.c` as [`excluded`] names it.
fn name_excluded(table: &TableDef, within: &mut impl VisitMut) -> Result<()> {
    let named = visit_expressions_mut(within, |expr| {
        if let Expr::CompoundIdentifier(idents) = expr
            && is_excluded(idents)
        {
            let name = idents.pop().into_iter().collect::<Vec<_>>();
            let column = match column_index(table, &ObjectName::from(name)) {
                Ok(column) => table.columns[column].field.name(),
                Err(error) => return ControlFlow::Break(error),
            };
            idents.push(quoted(&excluded(column).name));
        }
        ControlFlow::Continue(())
    });
    match named {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn renamed(proposed: LogicalPlan, table: &TableDef) -> Result<LogicalPlan> {
    let columns: Vec<PlanExpr> = proposed
        .schema()
        .iter()
        .zip(&table.columns)
        .map(|((qualifier, field), column)| {
            let named = excluded(column.field.name());
            PlanExpr::Column(Column::from((qualifier, field))).alias_qualified(named.relation, named.name)
        })
        .collect();
    Ok(LogicalPlanBuilder::from(proposed).project(columns)?.build()?)
}

/// The columns of the key on both sides, and the condition that they are the same.
fn matching(pairs: &Pairs<'_>, table: &TableDef) -> Result<(Vec<Key>, PlanExpr)> {
    let mut keys = Vec::new();
    let mut on: Option<PlanExpr> = None;
    for source in &table.key {
        let field = &table.columns[*source].field;
        let (target, proposed) = (pairs.target_column(field.name()), PlanExpr::Column(excluded(field.name())));
        let data_type = field.data_type();
        let same = as_key(target.clone(), data_type)?.eq(as_key(proposed, data_type)?);
        on = Some(on.map_or_else(|| same.clone(), |on| on.and(same.clone())));
        keys.push(Key { target, source: *source });
    }
    Ok((keys, on.ok_or_else(|| Error::internal("a table without a key has none to compare"))?))
}

/// Keys take all zeros for one, and all that is not a number; comparisons of floats do not.
fn as_key(value: PlanExpr, data_type: &DataType) -> Result<PlanExpr> {
    if !data_type.is_floating() {
        return Ok(value);
    }
    let literal = |number: f64| ScalarValue::Float64(Some(number)).cast_to(data_type).map(|value| lit(value));
    let positive = value.clone() + literal(0.0)?;
    Ok(when(isnan(value), literal(f64::NAN)?).otherwise(positive)?)
}
