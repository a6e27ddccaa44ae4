//! An engine on a directory of its own, and a client of it, for unit tests.

use std::sync::Arc;

use arrow::{
    array::{Array, RecordBatch},
    datatypes::{Schema, SchemaRef},
    util::display::{ArrayFormatter, FormatOptions},
};
use futures::TryStreamExt;

use crate::{Engine, EngineConfig, Error, Identity, Outcome, Result, Session, StoreConfig};

pub(crate) struct World {
    pub engine: Arc<Engine>,
    pub user: Identity,
    pub session: Arc<Session>,
    _directory: tempfile::TempDir,
}

impl World {
    pub async fn new() -> Self {
        Self::with(|store| store).await
    }

    /// With another store than it would have.
    pub async fn with(store: impl FnOnce(StoreConfig) -> StoreConfig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = store(StoreConfig { chunk_rows: 4, ..StoreConfig::new(directory.path().to_owned()) });
        let config = EngineConfig {
            store,
            memory_limit: 64 << 20,
            transactions: Default::default(),
            limits: Default::default(),
            admin_password: None,
        };
        let engine = Engine::open(config).await.unwrap();
        let user = engine.vouched("admin").await.unwrap();
        Self { session: Arc::new(Session::new(&user)), user, engine, _directory: directory }
    }

    pub async fn try_run(&self, sql: &str, params: Vec<RecordBatch>) -> Result<Outcome> {
        self.engine.execute(&self.user, &self.session, sql, params).await
    }

    /// Schema and rows of a query, nothing of what only counts.
    pub async fn run(&self, sql: &str) -> (SchemaRef, Vec<RecordBatch>) {
        match self.try_run(sql, Vec::new()).await.unwrap_or_else(|error| panic!("{sql}: {error}")) {
            Outcome::Rows { schema, rows } => (schema, rows.try_collect().await.unwrap()),
            Outcome::Count(_) => (Arc::new(Schema::empty()), Vec::new()),
        }
    }

    /// The rows that a statement changed.
    pub async fn count(&self, sql: &str, params: Vec<RecordBatch>) -> Result<u64> {
        match self.try_run(sql, params).await? {
            Outcome::Count(count) => Ok(count),
            Outcome::Rows { .. } => Err(Error::internal("rows instead of a count")),
        }
    }

    /// `a|b` for each row, in their order.
    pub async fn rows(&self, sql: &str) -> Vec<String> {
        let (_, batches) = self.run(sql).await;
        let options = FormatOptions::default().with_null("null");
        let text = |column: &dyn Array, row| ArrayFormatter::try_new(column, &options).unwrap().value(row).to_string();
        let row = |batch: &RecordBatch, row| {
            batch.columns().iter().map(|column| text(column, row)).collect::<Vec<_>>().join("|")
        };
        batches.iter().flat_map(|batch| (0..batch.num_rows()).map(|i| row(batch, i)).collect::<Vec<_>>()).collect()
    }
}
