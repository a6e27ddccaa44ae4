use std::collections::BTreeSet;

use insula_storage::StoreConfig;

use super::*;

/// Every function by name and kind, looked at one by one for what it reaches: none reads a file, the network, the
/// environment, another session, or where a row lies. A new version of DataFusion that brings another one fails here, and
/// somebody looks again.
const KNOWN: &str = include_str!("known.txt");

#[tokio::test]
async fn each_function_has_been_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(StoreConfig::new(dir.path().to_path_buf())).await.unwrap();
    let Functions { scalar, higher_order, aggregate, window, table, planners: _ } = Functions::new(
        &store,
        &Room::new(Arc::new(datafusion::execution::memory_pool::UnboundedMemoryPool::default()), usize::MAX),
    );
    let mut found = BTreeSet::new();
    let mut add =
        |kind: &str, names: Vec<&String>| found.extend(names.into_iter().map(|name| format!("{kind} {name}")));
    add("aggregate", aggregate.keys().collect());
    add("higher-order", higher_order.keys().collect());
    add("scalar", scalar.keys().collect());
    add("table", table.keys().collect());
    add("window", window.keys().collect());
    let known: BTreeSet<String> = KNOWN.lines().map(str::to_owned).collect();
    let new: Vec<_> = found.difference(&known).collect();
    let gone: Vec<_> = known.difference(&found).collect();
    assert!(new.is_empty() && gone.is_empty(), "new: {new:#?}\ngone: {gone:#?}");
    store.close().await.unwrap();
}
