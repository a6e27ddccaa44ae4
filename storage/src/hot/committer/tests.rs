use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::SeqCst},
};

use super::{thread::SYNC_EVERY, *};
use crate::{
    hot::{key, tables::Load, tests::table, value},
    store::LockFile,
};

struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now_micros(&self) -> i64 {
        self.0.load(SeqCst)
    }
}

/// A database with one table, and a committer whose faults are ours.
struct Bench {
    dir: tempfile::TempDir,
    db: Arc<Db>,
    tables: Arc<Tables>,
    committer: Committer,
    clock: Arc<SetClock>,
    free: Arc<AtomicU64>,
    broken: Arc<AtomicBool>,
    /// Of each write, how many records it had and whether it was synced.
    writes: Arc<Mutex<Vec<(usize, bool)>>>,
}

const TABLE: TableId = TableId(7);

impl Bench {
    fn new() -> Self {
        Self::open(tempfile::tempdir().unwrap(), FIRST_GENERATION)
    }

    fn open(dir: tempfile::TempDir, active: Generation) -> Self {
        let db = Db::open(&dir.path().join("hot"), LockFile::take(dir.path()).unwrap(), &Default::default()).unwrap();
        let tables = Arc::new(Tables::new(u64::MAX));
        let def = Arc::new(table(&[("a", arrow::datatypes::DataType::Int8, true)], &[]));
        tables.insert(def, active, BTreeMap::new());
        let clock = Arc::new(SetClock(AtomicI64::new(1000)));
        let (free, broken) = (Arc::new(AtomicU64::new(100)), Arc::new(AtomicBool::new(false)));
        let writes = Arc::new(Mutex::new(Vec::new()));
        let (free_bytes, fails, log) = (Arc::clone(&free), Arc::clone(&broken), Arc::clone(&writes));
        let committer = Committer::start(Parts {
            db: Arc::clone(&db),
            tables: Arc::clone(&tables),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            ids: Arc::new(Ids::new(Arc::clone(&clock) as Arc<dyn Clock>, 0)),
            free_bytes: Box::new(move || Ok(free_bytes.load(SeqCst))),
            min_free_bytes: 50,
            write: Box::new(move |db, batch, sync| {
                log.lock().push((batch.len(), sync));
                if fails.load(SeqCst) {
                    return Err(Error::new(ErrorKind::Unavailable, "the disk is on fire"));
                }
                db.write(batch, sync)
            }),
        })
        .unwrap();
        Self { dir, db, tables, committer, clock, free, broken, writes }
    }

    async fn put(&self, table: TableId, durability: Durability) -> Result<Seq> {
        let mut bytes = key::prefix(table, Generation(0), insula_proto::UserNo(1)).to_vec();
        bytes.extend_from_slice(&[b'k', 0, 0, 0, 0, 0, 0, 0, 0]);
        let middle = bytes.len();
        bytes.extend_from_slice(&[0; 20]);
        let rows = Rows { schema_version: 1, places: vec![[0, middle, bytes.len()]], bytes, chunks: Vec::new() };
        self.committer.rows(table, durability, rows, Box::new(())).await
    }

    /// Generation, sequence number and commit time of all stored rows.
    fn stored(&self) -> Vec<(u32, u64, i64)> {
        let rows = self.db.scan(Family::Hot, &[]).unwrap();
        let row = |(stored, value): &(Vec<u8>, Vec<u8>)| {
            let parts = key::split(stored).unwrap();
            (parts.generation.0, parts.seq.0, value::updated(value).unwrap())
        };
        rows.iter().map(row).collect()
    }
}

