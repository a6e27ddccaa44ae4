//! INSERT and REPLACE. DataFusion plans the source against the target's columns (casts, defaults, parameter types); we
//! take the query it makes of that and leave its INSERT node.

use std::sync::Arc;

use datafusion::{
    common::TableReference,
    logical_expr::{Expr as PlanExpr, LogicalPlan},
    sql::sqlparser::{
        ast::{Insert, ObjectName, Query, SetExpr, SqliteOnConflict, Statement as Ast, TableObject},
        dialect::GenericDialect,
        parser::Parser,
    },
};
use insula_storage::TableDef;

use super::{
    plan::{Effect, WritePlan, column_index},
    returning,
};
use crate::{
    Error, Result,
    context::Context,
    grants::Privilege,
    sql::{exact, is_default_keyword, normalize, parts, quoted},
    table::filled_name,
};

pub(super) fn plan(context: &Context, insert: &Insert) -> Result<WritePlan> {
    let effect = effect(insert)?;
    let table = table(context, insert)?;
    if effect == Effect::Replace {
        context.tables.require(&table, Privilege::Update)?;
    }
    let query = proposed(context, &table, insert)?;
    let name = insert.table_alias.as_ref().map_or_else(|| table.name.clone(), |alias| normalize(&alias.alias));
    let plan = WritePlan::new(context, table, query, effect)?;
    returning::add(context, plan, TableReference::bare(name), insert.returning.as_ref())
}

fn effect(insert: &Insert) -> Result<Effect> {
    match (insert.replace_into, insert.or) {
        (true, _) | (_, Some(SqliteOnConflict::Replace)) => Ok(Effect::Replace),
        (_, None) => Ok(Effect::Insert),
        (_, Some(other)) => Err(Error::unimplemented(format!(
            "INSERT {other} is not there; use INSERT, OR REPLACE, OR IGNORE, or ON CONFLICT"
        ))),
    }
}

/// The table that is filled, by a user who may do that.
pub(super) fn table(context: &Context, insert: &Insert) -> Result<Arc<TableDef>> {
    returning::of_output(insert.output.as_ref())?;
    if insert.overwrite || insert.partitioned.is_some() || insert.ignore || !insert.assignments.is_empty() {
        return Err(Error::invalid("INSERT takes VALUES or a query"));
    }
    let TableObject::TableName(name) = &insert.table else {
        return Err(Error::invalid("INSERT takes the name of a table"));
    };
    let table = context.tables.definition(&parts(name)?)?;
    context.tables.require(table, Privilege::Insert)?;
    Ok(Arc::clone(table))
}

/// The rows that are to be inserted, with all declared columns.
pub(super) fn proposed(context: &Context, table: &Arc<TableDef>, insert: &Insert) -> Result<LogicalPlan> {
    let mut insert = insert.clone();
    (insert.replace_into, insert.or, insert.on) = (false, None, None);
    (insert.table_alias, insert.returning) = (None, None);
    if insert.source.is_none() && insert.format_clause.is_none() && insert.settings.is_none() {
        insert.source = Some(default_values()?);
    }
    check_columns(table, &mut insert)?;
    settle_values(table, &mut insert)?;
    context.tables.set_filled(table, defaults(context, table)?);
    insert.table = TableObject::TableName(ObjectName::from(filled_name(table).map(quoted).to_vec()));
    let LogicalPlan::Dml(dml) = context.plan(Ast::Insert(insert))? else {
        return Err(Error::internal("INSERT was not planned as one"));
    };
    Ok(dml.input.as_ref().clone())
}

/// Every named column is a declared one; without a list, all declared columns are meant, and never a system column.
fn check_columns(table: &TableDef, insert: &mut Insert) -> Result<()> {
    for name in &insert.columns {
        column_index(table, name)?;
    }
    if insert.columns.is_empty() && insert.source.is_some() {
        let count = match insert.source.as_ref().map(|source| source.body.as_ref()) {
            // As in PostgreSQL, fewer values than columns fill the first ones; the rest take their defaults.
            Some(SetExpr::Values(values)) => values.rows.first().map_or(0, |row| row.content.len()),
            _ => table.columns.len(),
        };
        if count > table.columns.len() {
            return Err(Error::invalid(format!(
                "INSERT has {count} values, but table \"{}.{}\" has {} columns",
                table.namespace,
                table.name,
                table.columns.len()
            )));
        }
        let names = table.columns.iter().take(count);
        insert.columns = names.map(|column| ObjectName::from(quoted(column.field.name()))).collect();
    }
    Ok(())
}

/// What `DEFAULT VALUES` means: a row of which nothing is given.
fn default_values() -> Result<Box<Query>> {
    let parsed = Parser::new(&GenericDialect {}).try_with_sql("VALUES (DEFAULT)").and_then(|mut p| p.parse_query());
    parsed.map_err(|_| Error::internal("the parser does not know VALUES"))
}

/// `DEFAULT` as a value, and decimals with all their digits.
fn settle_values(table: &TableDef, insert: &mut Insert) -> Result<()> {
    let Some(source) = &mut insert.source else {
        return Err(Error::invalid("INSERT takes VALUES or a query"));
    };
    let SetExpr::Values(values) = source.body.as_mut() else { return Ok(()) };
    for row in &mut values.rows {
        for (value, column) in row.content.iter_mut().zip(&insert.columns) {
            let column = column_index(table, column)?;
            if is_default_keyword(value) {
                *value = super::plan::default_of(table, column)?;
            }
            exact::for_column(value, table.columns[column].field.data_type());
        }
    }
    Ok(())
}

fn defaults(context: &Context, table: &TableDef) -> Result<Vec<(String, PlanExpr)>> {
    let with_default = table.columns.iter().filter_map(|column| Some((column, column.default.as_deref()?)));
    with_default.map(|(column, sql)| Ok((column.field.name().clone(), context.plan_constant(sql)?))).collect()
}
