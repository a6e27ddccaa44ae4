mod torn;

use std::collections::{BTreeMap, BTreeSet};

use insula_proto::UserNo;

use super::*;
use crate::{
    CompactReport, ErrorKind, Result, Store, StoreConfig, TableDef, TableOptions,
    cold::{Objects, layout, manifest},
    load::{Load, Mode, Owners, Scope},
    notes::*,
};

/// Number → note, per user, live rows only.
type Model = [BTreeMap<i64, String>; 2];

const USERS: [UserNo; 2] = [ALICE, BOB];

async fn open_over(directory: &std::path::Path, disk: &Arc<Faulty>) -> Arc<Store> {
    try_open_over(directory, disk).await.unwrap()
}

async fn try_open_over(directory: &std::path::Path, disk: &Arc<Faulty>) -> Result<Arc<Store>> {
    let config = StoreConfig { load_bytes: 64, ..config(directory, 64 << 20) };
    Store::open_over(config, Arc::clone(disk) as Arc<dyn ObjectStore>).await
}

async fn load(store: &Arc<Store>, table: &Arc<TableDef>, mode: Mode, rows: &[(UserNo, i64, &str)]) -> Result<()> {
    let mut load: Load = store.load(table, Scope::Many, mode).await?;
    for (user, id, note) in rows {
        load.push(batch(table, &[(*id, *note)]), Owners::One(*user)).await?;
    }
    load.finish().await.map(drop)
}

/// What a store that fails may answer: never that a row is not there.
fn explained<T>(done: Result<T>) -> Option<T> {
    match done {
        Ok(done) => Some(done),
        Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::DataLoss) => None,
        Err(error) => panic!("{:?}: {error}", error.kind()),
    }
}

async fn assert_reads(store: &Arc<Store>, table: &Arc<TableDef>, model: &Model, what: &str) {
    for (user, rows) in USERS.into_iter().zip(model) {
        let expected: Vec<&String> = rows.values().collect();
        if let Some(found) = explained(try_live(store, table, user).await) {
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{what}");
        }
    }
}

/// Fresh rows, flushes, deletion vectors, loads, a merge, a sweep and reads; any of them may fail, and then has done
/// nothing. What was acknowledged is in `model`. Returns how many orphans the sweep found.
async fn work(store: &Arc<Store>, table: &Arc<TableDef>, model: &mut Model, what: &str) -> u64 {
    insert(store, table, ALICE, &[(1, "a1"), (2, "a2"), (3, "a3")]).await;
    insert(store, table, BOB, &[(1, "b1"), (2, "b2")]).await;
    model[0].extend([(1, "a1".into()), (2, "a2".into()), (3, "a3".into())]);
    model[1].extend([(1, "b1".into()), (2, "b2".into())]);
    explained(store.flush(table.id).await);
    replace(store, table, ALICE, &[(2, "a2'")]).await;
    delete(store, table, BOB, &[(1, "b1")]).await;
    model[0].insert(2, "a2'".into());
    model[1].remove(&1);
    explained(store.flush(table.id).await);
    assert_reads(store, table, model, what).await;
    let rows = [(ALICE, 10, "a10"), (ALICE, 11, "a11"), (BOB, 10, "b10")];
    if explained(load(store, table, Mode::Insert, &rows).await).is_some() {
        rows.into_iter().for_each(|(user, id, note)| drop(model[user.0 as usize - 1].insert(id, note.into())));
    }
    replace(store, table, ALICE, &[(10, "a10'")]).await;
    model[0].insert(10, "a10'".into());
    let rows = [(ALICE, 3, "a3'"), (BOB, 2, "b2'")];
    if explained(load(store, table, Mode::Replace, &rows).await).is_some() {
        rows.into_iter().for_each(|(user, id, note)| drop(model[user.0 as usize - 1].insert(id, note.into())));
    }
    assert_reads(store, table, model, what).await;
    let _: Option<CompactReport> = explained(store.compact(table.id).await);
    let swept = explained(store.sweep(std::time::Duration::ZERO).await);
    assert_reads(store, table, model, what).await;
    swept.unwrap_or(0)
}

/// Everything in the store is named by a manifest or an intent, and everything named is there.
async fn assert_named(store: &Arc<Store>, disk: &Faulty, what: &str) {
    let mut named = BTreeSet::new();
    for (table, manifest) in manifest::all(&store.db).unwrap() {
        named.extend(manifest.objects(table));
    }
    let there: BTreeSet<Path> = disk.objects().await.into_iter().collect();
    let lost: Vec<_> = named.difference(&there).collect();
    assert!(lost.is_empty(), "{what}: lost {lost:?}");
    named.insert(Path::from("insula-owner"));
    for intent in manifest::intents(&store.db).unwrap() {
        for id in intent.objects {
            named.extend([layout::file_path(intent.table, id), layout::vector_path(intent.table, id)]);
        }
    }
    let orphans: Vec<_> = there.difference(&named).collect();
    assert!(orphans.is_empty(), "{what}: orphans {orphans:?}");
}

