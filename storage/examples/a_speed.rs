use std::{sync::Arc, time::Instant};
use arrow::{array::*, datatypes::*};
use insula_proto::UserNo;
use insula_storage::*;
#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(StoreConfig { data_dir: dir.path().into(), store_url: None, file_bytes: 256 << 20, min_free_bytes: 0 }).await.unwrap();
    let mut columns = vec![NewColumn { field: Arc::new(Field::new("id", DataType::Int64, false)), default: None }];
    for i in 0..10 { columns.push(NewColumn { field: Arc::new(Field::new(format!("f{i}"), DataType::Float64, true)), default: None }); }
    for i in 0..8 { columns.push(NewColumn { field: Arc::new(Field::new(format!("s{i}"), DataType::Utf8, true)), default: None }); }
    let options = TableOptions { flush_rows: u64::MAX, flush_bytes: u64::MAX, ..Default::default() };
    let t = store.create_table(NewTable { namespace: "a".into(), name: "t".into(), kind: TableKind::User, columns, key: vec![0], options }, MetaBatch::default()).await.unwrap();
    let n = 336_000i64;
    let mk = |from: i64, len: i64| {
        let mut cols: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(from..from + len))];
        for _ in 0..10 { cols.push(Arc::new(Float64Array::from_iter_values((from..from + len).map(|x| x as f64)))); }
        for _ in 0..8 { cols.push(Arc::new(StringArray::from_iter_values((from..from + len).map(|x| format!("N{x}"))))); }
        RecordBatch::try_new(t.schema(), cols).unwrap()
    };
    let batches: Vec<_> = (0..n / 8000).map(|i| mk(i * 8000, 8000)).collect();
    let now = Instant::now();
    let mut set = WriteSet::new(t.clone(), UserNo(1));
    for b in &batches { set.insert(b).unwrap(); }
    println!("encode {} rows: {:?}, {} MB", n, now.elapsed(), set.memory() >> 20);
    let now = Instant::now();
    let lock = store.lock(&t, UserNo(1)).await;
    store.commit(&lock, set).await.unwrap();
    println!("commit: {:?}", now.elapsed()); drop(lock);
    for user in 2..3u64 {
        let now = Instant::now();
        for i in 0..500 {
            let mut set = WriteSet::new(t.clone(), UserNo(user));
            set.insert(&mk(i, 1)).unwrap();
            let lock = store.lock(&t, UserNo(user)).await;
            store.commit(&lock, set).await.unwrap();
        }
        println!("single-row commits: {:?} each", now.elapsed() / 500);
    }
    let now = Instant::now();
    let mut tasks = vec![];
    for c in 0..16u64 { let (store, t, b) = (store.clone(), t.clone(), mk(0, 1)); tasks.push(tokio::spawn(async move {
        for i in 0..100 { let user = UserNo(1000 + c * 100 + i); let mut set = WriteSet::new(t.clone(), user); set.insert(&b).unwrap();
            let lock = store.lock(&t, user).await; store.commit(&lock, set).await.unwrap(); } })); }
    for task in tasks { task.await.unwrap(); }
    println!("16 writers: {:?} per commit", now.elapsed() / 1600);
    let scan = |proj: Vec<usize>| { let slice = store.view().slice(&t, UserNo(1)).unwrap();
        let now = Instant::now(); let mut rows = 0; for b in slice.hot(&proj, 8192, false).unwrap() { rows += b.unwrap().num_rows(); } println!("scan {} cols {} rows: {:?}", proj.len(), rows, now.elapsed()); };
    scan(vec![4]); scan((0..23).collect()); scan(vec![]);
    let now = Instant::now(); let k = store.view().slice(&t, UserNo(1)).unwrap().hot_keys().unwrap(); println!("hot_keys {}: {:?}", k.len(), now.elapsed());
    let now = Instant::now(); for _ in 0..1000 { let s = store.view().slice(&t, UserNo(2)).unwrap(); for b in s.hot(&[4], 10, false).unwrap().take(1) { b.unwrap(); } } println!("view+slice+10 rows: {:?}", now.elapsed() / 1000);
    let now = Instant::now(); let r = store.flush(t.id).await.unwrap(); println!("flush {r:?}: {:?}", now.elapsed());
    let mut set = WriteSet::new(t.clone(), UserNo(1));
    for b in &batches { set.replace(b).unwrap(); }
    let lock = store.lock(&t, UserNo(1)).await; store.commit(&lock, set).await.unwrap();
    let now = Instant::now(); let r = store.flush(t.id).await.unwrap(); println!("flush again {r:?}: {:?}", now.elapsed());
    let mut set = WriteSet::new(t.clone(), UserNo(1)); set.insert(&mk(n, 8000)).unwrap();
    let now = Instant::now(); store.commit(&lock, set).await.unwrap(); println!("insert 8000 new past cold: {:?}", now.elapsed());
    store.close().await.unwrap();
}
