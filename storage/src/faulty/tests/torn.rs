//! Files of a local database that are cut: whatever is missing, a statement fails with `DATA_LOSS` or answers rightly.

use std::path::{Path as FsPath, PathBuf};

use super::*;

const PLACES: u64 = 6;

/// Some lengths to which a file may be cut: nearly nothing, nearly all, and between.
fn cuts(bytes: u64) -> Vec<u64> {
    let ends = [0, 1, 8, 12, 64].into_iter().flat_map(|n| [n, bytes.saturating_sub(n)]);
    let mut cuts: Vec<u64> = ends.chain((1..PLACES).map(|part| bytes * part / PLACES)).collect();
    cuts.retain(|cut| *cut < bytes);
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

fn files(directory: &FsPath, matches: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for path in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            match path.is_dir() {
                true => directories.push(path),
                false if matches(&name) => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn cut_files_and_deletion_vectors_are_data_loss_for_those_who_need_them() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let table = notes(&store, TableOptions::default()).await;
    let text: Vec<String> = (0..3000u64).map(|id| format!("{:x}", id.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    let rows: Vec<_> = (0..).zip(text.iter().map(String::as_str)).collect();
    insert(&store, &table, ALICE, &rows).await;
    store.flush(table.id).await.unwrap();
    replace(&store, &table, ALICE, &[(7, "new")]).await;
    insert(&store, &table, BOB, &[(1, "bob")]).await;
    store.flush(table.id).await.unwrap();
    let mut expected = text.clone();
    expected[7] = "new".into();
    assert_eq!(live(&store, &table, ALICE).await, expected);
    store.close().await.unwrap();
    drop(store);
    let objects = files(directory.path(), |name| name.ends_with(".parquet") || name.ends_with(".dv"));
    assert_eq!(objects.len(), 3);
    for file in &objects {
        let whole = std::fs::read(file).unwrap();
        for cut in cuts(whole.len() as u64) {
            std::fs::write(file, &whole[..cut as usize]).unwrap();
            let store = open(directory.path()).await;
            let table = Arc::clone(&store.tables()[0]);
            let what = format!("{} cut at {cut} of {}", file.display(), whole.len());
            let mut lost = 0;
            for (user, expected) in [(ALICE, expected.clone()), (BOB, vec!["bob".to_owned()])] {
                match try_live(&store, &table, user).await {
                    Ok(found) => assert!(found == expected, "{what}: wrong rows"),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::DataLoss, "{what}: {error}");
                        lost += 1;
                    }
                }
            }
            assert!(lost > 0, "{what}: nobody noticed");
            // What has to be read for it is refused too, and changes nothing.
            assert_eq!(store.compact(table.id).await.unwrap_err().kind(), ErrorKind::DataLoss, "{what}");
            store.close().await.unwrap();
        }
        std::fs::write(file, &whole).unwrap();
    }
    let store = open(directory.path()).await;
    assert_eq!(live(&store, &Arc::clone(&store.tables()[0]), ALICE).await, expected);
    store.close().await.unwrap();
}

/// What the end of RocksDB's log has lost is lost, as after a crash in the middle of a write: whole statements, from
/// the last one back. What else is cut is noticed, at the start or by the statement that needs it.
#[tokio::test]
async fn a_cut_log_or_list_of_files_leaves_whole_statements_or_no_start() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let table = notes(&store, TableOptions::default()).await;
    let mut states = vec![Vec::new()];
    for statement in 0..8i64 {
        let text = format!("{statement}");
        let rows: Vec<_> = (0..3).map(|row| (statement * 3 + row, text.as_str())).collect();
        insert(&store, &table, ALICE, &rows).await;
        states.push(states[states.len() - 1].iter().cloned().chain(vec![text; 3]).collect::<Vec<String>>());
        match statement {
            2 => drop(store.flush(table.id).await.unwrap()),
            // Rows in a file of RocksDB as well as in its log.
            4 => store.db.purge().unwrap(),
            _ => {}
        }
    }
    let crashed = tempfile::tempdir().unwrap();
    copy(directory.path(), crashed.path());
    store.close().await.unwrap();
    let of_rocks = |name: &str| [".log", ".sst"].iter().any(|end| name.ends_with(end)) || name.starts_with("MANIFEST");
    let (mut started, mut refused, mut lost) = (0, 0, 0);
    for file in files(crashed.path(), of_rocks) {
        let relative = file.strip_prefix(crashed.path()).unwrap();
        let whole = std::fs::read(&file).unwrap();
        for cut in cuts(whole.len() as u64) {
            let torn = tempfile::tempdir().unwrap();
            copy(crashed.path(), torn.path());
            std::fs::write(torn.path().join(relative), &whole[..cut as usize]).unwrap();
            let what = format!("{} cut at {cut} of {}", relative.display(), whole.len());
            let store = match Store::open(config(torn.path(), 64 << 20)).await {
                Ok(store) => store,
                Err(error) => {
                    let told = matches!(error.kind(), ErrorKind::DataLoss | ErrorKind::Unavailable);
                    assert!(told, "{what}: {:?} {error}", error.kind());
                    refused += 1;
                    continue;
                }
            };
            started += 1;
            if let Some(table) = store.tables().first().cloned() {
                match try_live(&store, &table, ALICE).await {
                    Ok(found) => assert!(states.contains(&found), "{what}: {found:?}"),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::DataLoss, "{what}: {error}");
                        lost += 1;
                    }
                }
            }
            store.close().await.unwrap();
        }
    }
    assert!(started > 5 && refused + lost > 5, "{started} started, {refused} refused, {lost} lost");
}
