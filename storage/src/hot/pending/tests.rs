use std::collections::BTreeMap;

use insula_proto::{TableId, UserNo};

use super::*;
use crate::hot::value::Header;

/// A statement's rows, in the order in which they were written: key, and a byte that tells them apart.
fn run(rows: &[(u8, u8)]) -> Run {
    let mut encoded = committer::Rows { schema_version: 1, ..Default::default() };
    for (key, mark) in rows {
        let start = encoded.bytes.len();
        encoded.bytes.extend(key::prefix(TableId(7), committer::FIRST_GENERATION, UserNo(3)));
        encoded.bytes.push(*key);
        encoded.bytes.extend([0; key::SUFFIX]);
        let middle = encoded.bytes.len();
        encoded.bytes.extend([1, 1, 0, 0, 0, 0]);
        encoded.bytes.extend([0; 8]);
        encoded.bytes.push(*mark);
        encoded.bytes.extend([0; 4]);
        encoded.places.push([start, middle, encoded.bytes.len()]);
    }
    Run::new(encoded, 11)
}

/// Key and mark of each row.
fn rows(rows: &committer::Rows) -> Vec<(u8, u8)> {
    rows.places
        .iter()
        .map(|[start, middle, end]| (rows.bytes[start + key::PREFIX], rows.bytes[*middle..*end][14]))
        .collect()
}

#[test]
fn a_run_is_read_like_stored_rows() {
    let run = run(&[(5, 50), (1, 10), (9, 90)]);
    let (stored, value) = run.item(1).unwrap();
    let parts = key::split(stored).unwrap();
    assert_eq!((parts.table, parts.user, parts.key, parts.seq), (TableId(7), UserNo(3), &[5][..], PENDING));
    assert_eq!(Header::read(value).unwrap().updated, 11);
    assert_eq!((run.find(&[9]), run.find(&[2])), (Some(2), None));
    let range = KeyRange { lower: vec![2], upper: Some(vec![9]) };
    assert_eq!(run.bounds(&range), Some((vec![5], vec![5])));
    assert_eq!(run.bounds(&KeyRange::default()), Some((vec![1], vec![9])));
    assert_eq!(run.bounds(&KeyRange { lower: vec![6], upper: Some(vec![9]) }), None);
    assert_eq!(run.bounds(&KeyRange { lower: vec![9], upper: Some(vec![2]) }), None);
}

#[test]
fn many_statements_leave_few_runs_and_the_newest_row_of_each_key() {
    let (mut runs, mut model) = (Runs::new(), BTreeMap::new());
    for n in 0..1_000u32 {
        let (key, mark) = ((n * 7 % 251) as u8, (n % 256) as u8);
        push(&mut runs, run(&[(key, mark)]));
        model.insert(key, mark);
        assert!(runs.len() <= 10, "{} runs", runs.len());
    }
    assert_eq!(keys(&runs), model.keys().map(std::slice::from_ref).collect::<Vec<_>>());
    let mut all: Vec<_> = into_rows(runs).iter().flat_map(rows).collect();
    all.sort_unstable();
    assert_eq!(all, model.into_iter().collect::<Vec<_>>());
}

#[test]
fn what_a_reader_holds_stays_as_it_was() {
    let mut runs = Runs::new();
    push(&mut runs, run(&[(1, 1), (2, 2)]));
    let held = runs.clone();
    push(&mut runs, run(&[(2, 3), (3, 3)]));
    assert_eq!(into_rows(held).iter().flat_map(rows).collect::<Vec<_>>(), [(1, 1), (2, 2)]);
    assert_eq!(into_rows(runs).iter().flat_map(rows).collect::<Vec<_>>(), [(1, 1), (2, 3), (3, 3)]);
}
