//! Results in parts, for clients that read several streams side by side.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    physical_plan::{ExecutionPlan, ExecutionPlanProperties},
};
use futures::StreamExt;
use insula_proto::UserNo;

use super::{output, parameters::Bindings, query::Query, told::Names};
use crate::{Error, Identity, Outcome, Result, Running, audit::Verb, catalog::Snapshot, context::Context};

/// A query whose rows come in parts, which may be read in any order, at once, and again: all see one snapshot.
pub struct Parts {
    user: UserNo,
    context: Arc<Context>,
    physical: Arc<dyn ExecutionPlan>,
    schema: SchemaRef,
    /// Names of the tables that it reads.
    tables: Names,
}

/// The query's parts, if it has more than one. A query that was asked for in an order has one, in which it is merged;
/// rows of a part come in the order of its file.
pub(super) async fn of_query(
    user: UserNo,
    context: Context,
    query: &Query,
    params: &[RecordBatch],
) -> Result<Option<Parts>> {
    let bound = params.first().map(RecordBatch::schema);
    let (parameters, schema) = query.schemas(bound.as_deref())?;
    let mut bindings = Bindings::new(&parameters, params)?;
    let (Some(values), None) = (bindings.take_next()?, bindings.take_next()?) else { return Ok(None) };
    let context = context.without_exchanges();
    let physical = query.physical(&context, values).await?;
    let is_split = physical.output_partitioning().partition_count() > 1;
    Ok((is_split && is_repeatable(&physical)?).then(|| {
        let tables = Arc::clone(query.tables());
        Parts { user, context: Arc::new(context), physical, schema, tables }
    }))
}

/// Parts share nothing that the first to read them would use up: an exchange feeds all its outputs from one run of its
/// inputs, a join may build one table for all.
fn is_repeatable(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let independent = ["ProjectionExec", "FilterExec", "UnionExec", "DataSourceExec", "CooperativeExec"];
    let ours = ["HotExec", "Shadow", "Live", "TenantGuard", "Restore"];
    let mut all = true;
    plan.apply(|node| {
        all &= independent.contains(&node.name()) || ours.contains(&node.name());
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(all)
}

impl Parts {
    pub fn count(&self) -> usize {
        self.physical.output_partitioning().partition_count()
    }

    /// The rows of one part, for the query's own user. `now`: by which they must still be allowed to read them.
    pub(crate) fn rows(&self, now: &Snapshot, user: &Identity, part: usize, running: Running) -> Result<Outcome> {
        if user.no != self.user {
            return Err(Error::denied("the statement belongs to another user"));
        }
        self.context.tables.require_still(now, user)?;
        if part >= self.count() {
            return Err(Error::invalid(format!("the result has {} parts", self.count())));
        }
        running.does(Verb::Select);
        running.touches(&self.tables);
        let batches = self.physical.execute(part, self.context.task()?)?;
        let (held, schema) = (Arc::clone(&self.context), Arc::clone(&self.schema));
        let rows = batches.map(move |batch| {
            let _ = &held;
            output::conform(&batch?, &schema)
        });
        Ok(Outcome::Rows { schema: Arc::clone(&self.schema), rows: running.watch(rows.boxed()) })
    }
}
