use object_store::ObjectStoreExt;

use super::*;
use crate::cold::{Manifest, fixture};

/// A tier with one file, and the same bytes with one flipped behind its back.
async fn flipped(at: impl Fn(&ColdFile) -> u64) -> (crate::cold::ColdTier, ColdFile) {
    let cold = fixture::memory();
    let table = fixture::notes();
    let file =
        fixture::write(&cold, &table, &[fixture::note_rows(&[(1, 1, false), (1, 2, false), (2, 1, false)])]).await;
    let path = layout::file_path(table.id, file.id);
    let store = cold.store();
    let mut bytes = store.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
    bytes[at(&file) as usize] ^= 0x10;
    store.put(&path, bytes.into()).await.unwrap();
    (cold, file)
}

#[tokio::test]
async fn every_byte_read_through_the_checked_store_is_verified() {
    let table = fixture::notes();
    for at in [0, 100] {
        let (cold, file) = flipped(|_| at).await;
        cold.open_file(table.id, &file).await.unwrap();
        let path = layout::file_path(table.id, file.id);
        let error =
            crate::cold::objects::store_error("read", &path, cold.objects().get_range(&path, 4..8).await.unwrap_err());
        assert_eq!(error.kind(), ErrorKind::DataLoss);
        assert!(error.message().contains(path.as_ref()) && error.message().contains("byte 0"), "{error}");
        // The tail is another block.
        let tail = cold.objects().get_range(&path, file.bytes - 8..file.bytes).await.unwrap();
        assert_eq!(&tail[4..], b"PAR1");
    }
}

#[tokio::test]
async fn a_damaged_tail_is_data_loss_wherever_it_is() {
    let table = fixture::notes();
    let (_, intact) = flipped(|_| 0).await;
    for at in (intact.tail.offset..intact.bytes).step_by(7) {
        let (cold, file) = flipped(|_| at).await;
        let error = cold.open_file(table.id, &file).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::DataLoss, "byte {at}");
    }
}

#[tokio::test]
async fn ranges_over_body_and_tail_come_back_as_they_are() {
    let (cold, table) = (fixture::memory(), fixture::notes());
    let file = fixture::write(&cold, &table, &[fixture::note_rows(&[(1, 1, false), (2, 1, true)])]).await;
    cold.open_file(table.id, &file).await.unwrap();
    let path = layout::file_path(table.id, file.id);
    let whole = cold.store().get(&path).await.unwrap().bytes().await.unwrap();
    let checked = cold.objects();
    assert_eq!(checked.get(&path).await.unwrap().bytes().await.unwrap(), whole);
    let middle = file.tail.offset;
    let ranges = [0..4, middle - 3..middle + 5, middle..middle, file.bytes - 4..file.bytes];
    for (range, read) in ranges.iter().zip(checked.get_ranges(&path, &ranges).await.unwrap()) {
        assert_eq!(read, whole.slice(range.start as usize..range.end as usize));
    }
    assert_eq!(checked.head(&path).await.unwrap().size, file.bytes);
}

#[tokio::test]
async fn the_engine_reads_what_a_manifest_named_and_writes_nothing() {
    let (cold, table) = (fixture::memory(), fixture::notes());
    let file = fixture::write(&cold, &table, &[fixture::note_rows(&[(1, 1, false)])]).await;
    let path = layout::file_path(table.id, file.id);
    let checked = cold.objects();
    assert!(checked.get(&path).await.is_err());
    let manifest = Manifest { version: 1, files: vec![file], ..Manifest::default() };
    assert_eq!(cold.slices(&manifest, table.id, fixture::ALICE, &crate::KeyBounds::All).await.unwrap().len(), 1);
    assert!(checked.get(&path).await.is_ok());
    assert!(checked.get(&Path::from("insula-owner")).await.is_err());
    assert!(checked.put(&path, "x".into()).await.is_err() && checked.delete(&path).await.is_err());
    assert!(checked.list(None).next().await.unwrap().is_err());
}

#[tokio::test]
async fn a_file_that_is_cut_short_says_so() {
    let (cold, table) = (fixture::memory(), fixture::notes());
    let file = fixture::write(&cold, &table, &[fixture::note_rows(&[(1, 1, false)])]).await;
    let path = layout::file_path(table.id, file.id);
    let store = cold.store();
    let bytes = store.get(&path).await.unwrap().bytes().await.unwrap();
    store.put(&path, bytes.slice(..40).into()).await.unwrap();
    let error = cold.open_file(table.id, &file).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::DataLoss);
    assert!(error.message().contains("40 bytes instead of"), "{error}");
}

/// Else it would fill the cache: what is used often is not given up for the file that its rows were merged into.
#[tokio::test]
async fn nothing_is_kept_of_a_file_that_is_gone() {
    let (cold, table) = (fixture::memory(), fixture::notes());
    let file = fixture::write(&cold, &table, &[fixture::note_rows(&[(1, 1, false)])]).await;
    cold.open_file(table.id, &file).await.unwrap();
    assert!(cold.files.open.get(&file.id).is_some());
    cold.retire(vec![layout::file_path(table.id, file.id)]);
    cold.reclaim().await;
    assert!(cold.files.open.get(&file.id).is_none());
}
