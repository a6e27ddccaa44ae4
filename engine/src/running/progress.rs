//! How far a query has come: the rows that its scans have read, of those that they will read.

use std::sync::Arc;

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    physical_plan::{
        ExecutionPlan,
        statistics::{StatisticsArgs, StatisticsContext},
    },
};

/// A query whose scans are through has still to join, sort or send.
const MOST: f64 = 0.99;

/// From 0 to 1; `None` where a scan does not know how many rows it has. Fresh rows, which are few, count as none.
pub(super) fn of(plan: &Arc<dyn ExecutionPlan>) -> Option<f64> {
    let (mut read, mut all, mut is_known) = (0, 0, true);
    let counted = plan.apply(|node| {
        if !node.children().is_empty() || node.name() == "HotExec" {
            return Ok(TreeNodeRecursion::Continue);
        }
        // The statistics of a scan are of its user's own rows.
        let statistics = StatisticsContext::new().compute(node.as_ref(), &StatisticsArgs::new())?;
        match statistics.num_rows.get_value() {
            Some(rows) => {
                all += rows;
                read += node.metrics().and_then(|metrics| metrics.output_rows()).unwrap_or(0).min(*rows);
            }
            None => is_known = false,
        }
        Ok(if is_known { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    let is_known = counted.is_ok() && is_known && all > 0;
    is_known.then(|| (read as f64 / all as f64).min(MOST))
}
