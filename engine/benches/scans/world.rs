//! A database of its own, loaded through storage: users are numbers there, and need not be registered.

use std::sync::Arc;

use arrow::util::pretty::pretty_format_batches;
use futures::{StreamExt, TryStreamExt, stream};
use insula_engine::{Engine, EngineConfig, Identity, Outcome, Role, Session, StoreConfig};
use insula_proto::UserNo;
use insula_storage::{Store, TableDef, WriteSet};

use crate::flights::{self, BATCH_ROWS, User};

/// Commits under way at a time.
const COMMITS: usize = 64;

pub struct World {
    engine: parking_lot::Mutex<Option<Arc<Engine>>>,
    pub dir: tempfile::TempDir,
}

pub fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

impl World {
    /// A database with an empty table of flights.
    pub async fn new() -> Self {
        Self::with_table(flights::COLUMNS).await
    }

    pub async fn with_table(columns: &str) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let world = Self { engine: parking_lot::Mutex::new(None), dir };
        world.open().await;
        let options =
            "durability = 'periodic', flush_rows = 1000000000, flush_bytes = 1000000000000, flush_interval = 'off'";
        world.run(&world.user(0, Role::Admin), &format!("CREATE TABLE flights ({columns}) WITH ({options})")).await;
        world
    }

    fn config(&self) -> StoreConfig {
        // In the background it would run beside what is measured.
        StoreConfig { compaction: false, ..StoreConfig::new(self.dir.path().to_path_buf()) }
    }

    async fn open(&self) {
        let config = EngineConfig {
            store: self.config(),
            memory_limit: 4 << 30,
            transactions: Default::default(),
            limits: Default::default(),
            admin_password: Some("bench".into()),
        };
        let engine = Engine::open(config).await.expect("opens");
        *self.engine.lock() = Some(engine);
    }

    fn engine(&self) -> Arc<Engine> {
        Arc::clone(self.engine.lock().as_ref().expect("open"))
    }

    /// Opens the store itself in the engine's place while `load` runs.
    pub async fn loading<F: Future<Output = ()>>(&self, load: impl FnOnce(Arc<Store>, Arc<TableDef>) -> F) {
        self.close().await;
        let store = Store::open(self.config()).await.expect("opens");
        let table = store.tables().first().cloned().expect("the table");
        load(Arc::clone(&store), Arc::clone(&table)).await;
        store.flush(table.id).await.expect("flushed");
        store.close().await.expect("closes");
        drop(store);
        self.open().await;
    }

    /// Each user's share of `rows` flights, flushed a million at a time.
    pub async fn load(&self, rows: usize, users: &[User]) {
        let schema = flights::schema();
        self.loading(async |store, table| {
            let ids: Vec<i64> = (0..rows as i64).collect();
            for million in ids.chunks(1_000_000) {
                let commits = users.iter().flat_map(|user| {
                    let of_user =
                        |id: &&i64| user.every == 1 || **id as usize % user.every == user.no as usize % user.every;
                    let own: Vec<i64> = million.iter().filter(of_user).copied().collect();
                    own.chunks(BATCH_ROWS).map(|ids| (user.no, flights::rows(&schema, ids))).collect::<Vec<_>>()
                });
                commit_all(&store, &table, commits).await;
                store.flush(table.id).await.expect("flushed");
            }
        })
        .await;
    }

    pub fn user(&self, no: u64, role: Role) -> Identity {
        Identity { name: format!("user {no}").into(), no: UserNo(no), role, actor: None }
    }

    /// The answer as text.
    pub async fn query(&self, user: u64, sql: &str) -> String {
        self.run(&self.user(user, Role::User), sql).await
    }

    pub async fn flush(&self) {
        self.run(&self.user(0, Role::Admin), "FLUSH TABLE flights").await;
    }

    pub async fn compact(&self) {
        self.run(&self.user(0, Role::Admin), "COMPACT TABLE flights").await;
    }

    async fn run(&self, user: &Identity, sql: &str) -> String {
        let session = Arc::new(Session::new(user));
        match self.engine().execute(user, &session, sql, Vec::new()).await.expect("runs") {
            Outcome::Count(count) => count.to_string(),
            Outcome::Rows { rows, .. } => {
                let batches: Vec<_> = rows.try_collect().await.expect("rows");
                // Rulers are as wide as the names of types, which differ.
                pretty_format_batches(&batches).expect("text").to_string().replace('-', "")
            }
        }
    }

    pub async fn close(&self) {
        let engine = self.engine.lock().take().expect("open");
        engine.close().await.expect("closes");
    }
}

/// One commit for each batch, many at a time.
pub async fn commit_all(
    store: &Arc<Store>,
    table: &Arc<TableDef>,
    batches: impl Iterator<Item = (u64, arrow::array::RecordBatch)>,
) {
    let commit = |(user, rows)| async move {
        let mut set = store.write_set(table, UserNo(user));
        set.insert(&rows).expect("new rows");
        let lock = store.lock(table, UserNo(user)).await;
        store.commit(&lock, set).await.expect("committed");
    };
    stream::iter(batches.map(commit)).buffer_unordered(COMMITS).collect::<Vec<_>>().await;
}
