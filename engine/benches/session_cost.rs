//! What a statement's own session costs before it is planned: time, bytes held, allocations, with 10 and with 1,000
//! declared tables, of which the statement names two; and what it would cost if it registered all of them.
//! `cargo bench --workspace --bench session_cost`.
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
        limits: Default::default(),
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
        let all: Vec<String> = (0..tables).map(|i| format!("t{i}")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        for (what, names) in [("named", &NAMED[..]), ("all", &all[..])] {
            let open = || engine.open_context(&user, &session, names).expect("resolves");
            drop(open());
            let allocations = ALLOCATIONS.load(Relaxed);
            let context = open();
            let allocations = ALLOCATIONS.load(Relaxed) - allocations;
            // What goes with it: the entry of the audit that its opening leaves is no part of it.
            let held = HELD.load(Relaxed);
            drop(context);
            let held = held - HELD.load(Relaxed);
            println!("session_cost/{tables} tables, {what} registered: {held} bytes held, {allocations} allocations");
            let name = format!("{tables} tables, {what} registered");
            group.bench_function(name, |bencher| bencher.iter(|| black_box(open())));
        }
        runtime.block_on(engine.close()).expect("closes");
    }
    group.finish();
}

criterion_group!(benches, session_cost);
criterion_main!(benches);
