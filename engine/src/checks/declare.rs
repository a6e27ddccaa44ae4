//! What CREATE TABLE and ALTER TABLE say of checks: which expressions may be one, and what they are called.

use std::{ops::ControlFlow, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch},
    datatypes::{Field, Schema, SchemaRef},
};
use datafusion::{
    common::{
        Column,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    logical_expr::{Expr, Volatility},
    sql::sqlparser::ast::{
        self, CheckConstraint, ColumnDef, ColumnOption, ColumnOptionDef, Ident, TableConstraint, visit_expressions,
        visit_expressions_mut,
    },
};
use insula_storage::{Check, NewCheck, TableDef};

use super::{Condition, parsed, planned, without_settings};
use crate::{
    Error, ErrorKind, Result,
    context::Context,
    sql::{is_system_column, normalize, quoted},
};

/// Bytes of the checks of one table. Every statement that writes the table computes them, and plans them now and then.
const MOST: usize = 16 << 10;

/// A check as it was said.
#[derive(Clone)]
pub(crate) struct Said {
    name: Option<String>,
    condition: ast::Expr,
}

impl Said {
    pub fn new(check: &CheckConstraint, name: Option<&Ident>) -> Result<Self> {
        if check.enforced == Some(false) {
            return Err(Error::unimplemented("a check that is NOT ENFORCED is not there; leave it out"));
        }
        let name = name.or(check.name.as_ref()).map(normalize);
        if name.as_ref().is_some_and(String::is_empty) {
            return Err(Error::invalid("a constraint has an empty name"));
        }
        Ok(Self { name, condition: check.expr.as_ref().clone() })
    }

    /// Behind a column.
    pub fn of_column(column: &ColumnDef) -> Result<Vec<Self>> {
        let check = |ColumnOptionDef { name, option }: &ColumnOptionDef| match option {
            ColumnOption::Check(check) => Some(Self::new(check, name.as_ref())),
            _ => None,
        };
        column.options.iter().filter_map(check).collect()
    }

    /// Of a whole CREATE TABLE, in the order in which they are counted.
    pub fn of_table(columns: &[ColumnDef], constraints: &[TableConstraint]) -> Result<Vec<Self>> {
        let mut said = Vec::new();
        for column in columns {
            said.extend(Self::of_column(column)?);
        }
        for constraint in constraints {
            if let TableConstraint::Check(check) = constraint {
                said.push(Self::new(check, None)?);
            }
        }
        Ok(said)
    }
}

/// The table that checks are declared for, as far as they are concerned.
pub(crate) struct Place<'a> {
    pub table: &'a str,
    pub schema: SchemaRef,
    /// Those that it has already.
    pub known: &'a [Check],
}

impl<'a> Place<'a> {
    pub fn of(table: &'a TableDef) -> Self {
        Self { table: &table.name, schema: table.schema(), known: &table.checks }
    }

    /// What nothing else of the table may be called.
    fn taken(&self) -> Vec<String> {
        let key = key_name(self.table);
        self.known.iter().map(|check| check.name.clone()).chain([key]).collect()
    }
}

/// What the constraint of the primary key is called, as PostgreSQL calls it.
pub(crate) fn key_name(table: &str) -> String {
    format!("{table}_pkey")
}

/// The checks with their names, each of which can be computed for every row by everybody.
pub(crate) fn declared(context: &Context, said: Vec<Said>, place: &Place<'_>) -> Result<Vec<NewCheck>> {
    if said.is_empty() {
        return Ok(Vec::new());
    }
    let mut checks = Vec::with_capacity(said.len());
    without_settings(context, |context| {
        for Said { name, condition } in said {
            let (sql, columns) = accepted(context, &place.schema, condition)?;
            checks.push((name, sql, columns));
        }
        Ok(())
    })?;
    let bytes = place.known.iter().map(|check| check.sql.len()).chain(checks.iter().map(|(_, sql, _)| sql.len()));
    if bytes.sum::<usize>() > MOST {
        return Err(Error::new(
            ErrorKind::ResourceExhausted,
            format!("the checks of table \"{}\" are longer than {MOST} bytes together; make them shorter", place.table),
        ));
    }
    named(checks, place)
}

