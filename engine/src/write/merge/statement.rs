//! `MERGE INTO`, as in PostgreSQL.

use datafusion::{
    common::Column,
    logical_expr::LogicalPlan,
    sql::sqlparser::ast::{
        self, Assignment, AssignmentTarget, Expr, MergeAction, MergeClause, MergeClauseKind, MergeInsertExpr,
        MergeInsertKind, ObjectName, TableWithJoins,
    },
};
use insula_storage::TableDef;

use super::{
    Action, Repeated,
    pairs::{Change, Clause, Matching, NewValue, Pairs},
};
use crate::{
    Error, Result,
    context::Context,
    grants::Privilege,
    sql::{NOTHING, normalize},
    write::{
        plan::{WritePlan, assignments, column_index},
        returning,
        target::{TargetTable, select_all},
    },
};

/// A clause says something of each column of the table, so many of them are a plan that is large for its text.
const MOST_CLAUSES: usize = 64;

pub(in crate::write) fn plan(context: &Context, merge: &ast::Merge) -> Result<WritePlan> {
    let returned = returning::of_output(merge.output.as_ref())?;
    if merge.clauses.is_empty() || merge.clauses.len() > MOST_CLAUSES {
        return Err(Error::invalid(format!("MERGE takes 1 to {MOST_CLAUSES} WHEN clauses")));
    }
    let target = TableWithJoins { relation: merge.table.clone(), joins: Vec::new() };
    // To find what matches is to read.
    let target = TargetTable::new(context, &target, Privilege::Select)?;
    let source = context.plan_query(select_all(merge.source.clone())?)?;
    check_names(&source, &target)?;
    let clauses = merge.clauses.iter().map(|clause| self::clause(clause, &target.table, &source));
    let clauses = clauses.collect::<Result<Vec<_>>>()?;
    check_reachable(&clauses)?;
    for clause in &clauses {
        let privilege = match clause.change.action() {
            Action::Nothing => continue,
            Action::Insert => Privilege::Insert,
            Action::Update => Privilege::Update,
            Action::Delete => Privilege::Delete,
        };
        context.tables.require(&target.table, privilege)?;
    }
    let pairs = Pairs::new(context, &target, source)?;
    let on = pairs.over_both(merge.on.as_ref().clone())?;
    let keys = pairs.keys(&on);
    let plan = pairs.plan("MERGE", on, clauses, keys, Repeated::Pairs)?;
    returning::add(context, plan, target.name(), returned)
}

/// Each side has a name of its own.
fn check_names(source: &LogicalPlan, target: &TargetTable) -> Result<()> {
    let name = target.name();
    for (qualifier, _) in source.schema().iter() {
        let Some(qualifier) = qualifier else {
            return Err(Error::invalid("the source of MERGE needs an alias: MERGE INTO t USING (…) AS s ON …"));
        };
        if qualifier.table() == name.table() {
            return Err(Error::invalid(format!(
                "\"{}\" is both target and source of MERGE; give one of them an alias",
                name.table()
            )));
        }
    }
    Ok(())
}

fn check_reachable(clauses: &[Clause]) -> Result<()> {
    for (i, clause) in clauses.iter().enumerate() {
        if clause.condition.is_none() && clauses[i + 1..].iter().any(|later| later.matching == clause.matching) {
            return Err(Error::invalid("a WHEN clause of MERGE stands behind one of its kind that has no condition"));
        }
    }
    Ok(())
}

fn clause(clause: &MergeClause, table: &TableDef, source: &LogicalPlan) -> Result<Clause> {
    let matching = match clause.clause_kind {
        MergeClauseKind::Matched => Matching::Both,
        MergeClauseKind::NotMatched | MergeClauseKind::NotMatchedByTarget => Matching::Source,
        MergeClauseKind::NotMatchedBySource => Matching::Target,
    };
    let change = match &clause.action {
        MergeAction::Delete { .. } => Change::Delete,
        MergeAction::Update(update) => match update.assignments.as_slice() {
            _ if update.update_predicate.is_some() || update.delete_predicate.is_some() => return Err(no_where()),
            [Assignment { target: AssignmentTarget::ColumnName(name), .. }] if is_nothing(name) => Change::Nothing,
            assigned => Change::Update(assignments(table, assigned)?),
        },
        MergeAction::Insert(insert) => inserted(insert, table, source)?,
    };
    Ok(Clause { matching, condition: clause.predicate.clone(), change })
}

fn inserted(insert: &MergeInsertExpr, table: &TableDef, source: &LogicalPlan) -> Result<Change> {
    if insert.insert_predicate.is_some() {
        return Err(no_where());
    }
    let given: Vec<NewValue> = match &insert.kind {
        MergeInsertKind::Row => source.schema().iter().map(|column| NewValue::Source(Column::from(column))).collect(),
        MergeInsertKind::Values(values) => match values.rows.as_slice() {
            [row] => match row.content.as_slice() {
                [Expr::Identifier(name)] if normalize(name) == NOTHING => return Ok(Change::Nothing),
                row => row.iter().cloned().map(NewValue::Of).collect(),
            },
            _ => return Err(Error::invalid("INSERT in MERGE takes one row of VALUES")),
        },
    };
    let columns: Vec<usize> = match insert.columns.as_slice() {
        [] => (0..table.columns.len()).collect(),
        names => names.iter().map(|name| column_index(table, name)).collect::<Result<_>>()?,
    };
    // As in an INSERT, fewer values than columns fill the first ones where no columns are named.
    let fits = if insert.columns.is_empty() { given.len() <= columns.len() } else { given.len() == columns.len() };
    if !fits {
        let (given, columns) = (given.len(), columns.len());
        return Err(Error::invalid(format!("INSERT in MERGE has {given} values for {columns} columns")));
    }
    let mut values: Vec<Option<NewValue>> = table.columns.iter().map(|_| None).collect();
    for (column, value) in columns.into_iter().zip(given) {
        if values[column].replace(value).is_some() {
            let name = table.columns[column].field.name();
            return Err(Error::invalid(format!("column \"{name}\" is named twice")));
        }
    }
    Ok(Change::Insert(values.into_iter().map(|value| value.unwrap_or(NewValue::Default)).collect()))
}

/// What `DO NOTHING` is read as.
fn is_nothing(name: &ObjectName) -> bool {
    name.0.last().and_then(|part| part.as_ident()).is_some_and(|ident| normalize(ident) == NOTHING)
}

fn no_where() -> Error {
    Error::invalid("a clause of MERGE takes its condition as WHEN … AND condition THEN …")
}
