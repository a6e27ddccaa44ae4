use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{KeyRange, hot::key::KeyRows};

fn build(rows: &[(u64, &[u8], bool)]) -> Vec<u8> {
    let mut builder = Builder::default();
    for (user, key, deleted) in rows {
        builder.push(UserNo(*user), key, *deleted).unwrap();
    }
    builder.finish().unwrap()
}

#[test]
fn golden_bytes() {
    let bytes = build(&[(1, b"a", false), (1, b"c", true), (7, b"bb", false)]);
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(
        hex,
        "01\
         00000002\
         00000003\
         0000000000000001000000000000000100000000\
         000000000000000700000002000000000000000e\
         00000001000000016100000001\
         63\
         0000000100000002626200000002\
         6262\
         1a0b80b4"
    );
}

#[test]
fn rows_out_of_order_are_refused() {
    for rows in [[(1, b"b"), (1, b"a")], [(1, b"a"), (1, b"a")], [(2, b"a"), (1, b"b")]] {
        let mut builder = Builder::default();
        builder.push(UserNo(rows[0].0), rows[0].1, false).unwrap();
        assert_eq!(builder.push(UserNo(rows[1].0), rows[1].1, false).unwrap_err().kind(), ErrorKind::Internal);
    }
}

#[test]
fn damage_is_data_loss() {
    let bytes = build(&[(1, b"a", false), (7, b"bb", false)]);
    for i in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[i] ^= 4;
        assert_eq!(UserIndex::decode(damaged.into()).unwrap_err().kind(), ErrorKind::DataLoss, "byte {i}");
    }
    for end in 0..bytes.len() {
        assert!(UserIndex::decode(Bytes::copy_from_slice(&bytes[..end])).is_err(), "cut at {end}");
    }
}

#[test]
fn an_empty_file_has_an_index() {
    let index = UserIndex::decode(build(&[]).into()).unwrap();
    assert_eq!(index.rows(), 0);
    assert!(index.get(UserNo(1)).unwrap().is_none());
}

#[test]
fn blocks_narrow_a_lookup() {
    let keys: Vec<[u8; 4]> = (0..10_000u32).map(|i| (2 * i).to_be_bytes()).collect();
    let rows: Vec<(u64, &[u8], bool)> =
        std::iter::once((1, &b"x"[..], false)).chain(keys.iter().map(|key| (5, key.as_slice(), false))).collect();
    let index = UserIndex::decode(build(&rows).into()).unwrap();
    let entry = index.get(UserNo(5)).unwrap().unwrap();
    assert_eq!(entry.rows, 1..10_001);
    assert_eq!(entry.blocks.len(), 3);
    let block = |key: u32| entry.block_of(&key.to_be_bytes());
    assert_eq!(block(0), Some(1..4097));
    assert_eq!(block(8191), Some(1..4097));
    assert_eq!(block(8192), Some(4097..8193));
    assert_eq!(block(19_998), Some(8193..10_001));
    assert_eq!(block(19_999), None);
    assert_eq!(entry.block_of(b""), None);
}

#[test]
fn a_part_is_the_blocks_that_may_hold_what_is_wanted() {
    let keys: Vec<[u8; 4]> = (0..10_000u32).map(|i| (2 * i).to_be_bytes()).collect();
    let rows: Vec<(u64, &[u8], bool)> =
        std::iter::once((1, &b"x"[..], false)).chain(keys.iter().map(|key| (5, key.as_slice(), false))).collect();
    let index = UserIndex::decode(build(&rows).into()).unwrap();
    let entry = index.get(UserNo(5)).unwrap().unwrap();
    let part = |wanted: &KeyBounds| {
        let number = |key: &[u8]| u32::from_be_bytes(key.try_into().unwrap());
        entry.part(wanted).map(|part| (part.rows, (number(part.bounds.0), number(part.bounds.1))))
    };
    let range = |lower: u32, upper: Option<u32>| {
        let upper = upper.map(|upper| upper.to_be_bytes().to_vec());
        KeyBounds::Range(KeyRange { lower: lower.to_be_bytes().to_vec(), upper })
    };
    let all = |rows: &[(u64, u64)], low, high| Some((rows.iter().map(|(a, b)| *a..*b).collect(), (low, high)));
    assert_eq!(part(&KeyBounds::All), all(&[(1, 10_001)], 0, 19_998));
    assert_eq!(part(&range(0, None)), all(&[(1, 10_001)], 0, 19_998));
    assert_eq!(part(&range(8192, Some(8193))), all(&[(4097, 8193)], 8192, 16_384));
    assert_eq!(part(&range(8191, Some(8192))), all(&[(1, 4097)], 0, 8192));
    assert_eq!(part(&range(8191, Some(8193))), all(&[(1, 8193)], 0, 16_384));
    assert_eq!(part(&range(19_998, None)), all(&[(8193, 10_001)], 16_384, 19_998));
    assert_eq!(part(&range(19_999, None)), None);
    assert_eq!(part(&range(0, Some(0))), None);
    let some = |keys: &[u32]| {
        let mut rows = KeyRows::default();
        keys.iter().for_each(|key| rows.push(&key.to_be_bytes()));
        KeyBounds::keys(&rows)
    };
    assert_eq!(part(&some(&[30_000, 16_384, 1])), all(&[(1, 4097), (8193, 10_001)], 0, 19_998));
    assert_eq!(part(&some(&[4, 9000])), all(&[(1, 8193)], 0, 16_384));
    assert_eq!(part(&some(&[30_000])), None);
    assert_eq!(part(&some(&[])), None);
    for lower in (0..20_010).step_by(1237) {
        for upper in (lower..20_010).step_by(911) {
            let rows = part(&range(lower, Some(upper))).map(|part| part.0).unwrap_or_default();
            let held = |i: u32| rows.iter().any(|rows| rows.contains(&u64::from(i + 1)));
            assert!((0..10_000).filter(|i| (lower..upper).contains(&(2 * i))).all(held), "{lower}..{upper}");
        }
    }
}

proptest! {
    #[test]
    fn index_answers_like_a_map(rows in prop::collection::btree_map((0u64..20, prop::collection::vec(any::<u8>(), 0..4)), any::<bool>(), 0..200)) {
        let sorted: Vec<(u64, &[u8], bool)> = rows.iter().map(|((user, key), deleted)| (*user, key.as_slice(), *deleted)).collect();
        let index = UserIndex::decode(build(&sorted).into()).unwrap();
        let mut users: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (row, (user, ..)) in sorted.iter().enumerate() {
            users.entry(*user).or_default().push(row);
        }
        for user in 0..21 {
            let entry = index.get(UserNo(user)).unwrap();
            let expected = users.get(&user);
            prop_assert_eq!(entry.is_some(), expected.is_some());
            let (Some(entry), Some(expected)) = (entry, expected) else { continue };
            let (first, last) = (expected[0], expected[expected.len() - 1]);
            prop_assert_eq!(entry.rows.clone(), first as u64..last as u64 + 1);
            prop_assert_eq!(entry.blocks[0], sorted[first].1);
            prop_assert_eq!(entry.last, sorted[last].1);
            prop_assert_eq!(entry.deleted, expected.iter().filter(|row| sorted[**row].2).count() as u64);
            for row in expected {
                prop_assert!(entry.block_of(sorted[*row].1).unwrap().contains(&(*row as u64)));
            }
        }
    }
}
