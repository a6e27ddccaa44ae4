use std::collections::BTreeMap;

use arrow::{
    array::{AsArray, Int32Array},
    datatypes::{DataType, Int32Type, Int64Type},
};
use insula_proto::Seq;
use proptest::prelude::*;

use super::*;
use crate::{
    KeyCodec,
    hot::{
        db::Db,
        tests::table,
        value::{self, Layout, Rows},
    },
    store::LockFile,
};

/// One version of a row, as it is put into the database behind the committer's back.
#[derive(Clone, Copy, Debug)]
struct Version {
    generation: u32,
    user: u64,
    key: i32,
    value: i32,
    deleted: bool,
}

struct Bench {
    snapshot: Arc<Snapshot>,
    table: Arc<TableDef>,
    _dir: tempfile::TempDir,
}

impl Bench {
    /// The versions get ascending sequence numbers.
    fn new(versions: &[Version]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("hot"), LockFile::take(dir.path()).unwrap(), &Default::default()).unwrap();
        let table = Arc::new(table(&[("k", DataType::Int32, false), ("v", DataType::Int32, false)], &[0]));
        let (codec, layout) = (KeyCodec::new(&table).unwrap(), Layout::of(&table).unwrap());
        let mut batch = rocksdb::WriteBatch::default();
        for (seq, version) in versions.iter().enumerate() {
            let column = |value: i32| Arc::new(Int32Array::from(vec![value])) as arrow::array::ArrayRef;
            let columns = vec![column(version.key), column(version.value)];
            let key = codec.encode(&columns[..1]).unwrap();
            let rows = RecordBatch::try_new(table.schema(), columns).unwrap();
            let prefix = key::prefix(table.id, Generation(0), UserNo(version.user));
            let mut stored = [prefix.as_slice(), key.row(0), &[0; 8]].concat();
            key::complete(&mut stored, Generation(version.generation), Seq(seq as u64 + 1));
            let mut value = Vec::new();
            Rows::new(&layout, &rows).unwrap().encode(0, version.deleted, &mut value).unwrap();
            value::complete(&mut value, 0);
            db.put_into(&mut batch, Family::Hot, &stored, &value).unwrap();
        }
        db.write(batch, false).unwrap();
        Self { snapshot: db.snapshot(), table, _dir: dir }
    }

    fn hot(&self, user: u64, generations: RangeInclusive<u32>) -> UserHot {
        let (snapshot, table) = (Arc::clone(&self.snapshot), Arc::clone(&self.table));
        UserHot { snapshot, table, user: UserNo(user), generations, pending: Vec::new(), expiry: None }
    }

    fn rows(&self, user: u64, deleted: bool, batch_rows: usize) -> Vec<(i32, i32)> {
        let mut rows = self.hot(user, 1..=3).rows(&KeyBounds::All, &[4, 5], batch_rows, deleted).unwrap();
        let mut found = Vec::new();
        while let Some(batch) = rows.next_batch().unwrap() {
            assert!(batch.num_rows() <= batch_rows && batch.num_rows() > 0);
            let (keys, values) =
                (batch.column(0).as_primitive::<Int32Type>(), batch.column(1).as_primitive::<Int32Type>());
            found.extend(keys.values().iter().copied().zip(values.values().iter().copied()));
        }
        found
    }

    fn key(&self, key: i32) -> Vec<u8> {
        let codec = KeyCodec::new(&self.table).unwrap();
        codec.encode(&[Arc::new(Int32Array::from(vec![key]))]).unwrap().row(0).to_vec()
    }
}

#[test]
fn many_versions_of_one_key_are_one_row() {
    let version = |key, value| Version { generation: 1, user: 1, key, value, deleted: false };
    let mut versions: Vec<Version> = (0..100).map(|value| version(5, value)).collect();
    versions.extend([version(4, 1), version(6, 2)]);
    let bench = Bench::new(&versions);
    assert_eq!(bench.rows(1, true, 2), [(4, 1), (5, 99), (6, 2)]);
    assert_eq!(bench.hot(1, 1..=3).keys(&KeyBounds::All).unwrap().len(), 3);
    assert_eq!(bench.hot(1, 1..=3).size().unwrap().0, 3);
}

#[test]
fn a_value_that_is_damaged_ends_the_scan_once() {
    let bench = Bench::new(&[Version { generation: 1, user: 1, key: 1, value: 1, deleted: false }]);
    let mut hot = bench.hot(1, 1..=1);
    let mut other = bench.table.as_ref().clone();
    other.schema_version += 1;
    hot.table = Arc::new(other);
    let mut rows = hot.rows(&KeyBounds::All, &[4], 10, true).unwrap();
    assert_eq!(rows.next_batch().unwrap_err().kind(), ErrorKind::DataLoss);
    assert!(rows.next_batch().unwrap().is_none());
}

