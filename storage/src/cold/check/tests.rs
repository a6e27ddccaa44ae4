use arrow::array::UInt64Array;
use insula_proto::{Seq, TableId};
use uuid::Uuid;

use super::*;
use crate::cold::{DeletionVectorRef, Stamp, fixture};

async fn flaws(cold: &ColdTier, table: &TableDef, files: Vec<ColdFile>) -> Vec<String> {
    let (table, manifest) = (Arc::new(table.clone()), Manifest { version: 1, files, ..Manifest::default() });
    let mut flaws = Vec::new();
    for number in 0..manifest.files.len() {
        cold.check_file(&table, &manifest, number, &mut flaws).await;
    }
    flaws.into_iter().map(|flaw| flaw.what).collect()
}

#[tokio::test]
async fn a_manifest_that_says_otherwise_is_a_fault() {
    let (cold, table) = (fixture::memory(), fixture::notes());
    let rows = [(1, 1, false), (1, 2, true), (2, 1, false), (3, 7, false)];
    let file = fixture::write(&cold, &table, &[fixture::note_rows(&rows)]).await;
    assert_eq!(flaws(&cold, &table, vec![file.clone()]).await, [""; 0]);

    type Lie = (&'static str, fn(&mut ColdFile));
    let lies: [Lie; 6] = [
        ("rows", |file| file.rows += 1),
        ("deleted", |file| file.deleted_rows = 0),
        ("users", |file| file.users.1 = UserNo(4)),
        ("users", |file| file.users.0 = UserNo(0)),
        ("another time", |file| file.seqs.1 -= 1),
        ("another time", |file| file.seqs.0 += 1),
    ];
    for (word, lie) in lies {
        let mut file = file.clone();
        lie(&mut file);
        let found = flaws(&cold, &table, vec![file]).await;
        assert!(found.len() == 1 && found[0].contains(word), "{word}: {found:?}");
    }
    // With a stamp, the numbers in the file mean nothing.
    let stamp = Some(Stamp { seq: Seq(9), updated_micros: 0 });
    let stamped = ColdFile { seqs: (9, 9), stamp, ..file };
    assert_eq!(flaws(&cold, &table, vec![stamped]).await, [""; 0]);
}

#[tokio::test]
async fn a_key_lives_in_one_file() {
    let (cold, table) = (fixture::memory(), fixture::notes());
    let older = fixture::write(&cold, &table, &[fixture::note_rows(&[(1, 1, false), (2, 1, false)])]).await;
    let newer = fixture::write(&cold, &table, &[fixture::note_rows(&[(1, 2, false), (2, 1, false)])]).await;
    let found = flaws(&cold, &table, vec![older.clone(), newer.clone()]).await;
    assert!(found.len() == 1 && found[0].contains("row 1 is live in"), "{found:?}");
    assert!(found[0].contains(&newer.id.to_string()), "{found:?}");

    let replaced: RoaringBitmap = [1].into_iter().collect();
    let vector = cold.put_vector(table.id, older.id, Uuid::now_v7(), replaced).await.unwrap();
    let with = |vector: DeletionVectorRef| ColdFile { deletion_vector: Some(vector), ..older.clone() };
    assert_eq!(flaws(&cold, &table, vec![with(vector.clone()), newer.clone()]).await, [""; 0]);
    let miscounted = DeletionVectorRef { cardinality: 2, ..vector };
    let found = flaws(&cold, &table, vec![with(miscounted), newer]).await;
    assert!(found.len() == 1 && found[0].contains("hides 1 rows"), "{found:?}");

    let far: RoaringBitmap = [7].into_iter().collect();
    let vector = cold.put_vector(table.id, older.id, Uuid::now_v7(), far).await.unwrap();
    let found = flaws(&cold, &table, vec![with(vector)]).await;
    assert!(found.len() == 1 && found[0].contains("does not have"), "{found:?}");
}

/// The writer believes whoever gives it keys; the check does not.
#[tokio::test]
async fn keys_of_the_user_index_are_those_of_the_rows() {
    let table = fixture::notes();
    let rows = fixture::note_rows(&[(1, 1, false), (1, 2, false), (1, 3, false)]);
    for wrong in [0, 2] {
        let cold = fixture::memory();
        let mut keys = fixture::keys_of(&table, &rows);
        *keys[wrong].last_mut().unwrap() = if wrong == 0 { 0 } else { 9 };
        let file = fixture::write_keyed(&cold, &table, &[(rows.clone(), keys)]).await;
        let found = flaws(&cold, &table, vec![file]).await;
        assert!(found.len() == 1 && found[0].contains(&format!("another key for row {wrong}")), "{found:?}");
    }
}

#[tokio::test]
async fn rows_are_those_of_the_users_of_the_index() {
    let (cold, table) = (fixture::memory(), Arc::new(fixture::notes()));
    let rows = fixture::note_rows(&[(1, 1, false), (1, 2, false), (2, 1, false)]);
    let file = fixture::write(&cold, &table, std::slice::from_ref(&rows)).await;
    let open = cold.open_file(TableId(7), &file).await.unwrap();
    let codec = KeyCodec::new(&table).unwrap();
    let keys = codec.encode(&[Arc::clone(rows.column(table.stored_key()[0]))]).unwrap();
    let nothing = RoaringBitmap::default();
    let owners = |owners: [u64; 3]| {
        let mut columns = rows.columns().to_vec();
        columns[0] = Arc::new(UInt64Array::from(owners.to_vec()));
        RecordBatch::try_new(rows.schema(), columns).unwrap()
    };
    let verdict = |rows: RecordBatch| Rows::new(&table, &file, &open, &nothing).batch(&rows, &keys).unwrap();
    assert_eq!(verdict(owners([1, 1, 2])), Ok(()));
    for (foreign, at) in [([2, 1, 2], 0), ([1, 2, 2], 1), ([1, 1, 1], 2)] {
        let found = verdict(owners(foreign)).unwrap_err();
        assert!(found.contains(&format!("row {at} belongs to another user")), "{found}");
    }
}
