//! A read of one row by its whole key, answered where it is asked: no operators, no task, no thread of its own.
//!
//! What applications send most is a prepared `SELECT … WHERE key = $1`. Its kept plan says everything but the value: the
//! table, the columns, that nothing else is asked. So it is recognized once, and then each run is a seek in the hot
//! rows, or a search in a remembered block of the cold ones. Whatever is not ready at once is run as a plan.

use std::sync::Arc;

use arrow::{array::ArrayRef, datatypes::DataType};
use datafusion::{
    common::ScalarValue,
    datasource::source_as_provider,
    logical_expr::{
        BinaryExpr, Expr, Filter, LogicalPlan, Operator, Projection, SubqueryAlias, TableScan, utils::split_conjunction,
    },
};
use futures::FutureExt;
use insula_proto::UserNo;
use insula_storage::{KeyCodec, ReadView, TableDef};

use super::{guard, keys, provider::UserTable};
use crate::{Error, Result};

const USER_NO: usize = 0;

pub(crate) struct PointRead {
    def: Arc<TableDef>,
    codec: KeyCodec,
    /// In the order of the key.
    key: Vec<KeyColumn>,
    /// In the stored schema: whose row it is, for the guard, then what is asked for.
    projection: Vec<usize>,
    /// A soft-deleted row is a row, too.
    deleted: bool,
}

/// Where a column of the key gets its value from.
enum KeyColumn {
    /// The type is that in which the column is stored.
    Parameter(usize, DataType),
    /// One row.
    Value(ArrayRef),
}

impl KeyColumn {
    fn of(part: Part, stored: &DataType) -> Option<Self> {
        match part {
            Part::Parameter(number) => Some(Self::Parameter(number, stored.clone())),
            Part::Value(value) => Some(Self::Value(keys::value_of(&value, stored)?.to_array().ok()?)),
        }
    }

    /// `None`: the value is not one of the column's.
    fn value(&self, parameters: &[ArrayRef]) -> Option<ArrayRef> {
        match self {
            Self::Parameter(number, stored) => {
                parameters.get(*number).and_then(|column| keys::column_of(column, stored))
            }
            Self::Value(value) => Some(Arc::clone(value)),
        }
    }
}

/// What a column of the key is to equal.
enum Part {
    /// `$1` is 0.
    Parameter(usize),
    Value(ScalarValue),
}

/// What a plan does, seen from its top.
struct Shape {
    table: Arc<TableDef>,
    deleted: bool,
    /// Of each column that comes out, where storage has it.
    columns: Vec<usize>,
    /// Stored columns and what they are to equal.
    equal: Vec<(usize, Part)>,
}

impl PointRead {
    /// `None`: the plan does something else, or something more.
    pub fn of(optimized: &LogicalPlan) -> Option<Self> {
        let Shape { table, deleted, columns, mut equal } = shape(optimized)?;
        let stored = table.stored_schema();
        let key = table.stored_key().into_iter().map(|column| {
            let at = equal.iter().position(|(other, _)| *other == column)?;
            KeyColumn::of(equal.swap_remove(at).1, stored.field(column).data_type())
        });
        let key = key.collect::<Option<Vec<_>>>()?;
        // What is left says more of the row than its key.
        if !equal.is_empty() {
            return None;
        }
        let codec = KeyCodec::new(&table).ok()?;
        let projection = std::iter::once(USER_NO).chain(columns).collect();
        Some(Self { def: table, codec, key, projection, deleted })
    }

    pub fn table(&self) -> &Arc<TableDef> {
        &self.def
    }

    /// The columns of the row, or of none, in the types in which they are stored. `None`: it is not at hand, or the values
    /// are not of the key's types; run the plan. `parameters`: one row of them.
    pub fn read(&self, view: &Arc<ReadView>, owner: UserNo, parameters: &[ArrayRef]) -> Option<Result<Vec<ArrayRef>>> {
        let columns = self.key.iter().map(|column| column.value(parameters)).collect::<Option<Vec<_>>>()?;
        let keys = self.codec.encode(&columns).ok()?;
        let slice = view.slice(&self.def, owner).ok()?;
        let found = slice.row(&keys, &self.projection, self.deleted).now_or_never()?;
        Some(found.map_err(Error::from).and_then(|mut row| {
            // The first says whose it is.
            guard::check_column(&row.remove(0), owner)?;
            Ok(row)
        }))
    }
}

fn shape(plan: &LogicalPlan) -> Option<Shape> {
    match plan {
        LogicalPlan::Projection(Projection { expr, input, .. }) => {
            let below = shape(input)?;
            let columns = expr.iter().map(|expr| stored(expr, input, &below)).collect::<Option<_>>()?;
            Some(Shape { columns, ..below })
        }
        LogicalPlan::Filter(Filter { predicate, input, .. }) => {
            let mut below = shape(input)?;
            for term in split_conjunction(predicate) {
                let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = term else { return None };
                let (column, value) = match (part(left), part(right)) {
                    (None, Some(value)) => (left, value),
                    (Some(value), None) => (right, value),
                    _ => return None,
                };
                below.equal.push((stored(column, input, &below)?, value));
            }
            Some(below)
        }
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, .. }) => shape(input),
        LogicalPlan::TableScan(scan) => whole_table(scan),
        _ => None,
    }
}

fn whole_table(scan: &TableScan) -> Option<Shape> {
    let provider = source_as_provider(&scan.source).ok()?;
    let table = provider.downcast_ref::<UserTable>()?;
    // Filters of a scan stand above it, too, for it takes none of them as its own.
    if scan.fetch.is_some() {
        return None;
    }
    let (table, deleted, columns) = table.read_by_key(scan.projection.as_deref())?;
    Some(Shape { table, deleted, columns, equal: Vec::new() })
}

/// Which stored column an expression is, and nothing but that.
fn stored(expr: &Expr, input: &LogicalPlan, below: &Shape) -> Option<usize> {
    match expr {
        Expr::Column(column) => below.columns.get(input.schema().index_of_column(column).ok()?).copied(),
        Expr::Alias(alias) => stored(&alias.expr, input, below),
        _ => None,
    }
}

fn part(expr: &Expr) -> Option<Part> {
    match expr {
        Expr::Placeholder(parameter) => {
            Some(Part::Parameter(parameter.id.get(1..)?.parse::<usize>().ok()?.checked_sub(1)?))
        }
        Expr::Literal(value, _) => Some(Part::Value(value.clone())),
        _ => None,
    }
}
