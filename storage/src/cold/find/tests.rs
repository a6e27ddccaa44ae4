use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::cold::{fixture, fixture::note_key};

fn manifest(files: Vec<ColdFile>) -> Manifest {
    Manifest { version: 1, files, ..Manifest::default() }
}

async fn find(cold: &ColdTier, manifest: &Manifest, user: u64, ids: &[i64]) -> Vec<(i64, usize, u32, bool)> {
    let keys: Vec<Vec<u8>> = ids.iter().map(|id| note_key(*id)).collect();
    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let hits = cold.find(manifest, &fixture::notes(), UserNo(user), &keys).await.unwrap();
    hits.into_iter().map(|hit| (ids[hit.key], hit.file, hit.row, hit.deleted)).collect()
}

#[tokio::test]
async fn keys_are_found_per_user_and_file() {
    let (cold, table) = (fixture::memory(), fixture::notes());
    let first = [(1, -5, false), (1, 10, true), (1, 20, false), (3, 10, false)];
    let first = fixture::write(&cold, &table, &[fixture::note_rows(&first)]).await;
    let second = fixture::write(&cold, &table, &[fixture::note_rows(&[(2, 10, false), (3, 20, false)])]).await;
    let both = manifest(vec![first, second]);
    assert_eq!(
        find(&cold, &both, 1, &[-6, -5, 10, 11, 20, 21]).await,
        [(-5, 0, 0, false), (10, 0, 1, true), (20, 0, 2, false)]
    );
    assert_eq!(find(&cold, &both, 2, &[10, 20]).await, [(10, 1, 0, false)]);
    assert_eq!(find(&cold, &both, 3, &[10, 20]).await, [(10, 0, 3, false), (20, 1, 1, false)]);
    assert_eq!(find(&cold, &both, 4, &[10]).await, []);
    assert_eq!(find(&cold, &both, 1, &[]).await, []);
}

#[tokio::test]
async fn replaced_rows_are_not_found() {
    let (cold, table) = (fixture::memory(), fixture::notes());
    let rows = [(1, 1, false), (1, 2, false), (1, 3, false)];
    let mut file = fixture::write(&cold, &table, &[fixture::note_rows(&rows)]).await;
    let vector = cold.put_vector(table.id, file.id, uuid::Uuid::now_v7(), RoaringBitmap::from_iter([1u32])).await;
    file.deletion_vector = Some(vector.unwrap());
    let manifest = manifest(vec![file]);
    assert_eq!(find(&cold, &manifest, 1, &[1, 2, 3]).await, [(1, 0, 0, false), (3, 0, 2, false)]);
    let slices = cold.slices(&manifest, table.id, fixture::ALICE, &crate::KeyBounds::All).await.unwrap();
    assert_eq!(slices.len(), 1);
    assert_eq!(slices[0].ranges, [0..1, 2..3]);
    assert_eq!(slices[0].key_bounds, (note_key(1), note_key(3)));
    assert!(cold.slices(&manifest, table.id, fixture::BOB, &crate::KeyBounds::All).await.unwrap().is_empty());
    let usage = cold.usage(&manifest, table.id, None).await.unwrap();
    assert_eq!((usage.rows, usage.files), (2, 1));
    assert_eq!(cold.usage(&manifest, table.id, Some(fixture::ALICE)).await.unwrap().rows, 2);
}

#[tokio::test]
async fn lookups_cross_blocks_pages_and_batches() {
    let (cold, table) = (fixture::memory(), fixture::notes());
    // Even ids only, and several batches, so that misses fall between rows everywhere.
    let rows: Vec<(u64, i64, bool)> =
        (1..=3u64).flat_map(|user| (0..30_000i64).map(move |i| (user, 2 * i, i % 7 == 0))).collect();
    let batches: Vec<_> = rows.chunks(8192).map(fixture::note_rows).collect();
    let file = fixture::write(&cold, &table, &batches).await;
    let manifest = manifest(vec![file]);
    let ids: Vec<i64> = (0..60_000).step_by(997).chain([59_998, 59_999]).collect::<BTreeSet<_>>().into_iter().collect();
    let expected: Vec<_> = ids
        .iter()
        .filter(|id| **id % 2 == 0)
        .map(|id| (*id, 0, 30_000 + (*id / 2) as u32, (*id / 2) % 7 == 0))
        .collect();
    assert_eq!(find(&cold, &manifest, 2, &ids).await, expected);
}

#[tokio::test]
async fn slices_of_few_keys_are_few_rows() {
    let (cold, table) = (fixture::memory(), fixture::notes());
    let rows: Vec<(u64, i64, bool)> =
        (1..=2u64).flat_map(|user| (0..30_000i64).map(move |i| (user, i, false))).collect();
    let batches: Vec<_> = rows.chunks(8192).map(fixture::note_rows).collect();
    let mut file = fixture::write(&cold, &table, &batches).await;
    let replaced = (0..60_000u32).filter(|row| row % 2 == 1);
    let vector = cold.put_vector(table.id, file.id, uuid::Uuid::now_v7(), RoaringBitmap::from_iter(replaced)).await;
    file.deletion_vector = Some(vector.unwrap());
    let manifest = manifest(vec![file]);
    let slices = async |ids: &[i64]| {
        let mut keys = crate::KeyRows::default();
        ids.iter().for_each(|id| keys.push(&note_key(*id)));
        cold.slices(&manifest, table.id, fixture::BOB, &crate::KeyBounds::keys(&keys)).await.unwrap()
    };
    let slice = slices(&[7]).await.remove(0);
    assert_eq!(
        (slice.rows(), slice.key_bounds.clone(), slice.bounds_live),
        (2048, (note_key(0), note_key(4096)), false)
    );
    assert!(slice.ranges.iter().all(|rows| rows.start % 2 == 0 && rows.end - rows.start == 1));
    assert_eq!((slice.ranges[0].start, slice.ranges[2047].end), (30_000, 34_095));
    let slice = slices(&[29_999, 1]).await.remove(0);
    assert_eq!((slice.rows(), slice.key_bounds), (2048 + 664, (note_key(0), note_key(29_999))));
    assert!(slices(&[-1, 30_000]).await.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn find_all_answers_like_a_set(
        files in prop::collection::vec(prop::collection::btree_set((1u64..5, 0i64..40), 1..40), 1..4),
        sought in prop::collection::btree_set((1u64..6, 0i64..42), 0..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (cold, table) = (fixture::memory(), fixture::notes());
            let mut written = Vec::new();
            for file in &files {
                let rows: Vec<_> = file.iter().map(|(user, id)| (*user, *id, id % 2 == 0)).collect();
                written.push(fixture::write(&cold, &table, &[fixture::note_rows(&rows)]).await);
            }
            let keys: Vec<_> = sought.iter().map(|(user, id)| (UserNo(*user), note_key(*id))).collect();
            let wanted: Vec<_> = keys.iter().map(|(user, key)| (*user, key.as_slice())).collect();
            let hits = cold.find_all(&manifest(written), &table, &wanted).await.unwrap();
            let mut found: Vec<_> = hits.iter().map(|hit| (hit.file, hit.key, hit.row, hit.deleted)).collect();
            found.sort_unstable();
            let mut expected = Vec::new();
            for (number, file) in files.iter().enumerate() {
                for (key, (user, id)) in sought.iter().enumerate() {
                    if let Some(row) = file.iter().position(|row| row == &(*user, *id)) {
                        expected.push((number, key, row as u32, id % 2 == 0));
                    }
                }
            }
            prop_assert_eq!(found, expected);
            Ok(())
        })?;
    }
}