/// Names as they were given, and the others as PostgreSQL has them: by table and column, or by the table alone.
fn named(checks: Vec<(Option<String>, String, Vec<String>)>, place: &Place<'_>) -> Result<Vec<NewCheck>> {
    let mut taken = place.taken();
    for name in checks.iter().filter_map(|(name, ..)| name.as_ref()) {
        if taken.contains(name) {
            let message = format!("table \"{}\" has a constraint \"{name}\" already", place.table);
            return Err(Error::exists(message));
        }
        taken.push(name.clone());
    }
    let table = place.table;
    let mut free = |columns: &[String]| {
        let name = match columns {
            [column] => format!("{table}_{column}_check"),
            _ => format!("{table}_check"),
        };
        let mut tries = std::iter::once(name.clone()).chain((1u32..).map(|n| format!("{name}{n}")));
        let name = tries.find(|name| !taken.contains(name)).unwrap_or(name);
        taken.push(name.clone());
        name
    };
    let named = |(name, sql, columns): (Option<String>, _, Vec<_>)| NewCheck {
        name: name.unwrap_or_else(|| free(&columns)),
        sql,
        columns,
    };
    Ok(checks.into_iter().map(named).collect())
}

/// The text that is kept of a condition, and the columns that it names.
fn accepted(context: &Context, schema: &SchemaRef, condition: ast::Expr) -> Result<(String, Vec<String>)> {
    refuse_unfit(&condition, schema)?;
    let sql = condition.to_string();
    let expr = planned(context, schema, condition)?;
    refuse_unsteady(&expr)?;
    // What is kept is the text, so that has to say the same.
    if parsed(&sql).and_then(|again| planned(context, schema, again)).ok().as_ref() != Some(&expr) {
        return Err(Error::unimplemented(format!("CHECK ({sql}) cannot be kept as text; write it in another way")));
    }
    let used = expr.column_refs();
    let names = schema.fields().iter().map(|field| field.name().clone());
    let columns = names.filter(|name| used.iter().any(|column| column.name == *name)).collect();
    Condition::new(context, schema, expr)?;
    Ok((sql, columns))
}