fn versions() -> impl Strategy<Value = Vec<Version>> {
    let version = (1u64..4, -3i32..6, any::<i32>(), any::<bool>());
    let stage = prop::collection::vec(version, 0..25);
    (stage.clone(), stage.clone(), stage).prop_map(|(a, b, c)| {
        let stages = [(1, a), (2, b), (3, c)];
        let with = |(generation, stage): (u32, Vec<(u64, i32, i32, bool)>)| {
            let version = move |(user, key, value, deleted)| Version { generation, user, key, value, deleted };
            stage.into_iter().map(version).collect::<Vec<_>>()
        };
        stages.into_iter().flat_map(with).collect()
    })
}

/// Keys from one to another, either end open or not, or single ones.
#[derive(Clone, Debug)]
enum Wanted {
    Range(Option<i32>, Option<i32>),
    Keys(Vec<i32>),
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let end = || prop::option::of(-4..8i32);
    prop_oneof![
        (end(), end()).prop_map(|(low, high)| Wanted::Range(low, high)),
        prop::collection::vec(-4..8i32, 0..6).prop_map(Wanted::Keys),
    ]
}

impl Bench {
    fn bounds(&self, wanted: &Wanted) -> KeyBounds {
        match wanted {
            Wanted::Range(low, high) => KeyBounds::Range(KeyRange {
                lower: low.map(|low| self.key(low)).unwrap_or_default(),
                upper: high.map(|high| self.key(high)),
            }),
            Wanted::Keys(keys) => {
                let mut rows = KeyRows::default();
                keys.iter().for_each(|key| rows.push(&self.key(*key)));
                KeyBounds::keys(&rows)
            }
        }
    }

