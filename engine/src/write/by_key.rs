//! An UPDATE or DELETE that is run for many rows of parameters, each of which names one row of the table by its key.
//!
//! Drivers send batches of a thousand rows this way. Where the keys differ, none of these executions could see what
//! another one did, so they are one: the table joined with the parameters, of which planning costs a thousandth.

use std::{collections::HashSet, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, RecordBatch},
    row::{RowConverter, SortField},
};
use datafusion::{
    common::ScalarValue,
    logical_expr::{
        BinaryExpr, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Operator, Projection, expr::InList,
        utils::split_conjunction,
    },
};
use insula_storage::TableDef;

use crate::{
    Result,
    statement::{
        many,
        parameters::{self, Bindings},
    },
    types::plain_type,
};

/// Rows of parameters that one query is made for: as many single keys as a scan seeks.
const ROWS: usize = 1_024;

/// The queries over all rows of parameters, or `None` if an execution might see what another one did. `changed`: the
/// declared columns that get new values.
pub(super) fn executions(
    query: &LogicalPlan,
    table: &TableDef,
    changed: &[usize],
    params: &[RecordBatch],
) -> Result<Option<Vec<LogicalPlan>>> {
    let Some(keys) = keys(query, table, changed)? else { return Ok(None) };
    let bound = params.first().map(RecordBatch::schema);
    let declared = parameters::schema(query, bound.as_deref())?;
    let batches = Bindings::new(&declared, params)?.into_batches();
    if !are_distinct(table, &keys, &batches)? {
        return Ok(None);
    }
    let mut queries = Vec::new();
    for batch in batches {
        for from in (0..batch.num_rows()).step_by(ROWS) {
            queries.push(joined(query, &keys, &batch.slice(from, ROWS.min(batch.num_rows() - from)))?);
        }
    }
    Ok(Some(queries))
}

/// A column of the table's key, and the parameter that it has to equal.
struct Key {
    column: Expr,
    /// Index among the declared columns.
    declared: usize,
    /// Index among the parameters.
    parameter: usize,
}

/// What the statement compares the table's whole key with, if those are parameters, if it reads no other row, and if it
/// leaves the keys as they are.
fn keys(query: &LogicalPlan, table: &TableDef, changed: &[usize]) -> Result<Option<Vec<Key>>> {
    if table.has_row_id() || changed.iter().any(|column| table.key.contains(column)) {
        return Ok(None);
    }
    let Some(predicate) = predicate(query)? else { return Ok(None) };
    let mut keys = Vec::new();
    for declared in &table.key {
        let field = &table.columns[*declared].field;
        // Floats equal each other that are not the same.
        let name = Some(field.name()).filter(|_| !field.data_type().is_floating());
        let found = split_conjunction(predicate).into_iter().find_map(|filter| compared(filter, name?));
        let Some((column, parameter)) = found else { return Ok(None) };
        keys.push(Key { column, declared: *declared, parameter });
    }
    Ok(Some(keys))
}

/// The condition of a query that projects and filters the rows of one table, and does nothing else.
fn predicate(query: &LogicalPlan) -> Result<Option<&Expr>> {
    let mut node = query;
    while let LogicalPlan::Projection(projection) = node {
        for expr in &projection.expr {
            if many::holds(expr, many::is_subquery)? {
                return Ok(None);
            }
        }
        node = &projection.input;
    }
    let LogicalPlan::Filter(Filter { predicate, input, .. }) = node else { return Ok(None) };
    let reads_one = match input.as_ref() {
        LogicalPlan::SubqueryAlias(alias) => matches!(alias.input.as_ref(), LogicalPlan::TableScan(_)),
        other => matches!(other, LogicalPlan::TableScan(_)),
    };
    Ok(Some(predicate)
        .filter(|_| reads_one)
        .filter(|predicate| matches!(many::holds(predicate, many::is_subquery), Ok(false))))
}

/// The column and the number of the parameter, if the filter says that the column of this name equals one.
fn compared(filter: &Expr, name: &str) -> Option<(Expr, usize)> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = filter else { return None };
    let pair = |column: &Expr, parameter: &Expr| match (column, parameter) {
        (Expr::Column(of), Expr::Placeholder(parameter)) if of.name == name => {
            let number: usize = parameter.id.strip_prefix('$')?.parse().ok()?;
            Some((column.clone(), number.checked_sub(1)?))
        }
        _ => None,
    };
    pair(left, right).or_else(|| pair(right, left))
}

/// Are the keys of all rows others, and none of them null? They are compared as what the table has.
fn are_distinct(table: &TableDef, keys: &[Key], batches: &[RecordBatch]) -> Result<bool> {
    let types = keys.iter().map(|key| table.columns[key.declared].field.data_type());
    let converter = RowConverter::new(types.clone().map(|of| SortField::new(plain_type(of))).collect())?;
    let mut seen = HashSet::new();
    for batch in batches {
        let columns: Vec<ArrayRef> = keys.iter().map(|key| Arc::clone(batch.column(key.parameter))).collect();
        let is_plain = columns.iter().zip(types.clone()).all(|(column, of)| *column.data_type() == plain_type(of));
        if !is_plain || columns.iter().any(|column| column.logical_null_count() > 0) {
            return Ok(false);
        }
        let rows = converter.convert_columns(&columns)?;
        if !rows.iter().all(|row| seen.insert(row.owned())) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The query with the rows of parameters beside the table's, and their values in the place of the parameters.
fn joined(query: &LogicalPlan, keys: &[Key], rows: &RecordBatch) -> Result<LogicalPlan> {
    Ok(match query {
        LogicalPlan::Projection(Projection { expr, input, .. }) => {
            let expr = expr.iter().map(|expr| many::as_columns(expr.clone())).collect::<Result<_, _>>()?;
            LogicalPlan::Projection(Projection::try_new(expr, Arc::new(joined(input, keys, rows)?))?)
        }
        LogicalPlan::Filter(Filter { predicate, input, .. }) => {
            let mut table = LogicalPlanBuilder::from(input.as_ref().clone());
            for key in keys {
                // The join says so, too; but by this the scan seeks the keys.
                let values = rows.column(key.parameter);
                let list =
                    (0..values.len()).map(|row| Ok(Expr::Literal(ScalarValue::try_from_array(values, row)?, None)));
                let list = list.collect::<Result<_>>()?;
                table = table.filter(Expr::InList(InList::new(Box::new(key.column.clone()), list, false)))?;
            }
            let parameters = many::scan(std::slice::from_ref(rows))?;
            table.cross_join(parameters)?.filter(many::as_columns(predicate.clone())?)?.build()?
        }
        other => other.clone(),
    })
}

#[cfg(test)]
mod tests;
