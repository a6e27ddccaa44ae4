//! `CREATE TABLE`, also `AS SELECT`, and the table that a stream of rows asks for.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::sql::sqlparser::ast::{
    ColumnDef, ColumnOption, CreateTable, Expr, IndexColumn, Query, Statement as Ast, TableConstraint,
};
use insula_storage::{NewCheck, NewColumn, NewTable, TableKind, table as stored};

use super::{Request, default, options};
use crate::{
    Error, ErrorKind, Identity, Result, Role,
    catalog::{FirstGrant, require_catalog},
    checks::declare::{self, Place, Said},
    context::Context,
    grants::{Grantee, Privilege, Privileges},
    sql::{SystemColumns, is_system_column, normalize, parts},
    statement::output,
    write::{WritePlan, take_in},
};

pub(super) async fn create(
    request: &Request<'_>,
    ast: Ast,
    kind: Option<TableKind>,
    named: SystemColumns,
) -> Result<u64> {
    let Ast::CreateTable(create) = ast else { return Err(Error::internal("CREATE TABLE is none")) };
    refuse_unknown_clauses(&create)?;
    let context = request.storing_context(named)?;
    let (namespace, name) = full_name(request, &parts(&create.name)?)?;
    context.tables.catalog.require_create(request.user, &namespace, "CREATE TABLE")?;
    let options::Given { options, kind, without_grants } = options::parse(kind, &create.table_options)?;
    let first = first_grants(request.user, kind, without_grants)?;
    let table = |context: &Context, columns: Vec<NewColumn>, key| {
        let checks = declared_checks(context, &create, &name, &columns)?;
        Ok(NewTable { namespace, name, kind, columns, key, checks, options })
    };
    match &create.query {
        None => {
            let (columns, key) = declared_columns(&context, &create)?;
            let table = table(&context, columns, key)?;
            request.running.commits()?;
            request.engine.catalog().create_table(table, request.user.no, &first, create.if_not_exists).await?;
            Ok(0)
        }
        Some(source) => create_as(request, context, &create, source.as_ref().clone(), &first, table).await,
    }
}

/// Everyone reads a new shared table, unless it says otherwise. Whoever makes one without being an admin may do all with
/// it, since nobody owns tables here.
fn first_grants(user: &Identity, kind: TableKind, without: Option<bool>) -> Result<Vec<FirstGrant>> {
    if kind != TableKind::Shared {
        return match without {
            None => Ok(Vec::new()),
            Some(_) => {
                Err(Error::invalid("grants is an option of shared tables; everyone has rows of their own in others"))
            }
        };
    }
    let mut first = Vec::new();
    if without != Some(true) {
        first.push((Grantee::Role(Role::User), Privileges::from_iter([Privilege::Select])));
    }
    if user.role != Role::Admin {
        first.push((Grantee::User(user.no), Privileges::of_tables()));
    }
    Ok(first)
}

/// The table appears together with its rows, so a failing query leaves no table behind.
async fn create_as(
    request: &Request<'_>,
    context: Context,
    create: &CreateTable,
    source: Query,
    first: &[FirstGrant],
    table: impl FnOnce(&Context, Vec<NewColumn>, Vec<usize>) -> Result<NewTable>,
) -> Result<u64> {
    if !create.columns.is_empty() {
        return Err(Error::invalid("CREATE TABLE … AS takes its columns from the query; list none"));
    }
    request.may_write().await?;
    request.running.enter().await?;
    context.reach_of(&source).await?;
    let context = Arc::new(context);
    let query = context.plan_query(source)?;
    let columns = from_schema(&output::plain_schema(&query), true)?;
    let names: Vec<String> = columns.iter().map(|column| column.field.name().clone()).collect();
    let key = key_indices(&names, constraint_key(create)?)?;
    let new = table(&context, columns, key)?;
    match request.engine.catalog().vacancy(&new.namespace, &new.name) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && create.if_not_exists => return Ok(0),
        vacancy => vacancy?,
    }
    let plan = WritePlan::fill(&context, request.engine.catalog().declare(new)?, query)?;
    let rows = take_in(request, &context, &plan, &[], None).await?;
    request.running.commits()?;
    request.engine.catalog().create_filled(plan.table(), request.user.no, rows.filling()?, first, false).await
}

/// Columns as a query or an ingest brings them: plain types, system columns refused.
pub(crate) fn from_schema(schema: &Schema, nullable: bool) -> Result<Vec<NewColumn>> {
    let mut columns: Vec<NewColumn> = Vec::new();
    for field in schema.fields() {
        check_name(field.name(), columns.iter().map(|c| c.field.name().as_str()))?;
        let field = stored::stored_field(field)?;
        let nullable = nullable || field.is_nullable();
        let field = field.with_nullable(nullable);
        columns.push(NewColumn { field: Arc::new(field), default: None });
    }
    Ok(columns)
}

fn declared_columns(context: &Context, create: &CreateTable) -> Result<(Vec<NewColumn>, Vec<usize>)> {
    let mut columns: Vec<NewColumn> = Vec::new();
    let mut keys = constraint_keys(create)?;
    for ast in &create.columns {
        let (column, is_key) = declared_column(context, ast)?;
        check_name(column.field.name(), columns.iter().map(|c| c.field.name().as_str()))?;
        if is_key {
            keys.push(vec![column.field.name().clone()]);
        }
        columns.push(column);
    }
    if keys.len() > 1 {
        return Err(Error::invalid(
            "the table has more than one PRIMARY KEY; write PRIMARY KEY (a, b) for a composite one",
        ));
    }
    let names: Vec<String> = columns.iter().map(|column| column.field.name().clone()).collect();
    let key = key_indices(&names, keys.pop().unwrap_or_default())?;
    for index in &key {
        let column = &mut columns[*index];
        column.field = Arc::new(column.field.as_ref().clone().with_nullable(false));
    }
    Ok((columns, key))
}

