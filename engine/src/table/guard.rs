//! The last line of defence: directly above every scan of files that many users share. A foreign row fails the query;
//! it is never filtered silently, because a scan that yields one has a bug that must be seen.

use std::{fmt, sync::Arc};

use arrow::array::{Array, ArrayRef, RecordBatch, UInt64Array};
use datafusion::{
    error::Result,
    execution::TaskContext,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties, SendableRecordBatchStream,
        stream::RecordBatchStreamAdapter,
    },
};
use futures::StreamExt;
use insula_proto::UserNo;

use super::wrapper::row_plan;
use crate::Error;

#[derive(Debug)]
pub(super) struct TenantGuard {
    input: Arc<dyn ExecutionPlan>,
    /// Index of the column `_user_no` in the input.
    column: usize,
    owner: UserNo,
}

impl TenantGuard {
    pub fn new(input: Arc<dyn ExecutionPlan>, column: usize, owner: UserNo) -> Self {
        Self { input, column, owner }
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> Self {
        Self { input, column: self.column, owner: self.owner }
    }

    /// A row that a filter drops is one that nobody sees.
    fn passes(&self, _: &Arc<dyn PhysicalExpr>) -> bool {
        true
    }
}

impl DisplayAs for TenantGuard {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TenantGuard")
    }
}

impl ExecutionPlan for TenantGuard {
    row_plan!("TenantGuard", keeps_all = true);

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let (schema, column, owner) = (input.schema(), self.column, self.owner);
        let checked = input.map(move |batch| batch.and_then(|batch| check(batch, column, owner)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, checked)))
    }
}

pub(super) fn check(batch: RecordBatch, column: usize, owner: UserNo) -> Result<RecordBatch> {
    check_column(batch.column(column), owner)?;
    Ok(batch)
}

/// `users`: of each row, whose it is.
pub(super) fn check_column(users: &ArrayRef, owner: UserNo) -> Result<()> {
    let users = users.as_any().downcast_ref::<UInt64Array>();
    // All differences gathered, not the first one sought: that is a loop which the compiler makes wide.
    let differs = |users: &UInt64Array| users.values().iter().fold(0, |differs, no| differs | (no ^ owner.0)) != 0;
    let own = users.is_some_and(|users| users.null_count() == 0 && !differs(users));
    if own {
        Ok(())
    } else {
        Err(Error::internal("a scan yielded rows that are not the user's; the statement was stopped").into())
    }
}
