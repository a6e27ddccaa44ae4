//! The source first. Where a statement compares the whole key with columns of its source, the source is run by itself,
//! and then the target is asked for these keys alone: a row of a large table is found by a seek and not by a scan.

use std::{collections::HashSet, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, BooleanArray, RecordBatch},
    compute::{CastOptions, cast, cast_with_options, concat_batches, filter_record_batch},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use datafusion::{
    catalog::MemTable,
    common::{Column, DFSchema, ScalarValue},
    datasource::provider_as_source,
    execution::memory_pool::MemoryReservation,
    logical_expr::{BinaryExpr, Expr, Join, LogicalPlan, LogicalPlanBuilder, Operator, Projection, expr::InList},
};
use futures::TryStreamExt;
use insula_storage::{
    KeyCodec,
    load::{compact, memory_of},
};

use super::{Merge, Repeated};
use crate::{
    Error, Result,
    checks::Checks,
    context::Context,
    statement::{
        many, output,
        parameters::{self, Bindings},
        query,
    },
    types::plain_type,
};

/// Rows of the source that one query is made for: as many single keys as a scan seeks.
const PIECE: usize = 1_024;
/// Pieces beyond which one join over the whole table costs less.
const PIECES: usize = 16;

/// A column of the table's key, and the column of the source that it has to equal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    pub target: Expr,
    /// Index among the columns of the source.
    pub source: usize,
}

impl Key {
    /// If the condition says that the target's column equals one of the source.
    pub fn compared(condition: &Expr, target: &Expr, source: &DFSchema) -> Option<Self> {
        let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else { return None };
        let other = if left.as_ref() == target { right } else { Some(left).filter(|_| right.as_ref() == target)? };
        let Expr::Column(column) = other.as_ref() else { return None };
        Some(Self { target: target.clone(), source: source.maybe_index_of_column(column)? })
    }
}

/// The parts of a query of pairs.
struct Parts<'a> {
    /// From the outermost on.
    projections: Vec<&'a Projection>,
    join: &'a LogicalPlan,
    source: &'a LogicalPlan,
    target: &'a LogicalPlan,
}

impl<'a> Parts<'a> {
    fn of(query: &'a LogicalPlan) -> Result<Self> {
        let (mut join, mut projections) = (query, Vec::new());
        while let LogicalPlan::Projection(projection) = join {
            projections.push(projection);
            join = &projection.input;
        }
        match join {
            LogicalPlan::Join(Join { left, right, .. }) => Ok(Self { projections, join, source: left, target: right }),
            _ => Err(Error::internal("the query of a merge is none of pairs")),
        }
    }

    /// The same query over other inputs.
    fn over(&self, source: LogicalPlan, target: LogicalPlan) -> Result<LogicalPlan> {
        let mut plan = self.join.with_new_exprs(self.join.expressions(), vec![source, target])?;
        for projection in self.projections.iter().rev() {
            plan = LogicalPlan::Projection(Projection::try_new(projection.expr.clone(), Arc::new(plan))?);
        }
        Ok(plan)
    }
}

impl Merge {
    /// The queries of one execution, or of one for each of many rows of parameters. `None`: these must follow one another.
    pub async fn executions(
        &self,
        context: &Arc<Context>,
        query: &LogicalPlan,
        checks: &Checks,
        params: &[RecordBatch],
        memory: &mut MemoryReservation,
    ) -> Result<Option<Vec<LogicalPlan>>> {
        let many = params.iter().map(RecordBatch::num_rows).sum::<usize>() > 1;
        if many {
            let Some(query) = self.over_rows(query, params)? else { return Ok(None) };
            return self.staged(context, &query, checks, many, memory).await;
        }
        let mut queries = Vec::new();
        for query in parameters::executions(query, params)? {
            queries.extend(self.staged(context, &query, checks, many, memory).await?.unwrap_or_default());
        }
        Ok(Some(queries))
    }

    /// One query over all rows of parameters, if they do nothing but make the rows of the source, of which no two are
    /// two rows of the target.
    fn over_rows(&self, query: &LogicalPlan, params: &[RecordBatch]) -> Result<Option<LogicalPlan>> {
        let parts = Parts::of(query)?;
        if self.repeated == Repeated::Pairs {
            return Ok(None);
        }
        for expr in parts.projections.iter().flat_map(|projection| &projection.expr) {
            if many::holds(expr, |expr| many::is_parameter(expr) || many::is_subquery(expr))? {
                return Ok(None);
            }
        }
        let bound = params.first().map(RecordBatch::schema);
        let rows = Bindings::new(&parameters::schema(query, bound.as_deref())?, params)?.into_batches();
        let source = many::over_rows(parts.source, &rows)?;
        source.map(|source| parts.over(source, parts.target.clone())).transpose()
    }

