//! Queries whose answers follow from what the user's tables hold: rows, and the counts, of nobody else.

use crate::{
    canary,
    rng::Rng,
    rows::{PUBLIC, Rows, text},
    world::Known,
};

/// A query, its rows, and whether it orders them.
pub struct Question {
    pub sql: String,
    pub rows: Vec<String>,
    pub ordered: bool,
}

fn one(sql: impl Into<String>, row: impl ToString) -> Question {
    Question { sql: sql.into(), rows: vec![row.to_string()], ordered: true }
}

fn some(sql: impl Into<String>, rows: impl Iterator<Item = String>) -> Question {
    Question { sql: sql.into(), rows: rows.collect(), ordered: false }
}

fn ordered(sql: impl Into<String>, rows: impl Iterator<Item = String>) -> Question {
    Question { ordered: true, ..some(sql, rows) }
}

fn or_null<T: ToString>(value: Option<T>) -> String {
    value.map_or("NULL".into(), |value| value.to_string())
}

pub fn question(rng: &mut Rng, name: &str, rows: &Rows, other: &Known) -> Question {
    let (t, s, log) = (&rows.t, &rows.s, &rows.log);
    let key = rng.below(16) as i64;
    let foreign = other.tokens[rng.below(other.tokens.len() as u64) as usize].clone();
    let partners = || s.iter().filter_map(|(token, (t_id, amount))| Some((token, t.get(t_id)?, t_id, amount)));
    match rng.below(30) {
        0 => one("SELECT count(*) FROM t", t.len()),
        1 => one("SELECT count(*) FROM s", s.len()),
        2 => one("SELECT count(*) FROM log", log.len()),
        3 => {
            let sum: i64 = t.values().map(|item| item.v).sum();
            let (low, high) = (t.keys().next(), t.keys().last());
            let (least, most) = (t.values().map(|i| i.v).min(), t.values().map(|i| i.v).max());
            let sum = if t.is_empty() { "NULL".into() } else { sum.to_string() };
            let row =
                format!("{}|{sum}|{}|{}|{}|{}", t.len(), or_null(low), or_null(high), or_null(least), or_null(most));
            one("SELECT count(*), sum(v), min(id), max(id), min(v), max(v) FROM t", row)
        }
        4 | 5 => {
            let found = t
                .get(&key)
                .into_iter()
                .map(|item| format!("{key}|{}|{}|{}", item.v, item.name, or_null(item.note.as_ref())));
            some(format!("SELECT id, v, name, note FROM t WHERE id = {key}"), found)
        }
        6 => {
            let keys = [key, key + 2, key + 3];
            let found = keys.into_iter().filter_map(|id| Some(format!("{id}|{}", t.get(&id)?.v)));
            some(format!("SELECT id, v FROM t WHERE id IN ({}, {}, {})", keys[0], keys[1], keys[2]), found)
        }
        7 => some(
            format!("SELECT * FROM t WHERE name = '{foreign}' OR note = '{foreign}' OR v = {}", other.number),
            std::iter::empty(),
        ),
        8 => some(format!("SELECT * FROM s WHERE token = '{foreign}'"), std::iter::empty()),
        9 => one(format!("SELECT count(*) FROM t JOIN s ON t.name = s.token OR t.name = '{foreign}'"), 0),
        10 => match s.iter().nth(key as usize % s.len().max(1)) {
            Some((token, (t_id, amount))) => one(
                format!("SELECT token, t_id, amount FROM s WHERE token = {}", text(token)),
                format!("{token}|{t_id}|{amount}"),
            ),
            None => one("SELECT count(*) FROM s", 0),
        },
        11 => some(
            "SELECT t.id, t.name, s.token, s.amount FROM t JOIN s ON s.t_id = t.id",
            partners().map(|(token, item, id, amount)| format!("{id}|{}|{token}|{amount}", item.name)),
        ),
        12 => one("SELECT count(*) FROM t a CROSS JOIN log b", t.len() * log.len()),
        13 => one(
            "SELECT count(*) FROM (SELECT name FROM t UNION ALL SELECT token FROM s UNION ALL SELECT tag FROM log) q",
            t.len() + s.len() + log.len(),
        ),
        14 => {
            let alone = t.keys().filter(|id| !s.values().any(|(t_id, _)| t_id == *id));
            ordered(
                "SELECT id FROM t WHERE NOT EXISTS (SELECT 1 FROM s WHERE s.t_id = t.id) ORDER BY id",
                alone.map(i64::to_string),
            )
        }
        15 => ordered(
            "SELECT id, v FROM t ORDER BY id DESC LIMIT 3 OFFSET 1",
            t.iter().rev().skip(1).take(3).map(|(id, item)| format!("{id}|{}", item.v)),
        ),
        // Two rows may have the same `v`, taken from `s` or copied.
        16 => ordered("SELECT v, name FROM t ORDER BY v, id LIMIT 2", {
            let mut all: Vec<_> = t.values().collect();
            all.sort_by_key(|item| item.v);
            all.into_iter().take(2).map(|item| format!("{}|{}", item.v, item.name)).collect::<Vec<_>>().into_iter()
        }),
        17 => {
            let (low, high) = (canary::number(other.index, -1_000), canary::number(other.index, 900_000));
            one(format!("SELECT count(*) FROM t WHERE v BETWEEN {low} AND {high}"), 0)
        }
        18 => one("SELECT current_user", name),
        19 => one("SELECT count(DISTINCT name), count(note) FROM t", {
            // A row that was copied under another key has the name of the first.
            let names: std::collections::BTreeSet<_> = t.values().map(|item| &item.name).collect();
            format!("{}|{}", names.len(), t.values().filter(|item| item.note.is_some()).count())
        }),
        20 => one("SELECT coalesce(max(rn), 0) FROM (SELECT row_number() OVER (ORDER BY id) AS rn FROM t) q", t.len()),
        21 => {
            let all = (0..3).map(|rest| (rest, t.keys().filter(|id| *id % 3 == rest).count())).filter(|(_, n)| *n > 0);
            let total = (!t.is_empty()).then(|| format!("NULL|{}", t.len()));
            // Without a row, the grand total of no rows is one row still.
            let total = total.or(Some("NULL|0".into()));
            some(
                "SELECT id % 3, count(*) FROM t GROUP BY ROLLUP (id % 3)",
                all.map(|(rest, n)| format!("{rest}|{n}")).chain(total),
            )
        }
        22 => some("SELECT id FROM t INTERSECT SELECT t_id FROM s", partners().map(|(_, _, id, _)| id.to_string())),
        23 => some(
            "SELECT id FROM t EXCEPT SELECT t_id FROM s",
            t.keys().filter(|id| !s.values().any(|(t_id, _)| t_id == *id)).map(i64::to_string),
        ),
        // An administrator among the users has a row 77 there for a moment.
        24 => one(format!("SELECT count(*) FROM pub p LEFT JOIN t ON t.name = '{foreign}' WHERE p.id <> 77"), PUBLIC),
        25 => one(
            format!("SELECT count(*) FROM t WHERE id >= {key} AND name >= 'cnry' AND v > 0"),
            t.range(key..).count(),
        ),
        26 => one(
            "SELECT count(*) FROM (SELECT DISTINCT v FROM t UNION SELECT amount FROM s UNION SELECT n FROM log) q",
            {
                let mut all: Vec<i64> = t
                    .values()
                    .map(|i| i.v)
                    .chain(s.values().map(|(_, a)| *a))
                    .chain(log.iter().map(|(n, _)| *n))
                    .collect();
                all.sort_unstable();
                all.dedup();
                all.len()
            },
        ),
        27 => some("SELECT n, tag FROM log", log.iter().map(|(n, tag)| format!("{n}|{tag}"))),
        28 => one(
            "WITH RECURSIVE r AS (SELECT 0 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 3) SELECT count(*) FROM r JOIN t ON t.id = r.i",
            t.range(0..4).count(),
        ),
        _ => one(
            "SELECT (SELECT count(*) FROM t) + (SELECT count(*) FROM s) AS n FROM pub WHERE id = 0",
            t.len() + s.len(),
        ),
    }
}

/// All that the user has, for a last look: the statement and its rows.
pub fn everything(rows: &Rows) -> [Question; 3] {
    [
        ordered("SELECT id, v, name, note FROM t ORDER BY id", {
            rows.t.iter().map(|(id, item)| format!("{id}|{}|{}|{}", item.v, item.name, or_null(item.note.as_ref())))
        }),
        ordered("SELECT token, t_id, amount FROM s ORDER BY token", {
            rows.s.iter().map(|(token, (t_id, amount))| format!("{token}|{t_id}|{amount}"))
        }),
        some("SELECT n, tag FROM log", rows.log.iter().map(|(n, tag)| format!("{n}|{tag}"))),
    ]
}
