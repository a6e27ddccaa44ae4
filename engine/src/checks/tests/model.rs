//! Random conditions over random rows, against three-valued logic in a few lines.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Condition {
    Compare(usize, usize, i64),
    Columns(usize),
    IsNull(usize),
    Not(Box<Self>),
    Both(Box<Self>, Box<Self>),
    Either(Box<Self>, Box<Self>),
}

use Condition::{Both, Columns, Compare, Either, IsNull, Not};

const COLUMNS: [&str; 2] = ["a", "b"];
const COMPARISONS: [&str; 4] = ["=", "<>", "<", ">="];

type Row = [Option<i64>; 2];

fn compared(of: usize, a: i64, b: i64) -> bool {
    match of {
        0 => a == b,
        1 => a != b,
        2 => a < b,
        _ => a >= b,
    }
}

impl Condition {
    fn sql(&self) -> String {
        match self {
            Compare(column, of, value) => format!("{} {} {value}", COLUMNS[*column], COMPARISONS[*of]),
            Columns(of) => format!("a {} b + 1", COMPARISONS[*of]),
            IsNull(column) => format!("{} IS NULL", COLUMNS[*column]),
            Not(inner) => format!("NOT ({})", inner.sql()),
            Both(a, b) => format!("({}) AND ({})", a.sql(), b.sql()),
            Either(a, b) => format!("({}) OR ({})", a.sql(), b.sql()),
        }
    }

    fn of(&self, row: &Row) -> Option<bool> {
        match self {
            Compare(column, of, value) => row[*column].map(|held| compared(*of, held, *value)),
            Columns(of) => Some(compared(*of, row[0]?, row[1]? + 1)),
            IsNull(column) => Some(row[*column].is_none()),
            Not(inner) => inner.of(row).map(|held| !held),
            Both(a, b) => match (a.of(row), b.of(row)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (a, b) => Some(a? && b?),
            },
            Either(a, b) => match (a.of(row), b.of(row)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (a, b) => Some(a? || b?),
            },
        }
    }
}

fn condition() -> impl Strategy<Value = Condition> {
    let leaf = prop_oneof![
        3 => (0..2usize, 0..4usize, 0..4i64).prop_map(|(column, of, value)| Compare(column, of, value)),
        1 => (0..4usize).prop_map(Columns),
        1 => (0..2usize).prop_map(IsNull),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        let pair = || (inner.clone(), inner.clone()).prop_map(|(a, b)| (Box::new(a), Box::new(b)));
        prop_oneof![
            inner.clone().prop_map(|inner| Not(Box::new(inner))),
            pair().prop_map(|(a, b)| Both(a, b)),
            pair().prop_map(|(a, b)| Either(a, b)),
        ]
    })
}

fn text(value: Option<i64>) -> String {
    value.map_or("NULL".into(), |value| value.to_string())
}

async fn runs(conditions: Vec<Condition>, statements: Vec<(bool, Vec<Row>)>) {
    let world = World::new().await;
    let checks = conditions.iter().map(|condition| format!("CHECK ({})", condition.sql())).collect::<Vec<_>>();
    world.run(&format!("CREATE TABLE t (a INT, b INT, {})", checks.join(", "))).await;
    let mut held: Vec<Row> = Vec::new();
    let fits = |rows: &[Row]| rows.iter().all(|row| conditions.iter().all(|check| check.of(row) != Some(false)));
    for (update, rows) in statements {
        let (sql, after) = if update {
            let after = held.iter().map(|row| [row[0], rows[0][1]]).collect::<Vec<_>>();
            (format!("UPDATE t SET b = {}", text(rows[0][1])), after)
        } else {
            let values = rows.iter().map(|[a, b]| format!("({}, {})", text(*a), text(*b))).collect::<Vec<_>>();
            (format!("INSERT INTO t VALUES {}", values.join(", ")), [held.clone(), rows].concat())
        };
        let result = world.count(&sql, Vec::new()).await;
        assert_eq!(result.is_ok(), fits(&after), "{checks:?}: {sql} gave {result:?}");
        if result.is_ok() {
            held = after;
        }
        let mut expected: Vec<String> =
            held.iter().map(|row| row.map(|v| v.map_or("null".into(), |v| v.to_string())).join("|")).collect();
        let mut rows = world.rows("SELECT a, b FROM t").await;
        (expected.sort(), rows.sort());
        assert_eq!(rows, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn exactly_the_rows_get_in_that_fail_no_check(
        conditions in prop::collection::vec(condition(), 1..3),
        statements in prop::collection::vec(
            (prop::bool::weighted(0.25), prop::collection::vec(
                [prop::option::weighted(0.8, 0..5i64), prop::option::weighted(0.8, 0..5i64)], 1..4)),
            1..10,
        ),
    ) {
        tokio::runtime::Runtime::new().unwrap().block_on(runs(conditions, statements));
    }
}
