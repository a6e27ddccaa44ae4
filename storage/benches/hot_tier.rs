//! What the hot tier costs: commit, scan (decoded and recalled), point get, flush; of rows that lie apart, and of rows in
//! chunks. `INSULA_BENCH_ROWS` sets the rows (default: a year of flights), `INSULA_BENCH_BATCH` how many of them a
//! statement has (default: 8192), `INSULA_BENCH_CHUNK` how many make a chunk.
//! `cargo bench --workspace --bench hot_tier`.

use std::{
    hint::black_box,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::{
    array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::{DataType, Field, TimeUnit},
};
use insula_proto::UserNo;
use insula_storage::{KeyBounds, KeyCodec, NewColumn, NewTable, Store, StoreConfig, TableDef, TableKind, TableOptions};

/// Rows that a scan is asked for at a time.
const BATCH: usize = 8192;
const ROUNDS: usize = 5;
const USER: UserNo = UserNo(1);

fn new_table() -> NewTable {
    let mut columns = vec![("id", DataType::Int64)];
    columns.extend(
        ["year", "month", "day", "dep", "arr", "sched_dep", "sched_arr", "flight"].map(|n| (n, DataType::Int32)),
    );
    columns
        .extend(["dep_delay", "arr_delay", "air_time", "distance", "hour", "minute"].map(|n| (n, DataType::Float64)));
    columns.extend(["carrier", "tailnum", "origin", "dest"].map(|n| (n, DataType::Utf8)));
    columns.push(("time_hour", DataType::Timestamp(TimeUnit::Microsecond, None)));
    let column = |(name, data_type): (&str, DataType)| NewColumn {
        field: Arc::new(Field::new(name, data_type, name != "id")),
        default: None,
    };
    let (namespace, name) = ("public".to_owned(), "flights".to_owned());
    // Nothing is flushed but by hand.
    let options =
        TableOptions { flush_rows: u64::MAX, flush_bytes: 4 << 30, flush_interval: None, ..Default::default() };
    NewTable {
        namespace,
        name,
        kind: TableKind::User,
        columns: columns.into_iter().map(column).collect(),
        key: vec![0],
        checks: Vec::new(),
        options,
    }
}

/// Rows that look like flights: small numbers, few carriers, some text.
fn batch(table: &TableDef, from: usize, rows: usize) -> RecordBatch {
    let noise = |i: usize| (i.wrapping_mul(2_654_435_761) >> 7) % 10_000;
    let all = || from..from + rows;
    let column = |field: &Arc<Field>| -> ArrayRef {
        match (field.name().as_str(), field.data_type()) {
            ("id", _) => Arc::new(Int64Array::from_iter_values(all().map(|i| i as i64))),
            ("carrier" | "origin", _) => {
                Arc::new(StringArray::from_iter_values(all().map(|i| format!("C{}", noise(i) % 16))))
            }
            (_, DataType::Utf8) => Arc::new(StringArray::from_iter_values(all().map(|i| format!("N{:05}", noise(i))))),
            (_, DataType::Float64) => {
                Arc::new(Float64Array::from_iter(all().map(|i| (noise(i) % 50 > 0).then_some(noise(i) as f64))))
            }
            (_, DataType::Int32) => Arc::new(Int32Array::from_iter_values(all().map(|i| (noise(i) % 2400) as i32))),
            _ => Arc::new(TimestampMicrosecondArray::from_iter_values(
                all().map(|i| 1_357_000_000_000_000 + (i as i64 / 40) * 3_600_000_000),
            )),
        }
    };
    let fields = table.schema();
    RecordBatch::try_new(table.schema(), fields.fields().iter().map(column).collect()).expect("a batch")
}

fn bytes_below(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => bytes_below(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

/// A time, and the time that the process was on a processor: of all its threads, RocksDB's too. On a machine that is busy
/// with other things the second says more. It comes in hundredths of a second.
struct Cost {
    start: Instant,
    cpu: Duration,
}

impl Cost {
    fn begin() -> Self {
        Self { start: Instant::now(), cpu: cpu() }
    }

    fn tell(&self) -> String {
        format!("{:?}, {:?} of processors", self.start.elapsed(), cpu() - self.cpu)
    }
}

fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}

fn median(mut run: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .collect();
    times.sort();
    times[ROUNDS / 2]
}

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number of rows"))
}

fn main() {
    let (rows, batch) = (number("INSULA_BENCH_ROWS", 336_776), number("INSULA_BENCH_BATCH", 8192));
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let chunk_rows = number("INSULA_BENCH_CHUNK", StoreConfig::new(dir.path().into()).chunk_rows);
    for (name, chunk_rows) in [("apart", usize::MAX), ("chunks", chunk_rows)] {
        runtime.block_on(run(name, &dir.path().join(name), chunk_rows, rows, batch));
    }
}

async fn run(variant: &str, dir: &Path, chunk_rows: usize, rows: usize, size: usize) {
    let config = StoreConfig { chunk_rows, ..StoreConfig::new(dir.to_owned()) };
    let store = Store::open(config).await.expect("opens");
    let table = store.create_table(new_table()).await.expect("a table");
    let cost = Cost::begin();
    for from in (0..rows).step_by(size) {
        let lock = store.lock(&table, USER).await;
        let mut set = store.write_set(&table, USER);
        set.insert(&batch(&table, from, size.min(rows - from))).expect("encodes");
        store.commit(&lock, set).await.expect("commits");
    }
    println!("{variant}: commit of {rows} rows in batches of {size}: {}", cost.tell());
    println!("{variant}: {} MB on disk (log and files)", bytes_below(&dir.join("hot")) >> 20);

    let all: Vec<usize> = (0..table.stored_schema().fields().len()).collect();
    let few = [table.first_declared(), table.first_declared() + 9];
    for (name, projection) in [("all columns", all.as_slice()), ("2 columns", few.as_slice())] {
        // Given up before its end, a scan remembers nothing; one batch less is no difference.
        let scan = |recall: bool| {
            let slice = store.view().slice(&table, USER).expect("a slice");
            let scan = slice.hot(projection, BATCH, false).expect("a scan");
            assert_eq!(scan.is_quick(), recall);
            let take = if recall { usize::MAX } else { rows / BATCH };
            black_box(scan.take(take).map(|batch| batch.expect("rows").num_rows()).sum::<usize>());
        };
        println!("{variant}: scan of {name}, decoded: {:?}", median(|| scan(false)));
        let slice = store.view().slice(&table, USER).expect("a slice");
        slice.hot(projection, BATCH, false).expect("a scan").for_each(drop);
        let recalled = slice.hot(projection, BATCH, false).expect("a scan").is_quick();
        if recalled {
            println!("{variant}: scan of {name}, recalled: {:?}", median(|| scan(true)));
        } else {
            println!("{variant}: scan of {name}: larger than its part of the cache");
        }
    }
    point_gets(variant, &store, &table, &all, rows);
    let cost = Cost::begin();
    store.flush(table.id).await.expect("flushes");
    println!("{variant}: flush: {}", cost.tell());
    store.close().await.expect("closes");
}

fn point_gets(variant: &str, store: &Arc<Store>, table: &Arc<TableDef>, all: &[usize], rows: usize) {
    let codec = KeyCodec::new(table).expect("a codec");
    let gets = 1000;
    let keys: Vec<KeyBounds> = (0..gets)
        .map(|i| {
            let key: ArrayRef = Arc::new(Int64Array::from(vec![(i * 7919 % rows) as i64]));
            KeyBounds::keys(&codec.encode(&[key]).expect("a key"))
        })
        .collect();
    let time = median(|| {
        for key in &keys {
            let slice = store.view().slice(table, USER).expect("a slice");
            let found =
                slice.hot_within(key, all, BATCH, false).expect("a scan").map(|batch| batch.expect("rows").num_rows());
            assert_eq!(found.sum::<usize>(), 1);
        }
    });
    println!("{variant}: point get: {:?} (view, slice and all columns)", time / gets as u32);
}
