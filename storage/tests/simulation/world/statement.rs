//! The users' statements: what is written, and what it makes of the writer's map.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use arrow::{
    array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, UInt64Array},
    compute::cast,
    datatypes::{DataType, Field},
};
use insula_proto::UserNo;
use insula_storage::{
    Commit, ErrorKind, NewColumn, NewTable, Store, TableDef, TableKind, TableOptions,
    load::{Mode, Owners, Scope},
};

use super::{RETENTION_MICROS, Rng, World};
use crate::{
    model::{Key, Row, Rows, Values, difference, settle},
    read,
};

type Line = (Key, Values);

/// A statement, what it must answer (`None`: a duplicate key), and the user's rows once it is done.
struct Statement {
    user: u64,
    what: What,
    /// Written straight into files, as large inserts are.
    load: Option<Scope>,
    count: Option<u64>,
    after: Rows,
}

#[derive(Debug)]
enum What {
    Insert(Vec<Line>),
    Replace(Vec<Line>),
    Update(Vec<Line>, Vec<Line>),
    Delete(Vec<Line>),
}

/// Three columns; the key is not in the first of them and not in their order.
pub fn new_table(name: &str, options: TableOptions) -> NewTable {
    let column = |name: &str, data_type: DataType| NewColumn {
        field: Arc::new(Field::new(name, data_type, true)),
        default: None,
    };
    let columns =
        vec![column("value", DataType::Int32), column("number", DataType::Int32), column("text", DataType::Utf8)];
    NewTable {
        namespace: "ns".into(),
        name: name.into(),
        kind: TableKind::User,
        columns,
        key: vec![2, 1],
        checks: Vec::new(),
        options,
    }
}

pub async fn create_table(store: &Arc<Store>, rng: &mut Rng) -> insula_storage::Result<Arc<TableDef>> {
    let options = TableOptions {
        // Flushes in the background too, in some seeds.
        flush_rows: [20, 1_000_000][rng.below(2) as usize],
        deleted_retention: Some(Duration::from_micros(RETENTION_MICROS as u64)),
        ..TableOptions::default()
    };
    store.create_table(new_table("t", options)).await
}

impl World {
    pub(super) fn write(&mut self) {
        let statement = self.statement();
        let Statement { user, what, load, .. } = &statement;
        self.tell(|| format!("user {user}: {what:?} {load:?}"));
        let (store, table, user) = (Arc::clone(self.life.store()), Arc::clone(&self.table), UserNo(*user));
        let done = self.life.run(&mut self.rng, commit(&store, &table, user, what, *load));
        // A crash needs the only hold on the store.
        drop(store);
        match done {
            None => self.uncertain(statement, "in a statement"),
            Some(Ok(commit)) => {
                assert_eq!(Some(commit.rows), statement.count, "{:?}", statement.what);
                self.totals.statements += 1;
                self.totals.loads += u64::from(statement.load.is_some());
                let mut after = statement.after;
                let seq = commit.seq.0 as i64;
                // Those that the statement made have no number yet.
                after.values_mut().for_each(|row| _ = row.seq.get_or_insert(seq));
                self.users[user.0 as usize] = after;
            }
            Some(Err(error)) if error.kind() == ErrorKind::AlreadyExists => {
                assert_eq!(statement.count, None, "{error}: {:?}", statement.what);
                self.totals.duplicates += 1;
            }
            Some(Err(error)) => {
                self.expect_fault(&error);
                self.uncertain(statement, "after a statement that failed");
            }
        }
    }

    /// Nobody was told how the statement ended: after a restart it is wholly there or wholly absent.
    fn uncertain(&mut self, statement: Statement, place: &str) {
        self.crash(place);
        let user = statement.user;
        let view = self.life.store().view();
        let read = read::rows(self.life.store(), &view, &self.table, user, &self.initial);
        let found = self.life.block_on(read).unwrap();
        let before = &self.users[user as usize];
        let horizon = self.life.horizon();
        let (mut rows, there) = match difference(before, &found, horizon) {
            None => (before.clone(), false),
            Some(absent) => match difference(&statement.after, &found, horizon) {
                None if statement.count.is_some() => (statement.after, true),
                stored => panic!("user {user}: half a statement: {absent}; {stored:?}; {:?}", statement.what),
            },
        };
        self.totals.stored += u64::from(there);
        self.totals.absent += u64::from(!there);
        settle(&mut rows, &found);
        self.users[user as usize] = rows;
    }

    fn statement(&mut self) -> Statement {
        let user = self.rng.below(super::USERS);
        let load = match self.rng.below(9) {
            0 => Some(Scope::One(UserNo(user))),
            1 => Some(Scope::Many),
            _ => None,
        };
        let statement = self.drawn(user);
        let inserts = matches!(statement.what, What::Insert(_) | What::Replace(_));
        Statement { load: load.filter(|_| inserts), ..statement }
    }

    fn drawn(&mut self, user: u64) -> Statement {
        match self.rng.below(8) {
            0..3 => self.insert(user),
            3..5 => self.replace(user),
            5 => self.update(user),
            _ => self.delete(user),
        }
    }

    fn row(&self, values: &Values, deleted: bool) -> Row {
        Row { values: values.clone(), deleted, seq: None, updated: self.life.now() }
    }

