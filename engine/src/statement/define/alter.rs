//! `ALTER TABLE`: the syntax tree as actions that storage carries out, all or nothing.

use std::sync::Arc;

use arrow::array::ArrayRef;
use datafusion::{
    common::{DFSchema, ScalarValue},
    logical_expr::{ExprSchemable, LogicalPlanBuilder},
    physical_plan::collect,
    sql::sqlparser::ast::{
        AlterColumnOperation, AlterTable, AlterTableOperation, ColumnDef, DataType as SqlType, Expr, Ident,
        RenameTableNameKind,
    },
};
use insula_storage::{Alteration, NewColumn, TableDef, table::stored_type};

use super::{Request, default, options, table};
use crate::{
    Engine, Error, ErrorKind, Result,
    context::Context,
    sql::{SystemColumns, normalize, parts},
};

/// An action as far as it is known without the table's definition.
enum Action {
    Known(Alteration),
    SetDefault {
        column: String,
        value: Expr,
    },
    SetOptions(Vec<datafusion::sql::sqlparser::ast::SqlOption>),
    /// As it was said, with or without its namespace.
    RenameTable(Vec<String>),
}

pub(super) async fn alter(request: &Request<'_>, alter: AlterTable) -> Result<u64> {
    if alter.only || alter.location.is_some() || alter.on_cluster.is_some() || alter.table_type.is_some() {
        return Err(Error::invalid("ALTER TABLE takes the name of a table and actions"));
    }
    let context = request.context(SystemColumns::default())?;
    let name = parts(&alter.name)?;
    let (namespace, name) = match context.tables.definition(&name) {
        Ok(def) => {
            context.tables.catalog.require_create(request.user, &def.namespace, "ALTER TABLE")?;
            (def.namespace.clone(), def.name.clone())
        }
        Err(error) if error.kind() == ErrorKind::NotFound && alter.if_exists => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut actions = Vec::new();
    for operation in alter.operations {
        actions.extend(action(&context, operation).await?);
    }
    let complete = |def: &TableDef| actions.iter().map(|action| complete(&context, def, action)).collect();
    request.engine.catalog().alter_table(&namespace, &name, request.user.no, complete).await?;
    Ok(0)
}

async fn action(context: &Context, operation: AlterTableOperation) -> Result<Vec<Action>> {
    let one = |alteration| Ok(vec![Action::Known(alteration)]);
    match operation {
        AlterTableOperation::AddColumn { if_not_exists, column_def, column_position: None, .. } => {
            one(add(context, if_not_exists, column_def).await?)
        }
        AlterTableOperation::AddColumn { .. } => {
            Err(Error::unimplemented("a column is added behind the others; leave FIRST and AFTER out"))
        }
        AlterTableOperation::DropColumn { column_names, if_exists, .. } => Ok(column_names
            .iter()
            .map(|name| Action::Known(Alteration::Drop { column: normalize(name), if_exists }))
            .collect()),
        AlterTableOperation::RenameColumn { old_column_name, new_column_name } => {
            let to = normalize(&new_column_name);
            table::check_name(&to, std::iter::empty())?;
            one(Alteration::Rename { from: normalize(&old_column_name), to })
        }
        AlterTableOperation::AlterColumn { column_name, op } => {
            alter_column(context, &column_name, op).map(|a| vec![a])
        }
        AlterTableOperation::SetOptionsParens { options } => Ok(vec![Action::SetOptions(options)]),
        AlterTableOperation::RenameTable { table_name: RenameTableNameKind::To(to) | RenameTableNameKind::As(to) } => {
            Ok(vec![Action::RenameTable(parts(&to)?)])
        }
        other => {
            Err(Error::unimplemented(format!("ALTER TABLE does not take {}", crate::statement::first_words(&other))))
        }
    }
}

fn alter_column(context: &Context, column: &Ident, op: AlterColumnOperation) -> Result<Action> {
    let column = normalize(column);
    Ok(match op {
        AlterColumnOperation::SetDefault { value } => Action::SetDefault { column, value: value.clone() },
        AlterColumnOperation::DropDefault => Action::Known(Alteration::Default { column, default: None }),
        AlterColumnOperation::DropNotNull => Action::Known(Alteration::DropNotNull { column }),
        AlterColumnOperation::SetDataType { data_type, using: None, .. } => {
            let to = sql_type(context, &column, data_type)?;
            Action::Known(Alteration::Widen { column, to })
        }
        AlterColumnOperation::SetDataType { .. } => {
            return Err(Error::unimplemented(
                "TYPE … USING rewrites rows, which ALTER TABLE never does; add a column and fill it with UPDATE",
            ));
        }
        AlterColumnOperation::SetNotNull => {
            return Err(Error::unimplemented(
                "SET NOT NULL would have to read all rows of all users; add a column NOT NULL with a DEFAULT instead",
            ));
        }
        AlterColumnOperation::AddGenerated { .. } => {
            return Err(Error::unimplemented("generated columns are not there"));
        }
    })
}

/// The Arrow type of a type in SQL, as CREATE TABLE makes it.
fn sql_type(context: &Context, column: &str, data_type: SqlType) -> Result<arrow::datatypes::DataType> {
    let column = ColumnDef { name: Ident::with_quote('"', column), data_type, options: Vec::new() };
    let schema = context.planner().build_schema(vec![column])?;
    Ok(stored_type(schema.field(0).data_type())?)
}

async fn add(context: &Context, if_not_exists: bool, ast: ColumnDef) -> Result<Alteration> {
    let (column, is_key) = table::declared_column(context, &ast)?;
    table::check_name(column.field.name(), std::iter::empty())?;
    if is_key {
        return Err(Error::new(
            ErrorKind::FailedPrecondition,
            "a column cannot join the primary key of a table; create a table with the key that you want and fill it with \
             INSERT … SELECT",
        ));
    }
    let initial = initial_value(context, &column).await?;
    Ok(Alteration::Add { column, initial, if_not_exists })
}

/// The default's value, once and for all: every row that is there has the same.
async fn initial_value(context: &Context, column: &NewColumn) -> Result<ArrayRef> {
    let data_type = column.field.data_type();
    let Some(sql) = &column.default else {
        return Ok(ScalarValue::try_new_null(data_type)?.to_array()?);
    };
    let value = context.plan_constant(sql)?.cast_to(data_type, &DFSchema::empty())?;
    let plan = LogicalPlanBuilder::empty(true).project([value.alias("value")])?.build()?;
    let batches = collect(context.state().create_physical_plan(&plan).await?, context.task()?).await?;
    let first = batches.iter().find(|batch| batch.num_rows() == 1);
    let value = first.ok_or_else(|| Error::internal("a default has no value"))?.column(0);
    Ok(crate::statement::output::conform_columns(vec![Arc::clone(value)], &nullable(column))?.column(0).clone())
}

fn nullable(column: &NewColumn) -> arrow::datatypes::SchemaRef {
    Arc::new(arrow::datatypes::Schema::new(vec![column.field.as_ref().clone().with_nullable(true)]))
}

fn complete(context: &Context, def: &TableDef, action: &Action) -> Result<Alteration> {
    match action {
        Action::Known(alteration) => Ok(alteration.clone()),
        Action::SetDefault { column, value } => {
            let known = def.columns.iter().find(|c| c.field.name() == column);
            if let Some(known) = known {
                default::check(context, value.clone(), known.field.data_type())?;
            }
            Ok(Alteration::Default { column: column.clone(), default: Some(value.to_string()) })
        }
        Action::RenameTable(to) => {
            let namespace = [Engine::CATALOG.to_owned(), def.namespace.clone()];
            match to.split_last() {
                Some((name, within)) if !name.is_empty() && namespace.ends_with(within) => {
                    Ok(Alteration::RenameTable { to: name.clone() })
                }
                _ => Err(Error::invalid(format!(
                    "\"{}\" is no name in the namespace \"{}\", in which the table stays",
                    to.join("."),
                    def.namespace
                ))),
            }
        }
        Action::SetOptions(list) => {
            if options::kind_of(list)?.is_some_and(|kind| kind != def.kind) {
                return Err(Error::new(
                    ErrorKind::FailedPrecondition,
                    "the kind of a table cannot be changed, since it says whose its rows are and how long they stay",
                ));
            }
            let given = options::change(def.kind, def.options.clone(), list)?;
            match given.without_grants {
                Some(_) => Err(Error::invalid(
                    "grants is an option of a table that is made; GRANT and REVOKE change those of one that is there",
                )),
                None => Ok(Alteration::Options(given.options)),
            }
        }
    }
}