    /// `None`: the rows of parameters have a key twice, and the second one is to see what the first one did.
    async fn staged(
        &self,
        context: &Arc<Context>,
        query: &LogicalPlan,
        checks: &Checks,
        many: bool,
        memory: &mut MemoryReservation,
    ) -> Result<Option<Vec<LogicalPlan>>> {
        let Some(keys) = self.keys.as_ref().filter(|_| !self.sees_all) else { return Ok(Some(vec![query.clone()])) };
        let parts = Parts::of(query)?;
        let source = parts.source.schema();
        let mut rows = self.rows(context, parts.source, memory).await?;
        if self.repeated != Repeated::Pairs {
            let (first, repeats) = first_of_each_key(rows, keys, checks, memory)?;
            // Batches of parameters may have come out of their order.
            if repeats && many {
                return Ok(None);
            }
            if repeats && self.repeated == Repeated::Refused {
                return Err(self.second_time());
            }
            rows = first;
        }
        let count: usize = rows.iter().map(RecordBatch::num_rows).sum();
        if count > PIECE * PIECES {
            return Ok(Some(vec![parts.over(held(source, rows)?, parts.target.clone())?]));
        }
        let rows = concat_batches(&numbered(source), &rows)?;
        let mut queries = Vec::new();
        for from in (0..count).step_by(PIECE) {
            let rows = rows.slice(from, PIECE.min(count - from));
            let target = sought(parts.target, keys, &rows)?;
            queries.push(parts.over(held(source, vec![rows])?, target)?);
        }
        Ok(Some(queries))
    }

    /// All rows of the source.
    async fn rows(
        &self,
        context: &Arc<Context>,
        source: &LogicalPlan,
        memory: &mut MemoryReservation,
    ) -> Result<Vec<RecordBatch>> {
        let schema = numbered(source.schema());
        let mut held = Vec::new();
        let mut rows = query::rows(context, source).await?;
        while let Some(batch) = rows.try_next().await? {
            let batch = compact(output::conform(&batch, &schema)?);
            memory.try_grow(memory_of(&batch))?;
            held.push(batch);
        }
        Ok(held)
    }
}

/// The columns of a source, which may have the same name twice, by their numbers.
fn numbered(source: &DFSchema) -> SchemaRef {
    let fields = source.fields().iter().enumerate();
    Arc::new(Schema::new(
        fields.map(|(i, field)| Field::new(i.to_string(), field.data_type().clone(), true)).collect::<Vec<_>>(),
    ))
}

/// Rows that are there, in the place of the source that they come from.
fn held(source: &DFSchema, rows: Vec<RecordBatch>) -> Result<LogicalPlan> {
    let table = MemTable::try_new(numbered(source), vec![rows])?;
    let scan = LogicalPlanBuilder::scan("(source)", provider_as_source(Arc::new(table)), None)?;
    let columns = source.iter().enumerate().map(|(i, (qualifier, field))| {
        Expr::Column(Column::new(Some("(source)"), i.to_string())).alias_qualified(qualifier.cloned(), field.name())
    });
    Ok(scan.project(columns.collect::<Vec<_>>())?.build()?)
}

/// The target's rows that may have one of these keys. The join says so, too; but by this the scan seeks them.
fn sought(target: &LogicalPlan, keys: &[Key], rows: &RecordBatch) -> Result<LogicalPlan> {
    let mut plan = LogicalPlanBuilder::from(target.clone());
    for Key { target: column, source } in keys {
        let Expr::Column(name) = column else { continue };
        let data_type = target.schema().qualified_field_from_column(name)?.1.data_type();
        if let Some(values) = values(rows.column(*source), data_type)? {
            let list = values.into_iter().map(|value| Expr::Literal(value, None)).collect();
            plan = plan.filter(Expr::InList(InList::new(Box::new(column.clone()), list, false)))?;
        }
    }
    Ok(plan.build()?)
}

/// The different values of a column as the target's type has them, where equal ones are the same.
fn values(column: &ArrayRef, data_type: &DataType) -> Result<Option<HashSet<ScalarValue>>> {
    let same = column.data_type() == data_type
        || column.data_type().is_integer() && data_type.is_integer()
        || plain_type(column.data_type()) == plain_type(data_type);
    if data_type.is_floating() || !same {
        return Ok(None);
    }
    let strict = CastOptions { safe: false, ..Default::default() };
    // What does not fit equals nothing; the join will see to it.
    let Ok(column) = cast_with_options(column, &plain_type(data_type), &strict) else { return Ok(None) };
    let valid = (0..column.len()).filter(|row| column.is_valid(*row));
    Ok(Some(valid.map(|row| ScalarValue::try_from_array(&column, row)).collect::<Result<_, _>>()?))
}

/// The proposed rows without those whose key an earlier one has, and whether there are such.
fn first_of_each_key(
    rows: Vec<RecordBatch>,
    keys: &[Key],
    checks: &Checks,
    memory: &mut MemoryReservation,
) -> Result<(Vec<RecordBatch>, bool)> {
    let table = checks.table();
    let codec = KeyCodec::new(table)?;
    let types: Vec<&DataType> = table.key.iter().map(|column| table.columns[*column].field.data_type()).collect();
    let (mut seen, mut repeats) = (HashSet::new(), false);
    let mut firsts = Vec::with_capacity(rows.len());
    for rows in rows {
        // As in PostgreSQL: also those that do not become rows, since it is another one that lives under their key.
        checks.require(rows.columns())?;
        let columns = keys.iter().zip(&types).map(|(key, of)| cast(rows.column(key.source), of));
        let encoded = codec.encode(&columns.collect::<Result<Vec<_>, _>>()?)?;
        let mut bytes = 0;
        let first: BooleanArray = (0..rows.num_rows())
            .map(|row| {
                let key = encoded.row(row);
                let is_first = !seen.contains(key) && seen.insert(key.to_vec());
                bytes += if is_first { key.len() + size_of::<Vec<u8>>() } else { 0 };
                Some(is_first)
            })
            .collect();
        memory.try_grow(bytes)?;
        match first.has_false() {
            true => firsts.push(filter_record_batch(&rows, &first)?),
            false => firsts.push(rows),
        }
        repeats |= first.has_false();
    }
    Ok((firsts, repeats))
}
