use proptest::prelude::*;

use super::*;

fn path() -> Path {
    Path::from("t1/x.dv")
}

#[test]
fn golden_bytes() {
    let file = Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
    let bytes = encode(file, &RoaringBitmap::from_iter([1u32, 5, 70_000])).unwrap();
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(
        hex,
        "01\
         0102030405060708090a0b0c0d0e0f10\
         0000000000000003\
         3a300000020000000000010001000000180000001c000000010005007011\
         0590de72"
    );
}

#[test]
fn damage_and_mix_ups_are_data_loss() {
    let file = Uuid::from_u128(7);
    let bytes = encode(file, &RoaringBitmap::from_iter([1u32, 5])).unwrap();
    assert_eq!(decode(&path(), &bytes, file).unwrap().len(), 2);
    for i in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[i] ^= 1;
        assert_eq!(decode(&path(), &damaged, file).unwrap_err().kind(), ErrorKind::DataLoss, "byte {i}");
        assert_eq!(decode(&path(), &bytes[..i], file).unwrap_err().kind(), ErrorKind::DataLoss, "cut at {i}");
    }
    let error = decode(&path(), &bytes, Uuid::from_u128(8)).unwrap_err();
    assert!(error.message().contains("another file"));
}

proptest! {
    #[test]
    fn live_ranges_are_the_complement(holes in prop::collection::btree_set(0u32..200, 0..80), start in 0u64..150, len in 0u64..80) {
        let replaced = RoaringBitmap::from_iter(holes.iter().copied());
        let ranges = live_ranges(start..start + len, &replaced);
        let live: Vec<u64> = ranges.iter().cloned().flatten().collect();
        let expected: Vec<u64> = (start..start + len).filter(|row| !holes.contains(&(*row as u32))).collect();
        prop_assert_eq!(live, expected);
        prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start), "ranges are maximal");
    }
}
