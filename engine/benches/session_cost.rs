//! What a statement's own session costs before it is planned: time, bytes held, allocations, with 10 and with 1,000
//! declared tables of which the statement names two. `cargo bench -p insula-engine --bench session_cost`.
#![allow(unsafe_code)] // A counting allocator cannot be written without.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use criterion::{Criterion, criterion_group, criterion_main};
use insula_engine::{Engine, EngineConfig, Identity, Session, StoreConfig};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static HELD: AtomicUsize = AtomicUsize::new(0);

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        HELD.fetch_add(layout.size(), Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const NAMED: [&str; 2] = ["t3", "t7"];

async fn engine(tables: usize, dir: &std::path::Path) -> (Arc<Engine>, Identity, Arc<Session>) {
    let store = StoreConfig::new(dir.to_path_buf());
    let config = EngineConfig {
        store,
        memory_limit: 1 << 30,
        transactions: Default::default(),
        admin_password: Some("bench".into()),
    };
    let engine = Engine::open(config).await.expect("opens");
    let admin = engine.vouched("admin").await.expect("admin");
    let session = Arc::new(Session::new(&admin));
    for i in 0..tables {
        let sql = format!("CREATE TABLE t{i} (id BIGINT PRIMARY KEY, a TEXT, b DOUBLE)");
        engine.execute(&admin, &session, &sql, Vec::new()).await.expect("creates");
    }
    (engine, admin, session)
}

fn session_cost(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let mut group = criterion.benchmark_group("session_cost");
    for tables in [10, 1_000] {
        let dir = tempfile::tempdir().expect("directory");
        let (engine, user, session) = runtime.block_on(engine(tables, dir.path()));
        let open = || engine.open_context(&user, &session, &NAMED).expect("resolves");
        drop(open());
        let (allocations, held) = (ALLOCATIONS.load(Relaxed), HELD.load(Relaxed));
        let context = open();
        let allocations = ALLOCATIONS.load(Relaxed) - allocations;
        let held = HELD.load(Relaxed) - held;
        drop(context);
        println!("session_cost/{tables} tables: {held} bytes held, {allocations} allocations");
        group.bench_function(format!("{tables} tables"), |bencher| bencher.iter(|| black_box(open())));
        runtime.block_on(engine.close()).expect("closes");
    }
    group.finish();
}

criterion_group!(benches, session_cost);
criterion_main!(benches);
