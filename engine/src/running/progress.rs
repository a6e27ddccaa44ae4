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

/// The scans of a query, and not its plan, which would keep what joins have built until the last row is taken.
pub(super) struct Scans(Vec<Arc<dyn ExecutionPlan>>);

impl Scans {
    /// Without those of fresh rows, which are few, and which nobody has counted.
    pub fn of(plan: &Arc<dyn ExecutionPlan>) -> Self {
        let mut scans = Vec::new();
        let walked = plan.apply(|node| {
            if node.children().is_empty() && node.name() != "HotExec" {
                scans.push(Arc::clone(node));
            }
            Ok(TreeNodeRecursion::Continue)
        });
        Self(if walked.is_ok() { scans } else { Vec::new() })
    }

    /// From 0 to 1; `None` where a scan does not know how many rows it has.
    pub fn progress(&self) -> Option<f64> {
        let (mut read, mut all) = (0, 0);
        for scan in &self.0 {
            // The statistics of a scan are of its user's own rows.
            let statistics = StatisticsContext::new().compute(scan.as_ref(), &StatisticsArgs::new()).ok()?;
            let rows = *statistics.num_rows.get_value()?;
            all += rows;
            read += scan.metrics().and_then(|metrics| metrics.output_rows()).unwrap_or(0).min(rows);
        }
        (all > 0).then(|| (read as f64 / all as f64).min(MOST))
    }
}