    fn insert(&mut self, user: u64) -> Statement {
        let lines = self.lines();
        let mut after = self.users[user as usize].clone();
        let fits = lines.iter().all(|(key, values)| {
            let before = after.insert(key.clone(), self.row(values, false));
            // Of two rows with one key in the statement the second meets the first.
            before.is_none_or(|row| row.deleted)
        });
        Statement { user, count: fits.then_some(lines.len() as u64), what: What::Insert(lines), load: None, after }
    }

    fn replace(&mut self, user: u64) -> Statement {
        let lines = self.lines();
        let mut after = self.users[user as usize].clone();
        after.extend(lines.iter().map(|(key, values)| (key.clone(), self.row(values, false))));
        let keys: BTreeSet<&Key> = lines.iter().map(|(key, _)| key).collect();
        Statement { user, count: Some(keys.len() as u64), what: What::Replace(lines), load: None, after }
    }

    fn update(&mut self, user: u64) -> Statement {
        let old = self.live(user);
        let by = self.rng.below(3) as i32 - 1;
        let new: Vec<Line> =
            old.iter().map(|((text, number), _)| ((text.clone(), number + by), self.values())).collect();
        let mut after = self.users[user as usize].clone();
        after.extend(old.iter().map(|(key, values)| (key.clone(), self.row(values, true))));
        let fits = new.iter().all(|(key, values)| {
            let before = after.insert(key.clone(), self.row(values, false));
            before.is_none_or(|row| row.deleted)
        });
        Statement { user, count: fits.then_some(old.len() as u64), what: What::Update(old, new), load: None, after }
    }

    fn delete(&mut self, user: u64) -> Statement {
        let old = self.live(user);
        let mut after = self.users[user as usize].clone();
        after.extend(old.iter().map(|(key, values)| (key.clone(), self.row(values, true))));
        Statement { user, count: Some(old.len() as u64), what: What::Delete(old), load: None, after }
    }

    /// Some of the user's live rows: those whose number is below a limit.
    fn live(&mut self, user: u64) -> Vec<Line> {
        let below = self.rng.below(5) as i32;
        let rows = self.users[user as usize].iter();
        let rows = rows.filter(|(key, row)| !row.deleted && key.1 < below);
        rows.map(|(key, row)| (key.clone(), row.values.clone())).collect()
    }

    fn lines(&mut self) -> Vec<Line> {
        let count = if self.rng.below(12) == 0 { 40 } else { 1 + self.rng.below(4) };
        (0..count).map(|_| (self.key(count > 4), self.values())).collect()
    }

    /// Of few keys, so that statements meet.
    fn key(&mut self, many: bool) -> Key {
        let text = ["", "a", "\0", "a\0", "b", "ab"][self.rng.below(6) as usize].to_owned();
        (text, self.rng.below(if many { 60 } else { 6 }) as i32)
    }

    fn values(&self) -> Values {
        // Drawn from the time and not from the generator, to leave that one unborrowed.
        let columns = self.table.columns.iter().enumerate().filter(|(i, _)| !self.table.key.contains(i));
        let now = self.life.now();
        columns.map(|(i, c)| (c.id.0, (now % 5 != 0).then(|| (now / 7 + i as i64) % 100_000))).collect()
    }
}

async fn commit(
    store: &Arc<Store>,
    table: &Arc<TableDef>,
    user: UserNo,
    what: &What,
    load: Option<Scope>,
) -> insula_storage::Result<Commit> {
    if let Some(scope) = load {
        return commit_load(store, table, user, what, scope).await;
    }
    let lock = store.lock(table, user).await;
    let mut set = store.write_set(table, user);
    match what {
        What::Insert(lines) => set.insert(&batch(table, lines))?,
        What::Replace(lines) => set.replace(&batch(table, lines))?,
        What::Update(old, new) => set.update(None, &batch(table, old), &batch(table, new))?,
        What::Delete(lines) => set.delete(None, &batch(table, lines))?,
    }
    store.commit(&lock, set).await
}

async fn commit_load(
    store: &Arc<Store>,
    table: &Arc<TableDef>,
    user: UserNo,
    what: &What,
    scope: Scope,
) -> insula_storage::Result<Commit> {
    let (lines, mode) = match what {
        What::Insert(lines) => (lines, Mode::Insert),
        What::Replace(lines) => (lines, Mode::Replace),
        other => panic!("no load: {other:?}"),
    };
    let mut load = store.load(table, scope, mode).await?;
    for some in lines.chunks(3) {
        let owners = match scope {
            Scope::One(user) => Owners::One(user),
            Scope::Many => Owners::Each(UInt64Array::from_value(user.0, some.len())),
        };
        load.push(batch(table, some), owners).await?;
    }
    load.finish().await
}

pub fn batch(table: &TableDef, lines: &[Line]) -> RecordBatch {
    let column = |(i, column): (usize, &insula_storage::ColumnDef)| -> ArrayRef {
        match table.key.iter().position(|of_key| *of_key == i) {
            Some(0) => Arc::new(StringArray::from_iter_values(lines.iter().map(|(key, _)| &key.0))),
            Some(_) => Arc::new(Int32Array::from_iter_values(lines.iter().map(|(key, _)| key.1))),
            None => {
                let values = lines.iter().map(|(_, values)| values.get(&column.id.0).copied().flatten());
                cast(&Int64Array::from_iter(values), column.field.data_type()).unwrap()
            }
        }
    };
    RecordBatch::try_new(table.schema(), table.columns.iter().enumerate().map(column).collect()).unwrap()
}
