use std::sync::Arc;

use insula_proto::TableId;
use uuid::Uuid;

use super::*;
use crate::{TableOptions, notes::*};

async fn put(store: &Arc<Store>, path: Path) {
    let mut upload = store.cold.upload(path);
    upload.write("x".into()).await.unwrap();
    upload.finish().await.unwrap();
}

#[tokio::test]
async fn only_what_nothing_names_is_swept() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let table = notes(&store, TableOptions::default()).await;
    insert(&store, &table, ALICE, &[(1, "v1"), (2, "v1")]).await;
    store.flush(table.id).await.unwrap();
    // Retired objects that a view reads, an intent's object that is there already, a file with its vector.
    let view = store.view();
    replace(&store, &table, ALICE, &[(1, "v2")]).await;
    store.flush(table.id).await.unwrap();
    replace(&store, &table, ALICE, &[(1, "v3")]).await;
    store.flush(table.id).await.unwrap();
    let intent = manifest::Intent {
        objects: vec![Uuid::from_u128(7)],
        ..manifest::Intent::new(table.id, manifest::ChangeKind::Load)
    };
    let mut batch = crate::hot::db::Batch::default();
    manifest::put_intent(&mut batch, &intent);
    store.committer.write(batch).await.unwrap();
    put(&store, layout::file_path(table.id, Uuid::from_u128(7))).await;
    let before = objects(directory.path()).len();
    assert_eq!(store.sweep(Duration::ZERO).await.unwrap(), 0);
    // Orphans: of the table, of one that is no more; and what is not ours.
    put(&store, layout::file_path(table.id, Uuid::from_u128(8))).await;
    put(&store, layout::vector_path(TableId(999), Uuid::from_u128(9))).await;
    put(&store, Path::from("t1/README")).await;
    assert_eq!(store.sweep(Duration::from_secs(3600)).await.unwrap(), 0, "they are young");
    let restoring = |on: bool| {
        let mut batch = crate::hot::db::Batch::default();
        match on {
            true => batch.put(Family::Meta, record_key::RESTORING, []),
            false => batch.delete(Family::Meta, record_key::RESTORING),
        }
        store.committer.write(batch)
    };
    restoring(true).await.unwrap();
    assert_eq!(store.sweep(Duration::ZERO).await.unwrap(), 0, "a restore will name them");
    restoring(false).await.unwrap();
    assert_eq!(store.sweep(Duration::ZERO).await.unwrap(), 2);
    assert_eq!(objects(directory.path()).len(), before + 1);
    assert_eq!(seen(&store, &view, &table, ALICE).await.into_values().next().unwrap().0, "v1");
    assert_eq!(live(&store, &table, ALICE).await, ["v3", "v1"]);
    store.close().await.unwrap();
}