fn declared_checks(
    context: &Context,
    create: &CreateTable,
    table: &str,
    columns: &[NewColumn],
) -> Result<Vec<NewCheck>> {
    let fields: Vec<_> = columns.iter().map(|column| Arc::clone(&column.field)).collect();
    let place = Place { table, schema: Arc::new(Schema::new(fields)), known: &[] };
    declare::declared(context, Said::of_table(&create.columns, &create.constraints)?, &place)
}

/// One column as declared, and whether it is declared as the key.
pub(super) fn declared_column(context: &Context, ast: &ColumnDef) -> Result<(NewColumn, bool)> {
    let schema = context.planner().build_schema(vec![ast.clone()])?;
    let field = stored::stored_field(schema.field(0))?;
    let (default, is_key) = column_options(context, ast, &field)?;
    Ok((NewColumn { field: Arc::new(field), default }, is_key))
}

/// Default as SQL text, checked, and whether the column is declared as the key.
fn column_options(context: &Context, ast: &ColumnDef, field: &Field) -> Result<(Option<String>, bool)> {
    let (mut default, mut is_key) = (None, false);
    for option in &ast.options {
        match &option.option {
            ColumnOption::Null | ColumnOption::NotNull | ColumnOption::Comment(_) => {}
            ColumnOption::PrimaryKey(_) => is_key = true,
            // See `declared_checks`.
            ColumnOption::Check(_) => {}
            ColumnOption::Default(expr) => {
                default::check(context, expr.clone(), field.data_type())?;
                default = Some(expr.to_string());
            }
            other => {
                return Err(Error::unimplemented(format!("column \"{}\": {other} is not supported", field.name())));
            }
        }
    }
    Ok((default, is_key))
}

fn constraint_keys(create: &CreateTable) -> Result<Vec<Vec<String>>> {
    let mut keys = Vec::new();
    for constraint in &create.constraints {
        match constraint {
            TableConstraint::PrimaryKey(key) => keys.push(key.columns.iter().map(key_column).collect::<Result<_>>()?),
            TableConstraint::Check(_) => {}
            other => return Err(Error::unimplemented(format!("constraint not supported: {other}"))),
        }
    }
    Ok(keys)
}

fn constraint_key(create: &CreateTable) -> Result<Vec<String>> {
    Ok(constraint_keys(create)?.pop().unwrap_or_default())
}

fn key_column(column: &IndexColumn) -> Result<String> {
    match &column.column.expr {
        Expr::Identifier(ident) => Ok(normalize(ident)),
        other => Err(Error::invalid(format!("PRIMARY KEY takes columns, not \"{other}\""))),
    }
}

fn key_indices(columns: &[String], key: Vec<String>) -> Result<Vec<usize>> {
    let mut indices = Vec::new();
    for name in key {
        let index = columns.iter().position(|column| *column == name);
        let index = index.ok_or_else(|| Error::invalid(format!("key column \"{name}\" does not exist")))?;
        if indices.contains(&index) {
            return Err(Error::invalid(format!("key column \"{name}\" is listed twice")));
        }
        indices.push(index);
    }
    Ok(indices)
}

pub(super) fn check_name<'a>(name: &str, mut known: impl Iterator<Item = &'a str>) -> Result<()> {
    let hidden = [stored::USER_NO, stored::ROW_ID];
    if is_system_column(name) || hidden.contains(&name) {
        return Err(Error::invalid(format!("\"{name}\" is a system column; name the column otherwise")));
    }
    if name.is_empty() {
        return Err(Error::invalid("a column has no name; give it one with AS"));
    }
    if known.any(|known| known == name) {
        return Err(Error::invalid(format!("the column name \"{name}\" is used twice")));
    }
    Ok(())
}

fn full_name(request: &Request<'_>, name: &[String]) -> Result<(String, String)> {
    match name {
        [table] => Ok((request.session.settings_of(request.user)?.schema, table.clone())),
        [namespace, table] => Ok((namespace.clone(), table.clone())),
        [catalog, namespace, table] => require_catalog(catalog).map(|()| (namespace.clone(), table.clone())),
        _ => Err(Error::invalid(format!("\"{}\" is no table name", name.join(".")))),
    }
}

/// What sqlparser understands of other databases' CREATE TABLE, and we would silently not do.
fn refuse_unknown_clauses(create: &CreateTable) -> Result<()> {
    let refused = [
        (create.or_replace, "OR REPLACE"),
        (create.temporary, "TEMPORARY"),
        (create.external || create.location.is_some(), "EXTERNAL"),
        (create.like.is_some() || create.clone.is_some(), "LIKE"),
        (create.partition_by.is_some(), "PARTITION BY"),
        (create.inherits.is_some(), "INHERITS"),
    ];
    match refused.into_iter().find(|(given, _)| *given) {
        Some((_, clause)) => Err(Error::unimplemented(format!("CREATE TABLE does not take {clause}"))),
        None => Ok(()),
    }
}

/// The table that an ingest creates.
pub(crate) fn of_ingest(namespace: String, name: String, schema: &Schema) -> Result<NewTable> {
    let columns = from_schema(schema, false)?;
    let (key, checks, options) = Default::default();
    Ok(NewTable { namespace, name, kind: TableKind::User, columns, key, checks, options })
}
