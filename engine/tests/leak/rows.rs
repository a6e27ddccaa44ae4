//! What one user's tables hold, kept beside the database by the same operations.

use std::collections::BTreeMap;

use crate::{canary, rng::Rng};

pub const TABLES: [&str; 8] = [
    "CREATE NAMESPACE other",
    "CREATE TABLE t (id BIGINT PRIMARY KEY, v BIGINT NOT NULL, name TEXT, note TEXT, bin BYTEA)",
    "CREATE TABLE s (token TEXT PRIMARY KEY, t_id BIGINT, amount BIGINT NOT NULL)",
    "CREATE TABLE log (n BIGINT, tag TEXT)",
    "CREATE TABLE f (b INT, a TEXT, v BIGINT, PRIMARY KEY (b, a)) WITH (placement = 'file')",
    "CREATE STREAM TABLE other.t (id BIGINT PRIMARY KEY, name TEXT) WITH (ttl = '1 day', max_rows = 100000)",
    "CREATE SHARED TABLE pub (id BIGINT PRIMARY KEY, label TEXT)",
    "CREATE SHARED TABLE secret (id BIGINT PRIMARY KEY, label TEXT) WITH (grants = 'none')",
];
/// Rows of the shared table, which everybody reads.
pub const PUBLIC: i64 = 5;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    pub v: i64,
    pub name: String,
    pub note: Option<String>,
}

#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Rows {
    pub t: BTreeMap<i64, Item>,
    /// `t_id`, no two the same, and `amount`.
    pub s: BTreeMap<String, (i64, i64)>,
    pub log: Vec<(i64, String)>,
    /// Numbers given out so far.
    numbers: i64,
}

impl Rows {
    pub fn number(&mut self, user: usize) -> i64 {
        self.numbers += 1;
        canary::number(user, self.numbers)
    }

    pub fn item(&mut self, user: usize, rng: &mut Rng) -> Item {
        let note = (rng.below(3) > 0).then(|| canary::token(user, rng));
        Item { v: self.number(user), name: canary::token(user, rng), note }
    }

    /// A number of `s.t_id` that is free.
    pub fn free_reference(&self, rng: &mut Rng) -> i64 {
        let taken = |id: i64| self.s.values().any(|(t_id, _)| *t_id == id);
        let mut id = rng.below(20) as i64;
        while taken(id) {
            id += 1;
        }
        id
    }
}

pub fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// A row of `t` as VALUES has it.
pub fn values(id: i64, item: &Item) -> String {
    let note = item.note.as_deref().map_or("NULL".to_owned(), text);
    let hex: String = item.name.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("({id}, {}, {}, {note}, X'{hex}')", item.v, text(&item.name))
}
