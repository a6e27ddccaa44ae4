//! Two tables with some awkward rows, for the tests of predicates: the key is the second column, values have NULLs, and
//! the other table has rows without partner and a NULL where its partner would be.

use std::fmt;

use insula_client::Client;
use insula_tests::execute;

pub const TABLES: [&str; 3] = [
    "CREATE NAMESPACE app",
    "CREATE TABLE app.t (g VARCHAR, id BIGINT PRIMARY KEY, v BIGINT)",
    "CREATE TABLE app.s (k BIGINT PRIMARY KEY, id BIGINT, v BIGINT NOT NULL)",
];

/// A row of `app.t`.
#[derive(Clone, Debug)]
pub struct Row {
    pub g: String,
    pub id: i64,
    pub v: Option<i64>,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}|{}", self.g, self.id, number(self.v))
    }
}

/// A row of `app.s`.
#[derive(Clone, Debug)]
pub struct Side {
    pub k: i64,
    pub id: Option<i64>,
    pub v: i64,
}

pub fn table_rows() -> Vec<Row> {
    let value = |id: i64| (id % 7 != 3).then_some(id * 37 % 101);
    (0..60).map(|id| Row { g: format!("g{}", id % 4), id, v: value(id) }).collect()
}

pub fn other_rows() -> Vec<Side> {
    let partner = |k: i64| (k % 9 != 4).then_some(k * 5 % 83);
    (0..30).map(|k| Side { k, id: partner(k), v: k * 53 % 97 }).collect()
}

pub async fn load(client: &Client, rows: &[Row], side: &[Side]) {
    let values: Vec<_> = rows.iter().map(|row| format!("('{}', {}, {})", row.g, row.id, number(row.v))).collect();
    execute(client, &format!("INSERT INTO app.t VALUES {}", values.join(", "))).await;
    let values: Vec<_> = side.iter().map(|row| format!("({}, {}, {})", row.k, number(row.id), row.v)).collect();
    execute(client, &format!("INSERT INTO app.s VALUES {}", values.join(", "))).await;
}

fn number(value: Option<i64>) -> String {
    value.map_or("NULL".to_owned(), |value| value.to_string())
}
