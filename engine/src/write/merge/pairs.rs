//! The query of pairs: source and target joined, and for each pair the clause that takes it.

use std::sync::Arc;

use datafusion::{
    common::{Column, DFSchema, JoinType, ScalarValue, TableReference},
    logical_expr::{
        Case, Expr as PlanExpr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, lit, utils::split_conjunction,
    },
    sql::{planner::PlannerContext, sqlparser::ast::Expr},
};
use insula_storage::TableDef;

use super::{Action, Key, Merge, Repeated};
use crate::{
    Error, Result,
    context::Context,
    sql::{exact, is_default_keyword},
    write::{
        plan::{Effect, ROW_ID, WritePlan, default_of},
        target::TargetTable,
    },
};

/// The number of the clause that takes a pair.
const CLAUSE: &str = "(clause)";
/// A column of the source that is null where no row of it matches.
const PRESENT: &str = "(present)";

/// Which pairs a clause is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Matching {
    Both,
    /// No row of the target matches.
    Source,
    /// No row of the source does.
    Target,
}

pub(super) struct Clause {
    pub matching: Matching,
    pub condition: Option<Expr>,
    pub change: Change,
}

pub(super) enum Change {
    Nothing,
    Delete,
    /// New values of some columns.
    Update(Vec<(usize, Expr)>),
    /// The value of each declared column.
    Insert(Vec<NewValue>),
}

pub(super) enum NewValue {
    Of(Expr),
    /// A column of the source.
    Source(Column),
    Default,
}

impl Change {
    pub fn action(&self) -> Action {
        match self {
            Self::Nothing => Action::Nothing,
            Self::Delete => Action::Delete,
            Self::Update(_) => Action::Update,
            Self::Insert(_) => Action::Insert,
        }
    }
}

/// A clause as it is planned.
struct Planned {
    matching: Matching,
    condition: Option<PlanExpr>,
    action: Action,
    /// Of the declared columns, in their types; of a row that is deleted, as they were; empty where nothing changes.
    values: Vec<PlanExpr>,
}

/// Both sides of the join, not joined yet.
pub(super) struct Pairs<'a> {
    context: &'a Context,
    table: Arc<TableDef>,
    /// By which expressions mean the target.
    name: TableReference,
    target: LogicalPlan,
    source: LogicalPlan,
    /// What expressions over both sides name.
    both: DFSchema,
}

impl<'a> Pairs<'a> {
    /// Every column of the source has a qualifier, which is not the target's name.
    pub fn new(context: &'a Context, target: &TargetTable, source: LogicalPlan) -> Result<Self> {
        let (table, name) = (Arc::clone(&target.table), target.name());
        let target = context.plan_query(target.all()?)?;
        let both = source.schema().join(target.schema())?;
        Ok(Self { context, table, name, target, source, both })
    }

    /// An expression over both sides.
    pub fn over_both(&self, expr: Expr) -> Result<PlanExpr> {
        self.over(expr, &self.both)
    }

    fn over(&self, expr: Expr, schema: &DFSchema) -> Result<PlanExpr> {
        Ok(self.context.planner().sql_to_expr(expr, schema, &mut PlannerContext::new())?)
    }

    /// A column of the target.
    pub fn target_column(&self, name: &str) -> PlanExpr {
        PlanExpr::Column(Column::new(Some(self.name.clone()), name))
    }

    fn declared(&self, column: usize) -> PlanExpr {
        self.target_column(self.table.columns[column].field.name())
    }

    /// The type that a declared column has in statements.
    fn type_of(&self, column: usize) -> Result<arrow::datatypes::DataType> {
        Ok(self.declared(column).get_type(self.target.schema().as_ref())?)
    }

    /// The statement: for each pair that `on` holds for, and each row without one, the first clause that takes it.
    pub fn plan(
        self,
        name: &'static str,
        on: PlanExpr,
        clauses: Vec<Clause>,
        keys: Option<Vec<Key>>,
        repeated: Repeated,
    ) -> Result<WritePlan> {
        let planned = clauses.into_iter().map(|clause| self.planned(clause)).collect::<Result<Vec<_>>>()?;
        let actions = planned.iter().map(|clause| clause.action).collect();
        let has = |matching| planned.iter().any(|clause| clause.matching == matching);
        let sees_all = has(Matching::Target);
        let joined = self.joined(on, has(Matching::Source), sees_all)?;
        let query = self.projected(joined, &planned)?;
        let merge = Merge { name, actions, keys, repeated, sees_all };
        WritePlan::new(self.context, self.table, query, Effect::Merge(merge))
    }

    fn planned(&self, Clause { matching, condition, change }: Clause) -> Result<Planned> {
        // As in PostgreSQL, what is not there cannot be named.
        let schema = match matching {
            Matching::Both => &self.both,
            Matching::Source => self.source.schema().as_ref(),
            Matching::Target => self.target.schema().as_ref(),
        };
        let condition = condition.map(|condition| self.over(condition, schema)).transpose()?;
        let action = change.action();
        let values = match change {
            Change::Nothing => Vec::new(),
            Change::Delete => self.old(),
            Change::Update(assigned) => {
                let mut values = self.old();
                for (column, value) in assigned {
                    values[column] = self.value(NewValue::Of(value), column, schema)?;
                }
                values
            }
            Change::Insert(values) => {
                let values = values.into_iter().enumerate();
                values.map(|(column, value)| self.value(value, column, schema)).collect::<Result<_>>()?
            }
        };
        Ok(Planned { matching, condition, action, values })
    }

    fn old(&self) -> Vec<PlanExpr> {
        (0..self.table.columns.len()).map(|column| self.declared(column)).collect()
    }

