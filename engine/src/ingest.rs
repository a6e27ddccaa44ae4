//! Bulk ingest: a stream of batches into one table, all or nothing; of the caller, or of the users that a column of the
//! stream names (`owners`).

mod owners;

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, new_null_array},
    datatypes::{DataType, Schema, SchemaRef},
};
use datafusion::{execution::memory_pool::MemoryConsumer, logical_expr::LogicalPlan};
use futures::StreamExt;
use insula_storage::{
    TableDef, TableKind,
    load::{Mode, Scope},
    table::stored_type,
};

use crate::{
    Error, ErrorKind, IngestMode, IngestTarget, Result, RowStream,
    checks::Checks,
    context::Context,
    grants::Privilege,
    sql::{SystemColumns, is_system_column},
    statement::{Request, define::of_ingest},
    transaction::{Turn, too_large},
    write::Intake,
};
use owners::{Group, UserColumn};

pub(crate) async fn run(
    request: &Request<'_>,
    target: IngestTarget,
    schema: SchemaRef,
    mut batches: RowStream,
) -> Result<u64> {
    request.running.touches(&[format!("{}.{}", namespace(request, &target)?, target.table).into()].into());
    request.may_write().await?;
    let (catalog, store) = (request.engine.catalog(), request.engine.store());
    if let Some(transaction) = request.session.transaction() {
        let mut turn = transaction.turn().await?;
        if let Some(table) = append_within(request, &mut turn, &target)? {
            return gather_within(request, &mut turn, &table, (&schema, mismatch(target.mode)), batches).await;
        }
    }
    let users = target.user_column.as_deref().map(|name| UserColumn::new(request.user, &schema, name)).transpose()?;
    let schema = users.as_ref().map_or(schema, |users| Arc::clone(&users.rest));
    let (table, is_new) = destination(request, &target, &schema)?;
    let context = request.context(SystemColumns::default())?;
    context.tables.require(&table, Privilege::Insert)?;
    let scope = match &target.user_column {
        None => Scope::One(context.tables.owner(&table)),
        Some(name) => many_users(&table, name)?,
    };
    let mut intake = Intake::new(store, &table, scope, Mode::Insert, &context.pool());
    let shape = Shape::new(&context, &table, &schema, mismatch(target.mode))?;
    let users = match &users {
        None => gather(request, &context, &shape, &mut batches, &mut intake).await.map(|()| None)?,
        Some(column) => Some(gather_owned(request, &context, (&shape, column), &mut batches, &mut intake).await?),
    };
    request.running.commits()?;
    let rows = if is_new {
        let replace = target.mode == IngestMode::Replace;
        catalog.create_filled(&table, request.user.no, intake.filling()?, &[], replace).await?
    } else {
        intake.commit().await?
    };
    if let Some(users) = users {
        tracing::info!(by = %request.user.no, table = %table.id, users, rows, "loaded rows of many users");
    }
    Ok(rows)
}

/// The table, if the rows go into the transaction. Otherwise the ingest is no part of it.
fn append_within(request: &Request<'_>, turn: &mut Turn, target: &IngestTarget) -> Result<Option<Arc<TableDef>>> {
    turn.check_writable("an ingest")?;
    if target.user_column.is_some() {
        turn.renew("a load for many users")?;
        return Ok(None);
    }
    let namespace = namespace(request, target)?;
    let moment = turn.moment(request.engine)?;
    let existing = moment.catalog.table(request.user, &namespace, &target.table).cloned();
    match (target.mode, existing) {
        (_, Err(error)) if error.kind() == ErrorKind::PermissionDenied => Err(error),
        (IngestMode::Append, existing) => Ok(Some(existing?)),
        (IngestMode::CreateAppend, Ok(table)) => Ok(Some(table)),
        _ => turn.renew("a table made by ingest").map(|()| None),
    }
}

async fn gather_within(
    request: &Request<'_>,
    turn: &mut Turn,
    table: &Arc<TableDef>,
    (schema, mismatch): (&Schema, ErrorKind),
    mut batches: RowStream,
) -> Result<u64> {
    let context = request.at(turn.moment(request.engine)?).context(SystemColumns::default())?;
    context.tables.require(table, Privilege::Insert)?;
    let shape = Shape::new(&context, table, schema, mismatch)?;
    let room = turn.room()?;
    let mut set = request.engine.store().write_set(table, context.tables.owner(table));
    let memory = MemoryConsumer::new("ingest").register(&context.pool());
    while let Some(batch) = batches.next().await.transpose()? {
        request.running.took(&batch);
        request.writes(&batch).await?;
        set.insert(&shape.rows(&context, &batch).await?)?;
        memory.try_resize(set.memory())?;
        if set.memory() > room {
            return Err(too_large());
        }
    }
    turn.write(set, memory).await
}

