use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::{datasource::MemTable, prelude::SessionContext};

use super::*;

/// Types of the columns below the first sort or window of the query's plan.
async fn below(sql: &str) -> Vec<DataType> {
    let context = SessionContext::new();
    let fields = [("id", DataType::Int64), ("name", DataType::Utf8View), ("data", DataType::BinaryView)];
    let schema = Schema::new(fields.map(|(name, data_type)| Field::new(name, data_type, true)).to_vec());
    let table = MemTable::try_new(Arc::new(schema), vec![Vec::new()]).unwrap();
    context.register_table("t", Arc::new(table)).unwrap();
    let plan = text(context.state().create_logical_plan(sql).await.unwrap()).unwrap();
    // What is made of it must still be a plan.
    context.state().create_physical_plan(&plan).await.unwrap();
    let mut types = None;
    plan.apply(|node| {
        if let LogicalPlan::Sort(_) | LogicalPlan::Window(_) = node {
            let fields = node.inputs()[0].schema().fields().clone();
            types.get_or_insert_with(|| fields.iter().map(|field| field.data_type().clone()).collect());
        }
        Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
    })
    .unwrap();
    types.unwrap()
}

#[tokio::test]
async fn what_holds_rows_holds_values() {
    let values = [DataType::Int64, DataType::Utf8, DataType::Binary];
    assert_eq!(below("SELECT * FROM t ORDER BY id").await, values);
    assert_eq!(below("SELECT lag(name) OVER (ORDER BY id), name = 'x' FROM t").await, values);
    assert_eq!(
        below("SELECT a.name FROM t a JOIN t b ON a.name = b.name ORDER BY b.id").await.last(),
        Some(&DataType::Int64)
    );
}

#[tokio::test]
async fn what_keeps_few_rows_keeps_views() {
    let top = below("SELECT * FROM t ORDER BY id LIMIT 5").await;
    assert!(top.contains(&DataType::Utf8View), "{top:?}");
    let groups = below("SELECT name, count(*) FROM t GROUP BY name ORDER BY name").await;
    assert!(groups.contains(&DataType::Utf8View), "{groups:?}");
}
