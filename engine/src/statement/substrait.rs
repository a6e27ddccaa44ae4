//! Substrait plans: a query that comes as a tree instead of a text. Its names are resolved by the same context that
//! resolves those of SQL, so it reaches the caller's own tables and the same functions, and nothing else.

use std::{collections::HashSet, panic::AssertUnwindSafe, sync::Arc};

use async_trait::async_trait;
use datafusion::{
    catalog::TableProvider,
    common::{
        DFSchema, TableReference, plan_datafusion_err,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    datasource::source_as_provider,
    error::Result as PlanResult,
    execution::FunctionRegistry,
    logical_expr::{
        AggregateUDF, Cast, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TryCast, WindowUDF,
        planner::{ContextProvider, ExprPlanner},
    },
};
use datafusion_substrait::{
    extensions::Extensions,
    logical_plan::consumer::{SubstraitConsumer, from_read_rel, from_substrait_plan_with_consumer, from_substrait_rel},
    serializer::deserialize_bytes,
    substrait::{
        proto::{ReadRel, Rel, plan_rel, read_rel::ReadType, rel::RelType},
        version,
    },
};
use futures::FutureExt;
use parking_lot::Mutex;

use insula_storage::table::check_width;

use crate::{Error, Result, context::Context};

pub(super) use datafusion_substrait::substrait::proto::Plan as Message;

/// What stands for the text of such a statement.
pub(super) const TEXT: &str = "(Substrait plan)";

/// The version of the specification that plans are read by; what they say beyond it is refused where it is found.
pub fn substrait_version() -> String {
    let version = version::version();
    format!("{}.{}.{}", version.major_number, version.minor_number, version.patch_number)
}

pub(crate) fn decode(message: &[u8]) -> Result<Message> {
    let plan = deserialize_bytes(message).map_err(|e| Error::invalid(format!("malformed Substrait plan: {e}")))?;
    // The consumer takes it for granted that a root has an input.
    let rootless = |relation: &plan_rel::RelType| matches!(relation, plan_rel::RelType::Root(r) if r.input.is_none());
    if plan.relations.iter().filter_map(|relation| relation.rel_type.as_ref()).any(rootless) {
        return Err(Error::invalid("malformed Substrait plan: a root without an input"));
    }
    Ok(*plan)
}

pub(super) async fn plan(context: &Context, message: &Message) -> Result<LogicalPlan> {
    let extensions = Extensions::try_from(&message.extensions)?;
    let consumer = Consumer { context, registry: Registry(context), extensions, outer: Mutex::default() };
    let planned = AssertUnwindSafe(from_substrait_plan_with_consumer(&consumer, message)).catch_unwind().await;
    // The consumer takes more for granted than it should of messages from outside.
    let plan = planned.map_err(|_| Error::invalid("malformed Substrait plan: it lacks a part that it must have"))??;
    check_casts(&plan)?;
    Ok(plan)
}

/// In texts the names of types are looked at.
fn check_casts(plan: &LogicalPlan) -> PlanResult<()> {
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::Cast(Cast { field, .. }) | Expr::TryCast(TryCast { field, .. }) = expr {
                    check_width(field.data_type()).map_err(Error::from)?;
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(())
}

struct Consumer<'a> {
    context: &'a Context,
    registry: Registry<'a>,
    extensions: Extensions,
    /// Schemas around the subquery that is read.
    outer: Mutex<Vec<Arc<DFSchema>>>,
}

#[async_trait]
impl SubstraitConsumer for Consumer<'_> {
    async fn resolve_table_ref(&self, name: &TableReference) -> PlanResult<Option<Arc<dyn TableProvider>>> {
        source_as_provider(&self.context.get_table_source(name.clone())?).map(Some)
    }

    fn get_extensions(&self) -> &Extensions {
        &self.extensions
    }

    fn get_function_registry(&self) -> &impl FunctionRegistry {
        &self.registry
    }

    async fn consume_rel(&self, rel: &Rel) -> PlanResult<LogicalPlan> {
        match &rel.rel_type {
            Some(RelType::Write(_) | RelType::Ddl(_) | RelType::Update(_)) => {
                Err(Error::unimplemented("Substrait plans that write are not taken; send SQL, or ingest").into())
            }
            Some(RelType::ExtensionSingle(_) | RelType::ExtensionMulti(_) | RelType::ExtensionLeaf(_)) => {
                Err(Error::unimplemented("relations of Substrait extensions are not known here").into())
            }
            _ => from_substrait_rel(self, rel).await,
        }
    }

    async fn consume_read(&self, rel: &ReadRel) -> PlanResult<LogicalPlan> {
        match &rel.read_type {
            Some(ReadType::NamedTable(_) | ReadType::VirtualTable(_)) => from_read_rel(self, rel).await,
            _ => Err(Error::denied("a Substrait plan reads named tables; files and the like are outside").into()),
        }
    }

    fn push_outer_schema(&self, schema: Arc<DFSchema>) {
        self.outer.lock().push(schema);
    }

    fn pop_outer_schema(&self) {
        self.outer.lock().pop();
    }

    fn get_outer_schema(&self, steps_out: usize) -> Option<Arc<DFSchema>> {
        let outer = self.outer.lock();
        outer.len().checked_sub(steps_out.max(1)).filter(|_| steps_out > 0).and_then(|i| outer.get(i).cloned())
    }
}

/// The functions of SQL, `current_user` included.
struct Registry<'a>(&'a Context);

impl FunctionRegistry for Registry<'_> {
    fn udfs(&self) -> HashSet<String> {
        self.0.udf_names().into_iter().collect()
    }

    fn higher_order_function_names(&self) -> HashSet<String> {
        ContextProvider::higher_order_function_names(self.0).into_iter().collect()
    }

    fn udafs(&self) -> HashSet<String> {
        self.0.udaf_names().into_iter().collect()
    }

    fn udwfs(&self) -> HashSet<String> {
        self.0.udwf_names().into_iter().collect()
    }

    fn udf(&self, name: &str) -> PlanResult<Arc<ScalarUDF>> {
        self.0.get_function_meta(name).ok_or_else(|| unknown(name))
    }

    fn higher_order_function(&self, name: &str) -> PlanResult<Arc<HigherOrderUDF>> {
        self.0.get_higher_order_meta(name).ok_or_else(|| unknown(name))
    }

    fn udaf(&self, name: &str) -> PlanResult<Arc<AggregateUDF>> {
        self.0.get_aggregate_meta(name).ok_or_else(|| unknown(name))
    }

    fn udwf(&self, name: &str) -> PlanResult<Arc<WindowUDF>> {
        self.0.get_window_meta(name).ok_or_else(|| unknown(name))
    }

    fn expr_planners(&self) -> Vec<Arc<dyn ExprPlanner>> {
        self.0.get_expr_planners().to_vec()
    }
}

fn unknown(name: &str) -> datafusion::error::DataFusionError {
    plan_datafusion_err!("function '{name}' does not exist")
}
