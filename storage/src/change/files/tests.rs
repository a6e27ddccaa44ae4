use std::cell::RefCell;

use super::*;
use crate::cold::fixture;

/// The users of each file, from rows of so many each that come in batches.
fn cut(table: &TableDef, file_bytes: u64, rows: &[(u64, i64)], batch: usize, large: &[u64]) -> Vec<Vec<u64>> {
    let files = RefCell::new(Vec::new());
    let send = |piece: Piece| {
        if let Piece::End(summary) = piece {
            files.borrow_mut().push(summary);
        }
        Ok(())
    };
    let owned: Vec<(u64, i64, bool)> = rows.iter().flat_map(|(user, n)| (0..*n).map(|id| (*user, id, false))).collect();
    let mut encoder = Encoder::new(table, Sizes { file: file_bytes, row_group: usize::MAX }, &send);
    for rows in owned.chunks(batch) {
        let rows = fixture::note_rows(rows);
        let mut keys = KeyRows::default();
        fixture::keys_of(table, &rows).iter().for_each(|key| keys.push(key));
        encoder.write(&rows, &keys, |user| large.contains(&user.0)).unwrap();
    }
    encoder.finish().unwrap();
    let files = files.into_inner();
    assert_eq!(files.iter().map(|file| file.rows).sum::<u64>(), owned.len() as u64);
    let users = |file: &Summary| {
        let of = rows.iter().map(|(user, _)| *user);
        of.filter(|user| (file.users.0.0..=file.users.1.0).contains(user)).collect()
    };
    files.iter().map(users).collect()
}

#[test]
fn users_share_files_and_are_not_cut_in_two() {
    let table = fixture::notes();
    let rows: Vec<_> = (1..=50).map(|user| (user, 100)).collect();
    assert_eq!(cut(&table, 1 << 20, &rows, 64, &[]).len(), 1);
    let files = cut(&table, 3000, &rows, 64, &[]);
    assert!(files.len() > 3, "{files:?}");
    let all: Vec<u64> = files.concat();
    assert_eq!(all, (1..=50).collect::<Vec<_>>(), "no user lies in two files");
}

#[test]
fn a_large_user_has_files_of_their_own() {
    let table = fixture::notes();
    let rows = [(1, 10), (2, 500), (3, 10), (4, 10)];
    assert_eq!(cut(&table, 1 << 20, &rows, 1000, &[2]), [vec![1], vec![2], vec![3, 4]]);
    assert_eq!(cut(&table, 1 << 20, &rows, 7, &[2]), [vec![1], vec![2], vec![3, 4]]);
    let split = cut(&table, 500, &[(1, 10), (2, 20_000), (3, 10)], 1000, &[2]);
    assert!(split.len() > 4, "{split:?}");
    assert!(split[1..split.len() - 1].iter().all(|users| users == &[2]));
}

#[test]
fn a_user_nobody_knew_to_be_large_is_cut_all_the_same() {
    let files = cut(&fixture::notes(), 1000, &[(1, 50_000)], 1000, &[]);
    assert!(files.len() > 3, "{files:?}");
}

#[test]
fn placement_by_file_gives_every_user_a_file() {
    let mut table = fixture::notes();
    table.options.placement = Placement::File;
    assert_eq!(cut(&table, 1 << 20, &[(1, 3), (2, 3), (5, 3)], 4, &[]), [[1], [2], [5]]);
}