/// The rows are of the users that a column names.
fn many_users(table: &TableDef, column: &str) -> Result<Scope> {
    if table.kind == TableKind::Shared {
        return Err(Error::invalid(format!(
            "table \"{}.{}\" is shared, its rows are nobody's own; ingest without a user column",
            table.namespace, table.name
        )));
    }
    if table.columns.iter().any(|c| c.field.name() == column) {
        return Err(Error::invalid(format!(
            "table \"{}.{}\" has a column \"{column}\" of its own; the user column is not stored, name it otherwise",
            table.namespace, table.name
        )));
    }
    Ok(Scope::Many)
}

/// The table to fill, and whether it is a new one, which appears together with its rows.
fn destination(request: &Request<'_>, target: &IngestTarget, schema: &Schema) -> Result<(Arc<TableDef>, bool)> {
    let namespace = namespace(request, target)?;
    let catalog = request.engine.catalog();
    let existing = catalog.snapshot().table(request.user, &namespace, &target.table).cloned();
    match (target.mode, existing) {
        (_, Err(error)) if error.kind() == ErrorKind::PermissionDenied => return Err(error),
        (IngestMode::Append, existing) => return Ok((existing?, false)),
        (IngestMode::CreateAppend, Ok(table)) => return Ok((table, false)),
        (IngestMode::Create, Ok(_)) => catalog.vacancy(&namespace, &target.table)?,
        _ => {}
    }
    catalog.snapshot().require_create(request.user, &namespace, "creating a table by ingest")?;
    Ok((catalog.declare(of_ingest(namespace, target.table.clone(), schema)?)?, true))
}

/// Who would have the table made meets another one of that name, as ADBC has it.
fn mismatch(mode: IngestMode) -> ErrorKind {
    match mode {
        IngestMode::CreateAppend => ErrorKind::AlreadyExists,
        IngestMode::Create | IngestMode::Append | IngestMode::Replace => ErrorKind::InvalidArgument,
    }
}

fn namespace(request: &Request<'_>, target: &IngestTarget) -> Result<String> {
    match &target.namespace {
        Some(namespace) => Ok(namespace.clone()),
        None => Ok(request.session.settings_of(request.user)?.schema),
    }
}

async fn gather(
    request: &Request<'_>,
    context: &Context,
    shape: &Shape<'_>,
    batches: &mut RowStream,
    intake: &mut Intake,
) -> Result<()> {
    while let Some(batch) = batches.next().await.transpose()? {
        request.running.took(&batch);
        request.writes(&batch).await?;
        intake.add(shape.rows(context, &batch).await?).await?;
    }
    Ok(())
}

/// Returns the number of users.
async fn gather_owned(
    request: &Request<'_>,
    context: &Context,
    (shape, users): (&Shape<'_>, &UserColumn),
    batches: &mut RowStream,
    intake: &mut Intake,
) -> Result<usize> {
    let mut group = Group::new(request.engine, &context.pool());
    while let Some(batch) = batches.next().await.transpose()? {
        request.running.took(&batch);
        request.writes(&batch).await?;
        let (names, rest) = users.split(&batch)?;
        group.add(names, shape.rows(context, &rest).await?, intake).await?;
    }
    group.drain(intake).await?;
    Ok(group.users())
}

/// How the columns of the stream become the columns of the table: by name; what is not sent takes its default.
struct Shape<'a> {
    table: &'a Arc<TableDef>,
    checks: Checks,
    /// Per column of the table: index in the stream.
    sources: Vec<Option<usize>>,
}

impl<'a> Shape<'a> {
    /// `mismatch`: the error when the stream does not fit.
    fn new(context: &Context, table: &'a Arc<TableDef>, schema: &Schema, mismatch: ErrorKind) -> Result<Self> {
        for field in schema.fields() {
            let known = table.columns.iter().find(|column| column.field.name() == field.name());
            let Some(column) = known else { return Err(unknown_column(table, field.name(), mismatch)) };
            check_type(table, column.field.name(), column.field.data_type(), field.data_type(), mismatch)?;
        }
        let index = |name: &str| schema.fields().iter().position(|field| field.name() == name);
        let sources = table.columns.iter().map(|column| index(column.field.name())).collect();
        Ok(Self { table, checks: Checks::of(context, table)?, sources })
    }