    /// A value in the type of its column; a bare parameter takes that type.
    fn value(&self, value: NewValue, column: usize, schema: &DFSchema) -> Result<PlanExpr> {
        let mut value = match value {
            NewValue::Of(expr) if is_default_keyword(&expr) => return self.value(NewValue::Default, column, schema),
            NewValue::Of(mut expr) => {
                exact::for_column(&mut expr, self.table.columns[column].field.data_type());
                self.over(expr, schema)?
            }
            NewValue::Source(column) => PlanExpr::Column(column),
            NewValue::Default => self.over(default_of(&self.table, column)?, &DFSchema::empty())?,
        };
        if let PlanExpr::Placeholder(parameter) = &mut value {
            parameter.field.get_or_insert_with(|| Arc::clone(&self.table.columns[column].field));
        }
        Ok(value.cast_to(&self.type_of(column)?, schema)?)
    }

    fn joined(&self, on: PlanExpr, keeps_source: bool, keeps_target: bool) -> Result<LogicalPlan> {
        let join_type = match (keeps_source, keeps_target) {
            (false, false) => JoinType::Inner,
            (true, false) => JoinType::Left,
            (false, true) => JoinType::Right,
            (true, true) => JoinType::Full,
        };
        let mut source = LogicalPlanBuilder::from(self.source.clone());
        if keeps_target {
            let columns = columns_of(self.source.schema()).chain([lit(true).alias(PRESENT)]);
            source = source.project(columns.collect::<Vec<_>>())?;
        }
        Ok(source.join_on(self.target.clone(), join_type, [on])?.build()?)
    }

    /// The number of the clause is found once, since its conditions need not say the same twice; then the values.
    fn projected(&self, joined: LogicalPlan, clauses: &[Planned]) -> Result<LogicalPlan> {
        let mut columns: Vec<_> = columns_of(joined.schema()).collect();
        columns.push(self.clause(clauses)?.alias(CLAUSE));
        let numbered = LogicalPlanBuilder::from(joined).project(columns)?;
        let clause = PlanExpr::Column(Column::new_unqualified(CLAUSE));
        let count = self.table.columns.len();
        let mut columns: Vec<_> = (0..count).map(|i| self.declared(i).alias(format!("old {i}"))).collect();
        for column in 0..count {
            let branches = clauses.iter().enumerate().filter_map(|(number, planned)| {
                Some((Box::new(number_of(number)), Box::new(planned.values.get(column)?.clone())))
            });
            let (branches, nothing) = (branches.collect::<Vec<_>>(), null(&self.type_of(column)?)?);
            let value = match branches.is_empty() {
                true => nothing,
                false => PlanExpr::Case(Case::new(Some(Box::new(clause.clone())), branches, Some(Box::new(nothing)))),
            };
            columns.push(value.alias(format!("new {column}")));
        }
        columns.push(clause);
        if self.table.has_row_id() {
            columns.push(self.target_column(ROW_ID).alias(ROW_ID));
        }
        Ok(numbered.project(columns)?.build()?)
    }

    /// The conditions of one kind of pairs are evaluated on no other pairs.
    fn clause(&self, clauses: &[Planned]) -> Result<PlanExpr> {
        let first = |matching: Matching| -> PlanExpr {
            let of_kind = clauses.iter().enumerate().filter(|(_, clause)| clause.matching == matching);
            let (mut branches, mut rest) = (Vec::new(), lit(0_i32));
            for (number, clause) in of_kind {
                match &clause.condition {
                    Some(condition) => {
                        branches.push((Box::new(condition.clone()), Box::new(number_of(number))));
                    }
                    None => {
                        rest = number_of(number);
                        break;
                    }
                }
            }
            if branches.is_empty() { rest } else { PlanExpr::Case(Case::new(None, branches, Some(Box::new(rest)))) }
        };
        let has = |matching| clauses.iter().any(|clause| clause.matching == matching);
        let mut branches = Vec::new();
        if has(Matching::Target) {
            let present = PlanExpr::Column(Column::new_unqualified(PRESENT));
            branches.push((Box::new(present.is_null()), Box::new(first(Matching::Target))));
        }
        if has(Matching::Source) {
            let never_null =
                if self.table.has_row_id() { self.target_column(ROW_ID) } else { self.declared(self.key()?) };
            branches.push((Box::new(never_null.is_null()), Box::new(first(Matching::Source))));
        }
        let both = first(Matching::Both);
        Ok(match branches.is_empty() {
            true => both,
            false => PlanExpr::Case(Case::new(None, branches, Some(Box::new(both)))),
        })
    }

    fn key(&self) -> Result<usize> {
        self.table.key.first().copied().ok_or_else(|| Error::internal("a table has neither key nor row ids"))
    }

    /// The columns of the source with which `on` compares the whole key, if it does.
    pub fn keys(&self, on: &PlanExpr) -> Option<Vec<Key>> {
        if self.table.has_row_id() {
            return None;
        }
        let conditions = split_conjunction(on);
        let of_column = |declared: &usize| {
            let target = self.declared(*declared);
            conditions.iter().find_map(|condition| Key::compared(condition, &target, self.source.schema()))
        };
        self.table.key.iter().map(of_column).collect()
    }
}

fn columns_of(schema: &DFSchema) -> impl Iterator<Item = PlanExpr> {
    schema.iter().map(|(qualifier, field)| PlanExpr::Column(Column::from((qualifier, field))))
}

/// Clauses are numbered from 1 on.
fn number_of(place: usize) -> PlanExpr {
    lit(i32::try_from(place + 1).unwrap_or(i32::MAX))
}

fn null(data_type: &arrow::datatypes::DataType) -> Result<PlanExpr> {
    Ok(PlanExpr::Literal(ScalarValue::try_from(data_type)?, None))
}