/// The n-th request meets one fault, all others are served; which verb it was, once there was one.
fn one_fault(disk: &Faulty, nth: usize, choice: usize) -> Arc<Mutex<Option<Verb>>> {
    let met = Arc::new(Mutex::new(None));
    let (told, mut count) = (Arc::clone(&met), 0);
    disk.follow(move |verb, _| {
        count += 1;
        if count != nth + 1 {
            return None;
        }
        *told.lock() = Some(verb);
        verb.faults().get(choice).copied()
    });
    met
}

#[tokio::test]
async fn no_request_that_fails_loses_a_row_or_leaves_an_object() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), Faulty::new());
    let store = open_over(directory.path(), &disk).await;
    let (mut nth, mut verbs) = (0, BTreeMap::new());
    'requests: loop {
        for choice in 0.. {
            let table = notes(&store, TableOptions::default()).await;
            let mut model = Model::default();
            let met = one_fault(&disk, nth, choice);
            let what = format!("request {nth}, fault {choice}");
            let swept = work(&store, &table, &mut model, &what).await;
            disk.heal();
            let verb = *met.lock();
            // Only what could not be deleted waits for a sweep.
            assert!(swept == 0 || verb == Some(Verb::Delete), "{what}: {swept} orphans");
            let healed: Vec<_> = [live(&store, &table, ALICE).await, live(&store, &table, BOB).await].into();
            assert_eq!(healed, model.clone().map(|rows| rows.into_values().collect::<Vec<_>>()), "{what}");
            // What failed succeeds now, and answers stay.
            store.flush(table.id).await.unwrap();
            store.compact(table.id).await.unwrap();
            store.sweep(std::time::Duration::ZERO).await.unwrap();
            assert_reads(&store, &table, &model, &what).await;
            assert_named(&store, &disk, &what).await;
            store.drop_table(table.id).await.unwrap();
            let Some(verb) = verb else { break 'requests };
            *verbs.entry(format!("{verb:?}")).or_insert(0) += 1;
            if choice + 1 >= verb.faults().len() {
                break;
            }
        }
        nth += 1;
    }
    assert!(nth > 30 && verbs.len() == 4, "the work meets {nth} requests: {verbs:?}");
    // What could not be deleted was accounted for by an intent, and goes with the next start.
    store.close().await.unwrap();
    drop(store);
    let store = open_over(directory.path(), &disk).await;
    assert_eq!(disk.objects().await, [Path::from("insula-owner")]);
    store.close().await.unwrap();
}

