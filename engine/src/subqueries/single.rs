//! Correlated scalar subqueries that look something up, without an aggregate: `(SELECT name FROM c WHERE c.id = o.customer)`,
//! `(SELECT v FROM e WHERE e.id = o.id ORDER BY at DESC LIMIT 1)`. DataFusion wants aggregates, so they become some.

use arrow::{
    array::{Array, ArrayRef, AsArray, Int32Array},
    compute::take,
    datatypes::DataType,
};
use datafusion::{
    common::{
        Column, DFSchema, ScalarValue,
        tree_node::{Transformed, TreeNode},
    },
    error::Result,
    functions_aggregate::{array_agg::array_agg_udaf, first_last::first_value},
    logical_expr::{
        ColumnarValue, Expr, FetchType, Limit, LogicalPlan, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF,
        ScalarUDFImpl, Signature, SkipType, SortExpr, Subquery, Volatility,
    },
};

use super::subquery_of;
use crate::Error;

/// A name that no column beside it has.
const VALUE: &str = "__value";

/// `outer`: the columns of the query around it.
pub(super) fn settle(subquery: Subquery, outer: &DFSchema) -> Result<Transformed<Expr>> {
    if let Some(value) = hoisted(&subquery, outer)? {
        return Ok(Transformed::yes(value));
    }
    let plan = subquery.subquery.as_ref();
    let gathered = |plan: LogicalPlan, gathered: Expr| {
        let gathered = gathered.alias(VALUE);
        let plan = LogicalPlanBuilder::from(plan).aggregate(Vec::<Expr>::new(), vec![gathered])?.build()?;
        Ok::<_, datafusion::error::DataFusionError>(Expr::ScalarSubquery(subquery_of(plan, &subquery)))
    };
    match plan {
        LogicalPlan::Limit(limit) if is_first_row(limit)? => {
            if is_one_row(&limit.input) {
                let unlimited = subquery_of(limit.input.as_ref().clone(), &subquery);
                return Ok(Transformed::yes(Expr::ScalarSubquery(unlimited)));
            }
            let (value, order, rows) = ordered(&limit.input);
            gathered(rows, first_value(value, order)).map(Transformed::yes)
        }
        LogicalPlan::Limit(_) => Ok(Transformed::no(Expr::ScalarSubquery(subquery))),
        plan if is_aggregate(plan) => Ok(Transformed::no(Expr::ScalarSubquery(subquery))),
        plan if plan.max_rows().is_some_and(|rows| rows <= 1) => Ok(Transformed::no(Expr::ScalarSubquery(subquery))),
        plan => {
            let (value, _, rows) = ordered(plan);
            let all = gathered(rows, array_agg_udaf().call(vec![value]))?;
            Ok(Transformed::yes(ScalarUDF::from(OnlyRow::default()).call(vec![all])))
        }
    }
}

/// What is computed of the one row of an aggregate and of outer columns is computed outside: of
/// `(SELECT max(a) + t.b FROM …)` the maximum is the subquery.
fn hoisted(subquery: &Subquery, outer: &DFSchema) -> Result<Option<Expr>> {
    let LogicalPlan::Projection(projection) = subquery.subquery.as_ref() else { return Ok(None) };
    let [value] = projection.expr.as_slice() else { return Ok(None) };
    let is_row = match projection.input.as_ref() {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(empty) => empty.produce_one_row,
        _ => false,
    };
    let is_plain = !value.exists(|expr| {
        Ok(matches!(expr, Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_)))
    })?;
    if !is_row || !is_plain || !value.contains_outer() {
        return Ok(None);
    }
    let hoisted = value.clone().unalias().transform(|expr| match expr {
        // Others are of a query around that one.
        Expr::OuterReferenceColumn(_, column) if outer.has_column(&column) => {
            Ok(Transformed::yes(Expr::Column(column)))
        }
        Expr::Column(column) => {
            let of_row = LogicalPlanBuilder::from(projection.input.as_ref().clone()).project([Expr::Column(column)])?;
            Ok(Transformed::yes(Expr::ScalarSubquery(subquery_of(of_row.build()?, subquery))))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(Some(hoisted.data))
}

fn is_first_row(limit: &Limit) -> Result<bool> {
    Ok(matches!(limit.get_skip_type()?, SkipType::Literal(0))
        && matches!(limit.get_fetch_type()?, FetchType::Literal(Some(1))))
}

fn stripped(plan: &LogicalPlan) -> &LogicalPlan {
    match plan {
        LogicalPlan::Projection(projection) => stripped(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => stripped(&alias.input),
        LogicalPlan::Sort(sort) => stripped(&sort.input),
        other => other,
    }
}

/// An aggregate of all rows, which is a row even of none.
fn is_one_row(plan: &LogicalPlan) -> bool {
    matches!(stripped(plan), LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty())
}

/// What DataFusion knows to be a row at most, or says itself that it is not.
fn is_aggregate(plan: &LogicalPlan) -> bool {
    match stripped(plan) {
        LogicalPlan::Aggregate(_) => true,
        LogicalPlan::Filter(filter) => matches!(filter.input.as_ref(), LogicalPlan::Aggregate(_)),
        _ => false,
    }
}

/// The value of each row, the order of the rows, and the rows.
fn ordered(plan: &LogicalPlan) -> (Expr, Vec<SortExpr>, LogicalPlan) {
    match plan {
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
            (first_column(plan), sort.expr.clone(), sort.input.as_ref().clone())
        }
        LogicalPlan::Projection(projection) => match (projection.expr.as_slice(), projection.input.as_ref()) {
            ([value], LogicalPlan::Sort(sort)) if sort.fetch.is_none() => {
                (value.clone().unalias(), sort.expr.clone(), sort.input.as_ref().clone())
            }
            _ => (first_column(plan), Vec::new(), plan.clone()),
        },
        _ => (first_column(plan), Vec::new(), plan.clone()),
    }
}

fn first_column(plan: &LogicalPlan) -> Expr {
    Expr::Column(Column::from(plan.schema().qualified_field(0)))
}

/// The only value of a list of one; NULL of none. Nothing moves it below a join, where it would see lists that no row
/// asks for: for the optimizer it is volatile.
#[derive(Debug, PartialEq, Eq, Hash)]
struct OnlyRow {
    signature: Signature,
}

impl Default for OnlyRow {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Volatile) }
    }
}

impl ScalarUDFImpl for OnlyRow {
    fn name(&self) -> &str {
        "only_row"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [DataType::List(item)] => Ok(item.data_type().clone()),
            _ => Err(Error::internal("the rows of a subquery are no list").into()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Array(lists)] => Ok(ColumnarValue::Array(only_rows(lists)?)),
            [ColumnarValue::Scalar(list)] => {
                let only = only_rows(&list.to_array()?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&only, 0)?))
            }
            _ => Err(Error::internal("only_row takes one list").into()),
        }
    }
}

fn only_rows(lists: &ArrayRef) -> Result<ArrayRef> {
    let Some(lists) = lists.as_list_opt::<i32>() else {
        return Err(Error::internal("the rows of a subquery are no list").into());
    };
    let mut places = Vec::with_capacity(lists.len());
    for (row, ends) in lists.offsets().windows(2).enumerate() {
        match ends[1] - ends[0] {
            _ if lists.is_null(row) => places.push(None),
            0 => places.push(None),
            1 => places.push(Some(ends[0])),
            _ => return Err(Error::invalid("a subquery that stands for a value returned more than one row").into()),
        }
    }
    Ok(take(lists.values(), &Int32Array::from(places), None)?)
}
