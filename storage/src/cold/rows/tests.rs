use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use insula_proto::Seq;

use super::*;
use crate::cold::fixture::{self, ALICE, BOB};

async fn read(mut rows: FileRows) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    while let Some(batch) = rows.next().await.unwrap() {
        batches.push(batch);
    }
    batches
}

fn ids(batches: &[RecordBatch]) -> Vec<i64> {
    batches.iter().flat_map(|b| b.column_by_name("c2").unwrap().as_primitive::<Int64Type>().values().to_vec()).collect()
}

/// Alice's ids 0 to 9999, Bob's 10000 to 10999, Carol's 11000.
async fn notes(cold: &ColdTier, table: &TableDef) -> ColdFile {
    let rows: Vec<_> = (0..11_001)
        .map(|id| {
            (
                if id < 10_000 {
                    1
                } else if id < 11_000 {
                    2
                } else {
                    3
                },
                id,
                false,
            )
        })
        .collect();
    fixture::write(cold, table, &[fixture::note_rows(&rows)]).await
}

#[tokio::test]
async fn what_is_left_is_read_in_order_whatever_the_window() {
    let (cold, table) = (fixture::memory(), fixture::notes());
    let file = notes(&cold, &table).await;
    let replaced: Arc<RoaringBitmap> = Arc::new((0..11_001).filter(|row| row % 3 == 0).collect());
    for without in [None, Some(ALICE), Some(BOB), Some(UserNo(9))] {
        for window in [1000, 4096, 1 << 20] {
            let mut rows = cold.live_rows(&table, &file, Arc::clone(&replaced), without).await.unwrap();
            rows.window = window;
            let left = |id: &i64| {
                let user = if *id < 10_000 {
                    ALICE
                } else if *id < 11_000 {
                    BOB
                } else {
                    UserNo(3)
                };
                id % 3 != 0 && Some(user) != without
            };
            assert_eq!(ids(&read(rows).await), (0..11_001).filter(left).collect::<Vec<_>>(), "{without:?} {window}");
        }
    }
}

#[tokio::test]
async fn some_rows_are_found_by_their_place_with_their_keys() {
    let (cold, table) = (fixture::memory(), fixture::notes());
    let file = notes(&cold, &table).await;
    let wanted: RoaringBitmap = [0, 1, 2, 5000, 9999, 10_000, 11_000].into_iter().collect();
    let rows = cold.rows(&table, &file, key_columns(&table), Pick::Only(wanted.clone())).await.unwrap();
    let batches = read(rows).await;
    assert_eq!(ids(&batches), wanted.iter().map(i64::from).collect::<Vec<_>>());
    assert!(batches.iter().all(|batch| batch.num_columns() == 2), "only the columns asked for are read");
    let codec = KeyCodec::new(&table).unwrap();
    let (users, keys) = users_and_keys(&table, &codec, &batches[0]).unwrap();
    assert_eq!(users[0], ALICE);
    assert_eq!(keys.row(1), fixture::note_key(1));
}

#[tokio::test]
async fn users_are_counted_in_their_order() {
    let (cold, table) = (fixture::memory(), fixture::notes());
    let file = notes(&cold, &table).await;
    let rows = cold.live_rows(&table, &file, Arc::default(), None).await.unwrap();
    let counts: Vec<_> = (0..4).map(|place| rows.user(place).unwrap()).collect();
    assert_eq!(counts, [Some((ALICE, 10_000)), Some((BOB, 1000)), Some((UserNo(3), 1)), None]);
    assert!(cold.holds(&table, &file, BOB).await.unwrap() && !cold.holds(&table, &file, UserNo(4)).await.unwrap());
}

#[tokio::test]
async fn a_stamp_becomes_the_rows_own() {
    let (cold, table) = (fixture::memory(), fixture::notes());
    let file = notes(&cold, &table).await;
    let stamp = Stamp { seq: Seq(77), updated_micros: 5 };
    let stamped = ColdFile { stamp: Some(stamp), ..file.clone() };
    let rows = cold.live_rows(&table, &file, Arc::default(), None).await.unwrap();
    let lying = read(rows).await.remove(0);
    let plain = to_stored(&table, &file, &lying).unwrap();
    assert_eq!(plain.column(1).as_primitive::<Int64Type>().value(3), 103);
    let rows = to_stored(&table, &stamped, &lying).unwrap();
    assert_eq!(rows.schema(), table.stored_schema());
    assert!(rows.column(1).as_primitive::<Int64Type>().values().iter().all(|seq| *seq == 77));
    assert!(rows.column(2).as_primitive::<TimestampMicrosecondType>().values().iter().all(|time| *time == 5));
    assert_eq!(rows.column(5), plain.column(5));
}
