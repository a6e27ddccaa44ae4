use std::sync::{Arc, OnceLock};

use arrow::{
    array::{Array, AsArray, Int32Array, RecordBatch, StringArray},
    datatypes::Field,
};
use datafusion::{
    common::DFSchema,
    logical_expr::{col, lit},
    prelude::SessionContext,
};
use insula_storage::{NewColumn, NewTable, Store, StoreConfig, TableKind, TableOptions};
use proptest::prelude::*;

use super::*;

/// Columns `v`, `n`, `t`, with the key (t, n).
fn table() -> (Arc<TableDef>, Vec<Column>) {
    static TABLE: OnceLock<Arc<TableDef>> = OnceLock::new();
    let table = Arc::clone(TABLE.get_or_init(declare));
    let first = table.first_declared();
    let column =
        |(i, c): (usize, &insula_storage::ColumnDef)| Column { field: Arc::clone(&c.field), stored: first + i };
    let columns = table.columns.iter().enumerate().map(column).collect();
    (table, columns)
}

/// Only a store makes definitions.
fn declare() -> Arc<TableDef> {
    let column = |(name, data_type): (&str, DataType)| NewColumn {
        field: Arc::new(Field::new(name, data_type, name == "v")),
        default: None,
    };
    let columns = [("v", DataType::Int32), ("n", DataType::Int32), ("t", DataType::Utf8)].map(column).to_vec();
    let (namespace, name) = ("public".to_owned(), "t".to_owned());
    let options = TableOptions::default();
    let table =
        NewTable { namespace, name, kind: TableKind::User, columns, key: vec![2, 1], checks: Vec::new(), options };
    let declared = async {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(StoreConfig::new(dir.path().join("data"))).await.unwrap();
        let declared = store.declare_table(table).unwrap();
        store.close().await.unwrap();
        declared
    };
    std::thread::scope(|scope| {
        let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        scope.spawn(move || runtime().block_on(declared)).join().unwrap()
    })
}

fn of(filter: Expr) -> KeyBounds {
    let (table, columns) = table();
    wanted(&table, &columns, &[filter]).unwrap()
}

fn keys(bounds: &KeyBounds) -> usize {
    match bounds {
        KeyBounds::Keys(keys) => keys.len(),
        other => panic!("{other:?} are no single keys"),
    }
}

#[test]
fn equality_on_the_whole_key_is_single_keys() {
    assert_eq!(keys(&of(col("n").eq(lit(1)).and(col("t").eq(lit("a"))))), 1);
    assert_eq!(keys(&of(lit(1).eq(col("n")).and(col("t").in_list(vec![lit("a"), lit("b")], false)))), 2);
    let either = col("n").eq(lit(1)).or(col("n").eq(lit(2)));
    assert_eq!(keys(&of(either.and(col("t").in_list(vec![lit("b"), lit("a"), lit("a")], false)))), 4);
    assert_eq!(keys(&of(col("t").in_list(Vec::new(), false))), 0, "nothing is in an empty list");
}

#[test]
fn what_binds_a_first_part_of_the_key_is_a_range() {
    let range = |filter| match of(filter) {
        KeyBounds::Range(range) => range,
        other => panic!("{other:?} is no range"),
    };
    assert_eq!(range(col("t").eq(lit("a"))), KeyRange::of_prefixes(b"a\0\0".to_vec(), b"a\0\0"));
    let bounded = col("t").eq(lit("a")).and(col("n").between(lit(1), lit(2)));
    assert_eq!(range(bounded), KeyRange::of_prefixes(b"a\0\0\x80\0\0\x01".to_vec(), b"a\0\0\x80\0\0\x02"));
    assert_eq!(range(col("t").gt(lit("b"))), KeyRange { lower: b"b\0\0".to_vec(), upper: None });
    for unbound in [col("n").eq(lit(1)), col("v").eq(lit(1)), col("t").not_eq(lit("a")), col("t").eq(col("t"))] {
        assert!(matches!(of(unbound.clone()), KeyBounds::All), "{unbound}");
    }
}

fn filter() -> impl Strategy<Value = Expr> {
    let text = || prop_oneof![Just("a"), Just("a\0"), Just("b"), Just("")].prop_map(lit);
    let compare = |column: &'static str, value: BoxedStrategy<Expr>| {
        (0..7u8, value.clone(), value, any::<bool>()).prop_map(move |(op, a, b, negated)| match op {
            0 => col(column).eq(a),
            1 => a.lt(col(column)),
            2 => col(column).lt_eq(a),
            3 => col(column).between(a, b),
            4 => col(column).in_list(vec![a, b], negated),
            5 => col(column).not_eq(a),
            _ => a.gt_eq(col(column)),
        })
    };
    let leaf = prop_oneof![
        compare("t", text().boxed()),
        compare("n", (-2..3i32).prop_map(lit).boxed()),
        compare("v", (-2..3i32).prop_map(lit).boxed()),
    ];
    leaf.prop_recursive(3, 12, 2, |inner| {
        (inner.clone(), inner, any::<bool>()).prop_map(|(a, b, both)| if both { a.and(b) } else { a.or(b) })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn bounds_hold_every_row_that_the_filters_let_through(
        filters in prop::collection::vec(filter(), 1..4),
        rows in prop::collection::vec((-2..3i32, -2..3i32, prop_oneof![Just("a"), Just("a\0"), Just("b"), Just("")]), 1..40),
    ) {
        let (table, columns) = table();
        let bounds = wanted(&table, &columns, &filters).unwrap();
        let batch = RecordBatch::try_new(table.schema(), vec![
            Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.0))),
            Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.1))),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.2))),
        ]).unwrap();
        let all = filters.into_iter().reduce(Expr::and).unwrap();
        let schema = DFSchema::try_from(batch.schema()).unwrap();
        let passes = SessionContext::new().create_physical_expr(all, &schema).unwrap();
        let passes = passes.evaluate(&batch).unwrap().into_array(rows.len()).unwrap();
        let codec = KeyCodec::new(&table).unwrap();
        let encoded = codec.encode(&[Arc::clone(batch.column(2)), Arc::clone(batch.column(1))]).unwrap();
        for (i, row) in rows.iter().enumerate() {
            let key = encoded.row(i).to_vec();
            let held = bounds.touches(&(key.clone(), key));
            prop_assert!(held || passes.is_null(i) || !passes.as_boolean().value(i), "{:?} is not in {bounds:?}", row);
        }
    }
}