/// What can be seen before it is planned, which is when more than the row would be looked at.
fn refuse_unfit(condition: &ast::Expr, schema: &Schema) -> Result<()> {
    let system = |ident: &Ident| Some(normalize(ident)).filter(|name| is_system_column(name));
    let found = visit_expressions(condition, |expr| {
        let refused = match expr {
            ast::Expr::Subquery(_) | ast::Expr::Exists { .. } | ast::Expr::InSubquery { .. } => {
                Some(refused("a subquery"))
            }
            ast::Expr::Identifier(ident) => system(ident).map(|name| {
                Error::invalid(format!(
                    "\"{name}\" is a system column, which a row has once it is written; CHECK takes others"
                ))
            }),
            ast::Expr::CompoundIdentifier(idents) => {
                let first = idents.first().map(normalize).unwrap_or_default();
                let is_column = schema.fields().iter().any(|field| *field.name() == first);
                (!is_column).then(|| {
                    let name = idents.iter().map(|ident| ident.value.as_str()).collect::<Vec<_>>().join(".");
                    Error::invalid(format!("\"{name}\" in CHECK: columns are named without their table there"))
                })
            }
            _ => None,
        };
        match refused {
            Some(error) => ControlFlow::Break(error),
            None => ControlFlow::Continue(()),
        }
    });
    match found {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// A condition is of one row, and what it is of that row today it is tomorrow, whoever asks: or rows would fail a check
/// that are there, and how a check falls out would tell of something else than the row.
fn refuse_unsteady(condition: &Expr) -> Result<()> {
    let steady = |volatility: Volatility, name: &str| match volatility {
        Volatility::Immutable => None,
        Volatility::Stable | Volatility::Volatile => {
            Some(format!("{name}(), which is not the same for everybody at all times"))
        }
    };
    let mut found = None;
    condition.apply(|expr| {
        found = match expr {
            Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) | Expr::ScalarSubquery(_) => {
                Some("a subquery".to_owned())
            }
            Expr::OuterReferenceColumn(..) => Some("a subquery".to_owned()),
            Expr::AggregateFunction(_) | Expr::GroupingSet(_) => Some("an aggregate".to_owned()),
            Expr::WindowFunction(_) => Some("a window function".to_owned()),
            Expr::Unnest(_) => Some("what makes rows".to_owned()),
            Expr::Placeholder(_) => Some("a parameter".to_owned()),
            Expr::ScalarVariable(..) => Some("a variable".to_owned()),
            Expr::ScalarFunction(call) => steady(call.func.signature().volatility, call.func.name()),
            Expr::HigherOrderFunction(call) => steady(call.func.signature().volatility, call.func.name()),
            _ => None,
        };
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    found.map_or(Ok(()), |what| Err(refused(&what)))
}

fn refused(what: &str) -> Error {
    Error::invalid(format!(
        "CHECK takes a condition on the columns of one row that is always the same for the same row, and not {what}"
    ))
}

/// Is a check met by all rows that have `value` in a new column? Not if it depends on others.
pub(crate) fn is_met_by(context: &Context, check: &NewCheck, field: &Field, value: &ArrayRef) -> Result<bool> {
    if check.columns.iter().any(|column| column != field.name()) {
        return Ok(false);
    }
    let schema: SchemaRef = Arc::new(Schema::new(vec![field.clone().with_nullable(true)]));
    let rows = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::clone(value)])?;
    without_settings(context, |context| Condition::of_sql(context, &schema, &check.sql)?.is_met(&rows))
}

/// What the checks that name a column say once it has another name. Where that cannot be said for sure, a check is left out.
pub(crate) fn reworded(context: &Context, table: &TableDef, from: &str, to: &str) -> Result<Vec<(String, String)>> {
    let Some(column) = table.columns.iter().find(|column| column.field.name() == from) else { return Ok(Vec::new()) };
    if table.columns.iter().any(|column| column.field.name() == to) {
        return Ok(Vec::new());
    }
    let before = table.schema();
    let renamed = before.fields().iter().map(|field| match field.name() == from {
        true => Arc::new(field.as_ref().clone().with_name(to)),
        false => Arc::clone(field),
    });
    let after: SchemaRef = Arc::new(Schema::new(renamed.collect::<Vec<_>>()));
    without_settings(context, |context| {
        let mut all = Vec::new();
        for check in table.checks_of(column.id) {
            let meant = planned(context, &before, parsed(&check.sql)?)?;
            let meant = meant.transform(|expr| {
                Ok(match expr {
                    Expr::Column(column) if column.name == from => {
                        Transformed::yes(Expr::Column(Column::new_unqualified(to)))
                    }
                    other => Transformed::no(other),
                })
            })?;
            let sql = with_name(parsed(&check.sql)?, from, to);
            if parsed(&sql).and_then(|sql| planned(context, &after, sql)).ok().as_ref() == Some(&meant.data) {
                all.push((check.name.clone(), sql));
            }
        }
        Ok(all)
    })
}

fn with_name(mut condition: ast::Expr, from: &str, to: &str) -> String {
    let _: ControlFlow<()> = visit_expressions_mut(&mut condition, |expr| {
        let named = match expr {
            ast::Expr::Identifier(ident) => Some(ident),
            ast::Expr::CompoundIdentifier(idents) => idents.first_mut(),
            _ => None,
        };
        if let Some(ident) = named.filter(|ident| normalize(ident) == from) {
            *ident = quoted(to);
        }
        ControlFlow::Continue(())
    });
    condition.to_string()
}
