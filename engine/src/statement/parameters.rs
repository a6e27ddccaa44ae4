//! Parameters of a statement: their types, and their values one execution at a time.

mod arguments;

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch},
    compute::{CastOptions, cast_with_options, kernels::cmp::distinct},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use datafusion::{
    common::{
        ParamValues, ScalarValue,
        metadata::ScalarAndMetadata,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    logical_expr::{BinaryExpr, Case, Expr, LogicalPlan, Operator},
};

use super::many;
use crate::{Error, Result, types::plain_type};

/// The types that a plan demands of its parameters, `$1` first; `None` where any type will do.
#[derive(Debug)]
pub(crate) struct Demanded {
    /// As clients are told.
    plain: Vec<Option<DataType>>,
    /// As the plan has them, with views.
    planned: Vec<Option<DataType>>,
    /// Where nothing else is said, not by what is bound either.
    likely: Vec<Option<DataType>>,
}

impl Demanded {
    pub fn of(plan: &LogicalPlan) -> Result<Self> {
        let mut types = BTreeMap::new();
        let placed = placed(plan)?;
        let mut passed = arguments::passed(plan)?;
        for (name, field) in plan.get_parameter_fields()? {
            let number: usize = name[1..].parse().map_err(|_| Error::invalid(format!("\"{name}\" is no parameter")))?;
            let known = field.map(|field| field.data_type().clone()).filter(|known| *known != DataType::Null);
            let passed = passed.remove(&name).unwrap_or_default();
            let known = known.or_else(|| placed.get(&name).cloned()).or(passed.only);
            types.insert(number, (known, passed.likely));
        }
        let count = types.keys().last().copied().unwrap_or_default();
        let types = (1..=count).map(|number| types.remove(&number).unwrap_or_default());
        let (planned, likely): (Vec<_>, _) = types.unzip();
        Ok(Self { plain: planned.iter().map(|known| known.as_ref().map(plain_type)).collect(), planned, likely })
    }

    /// One nullable field per parameter. The type is what the statement demands, else what is bound, else what a function
    /// would rather take, else text, as in PostgreSQL.
    pub fn schema(&self, bound: Option<&Schema>) -> SchemaRef {
        let fields =
            (0..self.plain.len()).map(|i| Field::new(format!("${}", i + 1), self.type_of(i, bound).clone(), true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// Whether that schema is this one.
    pub fn are(&self, schema: &Schema, bound: Option<&Schema>) -> bool {
        let fields = schema.fields();
        fields.len() == self.plain.len()
            && fields.iter().enumerate().all(|(i, field)| field.data_type() == self.type_of(i, bound))
    }

    fn type_of<'a>(&'a self, i: usize, bound: Option<&'a Schema>) -> &'a DataType {
        let given = || bound.and_then(|bound| bound.fields().get(i)).map(|field| field.data_type());
        self.plain[i].as_ref().or_else(given).or(self.likely[i].as_ref()).unwrap_or(&DataType::Utf8)
    }
}

impl Demanded {
    /// The values of a single execution, as columns of one row, bound in the very types that are demanded; `None`: they are
    /// not.
    pub fn of_one_run<'a>(&self, params: &'a [RecordBatch]) -> Option<&'a [ArrayRef]> {
        let columns = match params {
            [] if self.plain.is_empty() => return Some(&[]),
            [row] if row.num_rows() == 1 && row.num_columns() == self.plain.len() => row.columns(),
            _ => return None,
        };
        let same = |(column, demanded): (&ArrayRef, &Option<DataType>)| demanded.as_ref() == Some(column.data_type());
        columns.iter().zip(&self.plain).all(same).then_some(columns)
    }

    /// A value for each that is known to be of its type; `None` where a type has none.
    pub fn examples(&self) -> Option<Vec<ScalarValue>> {
        let example = |known: &Option<DataType>| ScalarValue::new_default(known.as_ref()?).ok();
        self.planned.iter().map(example).collect()
    }

    /// Values for a plan whose types are settled, so that nothing will cast them any more.
    pub fn settle(&self, scalars: Vec<ScalarValue>) -> Result<Vec<ScalarValue>> {
        let pairs = scalars.into_iter().zip(&self.planned);
        let settled = pairs.map(|(scalar, planned)| match planned {
            Some(planned) if scalar.data_type() != *planned => scalar.cast_to(planned),
            _ => Ok(scalar),
        });
        Ok(settled.collect::<Result<_, _>>()?)
    }
}

/// Types to which parameters are cast where nothing else is said of them, of counts of rows, and of conditions; as in
/// PostgreSQL.
fn placed(plan: &LogicalPlan) -> Result<BTreeMap<String, DataType>> {
    let mut types = BTreeMap::new();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            let whole = match node {
                LogicalPlan::Limit(_) => Some(DataType::Int64),
                LogicalPlan::Filter(_) => Some(DataType::Boolean),
                _ => None,
            };
            if let (Some(whole), Expr::Placeholder(parameter)) = (whole, expr) {
                types.insert(parameter.id.clone(), whole);
            }
            expr.apply(|expr| {
                for condition in conditions(expr) {
                    if let Expr::Placeholder(parameter) = condition {
                        types.insert(parameter.id.clone(), DataType::Boolean);
                    }
                }
                let (inner, field) = match expr {
                    Expr::Cast(cast) => (&cast.expr, &cast.field),
                    Expr::TryCast(cast) => (&cast.expr, &cast.field),
                    _ => return Ok(TreeNodeRecursion::Continue),
                };
                if let Expr::Placeholder(parameter) = inner.as_ref() {
                    types.insert(parameter.id.clone(), plain_type(field.data_type()));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(types)
}

/// Those of its parts that an expression takes for true or not.
fn conditions(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And | Operator::Or, right }) => vec![left, right],
        Expr::Not(inner) => vec![inner],
        Expr::Case(Case { expr: None, when_then_expr, .. }) => when_then_expr.iter().map(|(when, _)| &**when).collect(),
        _ => Vec::new(),
    }
}

/// See [`Demanded::schema`].
pub(crate) fn schema(plan: &LogicalPlan, bound: Option<&Schema>) -> Result<SchemaRef> {
    Ok(Demanded::of(plan)?.schema(bound))
}

/// The plan as it is with parameters of these types, to learn its schema.
pub(crate) fn with_types(plan: &LogicalPlan, parameters: &Schema) -> Result<LogicalPlan> {
    if parameters.fields().is_empty() {
        return Ok(plan.clone());
    }
    let nulls: Result<Vec<_>, _> = parameters.fields().iter().map(|f| ScalarValue::try_from(f.data_type())).collect();
    Ok(plan.clone().with_param_values(as_values(nulls?))?)
}

/// The plans of all executions: one per row of `params`, or one for all of them where that is the same; the plan itself
/// if it has no parameters.
pub(crate) fn executions(plan: &LogicalPlan, params: &[RecordBatch]) -> Result<Vec<LogicalPlan>> {
    let bound = params.first().map(RecordBatch::schema);
    let mut bindings = Bindings::new(&schema(plan, bound.as_deref())?, params)?;
    if let Some(plan) = many::over_rows(plan, &bindings.batches)? {
        return Ok(vec![plan]);
    }
    let mut plans = Vec::new();
    while let Some(values) = bindings.take_next()? {
        plans.push(match values {
            Some(values) => plan.clone().with_param_values(as_values(values))?,
            None => plan.clone(),
        });
    }
    Ok(plans)
}

/// The values of one execution after the other.
pub(crate) struct Bindings {
    /// Of the declared types.
    batches: Vec<RecordBatch>,
    /// Batch and row of the next execution.
    next: (usize, usize),
    /// A statement without parameters, and it has not been told yet.
    bare: bool,
}

impl Bindings {
    /// Values are brought to the types of `declared` here, so that none is refused when half of them have been run.
    pub fn new(declared: &SchemaRef, params: &[RecordBatch]) -> Result<Self> {
        let count = declared.fields().len();
        if count == 0 {
            return Ok(Self { batches: Vec::new(), next: (0, 0), bare: true });
        }
        let given = params.first().map_or(0, RecordBatch::num_columns);
        if given != count {
            return Err(Error::invalid(format!("the statement has {count} parameters, but {given} are bound")));
        }
        let batches: Result<_> = params.iter().map(|batch| conform(batch, declared)).collect();
        Ok(Self { batches: batches?, next: (0, 0), bare: false })
    }

    /// All of them, of the declared types.
    pub fn into_batches(self) -> Vec<RecordBatch> {
        self.batches
    }

    /// The outer `None` is the end; the inner one is a statement without parameters.
    pub fn take_next(&mut self) -> Result<Option<Option<Vec<ScalarValue>>>> {
        if std::mem::take(&mut self.bare) {
            return Ok(Some(None));
        }
        let (batch, row) = self.next;
        let Some(current) = self.batches.get(batch) else { return Ok(None) };
        if row == current.num_rows() {
            self.next = (batch + 1, 0);
            return self.take_next();
        }
        self.next = (batch, row + 1);
        let scalars: Result<Vec<_>, _> =
            current.columns().iter().map(|column| ScalarValue::try_from_array(column, row)).collect();
        Ok(Some(Some(scalars?)))
    }
}

fn conform(batch: &RecordBatch, declared: &SchemaRef) -> Result<RecordBatch> {
    let strict = CastOptions { safe: false, ..Default::default() };
    let columns = batch.columns().iter().zip(declared.fields()).map(|(column, field)| {
        if column.data_type() == field.data_type() {
            return Ok(Arc::clone(column));
        }
        let (name, wanted, given) = (field.name(), field.data_type(), column.data_type());
        let refused = |why: &str| Error::invalid(format!("parameter {name} is {wanted}, but {given} is bound: {why}"));
        let cast = cast_with_options(column, wanted, &strict).map_err(|e| refused(Error::from(e).message()))?;
        if loses_a_fraction(column, &cast)? {
            let why = format!("a value has a fraction; where it counts, write CAST({name} AS DOUBLE)");
            return Err(refused(&why));
        }
        Ok(cast)
    });
    Ok(RecordBatch::try_new(Arc::clone(declared), columns.collect::<Result<_>>()?)?)
}

/// Whether numbers became integers that they are not. `i < 1.5` would quietly be `i < 1`.
fn loses_a_fraction(given: &ArrayRef, cast: &ArrayRef) -> Result<bool> {
    let has_fractions = given.data_type().is_floating() || given.data_type().is_decimal();
    if !has_fractions || !cast.data_type().is_integer() {
        return Ok(false);
    }
    let back = cast_with_options(cast, given.data_type(), &CastOptions::default())?;
    Ok(distinct(given, &back)?.true_count() > 0)
}

pub(crate) fn as_values(scalars: Vec<ScalarValue>) -> ParamValues {
    ParamValues::List(scalars.into_iter().map(ScalarAndMetadata::from).collect())
}
