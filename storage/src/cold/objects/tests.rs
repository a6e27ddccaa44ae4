use futures::stream::BoxStream;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMultipartOptions, PutOptions,
    PutPayload, PutResult,
};

use super::{upload::PART_BYTES, *};

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

/// What every kind of store must do, begun with an empty one.
async fn conforms(objects: &Objects) {
    let owner = Uuid::now_v7();
    objects.require_conditional_writes().await.unwrap();
    objects.claim(owner).await.unwrap();
    objects.claim(owner).await.unwrap();
    let stranger = objects.claim(Uuid::now_v7()).await.unwrap_err();
    assert_eq!(stranger.kind(), ErrorKind::FailedPrecondition);

    let table = insula_proto::TableId(1);
    let mut paths = Vec::new();
    for bytes in [0, 1, PART_BYTES - 1, PART_BYTES, 2 * PART_BYTES + 5] {
        let path = layout::file_path(table, Uuid::now_v7());
        assert_eq!(put(objects, &path, bytes).await, bytes as u64);
        objects.persist(&path).await.unwrap();
        assert_eq!(objects.read(&path).await.unwrap(), vec![7; bytes]);
        paths.push(path);
    }
    // No object is written over another, neither at once nor in parts.
    for (path, bytes) in paths.iter().flat_map(|path| [(path, 10), (path, PART_BYTES)]) {
        let before = objects.read(path).await.unwrap();
        let mut upload = objects.upload(path.clone());
        let written = async {
            upload.write(Bytes::from(vec![8; bytes])).await?;
            upload.finish().await
        };
        assert!(written.await.is_err(), "{path} was overwritten with {bytes} bytes");
        assert_eq!(objects.read(path).await.unwrap(), before);
    }
    // One that is sent again because the answer was lost is there.
    upload::create(objects.store(), &paths[1], vec![7].into()).await.unwrap();

    let given_up = layout::file_path(table, Uuid::now_v7());
    let mut upload = objects.upload(given_up.clone());
    upload.write(Bytes::from(vec![7; PART_BYTES])).await.unwrap();
    upload.abort().await;
    assert_eq!(objects.read(&given_up).await.unwrap_err().kind(), ErrorKind::DataLoss);

    let foreign = Path::from("t1/notes.txt");
    objects.store().put(&foreign, "mine".into()).await.unwrap();
    objects.delete(&paths[0]).await.unwrap();
    objects.delete(&paths[0]).await.unwrap();
    let named = HashSet::from([paths[1].to_string()]);
    assert_eq!(objects.sweep(&named).await.unwrap(), 3);
    let mut left: Vec<_> = objects.store().list(None).map_ok(|meta| meta.location).try_collect().await.unwrap();
    left.sort();
    let mut expected = [Path::from(OWNER), foreign, paths[1].clone()];
    expected.sort();
    assert_eq!(left, expected);
}

#[tokio::test]
async fn every_store_conforms() {
    let directory = tempfile::tempdir().unwrap();
    conforms(&tier(directory.path())).await;
    conforms(&Objects::open(Some("memory://"), directory.path()).unwrap()).await;
    // A bucket, with the usual variables for its keys; the test takes a prefix of its own.
    if let Ok(url) = std::env::var("INSULA_TEST_STORE") {
        let url = format!("{}/{}", url.trim_end_matches('/'), Uuid::now_v7());
        conforms(&Objects::open(Some(&url), directory.path()).unwrap()).await;
    }
}

/// A store as there are some: what must not be there is overwritten.
#[derive(Debug)]
struct Careless(object_store::memory::InMemory);

impl std::fmt::Display for Careless {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("careless")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Careless {
    async fn put_opts(&self, path: &Path, payload: PutPayload, _: PutOptions) -> object_store::Result<PutResult> {
        self.0.put_opts(path, payload, PutOptions::default()).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.0.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.0.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_refused() {
    let store = Arc::new(Careless(object_store::memory::InMemory::new()));
    let objects = Objects::over(store);
    for _ in 0..2 {
        let error = objects.claim(Uuid::now_v7()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
        assert!(error.message().contains("If-None-Match"), "{error}");
    }
    // Nothing is left of the question.
    assert!(objects.store().list(None).map_ok(|meta| meta.location).try_collect::<Vec<_>>().await.unwrap().is_empty());
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
