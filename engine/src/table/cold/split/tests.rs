use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch},
    datatypes::{DataType, Field, Schema},
};
use parquet::{
    arrow::{
        ArrowWriter,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions},
    },
    file::{metadata::PageIndexPolicy, properties::WriterProperties},
};
use proptest::prelude::*;

use super::*;

const FILE_ROWS: u64 = 400_000;

/// The footer of a file of three row groups, with pages of 20,000 rows.
fn footer() -> ArrowReaderMetadata {
    let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, false)]));
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(150_000))
        .set_data_page_row_count_limit(20_000)
        .set_write_batch_size(1000)
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties)).unwrap();
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..FILE_ROWS as i64));
    writer.write(&RecordBatch::try_new(schema, vec![column]).unwrap()).unwrap();
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    ArrowReaderMetadata::load(&bytes::Bytes::from(writer.into_inner().unwrap()), options).unwrap()
}

fn slice(footer: &ArrowReaderMetadata, keys: (u8, u8), ranges: Vec<Range<u64>>) -> ColdSlice {
    ColdSlice {
        id: Default::default(),
        path: "t1/x.parquet".into(),
        file_bytes: 1,
        file_rows: FILE_ROWS,
        whole: ranges.clone(),
        ranges,
        replaced: Default::default(),
        key_bounds: (vec![keys.0], vec![keys.1]),
        bounds_live: true,
        has_deleted: false,
        stamp: None,
        footer: footer.clone(),
    }
}

#[test]
fn a_cut_falls_on_a_row_group_or_a_page_where_one_is_near() {
    let footer = footer();
    let split = |rows: Range<u64>| {
        let mut files = [slice(&footer, (0, 9), vec![rows])];
        let pieces = split(&mut files, 2).into_iter().flatten();
        pieces.map(|piece| piece.ranges[0].clone()).collect::<Vec<_>>()
    };
    assert_eq!(split(0..310_000), [0..150_000, 150_000..310_000]);
    let at_page = split(0..140_000);
    assert!(at_page[0].end.abs_diff(70_000) <= 10_000 && at_page[0].end.is_multiple_of(1000), "{at_page:?}");
    assert_ne!(at_page[0].end, 70_000);
    assert_eq!(split(5..100_005), [5..100_005]);
}

/// Ascending ranges with holes between them.
fn ranges() -> impl Strategy<Value = Vec<Range<u64>>> {
    prop::collection::vec((1u64..60_000, 1u64..60_000), 1..4).prop_map(|steps| {
        let mut at = 0;
        let range = |(hole, rows)| {
            at += hole + rows;
            at - rows..at
        };
        steps.into_iter().map(range).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn partitions_hold_every_row_once(
        files in prop::collection::vec((0u8..200, 0u8..20, ranges()), 1..24), partitions in 1usize..9,
    ) {
        let footer = footer();
        let mut files: Vec<_> =
            files.into_iter().map(|(low, more, ranges)| slice(&footer, (low, low + more), ranges)).collect();
        let split = split(&mut files, partitions);
        for (number, file) in files.iter().enumerate() {
            let pieces = split.iter().flatten().filter(|piece| piece.file == number);
            let rows: Vec<u64> = pieces.flat_map(|piece| piece.ranges.iter().cloned().flatten()).collect();
            prop_assert!(rows.into_iter().eq(file.ranges.iter().cloned().flatten()), "file {number}");
        }
        let disjoint = files.windows(2).all(|pair| pair[0].key_bounds.1 < pair[1].key_bounds.0);
        for pieces in &split {
            prop_assert!(!pieces.is_empty());
            prop_assert!(pieces.iter().all(|piece| piece.ranges.iter().all(|range| !range.is_empty())));
            if disjoint || files.len() > STREAMS {
                let mut numbers: Vec<_> = pieces.iter().map(|piece| piece.file).collect();
                if !disjoint {
                    numbers.sort_unstable();
                }
                prop_assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "in order, no file twice");
            }
        }
        prop_assert!(split.len() <= partitions.max(1) + files.len());
    }
}
