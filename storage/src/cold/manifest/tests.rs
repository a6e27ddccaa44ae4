use super::*;

fn manifest() -> Manifest {
    let file = |id: u128, vector: Option<u128>| ColdFile {
        id: Uuid::from_u128(id),
        bytes: 100,
        rows: 10,
        deleted_rows: 1,
        users: (UserNo(1), UserNo(9)),
        keys: (b"a".to_vec(), vec![0xFF; 64]),
        seqs: (5, 50),
        level: 0,
        schema_version: 1,
        deletion_vector: vector.map(|id| DeletionVectorRef { id: Uuid::from_u128(id), cardinality: 3, bytes: 40 }),
        created_micros: 1_700_000_000_000_000,
        stamp: vector.map(|_| Stamp { seq: Seq(50), updated_micros: 1_700_000_000_000_001 }),
        tail: Tail { offset: 70, crc: 0x8000_0001 },
        oldest_deleted_micros: vector.map(|_| 1_700_000_000_000_002),
    };
    Manifest { version: 7, files: vec![file(1, None), file(2, Some(3))], flushed: Generation(4) }
}

#[test]
fn values_come_back_and_damage_is_seen() {
    let bytes = record::seal(&manifest().to_proto().encode_to_vec());
    assert_eq!(open_manifest(TableId(1), &bytes).unwrap(), manifest());
    for i in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[i] ^= 2;
        assert_eq!(open_manifest(TableId(1), &damaged).unwrap_err().kind(), ErrorKind::DataLoss, "byte {i}");
    }
    assert!(open_manifest(TableId(1), &[]).is_err());
}

#[test]
fn keys_are_fixed() {
    assert_eq!(key(MANIFEST, TableId(0x0102_0304)), [b'm', 1, 2, 3, 4]);
    assert_eq!(key(INTENT, TableId(5)), [b'i', 0, 0, 0, 5]);
}

#[test]
fn objects_are_files_and_vectors() {
    let paths: Vec<String> = manifest().objects(TableId(6)).iter().map(ToString::to_string).collect();
    assert_eq!(
        paths,
        [
            "t6/00000000-0000-0000-0000-000000000001.parquet",
            "t6/00000000-0000-0000-0000-000000000002.parquet",
            "t6/00000000-0000-0000-0000-000000000003.dv",
        ]
    );
}
