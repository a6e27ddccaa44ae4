//! Many users with twenty rows each in one table: what one of them waits for, and what the others cost.

use std::{path::Path, sync::Arc, time::Instant};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::json;

use crate::{
    report::{quantile, rounded},
    world::{World, commit_all},
};

const ROWS: i64 = 20;
/// Users whose rows are gathered before a flush.
const FLUSHED: u64 = 100_000;
/// Users asked, one after the other, in each table.
const ASKED: u64 = 2_000;

pub async fn run() {
    let sizes = std::env::var("INSULA_BENCH_USERS").unwrap_or_else(|_| "1000,10000".into());
    let sizes: Vec<u64> = sizes.split(',').map(|size| size.trim().parse().expect("a number of users")).collect();
    let mut worlds = Vec::new();
    for users in sizes {
        let world = World::with_table("id BIGINT PRIMARY KEY, v BIGINT NOT NULL, note TEXT").await;
        let start = Instant::now();
        load(&world, users).await;
        let loaded = start.elapsed().as_secs_f64();
        worlds.push((users, world, loaded));
    }
    for (figure, sql) in [
        ("users/count", "SELECT count(*) FROM flights"),
        ("users/sum", "SELECT sum(v) FROM flights"),
        ("users/point", "SELECT v FROM flights WHERE id = 7"),
    ] {
        let mut base = None;
        let mut times: Vec<Vec<f64>> = vec![Vec::new(); worlds.len()];
        for i in 0..ASKED {
            for ((users, world, _), times) in worlds.iter().zip(&mut times) {
                let user = 1 + i.wrapping_mul(0x9E37_79B9) % users;
                let start = Instant::now();
                world.query(user, sql).await;
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
        for ((users, world, loaded), mut times) in worlds.iter().zip(times) {
            // The first queries warm up.
            let times = &mut times[ASKED as usize / 10..];
            let (p50, p99) = (quantile(times, 0.5), quantile(times, 0.99));
            let base = *base.get_or_insert(p99);
            let (files, index, footers) = metadata(&world.dir.path().join("cold"));
            println!(
                "{}",
                json!({
                    "figure": figure, "users": users, "p50_ms": rounded(p50), "p99_ms": rounded(p99),
                    "ratio_p99": rounded(p99 / base), "files": files, "load_s": rounded(*loaded),
                    "index_bytes_per_user": rounded(index as f64 / *users as f64),
                    "footer_bytes_per_user": rounded(footers as f64 / *users as f64),
                })
            );
        }
    }
    for (_, world, _) in worlds {
        world.close().await;
    }
}

async fn load(world: &World, users: u64) {
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("v", DataType::Int64, false),
        Field::new("note", DataType::Utf8, true),
    ]));
    let rows = |user: u64| {
        let notes = (0..ROWS).map(|id| format!("note {id} of {user}"));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(0..ROWS)),
            Arc::new(Int64Array::from_iter_values((0..ROWS).map(|id| id * user as i64))),
            Arc::new(StringArray::from_iter_values(notes)),
        ];
        (user, RecordBatch::try_new(Arc::clone(&schema), columns).expect("columns of the schema"))
    };
    world
        .loading(async |store, table| {
            for first in (1..=users).step_by(FLUSHED as usize) {
                commit_all(&store, &table, (first..(first + FLUSHED).min(users + 1)).map(rows)).await;
                store.flush(table.id).await.expect("flushed");
            }
        })
        .await;
}

/// Files of the store, bytes of their user indexes, bytes of their footers.
fn metadata(dir: &Path) -> (u64, u64, u64) {
    let mut all = (0, 0, 0);
    for table in std::fs::read_dir(dir).expect("the cold tier").flatten().filter(|entry| entry.path().is_dir()) {
        for file in std::fs::read_dir(table.path()).expect("a table").flatten() {
            let file = std::fs::File::open(file.path()).expect("a file");
            let bytes = file.metadata().expect("a size").len();
            let Ok(reader) = SerializedFileReader::new(file) else { continue };
            let pairs = reader.metadata().file_metadata().key_value_metadata().cloned().unwrap_or_default();
            let location =
                pairs.iter().find(|pair| pair.key == "insula.user_index").and_then(|pair| pair.value.clone());
            let location = location.expect("a user index");
            let mut parts = location.split(':').map(|part| part.parse::<u64>().unwrap_or_default());
            let (offset, length) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            all = (all.0 + 1, all.1 + length, all.2 + bytes - offset - length);
        }
    }
    all
}