#[tokio::test]
async fn what_a_failed_change_cannot_delete_stays_accounted_for() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), Faulty::new());
    let store = open_over(directory.path(), &disk).await;
    let table = notes(&store, TableOptions::default()).await;
    insert(&store, &table, ALICE, &[(1, "a")]).await;
    disk.follow(|verb, _| match verb {
        Verb::Put => Some(Fault::LostAnswer),
        Verb::Delete => Some(Fault::Refused),
        _ => None,
    });
    assert_eq!(store.flush(table.id).await.unwrap_err().kind(), ErrorKind::Unavailable);
    disk.heal();
    assert_eq!(disk.objects().await.len(), 2, "the object is there, beside the store's owner");
    assert_named(&store, &disk, "after the flush").await;
    assert_eq!(store.sweep(std::time::Duration::ZERO).await.unwrap(), 0);
    assert_eq!(store.flush(table.id).await.unwrap().rows, 1);
    store.close().await.unwrap();
    drop(store);
    let store = open_over(directory.path(), &disk).await;
    assert_eq!(disk.objects().await.len(), 2, "the owner and the file of the second flush");
    assert_eq!(live(&store, &table, ALICE).await, ["a"]);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_start_that_meets_a_fault_loses_nothing_either() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), Faulty::new());
    let mut model = Model::default();
    let mut store = open_over(directory.path(), &disk).await;
    let table = notes(&store, TableOptions::default()).await;
    assert_eq!(work(&store, &table, &mut model, "no fault").await, 0);
    let (mut nth, mut refused) = (0, 0);
    loop {
        // An object that the start has to sweep.
        let orphan = layout::file_path(table.id, uuid::Uuid::now_v7());
        disk.inner.put_opts(&orphan, "torn".into(), PutOptions::default()).await.unwrap();
        let mut met = None;
        for choice in 0..3 {
            store.close().await.unwrap();
            drop(store);
            let seen = one_fault(&disk, nth, choice);
            if let Some(opened) = explained(try_open_over(directory.path(), &disk).await) {
                opened.close().await.unwrap();
            } else {
                refused += 1;
            }
            disk.heal();
            met = met.or(*seen.lock());
            store = open_over(directory.path(), &disk).await;
            let table = Arc::clone(&store.tables()[0]);
            assert_reads(&store, &table, &model, "after a start").await;
            assert_named(&store, &disk, "after a start").await;
        }
        if met.is_none() {
            break;
        }
        nth += 1;
    }
    assert!(nth >= 4 && refused >= 4, "{nth} requests, {refused} starts refused");
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_store_that_stalls_holds_up_nobody_but_who_needs_it() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), Faulty::new());
    let store = open_over(directory.path(), &disk).await;
    let table = notes(&store, TableOptions::default()).await;
    insert(&store, &table, ALICE, &[(1, "v1")]).await;
    let asked = Arc::new(Mutex::new(None));
    let told = Arc::clone(&asked);
    disk.follow(move |verb, path| {
        *told.lock() = Some(path.to_owned());
        (verb == Verb::Put).then_some(Fault::Stalled)
    });
    let flushing = tokio::spawn({
        let (store, table) = (Arc::clone(&store), table.id);
        async move { store.flush(table).await }
    });
    wait_until(|| async { disk.stalled.load(Relaxed) == 1 }).await;
    // What comes to be is named before it is there.
    let [intent] = &manifest::intents(&store.db).unwrap()[..] else { panic!("one change is under way") };
    let path = asked.lock().clone().unwrap();
    assert!(intent.objects.iter().any(|id| layout::file_path(table.id, *id).as_ref() == path), "{path}");
    replace(&store, &table, ALICE, &[(1, "v2")]).await;
    insert(&store, &table, BOB, &[(1, "b")]).await;
    assert_eq!(
        (live(&store, &table, ALICE).await, live(&store, &table, BOB).await),
        (vec!["v2".into()], vec!["b".into()])
    );
    assert!(!flushing.is_finished());
    disk.heal();
    disk.release();
    assert_eq!(flushing.await.unwrap().unwrap().rows, 1);
    assert_eq!(live(&store, &table, ALICE).await, ["v2"]);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_sweep_leaves_what_a_load_under_way_has_written() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), Faulty::new());
    let config = StoreConfig { load_bytes: 64, ..config(directory.path(), 1) };
    let store = Store::open_over(config, Arc::clone(&disk) as Arc<dyn ObjectStore>).await.unwrap();
    let table = notes(&store, TableOptions::default()).await;
    let mut load = store.load(&table, Scope::Many, Mode::Insert).await.unwrap();
    let text = "x".repeat(200);
    for id in 0..20 {
        // Backwards, so that a file cannot go on where the one before ended.
        load.push(batch(&table, &[(-id, text.as_str())]), Owners::One(ALICE)).await.unwrap();
    }
    wait_until(|| async { disk.objects().await.len() > 2 }).await;
    assert_eq!(store.sweep(std::time::Duration::ZERO).await.unwrap(), 0);
    assert_eq!(load.finish().await.unwrap().rows, 20);
    assert_eq!(live(&store, &table, ALICE).await.len(), 20);
    assert_named(&store, &disk, "after the load").await;
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_torn_object_is_data_loss_for_who_needs_it_and_never_a_wrong_row() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), Faulty::new());
    let store = open_over(directory.path(), &disk).await;
    let sound = notes(&store, TableOptions::default()).await;
    insert(&store, &sound, ALICE, &[(1, "sound")]).await;
    store.flush(sound.id).await.unwrap();
    let table = renamed(&store, "torn").await;
    insert(&store, &table, ALICE, &[(1, "v1"), (2, "v1")]).await;
    // The store says that it has all of it, and has half.
    disk.follow(|verb, path| (verb == Verb::Put && path.ends_with(".parquet")).then_some(Fault::Torn));
    store.flush(table.id).await.unwrap();
    disk.heal();
    for _ in 0..2 {
        let error = try_live(&store, &table, ALICE).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
    }
    assert_eq!(live(&store, &sound, ALICE).await, ["sound"]);
    assert!(live(&store, &table, BOB).await.is_empty(), "who has nothing there needs nothing of it");
    // A key that may lie in it cannot be looked up, so that flush waits with its rows where they are.
    replace(&store, &table, ALICE, &[(1, "v2")]).await;
    assert_eq!(store.flush(table.id).await.unwrap_err().kind(), ErrorKind::DataLoss);
    assert_eq!(store.usage(&table, None).await.unwrap().hot_rows, 1);
    store.drop_table(table.id).await.unwrap();
    store.sweep(std::time::Duration::ZERO).await.unwrap();
    assert_named(&store, &disk, "after the drop").await;
    store.close().await.unwrap();
}

