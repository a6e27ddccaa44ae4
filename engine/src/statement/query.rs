//! Queries: what is kept of one between its runs, and how it is run, once per row of parameters, as one stream.
//!
//! What is kept has no tables: each run puts those of its own context in, with that context's snapshot. A plan that
//! would come out the same every time is kept optimized; one in which the optimizer folds what a run decides (`now()`,
//! a parameter inside an expression) is optimized anew.

use std::sync::{Arc, OnceLock};

use arrow::{
    array::{ArrayRef, RecordBatch},
    datatypes::{Schema, SchemaRef},
};
use datafusion::{
    common::{
        ScalarValue,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    execution::SessionState,
    logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, Volatility},
    physical_plan::{ExecutionPlan, coop::CooperativeExec, execute_stream},
};
use futures::{StreamExt, TryStreamExt, stream};
use insula_storage::ReadView;
use parking_lot::Mutex;

use super::{
    direct, explain, output,
    parameters::{self, Bindings, Demanded, as_values},
    told::{Names, names_of},
    weight::{self, Weight},
};
use crate::{
    Error, Identity, Outcome, Result, RowStream, Running,
    context::Context,
    table::{PointRead, owner_of},
};

/// A query as it was planned, before anything is folded.
pub(crate) struct Query {
    logical: LogicalPlan,
    parameters: Demanded,
    /// Names of the tables that it reads.
    tables: Names,
    /// Schemas of the parameters and of the rows, as they were asked for last: the types of free parameters may change.
    described: Mutex<Option<(SchemaRef, SchemaRef)>>,
    /// `None`: must be optimized for each run.
    optimized: OnceLock<Option<Optimized>>,
    weight: OnceLock<Weight>,
}

/// A plan that is optimized once.
struct Optimized {
    plan: LogicalPlan,
    /// It reads one row by its key.
    point: Option<PointRead>,
}

impl Query {
    pub fn new(logical: LogicalPlan) -> Result<Self> {
        let (parameters, tables) = (Demanded::of(&logical)?, names_of(&logical)?);
        Ok(Self {
            logical,
            parameters,
            tables,
            described: Mutex::default(),
            optimized: OnceLock::new(),
            weight: OnceLock::new(),
        })
    }

    pub fn tables(&self) -> &Names {
        &self.tables
    }

    /// Schemas of the parameters and of the rows. `bound`: types of the parameters that are bound already.
    pub fn schemas(&self, bound: Option<&Schema>) -> Result<(SchemaRef, SchemaRef)> {
        let parameters = self.parameters.schema(bound);
        if let Some(known) = self.described.lock().as_ref().filter(|(known, _)| *known == parameters) {
            return Ok(known.clone());
        }
        let rows = output::schema(&parameters::with_types(&self.logical, &parameters)?);
        *self.described.lock() = Some((Arc::clone(&parameters), Arc::clone(&rows)));
        Ok((parameters, rows))
    }

    /// What [`Self::schemas`] said before of parameters of the same types.
    pub fn described(&self, bound: Option<&Schema>) -> Option<(SchemaRef, SchemaRef)> {
        let described = self.described.lock();
        let known = described.as_ref()?;
        self.parameters.are(&known.0, bound).then(|| known.clone())
    }

    /// Whether it has run before, and reads one row by its key.
    pub fn is_of_row(&self) -> bool {
        self.optimized.get().and_then(Option::as_ref).is_some_and(|optimized| optimized.point.is_some())
    }

    /// The row of a query that has run before and reads one by its key: columns of one row or of none, in the types in
    /// which they are stored. `None`: it has
    /// to be run as a plan.
    pub fn row(&self, view: &Arc<ReadView>, user: &Identity, params: &[RecordBatch]) -> Option<Result<Vec<ArrayRef>>> {
        let point = self.optimized.get()?.as_ref()?.point.as_ref()?;
        let values = self.parameters.of_one_run(params)?;
        point.read(view, owner_of(point.table(), user), values)
    }

    /// How much it asks for. It is optimized to find that out, as it would be to run.
    pub(super) fn weight(&self, context: &Context) -> Weight {
        *self.weight.get_or_init(|| {
            let optimized = self.optimized.get_or_init(|| Optimized::of(context.state(), &self.logical)).as_ref();
            let weighed = match optimized {
                Some(Optimized { point: Some(_), .. }) => Ok(Weight::Light),
                Some(Optimized { plan, .. }) => weight::of_query(plan, self.parameters.examples()),
                None => weight::reads_nothing_stored(&self.logical).map(Weight::light_if),
            };
            weighed.unwrap_or(Weight::Heavy)
        })
    }

