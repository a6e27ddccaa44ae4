use super::*;

#[test]
fn names_are_unique_and_each_has_columns() {
    let mut seen = std::collections::BTreeSet::new();
    for view in views() {
        assert!(NAMESPACES.contains(&view.namespace));
        assert!(seen.insert((view.namespace, view.name)), "{} is there twice", view.name);
        assert!(!view.schema().fields().is_empty());
    }
    let of_contract = [
        "namespaces",
        "tables",
        "columns",
        "table_history",
        "users",
        "grants",
        "files",
        "jobs",
        "sessions",
        "queries",
        "settings",
        "audit",
        "storage",
    ];
    for name in of_contract {
        assert!(seen.contains(&("system", name)), "system.{name} is missing");
    }
}
