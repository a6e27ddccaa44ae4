//! The memory of a merge does not grow with what is merged. Alone in its process, since it measures the whole of it.
//!
//! `INSULA_COMPACT_MEGABYTES` sets how much is merged (default 96).

#![cfg(target_os = "linux")]

use std::{fs, sync::Arc};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field},
};
use insula_proto::UserNo;
use insula_storage::{NewColumn, NewTable, Store, StoreConfig, TableDef, TableKind, TableOptions, WriteSet};

const USERS: u64 = 40;
const FLUSHES: u64 = 6;
const TEXT: u64 = 400;
/// Whatever is merged: windows of six inputs, row groups of one output, and what the allocator keeps.
const LIMIT_KB: u64 = 250 << 10;

fn memory_kb(what: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Text of hexadecimal digits that come from the row's number.
fn text(row: u64) -> String {
    let mut state = row.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::new();
    while text.len() < TEXT as usize {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{:016x}", state ^ (state >> 31)));
    }
    text
}

async fn fill(store: &Arc<Store>, table: &Arc<TableDef>, rows: u64) {
    for round in 0..FLUSHES {
        for user in 1..=USERS {
            let ids = (0..rows).map(|row| (row * FLUSHES + round) as i64);
            let texts = (0..rows).map(|row| text((user << 40) | (row * FLUSHES + round)));
            let columns: Vec<ArrayRef> =
                vec![Arc::new(Int64Array::from_iter_values(ids)), Arc::new(StringArray::from_iter_values(texts))];
            let mut set = WriteSet::new(Arc::clone(table), UserNo(user));
            set.insert(&RecordBatch::try_new(table.schema(), columns).unwrap()).unwrap();
            let lock = store.lock(table, UserNo(user)).await;
            store.commit(&lock, set).await.unwrap();
        }
        store.flush(table.id).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_takes_no_more_memory_for_more_rows() {
    let megabytes = std::env::var("INSULA_COMPACT_MEGABYTES").map_or(96, |size| size.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        min_free_bytes: 0,
        file_bytes: 64 << 20,
        compaction: false,
        compaction_bytes_per_second: 0,
        ..StoreConfig::new(directory.path().to_owned())
    };
    let store = Store::open(config.clone()).await.unwrap();
    let column =
        |name: &str, data_type| NewColumn { field: Arc::new(Field::new(name, data_type, false)), default: None };
    let table = NewTable {
        namespace: "ns".into(),
        name: "t".into(),
        kind: TableKind::User,
        columns: vec![column("id", DataType::Int64), column("text", DataType::Utf8)],
        key: vec![0],
        checks: Vec::new(),
        options: TableOptions { flush_rows: u64::MAX, flush_bytes: u64::MAX, ..TableOptions::default() },
    };
    let table = store.create_table(table).await.unwrap();
    fill(&store, &table, (megabytes << 20) / (USERS * FLUSHES * TEXT)).await;
    // Opened anew, so that nothing of the writes is in memory; and the peak from here on is asked for.
    store.close().await.unwrap();
    drop(store);
    let store = Store::open(config).await.unwrap();
    let before = memory_kb("VmRSS");
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let started = std::time::Instant::now();
    let report = store.compact(table.id).await.unwrap();
    let (took, peak) = (started.elapsed(), memory_kb("VmHWM").saturating_sub(before));
    println!("{megabytes} MB in {took:?}: {peak} kB more than before, {report:?}");
    assert!(report.files_before >= FLUSHES && report.removed == 0, "{report:?}");
    assert!(peak < LIMIT_KB, "the merge of {megabytes} MB took {peak} kB");
    store.close().await.unwrap();
}
