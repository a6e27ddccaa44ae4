//! Bodies of the fuzz targets of the cold tier: what lies beside the rows of Parquet files.

use std::sync::Arc;

use insula_proto::{TableId, UserNo};
use object_store::path::Path;
use uuid::Uuid;

use super::{deletion_vector as vectors, manifest as manifests, user_index::UserIndex};
use crate::{KeyBounds, KeyRange, hot::key::KeyRows, hot::record};

/// Entries of an index that are looked at; one that is damaged may name millions.
const SOME: usize = 64;

pub(crate) fn user_index(data: &[u8]) {
    let mut sealed = data.to_vec();
    sealed.extend(crc32fast::hash(data).to_be_bytes());
    let Ok(index) = UserIndex::decode(sealed.into()) else { return };
    let _ = (index.rows(), index.bounds());
    let mut keys = KeyRows::default();
    data.chunks(5).take(8).for_each(|key| keys.push(key));
    let lower = data.get(..4).unwrap_or_default().to_vec();
    let wanted = [
        KeyBounds::All,
        KeyBounds::Range(KeyRange { upper: Some([&lower[..], &[1]].concat()), lower }),
        KeyBounds::Keys(Arc::new(keys)),
    ];
    for place in 0..index.len().min(SOME) {
        let _ = index.count(place);
        let Ok((user, entry)) = index.nth(place) else { continue };
        let _ = index.get(user);
        for wanted in &wanted {
            if let Some(part) = entry.part(wanted) {
                assert!(part.rows.iter().all(|rows| entry.rows.start <= rows.start && rows.end <= entry.rows.end));
            }
        }
        let _ = entry.block_of(data);
    }
    let _ = index.get(UserNo(u64::MAX));
}

pub(crate) fn deletion_vector(data: &[u8]) {
    let (path, file) = (Path::from("vector"), Uuid::nil());
    let _ = vectors::decode(&path, data, file);
    let mut sealed = vec![1];
    sealed.extend(file.as_bytes());
    sealed.extend(data);
    sealed.extend(crc32fast::hash(&sealed).to_be_bytes());
    if let Ok(rows) = vectors::decode(&path, &sealed, file) {
        let live = vectors::live_ranges(0..100_000, &rows);
        assert!(live.iter().all(|range| range.start < range.end && range.end <= 100_000));
    }
}

pub(crate) fn manifest(data: &[u8]) {
    let _ = manifests::open_manifest(TableId(7), data);
    if let Ok(manifest) = manifests::open_manifest(TableId(7), &record::seal(data)) {
        let _ = (manifest.objects(TableId(7)), manifest.bytes());
    }
}

/// For the corpus.
#[cfg(test)]
pub(crate) mod samples {
    use super::*;
    use crate::cold::{ColdFile, Manifest, blocks::Tail, user_index::Builder};

    pub(crate) fn user_index() -> Vec<u8> {
        let mut builder = Builder::default();
        for row in 0..10_000u32 {
            builder.push(UserNo(u64::from(row / 9_000) + 1), &row.to_be_bytes(), row % 7 == 0).unwrap();
        }
        let mut bytes = builder.finish().unwrap();
        bytes.truncate(bytes.len() - 4);
        bytes
    }

    pub(crate) fn deletion_vector() -> Vec<u8> {
        let rows = (0..5).chain([70, 900]).chain(66_000..66_100).collect();
        let bytes = vectors::encode(Uuid::nil(), &rows).unwrap();
        bytes[17..bytes.len() - 4].to_vec()
    }

    pub(crate) fn manifest() -> Vec<u8> {
        let file = ColdFile {
            id: Uuid::nil(),
            bytes: 1_000,
            rows: 10,
            deleted_rows: 1,
            users: (UserNo(1), UserNo(2)),
            keys: (vec![1], vec![2, 3]),
            seqs: (4, 5),
            level: 1,
            schema_version: 1,
            deletion_vector: Some(manifests::DeletionVectorRef { id: Uuid::nil(), cardinality: 2, bytes: 99 }),
            created_micros: 6,
            stamp: None,
            tail: Tail { offset: 900, crc: 7 },
            oldest_deleted_micros: Some(8),
        };
        let manifest = Manifest { version: 3, files: vec![file], flushed: insula_proto::Generation(2) };
        let record = manifests::record_of(&manifest);
        record[1..record.len() - 4].to_vec()
    }
}
