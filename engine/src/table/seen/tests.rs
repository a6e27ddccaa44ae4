use super::*;
use crate::{sql::SystemColumns, world::World};

fn names(seen: &Seen) -> Vec<&str> {
    seen.schema.fields().iter().map(|field| field.name().as_str()).collect()
}

#[tokio::test]
async fn columns_are_made_once_for_a_definition() {
    let world = World::new().await;
    world.run("CREATE TABLE t (id BIGINT PRIMARY KEY, v TEXT)").await;
    let snapshot = || world.engine.catalog().snapshot();
    let before = snapshot();
    let def = before.get("public", "t").unwrap();
    let first = before.seen().get(def, Shape::default());
    assert!(Arc::ptr_eq(&first, &before.seen().get(def, Shape::default())));
    assert_eq!(names(&first), ["id", "v"]);

    // What a statement sees besides is its own.
    let system = Shape { columns: SystemColumns::ALL, ..Shape::default() };
    let more = before.seen().get(def, system);
    assert_eq!(names(&more), ["id", "v", "_updated", "_deleted", "_seq"]);
    assert!(!Arc::ptr_eq(&more, &before.seen().get(def, system)));
    assert!(Arc::ptr_eq(&first, &before.seen().get(def, Shape { deleted: true, ..Shape::default() })));

    world.run("ALTER TABLE t ADD COLUMN w INT").await;
    let after = snapshot();
    let altered = after.get("public", "t").unwrap();
    assert_eq!(names(&after.seen().get(altered, Shape::default())), ["id", "v", "w"]);
    // A definition of another moment is none of this one's.
    assert_eq!(names(&before.seen().get(altered, Shape::default())), ["id", "v", "w"]);
    assert_eq!(names(&before.seen().get(def, Shape::default())), ["id", "v"]);
}
