//! Loads and what rewrites their files: compactions and erasures.

use super::*;

#[tokio::test]
async fn compacted_rows_carry_number_and_time_of_their_load() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let table = notes(&store).await;
    let first: &[Row] = &[(1, 1, "one"), (1, 2, "two"), (2, 1, "bob")];
    let first = load(&store, &table, Scope::Many, Mode::Insert, first).await.unwrap();
    let second: &[Row] = &[(1, 2, "new"), (1, 3, "three")];
    let second = load(&store, &table, Scope::One(ALICE), Mode::Replace, second).await.unwrap();
    let manifest = manifest::current(&store.db, table.id).unwrap();
    let times: BTreeMap<u64, i64> =
        manifest.files.iter().filter_map(|file| file.stamp).map(|stamp| (stamp.seq.0, stamp.updated_micros)).collect();
    assert_eq!(times.keys().copied().collect::<Vec<_>>(), [first.seq.0, second.seq.0]);
    let before = (live(&store, &table, ALICE).await, live(&store, &table, BOB).await);
    let report = store.compact(table.id).await.unwrap();
    assert_eq!((report.rows, report.removed), (4, 1));
    let manifest = manifest::current(&store.db, table.id).unwrap();
    for file in &manifest.files {
        assert_eq!(file.stamp, None);
        assert!(first.seq.0 <= file.seqs.0 && file.seqs.1 <= second.seq.0);
    }
    for (user, expected) in [(ALICE, vec![first.seq, second.seq, second.seq]), (BOB, vec![first.seq])] {
        let mut found = Vec::new();
        for slice in store.view().slice(&table, user).unwrap().cold().await.unwrap() {
            let rows = fixture::rows_of(&store.cold, &table, &slice).await;
            let (seqs, updated) = (rows.column(1).as_primitive::<Int64Type>(), rows.column(2));
            let updated = updated.as_primitive::<TimestampMicrosecondType>();
            for i in 0..rows.num_rows() {
                assert_eq!(updated.value(i), times[&seqs.value(i).cast_unsigned()]);
                found.push(insula_proto::Seq(seqs.value(i).cast_unsigned()));
            }
        }
        assert_eq!(found, expected);
    }
    assert_eq!((live(&store, &table, ALICE).await, live(&store, &table, BOB).await), before);
    assert_tidy(&store, dir.path());
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_load_of_an_erased_user_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let table = notes(&store).await;
    let row = |user: u64| (user, 1, "text".to_owned());
    let own = fill(&store, &table, Scope::One(ALICE), Mode::Insert, &[row(1)]).await.unwrap();
    let many = fill(&store, &table, Scope::Many, Mode::Insert, &[row(1), row(2)]).await.unwrap();
    let others = fill(&store, &table, Scope::Many, Mode::Insert, &[row(2), row(3)]).await.unwrap();
    store.erase(ALICE).await.unwrap();
    for load in [own, many] {
        assert_eq!(load.finish().await.unwrap_err().kind(), ErrorKind::FailedPrecondition);
    }
    assert_eq!(others.finish().await.unwrap().rows, 2);
    assert!(live(&store, &table, ALICE).await.is_empty());
    assert_tidy(&store, dir.path());
    store.close().await.unwrap();
}
