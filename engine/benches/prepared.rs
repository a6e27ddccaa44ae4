//! What a prepared point SELECT costs in the engine, from its parameters to its one row: planned anew each time, run by
//! the plan that its handle keeps, and read at once. `cargo bench --workspace --bench prepared`.

use std::{hint::black_box, sync::Arc};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use criterion::{Criterion, criterion_group, criterion_main};
use futures::TryStreamExt;
use insula_engine::{Engine, EngineConfig, Identity, Outcome, Plan, Session, StoreConfig};

const ROWS: i64 = 10_000;
const SELECT: &str = "SELECT * FROM t WHERE id = $1";

struct World {
    engine: Arc<Engine>,
    user: Identity,
    session: Arc<Session>,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let store = StoreConfig::new(dir.path().to_path_buf());
        let transactions = Default::default();
        let config = EngineConfig {
            store,
            memory_limit: 1 << 30,
            limits: Default::default(),
            admin_password: Some("bench".into()),
            transactions,
        };
        let engine = Engine::open(config).await.expect("opens");
        let user = engine.vouched("admin").await.expect("admin");
        let session = Arc::new(Session::new(&user));
        let world = Self { engine, user, session, _dir: dir };
        world.run("CREATE TABLE t (id BIGINT PRIMARY KEY, a TEXT, b DOUBLE, c TIMESTAMP, d INT)").await;
        let values: Vec<_> = (0..ROWS).map(|id| format!("({id}, 'row {id}', {id}.5, now(), 7)")).collect();
        world.run(&format!("INSERT INTO t VALUES {}", values.join(", "))).await;
        world
    }

    async fn run(&self, sql: &str) {
        self.engine.execute(&self.user, &self.session, sql, Vec::new()).await.expect("runs");
    }

    fn key(&self, id: i64) -> Vec<RecordBatch> {
        let id: ArrayRef = Arc::new(Int64Array::from(vec![id]));
        vec![RecordBatch::try_from_iter([("1", id)]).expect("a batch")]
    }

    async fn select(&self, plan: &Plan, id: i64) -> usize {
        let running = self.engine.begin(&self.user, &self.session, plan.shown_text());
        let outcome = self.engine.run(&self.user, &self.session, plan, self.key(id), running).await.expect("runs");
        let Outcome::Rows { rows, .. } = outcome else { return 0 };
        let batches: Vec<RecordBatch> = rows.try_collect().await.expect("rows");
        batches.iter().map(RecordBatch::num_rows).sum()
    }
}

fn prepared(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let world = runtime.block_on(World::new());
    let mut group = criterion.benchmark_group("point_select");
    for tier in ["hot", "cold"] {
        let mut id = 0;
        let mut next = || {
            id = (id + 7_919) % ROWS;
            id
        };
        group.bench_function(format!("{tier}, planned anew"), |bencher| {
            bencher.iter(|| {
                let plan = Plan::of_sql(&world.user, SELECT).expect("plans");
                assert_eq!(runtime.block_on(world.select(&plan, next())), 1);
            });
        });
        let kept = world.engine.plan(&world.user, SELECT).expect("plans");
        group.bench_function(format!("{tier}, kept"), |bencher| {
            bencher.iter(|| assert_eq!(runtime.block_on(world.select(&kept, next())), 1));
        });
        group.bench_function(format!("{tier}, at once"), |bencher| {
            bencher.iter(|| {
                let row = world.engine.row(&world.user, &world.session, &kept, &world.key(next()));
                assert_eq!(row.expect("at hand").expect("read").len(), 5);
            });
        });
        let describe = || world.engine.describe(&world.user, &world.session, &kept, None);
        group.bench_function(format!("{tier}, describe kept"), |bencher| {
            bencher.iter(|| black_box(runtime.block_on(describe()).expect("describes")));
        });
        runtime.block_on(world.run("FLUSH TABLE t"));
    }
    group.finish();
    runtime.block_on(world.engine.close()).expect("closes");
}

criterion_group!(benches, prepared);
criterion_main!(benches);