    /// Physical plans are made anew each time: one with a repartition panics when run twice.
    pub(super) async fn physical(
        &self,
        context: &Context,
        values: Option<Vec<ScalarValue>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let state = context.state();
        let optimized = self.optimized.get_or_init(|| Optimized::of(state, &self.logical)).as_ref();
        let plan = optimized.map_or(&self.logical, |optimized| &optimized.plan).clone();
        let plan = match values {
            Some(values) if optimized.is_some() => {
                plan.with_param_values(as_values(self.parameters.settle(values)?))?
            }
            Some(values) => plan.with_param_values(as_values(values))?,
            None => plan,
        };
        let plan = context.tables.put_into(plan)?;
        let plan = match optimized {
            Some(_) => plan,
            None => state.optimize(&plan)?,
        };
        cooperative(direct::plan(context, &plan).await?)
    }
}

impl Optimized {
    /// `None`: it is not the same for all runs of one user in one session, whatever the time and the parameters.
    fn of(state: &SessionState, logical: &LogicalPlan) -> Option<Self> {
        if matches!(logical, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_)) || !always_the_same(logical).ok()? {
            return None;
        }
        // A parameter whose type is not known yet cannot be optimized; then each run has its own try, and its own error.
        let plan = state.optimize(logical).ok()?;
        let point = PointRead::of(&plan);
        parameters_are_only_compared(&plan).ok()?.then_some(Self { plan, point })
    }
}

/// No function of it is worth another value at another time.
fn always_the_same(plan: &LogicalPlan) -> Result<bool> {
    let mut same = true;
    each_expression(plan, &mut |expr| match expr {
        Expr::ScalarFunction(function) => same &= function.func.signature().volatility == Volatility::Immutable,
        Expr::ScalarVariable(..) => same = false,
        _ => {}
    })?;
    Ok(same)
}

/// Each parameter stands beside a column in a comparison, where the optimizer would only have moved it. Anywhere else
/// it folds, and the plan would lack what it makes of the value: above all, keys to seek.
fn parameters_are_only_compared(plan: &LogicalPlan) -> Result<bool> {
    let (mut all, mut compared) = (0, 0);
    each_expression(plan, &mut |expr| match expr {
        Expr::Placeholder(_) => all += 1,
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(*op) => {
            let beside = |a: &Expr, b: &Expr| matches!((a, b), (Expr::Column(_), Expr::Placeholder(_)));
            compared += usize::from(beside(left, right) || beside(right, left));
        }
        _ => {}
    })?;
    Ok(all == compared)
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

fn each_expression(plan: &LogicalPlan, visit: &mut impl FnMut(&Expr)) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                visit(expr);
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

pub(super) async fn run(
    context: Context,
    query: Arc<Query>,
    params: &[RecordBatch],
    running: &Running,
) -> Result<Outcome> {
    let bound = params.first().map(RecordBatch::schema);
    let (parameters, schema) = query.schemas(bound.as_deref())?;
    let mut bindings = Bindings::new(&parameters, params)?;
    let context = Arc::new(context);
    // The first one is planned before the call returns, so that its errors are the statement's and not the stream's.
    let first = match bindings.take_next()? {
        Some(values) => {
            let physical = query.physical(&context, values).await?;
            running.follow(&physical);
            stream_of(&context, physical)?
        }
        None => stream::empty().boxed(),
    };
    let is_analyze = matches!(query.logical, LogicalPlan::Analyze(_));
    let rest = stream::try_unfold(bindings, move |mut bindings| {
        let (context, query) = (Arc::clone(&context), Arc::clone(&query));
        async move {
            let Some(values) = bindings.take_next()? else { return Ok(None) };
            Ok::<_, Error>(Some((stream_of(&context, query.physical(&context, values).await?)?, bindings)))
        }
    });
    let conformed = Arc::clone(&schema);
    let all = first.chain(rest.try_flatten()).map(move |batch| {
        let batch = output::conform(&batch?, &conformed)?;
        if is_analyze { explain::without_foreign_counts(&batch) } else { Ok(batch) }
    });
    Ok(Outcome::Rows { schema, rows: all.boxed() })
}

/// The rows of one plan that is run once.
pub(crate) async fn rows(context: &Arc<Context>, plan: &LogicalPlan) -> Result<RowStream> {
    let optimized = context.state().optimize(plan)?;
    stream_of(context, cooperative(direct::plan(context, &optimized).await?)?)
}

fn stream_of(context: &Arc<Context>, physical: Arc<dyn ExecutionPlan>) -> Result<RowStream> {
    let batches = execute_stream(physical, context.task()?)?;
    // The context holds the read view, and with it the files that the rows come from.
    let held = Arc::clone(context);
    Ok(batches
        .map(move |batch| {
            let _ = &held;
            batch.map_err(Error::from)
        })
        .boxed())
}

/// Joins without keys compute for minutes from input that is always ready, and DataFusion makes only scans and
/// exchanges yield. Without this, such a statement keeps its thread, and cannot be cancelled.
fn cooperative(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let wrapped = plan.transform_up(|node| {
        let busy = ["CrossJoinExec", "NestedLoopJoinExec", "HashJoinExec", "PiecewiseMergeJoinExec"];
        Ok(if busy.contains(&node.name()) {
            Transformed::yes(Arc::new(CooperativeExec::new(node)) as _)
        } else {
            Transformed::no(node)
        })
    })?;
    Ok(wrapped.data)
}
