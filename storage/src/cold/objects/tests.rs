use super::*;

fn tier(directory: &FsPath) -> Objects {
    Objects::open(None, directory).unwrap()
}

async fn put(objects: &Objects, path: &Path, bytes: usize) -> u64 {
    let mut upload = objects.upload(path.clone());
    for chunk in vec![7u8; bytes].chunks(1 << 20) {
        upload.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    upload.finish().await.unwrap()
}

#[tokio::test]
async fn small_and_large_objects_come_back_whole() {
    let directory = tempfile::tempdir().unwrap();
    let objects = tier(directory.path());
    for bytes in [0, 1, PART_BYTES - 1, PART_BYTES, 3 * PART_BYTES + 5] {
        let path = layout::file_path(insula_proto::TableId(1), uuid::Uuid::now_v7());
        assert_eq!(put(&objects, &path, bytes).await, bytes as u64);
        objects.persist(&path).await.unwrap();
        assert_eq!(objects.read(&path).await.unwrap().len(), bytes);
    }
}

#[tokio::test]
async fn the_sweep_takes_orphans_and_staging_files_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let objects = tier(directory.path());
    let table = insula_proto::TableId(3);
    let (kept, orphan) =
        (layout::file_path(table, uuid::Uuid::now_v7()), layout::vector_path(table, uuid::Uuid::now_v7()));
    put(&objects, &kept, 10).await;
    put(&objects, &orphan, 10).await;
    let cold = directory.path().join("cold");
    let staging = cold.join(format!("{kept}#1"));
    fs::write(&staging, "x").unwrap();
    fs::write(cold.join("t3/notes.txt"), "mine").unwrap();
    let named = HashSet::from([kept.to_string()]);
    assert_eq!(objects.sweep(&named).await.unwrap(), 2);
    assert!(cold.join(kept.as_ref()).exists() && cold.join("t3/notes.txt").exists());
    assert!(!staging.exists() && !cold.join(orphan.as_ref()).exists());
}

#[test]
fn other_stores_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    for url in ["s3://bucket/x", "file://relative", "file:///a%20b", "nonsense"] {
        let error = Objects::open(Some(url), directory.path()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(url));
    }
}

#[tokio::test]
async fn a_missing_object_is_data_loss() {
    let directory = tempfile::tempdir().unwrap();
    let path = layout::vector_path(insula_proto::TableId(1), uuid::Uuid::nil());
    let error = tier(directory.path()).read(&path).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLoss);
}

#[tokio::test]
async fn a_store_belongs_to_one_database() {
    let directory = tempfile::tempdir().unwrap();
    tier(directory.path()).claim(Uuid::from_u128(1)).await.unwrap();
    tier(directory.path()).claim(Uuid::from_u128(1)).await.unwrap();
    let error = tier(directory.path()).claim(Uuid::from_u128(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
}