#[tokio::test]
async fn an_upload_in_parts_that_fails_leaves_nothing_once_it_is_deleted() {
    let part = 8 << 20;
    for (nth, choice) in (0..8).flat_map(|nth| [(nth, 0), (nth, 1)]) {
        let disk = Faulty::new();
        let objects = Objects::over(Arc::clone(&disk) as Arc<dyn ObjectStore>);
        let path = layout::file_path(insula_proto::TableId(1), uuid::Uuid::now_v7());
        let met = one_fault(&disk, nth, choice);
        let mut upload = objects.upload(path.clone());
        let done = match upload.write(Bytes::from(vec![7; part])).await {
            Ok(()) => match upload.write(Bytes::from(vec![8; part])).await {
                Ok(()) => upload.finish().await,
                Err(error) => {
                    upload.abort().await;
                    Err(error)
                }
            },
            Err(error) => {
                upload.abort().await;
                Err(error)
            }
        };
        disk.heal();
        match explained(done) {
            Some(bytes) => {
                assert!(met.lock().is_none() || bytes == 2 * part as u64);
                let whole = [vec![7; part], vec![8; part]].concat();
                assert!(
                    objects.store().get_opts(&path, GetOptions::default()).await.unwrap().bytes().await.unwrap()
                        == whole
                );
            }
            None => assert!(met.lock().is_some(), "an error without a fault"),
        }
        objects.delete(&path).await.unwrap();
        assert_eq!(disk.objects().await, []);
    }
}

#[tokio::test]
async fn a_start_after_a_crash_reads_what_is_hot_and_nothing_that_is_cold() {
    let mut reads = Vec::new();
    for files in [1, 12] {
        let (directory, disk) = (tempfile::tempdir().unwrap(), Faulty::new());
        let store = open_over(directory.path(), &disk).await;
        let table = notes(&store, TableOptions::default()).await;
        for file in 0..files {
            let text = format!("{file:0>9000}");
            let rows: Vec<_> = (0..50).map(|id| (file * 100 + id, text.as_str())).collect();
            insert(&store, &table, ALICE, &rows).await;
            store.flush(table.id).await.unwrap();
        }
        insert(&store, &table, ALICE, &[(-1, "hot"), (-2, "hot")]).await;
        let crashed = tempfile::tempdir().unwrap();
        copy(directory.path(), crashed.path());
        store.close().await.unwrap();
        drop(store);
        let (requests, before) = (Arc::new(Mutex::new(Vec::new())), disk.bytes_read.load(Relaxed));
        let asked = Arc::clone(&requests);
        disk.follow(move |verb, _| {
            asked.lock().push(format!("{verb:?}"));
            None
        });
        let store = open_over(crashed.path(), &disk).await;
        let bytes = disk.bytes_read.load(Relaxed) - before;
        disk.heal();
        let requests = requests.lock().clone();
        assert_eq!(store.tables.load(table.id).rows, 2, "what is counted is what is hot");
        reads.push((requests, bytes));
        store.close().await.unwrap();
    }
    assert_eq!(reads[0], reads[1], "twelve times the files, and the same requests and bytes");
}

#[tokio::test]
async fn the_log_that_a_start_reads_again_is_bounded_however_much_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let memory = crate::StoreMemory { write_buffers: 256 << 10, ..Default::default() };
    let store = Store::open(StoreConfig { memory, ..config(directory.path(), 64 << 20) }).await.unwrap();
    let table = notes(&store, TableOptions::default()).await;
    // A manifest, the only one: its family is not written again, and what it wrote lies at the log's beginning.
    insert(&store, &table, ALICE, &[(-1, "first")]).await;
    store.flush(table.id).await.unwrap();
    let text = "x".repeat(100 << 10);
    for id in 0..80 {
        insert(&store, &table, ALICE, &[(id, text.as_str())]).await;
    }
    let log_bytes = || -> u64 {
        let files = std::fs::read_dir(directory.path().join("hot")).unwrap().map(|entry| entry.unwrap());
        let logs = files.filter(|file| file.path().extension().is_some_and(|end| end == "log"));
        // One that RocksDB deletes meanwhile counts no more.
        logs.map(|log| log.metadata().map_or(0, |data| data.len())).sum()
    };
    // Eight megabytes are written; RocksDB deletes what it has put into files in the background.
    wait_until(|| async { log_bytes() <= 2 << 20 }).await;
    store.close().await.unwrap();
}

async fn renamed(store: &Arc<Store>, name: &str) -> Arc<TableDef> {
    let table = crate::NewTable {
        namespace: "public".into(),
        name: name.into(),
        kind: crate::TableKind::User,
        columns: vec![
            column("note", arrow::datatypes::DataType::Utf8, true),
            column("id", arrow::datatypes::DataType::Int64, false),
        ],
        key: vec![1],
        checks: Vec::new(),
        options: TableOptions::default(),
    };
    store.create_table(table).await.unwrap()
}

/// The directory as a crash would leave it.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.file_name() != "LOCK" {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