    async fn rows(&self, context: &Context, batch: &RecordBatch) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.sources.len());
        for (column, source) in self.table.columns.iter().zip(&self.sources) {
            columns.push(match (source, &column.default) {
                (Some(index), _) => Arc::clone(batch.column(*index)),
                (None, Some(sql)) => default_values(context, sql, batch.num_rows()).await?,
                (None, None) => new_null_array(column.field.data_type(), batch.num_rows()),
            });
        }
        self.checks.rows(columns)
    }
}

/// Ingest converts encodings and widens numbers; anything else is a mistake better told than cast.
fn check_type(table: &TableDef, column: &str, wanted: &DataType, given: &DataType, mismatch: ErrorKind) -> Result<()> {
    let given = stored_type(given)?;
    if given == *wanted || given == DataType::Null || widens(&given, wanted) || same_shape(&given, wanted) {
        return Ok(());
    }
    let message = format!(
        "column \"{column}\" of table \"{}.{}\" is {wanted}, but the stream brings {given}",
        table.namespace, table.name
    );
    Err(Error::new(mismatch, message))
}

fn widens(given: &DataType, wanted: &DataType) -> bool {
    use DataType as T;
    let rank = |t: &T| match t {
        T::Int8 | T::UInt8 => Some(1),
        T::Int16 | T::UInt16 => Some(2),
        T::Int32 | T::UInt32 => Some(3),
        T::Int64 | T::UInt64 => Some(4),
        _ => None,
    };
    match (given, wanted) {
        (T::Utf8 | T::LargeUtf8, T::Utf8 | T::LargeUtf8) | (T::Binary | T::LargeBinary, T::Binary | T::LargeBinary) => {
            true
        }
        (T::Float16, T::Float32 | T::Float64) | (T::Float32, T::Float64) => true,
        // Values that do not fit are refused one by one, by the cast.
        (given, wanted) if rank(given).is_some() && rank(wanted).is_some() => true,
        (T::Decimal128(..) | T::Decimal256(..), T::Decimal128(..) | T::Decimal256(..)) => true,
        (given, T::Float64 | T::Decimal128(..) | T::Decimal256(..)) => rank(given).is_some(),
        (T::Timestamp(_, a), T::Timestamp(_, b)) => a.is_some() == b.is_some(),
        (T::Time32(_) | T::Time64(_), T::Time32(_) | T::Time64(_)) | (T::Date32, T::Date64) => true,
        _ => false,
    }
}

/// Nested types that differ in names or nullability of inner fields only.
fn same_shape(given: &DataType, wanted: &DataType) -> bool {
    given.is_nested() && wanted.is_nested() && given.equals_datatype(wanted)
}

fn unknown_column(table: &TableDef, name: &str, mismatch: ErrorKind) -> Error {
    if is_system_column(name) {
        return Error::invalid(format!("\"{name}\" is a system column and cannot be written"));
    }
    let names = table.columns.iter().map(|c| c.field.name().as_str()).collect::<Vec<_>>().join(", ");
    let message = format!(
        "the stream has a column \"{name}\", but table \"{}.{}\" has only {names}",
        table.namespace, table.name
    );
    Error::new(mismatch, message)
}

/// A default is evaluated per row, since it may differ from row to row.
async fn default_values(context: &Context, sql: &str, count: usize) -> Result<ArrayRef> {
    use datafusion::{logical_expr::LogicalPlanBuilder, physical_plan::collect};
    let expr = context.plan_constant(sql)?;
    let series = datafusion::common::ScalarValue::Int64(Some(0)).to_array_of_size(count)?;
    let batch = RecordBatch::try_from_iter([("n", series)])?;
    let table = datafusion::datasource::MemTable::try_new(batch.schema(), vec![vec![batch]])?;
    let source = datafusion::datasource::provider_as_source(Arc::new(table));
    let plan: LogicalPlan =
        LogicalPlanBuilder::scan("defaults", source, None)?.project([expr.alias("value")])?.build()?;
    let physical = context.state().create_physical_plan(&plan).await?;
    let batches = collect(physical, context.task()?).await?;
    let batch = arrow::compute::concat_batches(&physical_schema(&batches)?, &batches)?;
    Ok(Arc::clone(batch.column(0)))
}

fn physical_schema(batches: &[RecordBatch]) -> Result<SchemaRef> {
    batches.first().map(RecordBatch::schema).ok_or_else(|| Error::new(ErrorKind::Internal, "a default has no value"))
}