#[tokio::test]
async fn commits_get_their_numbers_in_order() {
    let bench = Bench::new();
    assert_eq!(bench.put(TABLE, Durability::Sync).await.unwrap(), Seq(1));
    // The clock goes back, commit times do not.
    bench.clock.0.store(5, SeqCst);
    assert_eq!(bench.put(TABLE, Durability::Sync).await.unwrap(), Seq(2));
    let frozen = bench.committer.freeze(TABLE, |generation, batch| {
        batch.put(Family::Manifest, b"intent".to_vec(), generation.0.to_be_bytes());
    });
    assert_eq!(frozen.await.unwrap(), Generation(1));
    assert_eq!(bench.db.get(Family::Manifest, b"intent").unwrap(), Some(vec![0, 0, 0, 1]));
    bench.clock.0.store(2000, SeqCst);
    bench.put(TABLE, Durability::Sync).await.unwrap();
    assert_eq!(bench.stored(), [(1, 2, 1000), (1, 1, 1000), (2, 3, 2000)]);
    let load = bench.tables.load(TABLE);
    assert_eq!((load.rows, load.bytes, load.oldest_micros), (3, 3 * 47, Some(1000)));
    bench.committer.flushed(TABLE, Generation(1), Batch::default()).await.unwrap();
    assert_eq!(
        bench.tables.load(TABLE),
        Load { rows: 1, bytes: 47, oldest_micros: Some(2000), newest_micros: Some(2000) }
    );
    // Numbers go on after a restart.
    bench.committer.stop().await.unwrap();
    let Bench { dir, db, tables, .. } = bench;
    drop((db, tables));
    let bench = Bench::open(dir, Generation(2));
    assert_eq!(bench.put(TABLE, Durability::Sync).await.unwrap(), Seq(4));
    // The clock of the new run is behind, the commit time is not.
    assert_eq!(bench.stored(), [(1, 2, 1000), (1, 1, 1000), (2, 4, 2000), (2, 3, 2000)]);
}

#[tokio::test]
async fn waiting_requests_share_a_sync() {
    let bench = Arc::new(Bench::new());
    let puts = (0..64).map(|_| bench.put(TABLE, Durability::Sync));
    let seqs: Result<Vec<Seq>> = futures::future::join_all(puts).await.into_iter().collect();
    let mut seqs = seqs.unwrap();
    seqs.sort();
    assert_eq!(seqs, (1..=64).map(Seq).collect::<Vec<_>>());
    let writes = bench.writes.lock();
    assert!(writes.len() < 64, "{} writes", writes.len());
    assert!(writes.iter().all(|(_, sync)| *sync));
    // Each write has the high-water record beside its rows.
    assert_eq!(writes.iter().map(|(records, _)| records - 1).sum::<usize>(), 64);
}

#[tokio::test]
async fn periodic_writes_are_not_synced_one_by_one() {
    let bench = Bench::new();
    bench.put(TABLE, Durability::Periodic).await.unwrap();
    assert_eq!(bench.writes.lock().as_slice(), [(2, false)]);
    bench.put(TABLE, Durability::Sync).await.unwrap();
    assert_eq!(bench.writes.lock().as_slice(), [(2, false), (2, true)]);
    // The ticker must neither fail nor poison.
    bench.put(TABLE, Durability::Periodic).await.unwrap();
    tokio::time::sleep(SYNC_EVERY * 2).await;
    bench.put(TABLE, Durability::Periodic).await.unwrap();
    bench.committer.stop().await.unwrap();
    assert_eq!(bench.put(TABLE, Durability::Sync).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_failed_write_poisons_the_store() {
    let bench = Bench::new();
    bench.put(TABLE, Durability::Sync).await.unwrap();
    bench.broken.store(true, SeqCst);
    let error = bench.put(TABLE, Durability::Sync).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    // The disk is well again, but nobody knows what it holds.
    bench.broken.store(false, SeqCst);
    for error in [
        bench.put(TABLE, Durability::Sync).await.unwrap_err(),
        bench.committer.write(Batch::default()).await.unwrap_err(),
        bench.committer.freeze(TABLE, |_, _| {}).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.message().contains("on fire") && error.message().contains("restart"), "{error}");
    }
    assert_eq!((bench.stored().len(), bench.writes.lock().len()), (1, 2));
}

#[tokio::test]
async fn a_full_disk_refuses_rows_but_not_what_frees_space() {
    let bench = Bench::new();
    bench.free.store(49, SeqCst);
    let error = bench.put(TABLE, Durability::Sync).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    let guarded = bench.committer.write_guarded(Batch::default()).await.unwrap_err();
    assert_eq!(guarded.kind(), ErrorKind::ResourceExhausted);
    bench.committer.write(Batch::default()).await.unwrap();
    bench.committer.freeze(TABLE, |_, _| {}).await.unwrap();
    assert!(bench.stored().is_empty());
    bench.free.store(50, SeqCst);
    bench.put(TABLE, Durability::Sync).await.unwrap();
}

#[tokio::test]
async fn rows_of_a_dropped_table_are_refused() {
    let bench = Bench::new();
    assert_eq!(bench.put(TableId(8), Durability::Sync).await.unwrap_err().kind(), ErrorKind::NotFound);
    bench.committer.dropped(TABLE, Batch::default()).await.unwrap();
    assert_eq!(bench.put(TABLE, Durability::Sync).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(bench.tables.def(TABLE).is_none());
}