    /// `of_user`: the user's keys, ascending, as bytes and numbers, and whether each is deleted.
    fn check_wanted(&self, hot: &UserHot, of_user: &[(Vec<u8>, i32, bool)], wanted: &KeyBounds, batch_rows: usize) {
        let is_wanted = |key: &[u8]| wanted.touches(&(key.to_vec(), key.to_vec()));
        let inside: Vec<_> = of_user.iter().filter(|(key, ..)| is_wanted(key)).collect();
        let keys: Vec<Vec<u8>> = hot.keys(wanted).unwrap().iter().map(<[u8]>::to_vec).collect();
        assert_eq!(keys, inside.iter().map(|(key, ..)| key.clone()).collect::<Vec<_>>());
        for deleted in [true, false] {
            let mut rows = hot.rows(wanted, &[4], batch_rows, deleted).unwrap();
            let mut found = Vec::new();
            while let Some(batch) = rows.next_batch().unwrap() {
                found.extend(batch.column(0).as_primitive::<Int32Type>().values().to_vec());
            }
            let expected = inside.iter().filter(|(.., gone)| deleted || !gone).map(|(_, key, _)| *key);
            assert_eq!(found, expected.collect::<Vec<_>>());
        }
        let span = hot.span(wanted).unwrap();
        let bounds = keys.first().cloned().zip(keys.last().cloned());
        assert_eq!(span.as_ref().map(|span| span.bounds.clone()), bounds);
        if let (Some(span), KeyBounds::Keys(sought)) = (span, wanted) {
            assert_eq!(span.is_complete, keys.len() == sought.len());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn all_readers_answer_like_a_map(
        versions in versions(),
        wanted in prop::collection::vec(wanted(), 0..4),
        batch_rows in 1usize..5,
    ) {
        let bench = Bench::new(&versions);
        let mut model: BTreeMap<(u64, i32), (usize, Version)> = BTreeMap::new();
        for (seq, version) in versions.iter().enumerate() {
            model.insert((version.user, version.key), (seq + 1, *version));
        }
        for user in 0..5 {
            let of_user: Vec<Version> = model.values().map(|(_, v)| *v).filter(|v| v.user == user).collect();
            let all: Vec<(i32, i32)> = of_user.iter().map(|v| (v.key, v.value)).collect();
            let live: Vec<(i32, i32)> = of_user.iter().filter(|v| !v.deleted).map(|v| (v.key, v.value)).collect();
            prop_assert_eq!(bench.rows(user, true, batch_rows), all.clone());
            prop_assert_eq!(bench.rows(user, false, batch_rows), live);
            let hot = bench.hot(user, 1..=3);
            let keys: Vec<Vec<u8>> = hot.keys(&KeyBounds::All).unwrap().iter().map(<[u8]>::to_vec).collect();
            prop_assert_eq!(&keys, &all.iter().map(|(key, _)| bench.key(*key)).collect::<Vec<_>>());
            let bounds = keys.first().cloned().zip(keys.last().cloned());
            prop_assert_eq!(hot.span(&KeyBounds::All).unwrap().map(|span| span.bounds), bounds);
            let of_user: Vec<(Vec<u8>, i32, bool)> =
                of_user.iter().map(|v| (bench.key(v.key), v.key, v.deleted)).collect();
            for wanted in &wanted {
                bench.check_wanted(&hot, &of_user, &bench.bounds(wanted), batch_rows);
            }
            let mut lookup = hot.lookup();
            for key in -4..8 {
                let expected = match model.get(&(user, key)) {
                    None => Presence::Absent,
                    Some((_, v)) if v.deleted => Presence::Deleted,
                    Some(_) => Presence::Live,
                };
                prop_assert_eq!(lookup.presence(&bench.key(key)).unwrap(), expected);
            }
        }
        let mut frozen = frozen(&bench.snapshot, &bench.table, Generation(1)..=Generation(3)).unwrap();
        let mut found = Vec::new();
        while let Some(batch) = frozen.next_batch(batch_rows).unwrap() {
            let seqs = batch.rows.column(1).as_primitive::<Int64Type>().values().to_vec();
            let keys: Vec<Vec<u8>> = batch.keys().iter().map(<[u8]>::to_vec).collect();
            found.extend(batch.users().zip(keys).zip(seqs).map(|((user, key), seq)| (user.0, key, seq as usize)));
        }
        let expected: Vec<(u64, Vec<u8>, usize)> =
            model.iter().map(|((user, key), (seq, _))| (*user, bench.key(*key), *seq)).collect();
        prop_assert_eq!(found, expected);
    }
}

/// The bounds of a scan as they would be after a mistake.
pub(super) mod misread {
    use std::cell::Cell;

    use insula_proto::UserNo;

    thread_local! {
        static USER: Cell<Option<UserNo>> = const { Cell::new(None) };
        static UNBOUNDED: Cell<bool> = const { Cell::new(false) };
    }

    /// Whose prefix is sought instead of the user's own.
    pub fn user() -> Option<UserNo> {
        USER.get()
    }

    /// The scan goes on to the last user of the generation.
    pub fn is_unbounded() -> bool {
        UNBOUNDED.get()
    }

    pub fn as_if<T>(user: Option<u64>, unbounded: bool, read: impl FnOnce() -> T) -> T {
        USER.set(user.map(UserNo));
        UNBOUNDED.set(unbounded);
        let result = read();
        USER.set(None);
        UNBOUNDED.set(false);
        result
    }
}

#[test]
fn whatever_the_bounds_no_row_of_another_is_read() {
    let version = |generation, user, key| Version { generation, user, key, value: key, deleted: false };
    let bench = Bench::new(&[version(1, 1, 5), version(1, 2, 5), version(2, 2, 6), version(1, 3, 5), version(3, 3, 7)]);
    let range = KeyBounds::Range(KeyRange { lower: bench.key(5), upper: None });
    let single = KeyBounds::Keys(Arc::new(
        KeyCodec::new(&bench.table).unwrap().encode(&[Arc::new(Int32Array::from(vec![5]))]).unwrap(),
    ));
    let read = |wanted: &KeyBounds| -> Vec<(&str, Result<usize>)> {
        let hot = bench.hot(2, 1..=3);
        let all_rows = || -> Result<usize> {
            let mut rows = hot.rows(wanted, &[4], 10, true)?;
            let mut found = 0;
            while let Some(batch) = rows.next_batch()? {
                found += batch.num_rows();
            }
            Ok(found)
        };
        let mut lookup = hot.lookup();
        let seen = [
            ("rows", all_rows()),
            ("keys", hot.keys(wanted).map(|keys| keys.len())),
            ("bounds", hot.span(wanted).map(|span| usize::from(span.is_some()))),
            ("size", hot.size().map(|(rows, _)| rows as usize)),
            ("presence", lookup.presence(&bench.key(5)).map(|presence| usize::from(presence == Presence::Live))),
        ];
        seen.into()
    };
    for wanted in [&KeyBounds::All, &range, &single] {
        for (what, found) in read(wanted) {
            assert!(found.unwrap() > 0, "{what} of {wanted:?}");
        }
        for stranger in [1, 3] {
            for (what, found) in misread::as_if(Some(stranger), false, || read(wanted)) {
                let error = found.expect_err(what);
                assert_eq!(error.kind(), ErrorKind::Internal, "{what} of {wanted:?}: {error}");
            }
        }
    }
    // Without the upper bound, RocksDB still stops where the prefix ends, but for cursors that go backwards, too.
    for wanted in [&KeyBounds::All, &range] {
        let own = read(wanted);
        for ((what, own), (_, found)) in own.into_iter().zip(misread::as_if(None, true, || read(wanted))) {
            match found {
                Ok(found) => assert_eq!(found, own.unwrap(), "{what} of {wanted:?}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Internal, "{what} of {wanted:?}: {error}"),
            }
        }
    }
}
