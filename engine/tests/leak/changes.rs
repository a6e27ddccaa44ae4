//! Statements that write: what each must count, and what the user's tables hold afterwards.

use insula_engine::ErrorKind;

use crate::{
    canary,
    rng::Rng,
    rows::{Rows, text, values},
    world::{Known, Reply},
};

/// A statement, its reply, and the rows after it.
pub struct Change {
    pub sql: String,
    pub reply: Expected,
    pub after: Rows,
}

#[derive(PartialEq, Eq, Debug)]
pub enum Expected {
    Count(u64),
    /// A key that the user has already.
    Duplicate,
}

impl Expected {
    pub fn is(&self, reply: &Reply) -> bool {
        match (self, reply) {
            (Self::Count(expected), Reply::Count(count)) => expected == count,
            (Self::Duplicate, Reply::Refused(kind, _)) => *kind == ErrorKind::AlreadyExists,
            _ => false,
        }
    }
}

fn change(sql: String, count: usize, after: Rows) -> Change {
    Change { sql, reply: Expected::Count(count as u64), after }
}

pub fn change_of(rng: &mut Rng, user: usize, before: &Rows, other: &Known) -> Change {
    let mut after = before.clone();
    let key = rng.below(18) as i64;
    let foreign = &other.tokens[rng.below(other.tokens.len() as u64) as usize];
    match rng.below(20) {
        // Keys are small and everybody's alike: one that another has is no duplicate.
        0..3 => {
            let item = after.item(user, rng);
            let sql = format!("INSERT INTO t VALUES {}", values(key, &item));
            if before.t.contains_key(&key) {
                return Change { sql, reply: Expected::Duplicate, after: before.clone() };
            }
            after.t.insert(key, item);
            change(sql, 1, after)
        }
        3 => {
            let item = after.item(user, rng);
            let sql = format!("REPLACE INTO t VALUES {}", values(key, &item));
            after.t.insert(key, item);
            change(sql, 1, after)
        }
        4 => {
            let copies: Vec<_> =
                before.t.iter().filter(|(id, _)| **id < 3).map(|(id, item)| (id + 40, item.clone())).collect();
            let sql = "INSERT INTO t (id, v, name) SELECT id + 40, v, name FROM t WHERE id < 3".to_owned();
            if copies.iter().any(|(id, _)| before.t.contains_key(id)) {
                return Change { sql, reply: Expected::Duplicate, after };
            }
            let count = copies.len();
            after.t.extend(copies.into_iter().map(|(id, item)| (id, crate::rows::Item { note: None, ..item })));
            change(sql, count, after)
        }
        5 => {
            let note = canary::token(user, rng);
            let changed = after.t.get_mut(&key).map(|item| item.note = Some(note.clone()));
            change(format!("UPDATE t SET note = '{note}' WHERE id = {key}"), usize::from(changed.is_some()), after)
        }
        6 => {
            let mut count = 0;
            for (id, item) in &mut after.t {
                if let Some((_, (_, amount))) = before.s.iter().find(|(_, (t_id, _))| t_id == id) {
                    item.v = *amount;
                    count += 1;
                }
            }
            change("UPDATE t SET v = s.amount FROM s WHERE s.t_id = t.id".into(), count, after)
        }
        7 => change(format!("UPDATE t SET note = 'mine' WHERE name = '{foreign}' OR v = {}", other.number), 0, after),
        8 => change(format!("DELETE FROM t WHERE name = '{foreign}' OR v = {}", other.number), 0, after),
        9 => change(format!("DELETE FROM s WHERE token IN ('{foreign}', 'none')"), 0, after),
        10 => {
            let gone = after.t.remove(&key);
            change(format!("DELETE FROM t WHERE id = {key}"), usize::from(gone.is_some()), after)
        }
        11 => {
            let doomed = |id: &i64| *id > 10 && before.s.values().any(|(t_id, _)| t_id == id);
            let count = before.t.keys().filter(|id| doomed(id)).count();
            after.t.retain(|id, _| !doomed(id));
            change("DELETE FROM t WHERE id > 10 AND id IN (SELECT t_id FROM s)".into(), count, after)
        }
        12 => {
            let (token, t_id) = (canary::token(user, rng), before.free_reference(rng));
            let amount = after.number(user);
            after.s.insert(token.clone(), (t_id, amount));
            change(format!("INSERT INTO s VALUES ('{token}', {t_id}, {amount})"), 1, after)
        }
        13 => match before.s.keys().next().cloned() {
            Some(token) if before.s.len() > 4 => {
                after.s.remove(&token);
                change(format!("DELETE FROM s WHERE token = {}", text(&token)), 1, after)
            }
            Some(token) => {
                let sql = format!("INSERT INTO s VALUES ('{token}', 1, 1)");
                Change { sql, reply: Expected::Duplicate, after }
            }
            None => change("DELETE FROM s".into(), 0, after),
        },
        14 => {
            let row = (after.number(user), canary::token(user, rng));
            after.log.push(row.clone());
            change(format!("INSERT INTO log (tag, n) VALUES ('{}', {})", row.1, row.0), 1, after)
        }
        15 if before.log.len() > 6 => {
            after.log.clear();
            let sql = *[&"TRUNCATE TABLE log", &"DELETE FROM log"][rng.below(2) as usize];
            change(sql.to_owned(), before.log.len(), after)
        }
        16 => {
            let item = after.item(user, rng);
            let sql = format!(
                "INSERT INTO t VALUES {} ON CONFLICT (id) DO UPDATE SET v = excluded.v, note = excluded.name",
                values(key, &item)
            );
            match after.t.get_mut(&key) {
                Some(old) => (old.v, old.note) = (item.v, Some(item.name)),
                None => drop(after.t.insert(key, item)),
            }
            change(sql, 1, after)
        }
        17 => {
            let item = after.item(user, rng);
            let sql = format!("INSERT INTO t VALUES {} ON CONFLICT DO NOTHING", values(key, &item));
            let is_new = !before.t.contains_key(&key);
            after.t.entry(key).or_insert(item);
            change(sql, usize::from(is_new), after)
        }
        18 => {
            let mut count = 0;
            for (id, item) in &mut after.t {
                if let Some((_, (_, amount))) = before.s.iter().find(|(_, (t_id, _))| t_id == id) {
                    item.v = *amount;
                    count += 1;
                }
            }
            let sql = format!(
                "MERGE INTO t USING s ON s.t_id = t.id WHEN MATCHED THEN UPDATE SET v = s.amount
                 WHEN NOT MATCHED BY SOURCE AND (t.name = '{foreign}' OR t.v = {}) THEN DELETE",
                other.number
            );
            change(sql, count, after)
        }
        _ => {
            let item = after.item(user, rng);
            let mut count = 0;
            for (_, old) in after.t.range_mut(5..) {
                old.note = Some(item.name.clone());
                count += 1;
            }
            change(
                format!("UPDATE t SET note = '{}' WHERE id >= 5 AND v IN (SELECT v FROM t)", item.name),
                count,
                after,
            )
        }
    }
}
