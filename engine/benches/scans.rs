//! What reading the cold tier costs: against plain DataFusion on one Parquet file, after updates, and with many users.
//! `cargo bench --workspace --bench scans`; one line of JSON for each figure.
//!
//! All variants of a comparison run interleaved, in turn, in one process, and must give the same answer.
//!
//! | variable | default | |
//! |---|---|---|
//! | `INSULA_BENCH_ROWS` | 1000000 | rows of the scanned user |
//! | `INSULA_BENCH_USERS` | 1000,10000 | users of the tables of many users |
//! | `INSULA_BENCH_ROUNDS` | 9 | rounds of each comparison |
//! | `INSULA_BENCH_ONLY` | | `scan`, `updated` or `users`: that part alone |

#[path = "scans/flights.rs"]
mod flights;
#[path = "scans/plain.rs"]
mod plain;
#[path = "scans/report.rs"]
mod report;
#[path = "scans/users.rs"]
mod users;
#[path = "scans/world.rs"]
mod world;

use flights::User;
use plain::Plain;
use report::Comparison;
use world::{World, setting};

/// The server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const QUERIES: [(&str, &str); 4] = [
    ("filter", "SELECT count(*), sum(distance), max(air_time) FROM flights WHERE distance > 1500 AND origin = 'JFK'"),
    ("rare", "SELECT count(*), sum(distance), max(air_time) FROM flights WHERE flight = 1234"),
    ("columns", "SELECT sum(distance), max(air_time), min(dep_delay), sum(flight), count(tailnum) FROM flights"),
    ("group", "SELECT carrier, count(*), sum(distance), max(dep_delay) FROM flights GROUP BY carrier ORDER BY carrier"),
];

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let only = std::env::var("INSULA_BENCH_ONLY").unwrap_or_default();
    let wanted = |part: &str| only.is_empty() || only == part;
    runtime.block_on(async {
        if wanted("scan") {
            scan().await;
        }
        if wanted("updated") {
            updated().await;
        }
        if wanted("users") {
            users::run().await;
        }
    });
}

/// A user's full and filtered scans, alone in the files and among a thousand others.
async fn scan() {
    let rows = setting("INSULA_BENCH_ROWS", 1_000_000);
    let plain = Plain::write(rows).await;
    let own = World::new().await;
    own.load(rows, &[User { no: 1, every: 1 }]).await;
    let shared = World::new().await;
    // A thousand others with as many rows together, half of them before and half behind the user.
    let others = (1..=1001).map(|no| User { no, every: if no == 501 { 1 } else { 1000 } });
    shared.load(rows, &others.collect::<Vec<_>>()).await;
    own.compact().await;
    shared.compact().await;
    isolation("own files", &own, 1).await;
    isolation("shared files", &shared, 501).await;
    for (name, sql) in QUERIES {
        let mut comparison = Comparison::new(&format!("scan/{name}"));
        for _ in 0..setting("INSULA_BENCH_ROUNDS", 9) {
            comparison.time("plain", || plain.query(sql)).await;
            comparison.time("own", || own.query(1, sql)).await;
            comparison.time("shared", || shared.query(501, sql)).await;
        }
        comparison.print();
    }
    own.close().await;
    shared.close().await;
}

/// What it costs that a user's rows are theirs alone: against plain DataFusion on the very same files.
async fn isolation(files: &str, world: &World, user: u64) {
    let plain = Plain::over(&world.dir.path().join("cold"), user).await;
    for (name, sql) in QUERIES {
        let mut comparison = Comparison::new(&format!("isolation/{files}/{name}"));
        for _ in 0..setting("INSULA_BENCH_ROUNDS", 9) {
            comparison.time("plain", || plain.query(sql)).await;
            comparison.time("Insula", || world.query(user, sql)).await;
        }
        comparison.print();
    }
}

/// Scans of a table of which a part was updated since its flush, and after the next flush (deletion vectors).
async fn updated() {
    let rows = setting("INSULA_BENCH_ROWS", 1_000_000);
    let mut worlds = Vec::new();
    for (name, every) in [("append only", 0), ("1 % updated", 100), ("10 % updated", 10), ("10 % flushed", 10)] {
        let world = World::new().await;
        world.load(rows, &[User { no: 1, every: 1 }]).await;
        if every > 0 {
            world.query(1, &format!("UPDATE flights SET dep_delay = dep_delay WHERE id % {every} = 3")).await;
        }
        if name.ends_with("flushed") {
            world.flush().await;
        }
        worlds.push((name, world));
    }
    let rounds = setting("INSULA_BENCH_ROUNDS", 9);
    let point = |id: usize| format!("SELECT * FROM flights WHERE id = {}", rows / 200 * 100 + id);
    let points = [("unchanged key", point(4), rounds * 20), ("changed key", point(3), rounds * 20)];
    let scans = QUERIES.map(|(name, sql)| (name, sql.to_owned(), rounds));
    for (name, sql, rounds) in scans.into_iter().chain(points) {
        let mut comparison = Comparison::new(&format!("updated/{name}"));
        for _ in 0..rounds {
            for (name, world) in &worlds {
                comparison.time(name, || world.query(1, &sql)).await;
            }
        }
        comparison.print();
    }
    for (_, world) in worlds {
        world.close().await;
    }
}
