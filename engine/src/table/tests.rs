use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, UInt64Array},
    datatypes::SchemaRef,
};
use datafusion::{
    datasource::memory::MemorySourceConfig, execution::TaskContext, physical_plan::ExecutionPlan,
    physical_plan::collect,
};
use insula_proto::UserNo;

use super::guard::TenantGuard;
use crate::{Error, ErrorKind};

fn users(numbers: Vec<Option<u64>>) -> (SchemaRef, RecordBatch) {
    let column: ArrayRef = Arc::new(UInt64Array::from(numbers));
    let batch = RecordBatch::try_from_iter([("_user_no", column)]).unwrap();
    (batch.schema(), batch)
}

async fn guarded(numbers: Vec<Option<u64>>) -> Result<usize, Error> {
    let (schema, batch) = users(numbers);
    let scan: Arc<dyn ExecutionPlan> = MemorySourceConfig::try_new_exec(&[vec![batch]], schema, None).unwrap();
    let plan = Arc::new(TenantGuard::new(scan, 0, UserNo(7)));
    let rows = collect(plan, Arc::new(TaskContext::default())).await?;
    Ok(rows.iter().map(RecordBatch::num_rows).sum())
}

#[tokio::test]
async fn the_guard_lets_own_rows_pass() {
    assert_eq!(guarded(vec![Some(7); 3]).await.unwrap(), 3);
}

#[tokio::test]
async fn the_guard_fails_the_statement_on_a_foreign_row() {
    for foreign in [Some(8), Some(0), None] {
        let error = guarded(vec![Some(7), foreign, Some(7)]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
    }
}
