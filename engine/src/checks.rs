//! `CHECK` constraints: conditions that every row meets which a statement writes, whichever way it comes.
//!
//! Whoever makes rows makes them by [`Checks::rows`], which is the only way from columns to new rows of a table: values of
//! an INSERT, what an UPDATE or MERGE makes of old rows, batches of an ingest on their way into files. A row that fails a
//! check ends the statement before anything of it is written. As in SQL, a condition that is NULL is not failed.
//!
//! A definition keeps its checks as SQL. They mean the same to everybody, and so they are planned without any settings of a
//! session, once for a definition, and what is made of them is shared by the statements of all users: expressions over the
//! columns of one row, which have seen no row yet.

pub(crate) mod declare;

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::{DataType, SchemaRef},
};
use datafusion::{
    common::DFSchema,
    logical_expr::{
        EmptyRelation, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Projection, simplify::SimplifyContext,
    },
    optimizer::simplify_expressions::ExprSimplifier,
    physical_expr::PhysicalExpr,
    sql::{
        planner::PlannerContext,
        sqlparser::{ast, dialect::GenericDialect, parser::Parser},
    },
};
use insula_proto::TableId;
use insula_storage::TableDef;

use crate::{Error, Result, context::Context, write::stored_rows};

/// What the new rows of one table have to meet.
#[derive(Clone, Debug)]
pub(crate) struct Checks {
    table: Arc<TableDef>,
    /// Of each of the table's checks.
    conditions: Arc<[Condition]>,
}

impl Checks {
    pub fn of(context: &Context, table: &Arc<TableDef>) -> Result<Self> {
        let conditions = match table.checks.is_empty() {
            true => Arc::default(),
            false => context.tables.catalog.conditions().get(context, table)?,
        };
        Ok(Self { table: Arc::clone(table), conditions })
    }

    /// For a statement that makes no rows.
    pub fn none(table: &Arc<TableDef>) -> Self {
        Self { table: Arc::clone(table), conditions: Arc::default() }
    }

    pub fn table(&self) -> &Arc<TableDef> {
        &self.table
    }

    /// New rows of the table, if they may be that: the declared columns, in any types that can be cast to theirs.
    pub fn rows(&self, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
        let rows = stored_rows(&self.table, columns)?;
        for (check, condition) in self.table.checks.iter().zip(self.conditions.iter()) {
            let named = |what: &str| {
                format!("{what} check constraint \"{}\" of table \"{}\"", check.name, self.table.full_name())
            };
            // A row's values are left out, as everywhere.
            if !condition.is_met(&rows).map_err(|e| e.within(&named("cannot compute")))? {
                return Err(Error::invalid(named("a new row violates")));
            }
        }
        Ok(rows)
    }

    /// Makes sure that rows which are proposed could be new ones, whatever becomes of them.
    pub fn require(&self, columns: &[ArrayRef]) -> Result<()> {
        let columns = columns.get(..self.table.columns.len()).unwrap_or(columns);
        self.rows(columns.to_vec()).map(drop)
    }
}

/// The conditions of all definitions of one moment, planned when they are first asked for.
#[derive(Default, Debug)]
pub(crate) struct Conditions(HashMap<(TableId, u32), OnceLock<Arc<[Condition]>>>);

impl Conditions {
    pub fn of<'a>(tables: impl Iterator<Item = &'a Arc<TableDef>>) -> Self {
        let checked = tables.filter(|def| !def.checks.is_empty());
        Self(checked.map(|def| ((def.id, def.schema_version), OnceLock::new())).collect())
    }

    fn get(&self, context: &Context, def: &TableDef) -> Result<Arc<[Condition]>> {
        // A table that is being filled is in no snapshot.
        let kept = self.0.get(&(def.id, def.schema_version));
        if let Some(conditions) = kept.and_then(OnceLock::get) {
            return Ok(Arc::clone(conditions));
        }
        let schema = def.schema();
        let conditions = without_settings(context, |context| {
            let conditions = def.checks.iter().map(|check| Condition::of_sql(context, &schema, &check.sql));
            conditions.collect::<Result<Arc<[_]>>>()
        })?;
        Ok(kept.map_or_else(|| Arc::clone(&conditions), |kept| Arc::clone(kept.get_or_init(|| conditions.clone()))))
    }
}

/// A condition on single rows, ready to be computed for many.
#[derive(Debug)]
struct Condition(Arc<dyn PhysicalExpr>);

impl Condition {
    fn of_sql(context: &Context, schema: &SchemaRef, sql: &str) -> Result<Self> {
        Self::new(context, schema, planned(context, schema, parsed(sql)?)?)
    }

    /// By the rules that expressions of statements go through, so that it means what it would mean there.
    fn new(context: &Context, schema: &SchemaRef, condition: Expr) -> Result<Self> {
        let (schema, state) = (Arc::new(DFSchema::try_from(Arc::clone(schema))?), context.state());
        let rows = LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema: Arc::clone(&schema) });
        let plan = LogicalPlanBuilder::from(rows).project([condition.alias("met")])?.build()?;
        let plan = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})?;
        let LogicalPlan::Projection(Projection { expr, .. }) = plan else {
            return Err(Error::internal("a projection was analyzed into something else"));
        };
        let condition = expr.into_iter().next().map(Expr::unalias);
        let condition = condition.ok_or_else(|| Error::internal("a projection lost its column"))?;
        let data_type = condition.get_type(&schema)?;
        if data_type != DataType::Boolean {
            return Err(Error::invalid(format!("CHECK takes a condition, and this is of type {data_type}")));
        }
        let simplifier = SimplifyContext::builder()
            .with_schema(Arc::clone(&schema))
            .with_config_options(Arc::clone(state.config_options()))
            .build();
        // Some functions are nothing but what this makes of them.
        let condition = ExprSimplifier::new(simplifier).simplify(condition)?;
        Ok(Self(state.create_physical_expr(condition, &schema)?))
    }

    /// Does no row fail it?
    fn is_met(&self, rows: &RecordBatch) -> Result<bool> {
        if rows.num_rows() == 0 {
            return Ok(true);
        }
        let met = self.0.evaluate(rows)?.into_array(rows.num_rows())?;
        let met = met.as_boolean_opt().ok_or_else(|| Error::internal("a check is no condition"))?;
        Ok(met.true_count() + met.null_count() == met.len())
    }
}

fn parsed(sql: &str) -> Result<ast::Expr> {
    let parsed = Parser::new(&GenericDialect {}).try_with_sql(sql).and_then(|mut parser| parser.parse_expr());
    parsed.map_err(|e| Error::internal(format!("a check cannot be parsed: {e}")))
}

/// The expression over the columns of a row, as the text says it.
fn planned(context: &Context, schema: &SchemaRef, condition: ast::Expr) -> Result<Expr> {
    let schema = DFSchema::try_from(Arc::clone(schema))?;
    Ok(context.planner().sql_to_expr(condition, &schema, &mut PlannerContext::new())?)
}

/// Plans in a context that is everybody's: a time means another moment under another `timezone`.
fn without_settings<T>(context: &Context, plan: impl FnOnce(&Context) -> Result<T>) -> Result<T> {
    match context.without_settings()? {
        None => plan(context),
        Some(context) => plan(&context),
    }
}

#[cfg(test)]
mod tests;
