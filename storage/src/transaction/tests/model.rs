//! Transactions of two users over two tables and a few keys, side by side with statements that commit by themselves,
//! flushes and compactions, answer like plain snapshot isolation over a map: each reads the map as it was at its first
//! statement and what it wrote itself, and commits if no key that it wrote was committed by another since.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const SLOTS: usize = 3;
const USERS: u64 = 2;
const TABLES: usize = 2;

/// Table and id.
type Key = (usize, i64);
/// Note, and whether the row is deleted.
type Row = (String, bool);
type Rows = BTreeMap<Key, Row>;

#[derive(Clone, Debug)]
enum Write {
    Insert(Vec<i64>),
    Replace(Vec<i64>),
    /// Live rows with ids from one on.
    Delete(i64),
}

#[derive(Clone, Debug)]
enum Op {
    /// Within the slot's transaction, which begins if there is none.
    Within(usize, usize, Write),
    /// By itself.
    Alone(u64, usize, Write),
    Savepoint(usize),
    BackTo(usize, usize),
    Release(usize, usize),
    Commit(usize),
    RollBack(usize),
    Flush(usize),
    Compact(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let ids = || prop::collection::vec(0..5i64, 1..3);
    let write = move || {
        prop_oneof![
            2 => ids().prop_map(Write::Insert),
            2 => ids().prop_map(Write::Replace),
            1 => (0..5i64).prop_map(Write::Delete),
        ]
    };
    prop_oneof![
        8 => (0..SLOTS, 0..TABLES, write()).prop_map(|(slot, table, write)| Op::Within(slot, table, write)),
        3 => (0..USERS, 0..TABLES, write()).prop_map(|(user, table, write)| Op::Alone(user, table, write)),
        1 => (0..SLOTS).prop_map(Op::Savepoint),
        1 => (0..SLOTS, 0..3usize).prop_map(|(slot, mark)| Op::BackTo(slot, mark)),
        1 => (0..SLOTS, 0..3usize).prop_map(|(slot, mark)| Op::Release(slot, mark)),
        3 => (0..SLOTS).prop_map(Op::Commit),
        1 => (0..SLOTS).prop_map(Op::RollBack),
        1 => (0..TABLES).prop_map(Op::Flush),
        1 => (0..TABLES).prop_map(Op::Compact),
    ]
}

/// What has been committed of one user: the rows, and the number of the commit that wrote each.
#[derive(Clone, Default)]
struct Committed {
    rows: Rows,
    at: BTreeMap<Key, u64>,
}

struct Open {
    transaction: Transaction,
    user: u64,
    /// The rows at the first statement, and the number of the last commit then.
    began: (Rows, u64),
    writes: Rows,
    marks: Vec<Rows>,
}

impl Open {
    fn sees(&self) -> Rows {
        let mut rows = self.began.0.clone();
        rows.extend(self.writes.clone());
        rows
    }
}

struct Bench {
    store: Arc<Store>,
    tables: Vec<Arc<TableDef>>,
    committed: Vec<Committed>,
    commits: u64,
    open: Vec<Option<Open>>,
    /// So that each statement writes something of its own.
    statements: u64,
    _dir: TempDir,
}

/// What the write makes of the rows, or that it is refused.
fn apply(rows: &Rows, table: usize, write: &Write, note: &str) -> Option<Rows> {
    let mut changed = Rows::new();
    match write {
        Write::Insert(ids) => {
            for id in ids {
                let lives = rows.get(&(table, *id)).is_some_and(|(_, deleted)| !deleted);
                if lives || changed.insert((table, *id), (note.to_owned(), false)).is_some() {
                    return None;
                }
            }
        }
        Write::Replace(ids) => {
            changed.extend(ids.iter().map(|id| ((table, *id), (note.to_owned(), false))));
        }
        Write::Delete(from) => {
            let of_table = rows.range((table, *from)..(table + 1, i64::MIN)).filter(|(_, (_, deleted))| !deleted);
            changed.extend(of_table.map(|(key, (note, _))| (*key, (note.clone(), true))));
        }
    }
    Some(changed)
}

impl Bench {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(StoreConfig { store_url: Some("memory://".into()), ..config(dir.path(), 1 << 20) });
        let store = store.await.unwrap();
        let mut tables = vec![notes::notes(&store, TableOptions::default()).await];
        tables.push(second(&store, TableOptions::default()).await);
        let committed = vec![Committed::default(); USERS as usize];
        let open = (0..SLOTS).map(|_| None).collect();
        Self { store, tables, committed, commits: 0, open, statements: 0, _dir: dir }
    }

    fn set(&self, user: u64, table: usize, write: &Write, note: &str, rows: &Rows) -> Result<WriteSet> {
        let def = &self.tables[table];
        let mut set = self.store.write_set(def, UserNo(user));
        let of = |ids: &[i64]| batch(def, &ids.iter().map(|id| (*id, note)).collect::<Vec<_>>());
        match write {
            Write::Insert(ids) => set.insert(&of(ids))?,
            Write::Replace(ids) => set.replace(&of(ids))?,
            Write::Delete(_) => {
                let gone = apply(rows, table, write, note).unwrap();
                let gone: Vec<_> = gone.iter().map(|((_, id), (note, _))| (*id, note.as_str())).collect();
                set.delete(None, &batch(def, &gone))?;
            }
        }
        Ok(set)
    }

    async fn run(&mut self, op: &Op) {
        self.statements += 1;
        let note = format!("note {}", self.statements);
        match op {
            Op::Within(slot, table, write) => self.within(*slot, *table, write, &note).await,
            Op::Alone(user, table, write) => self.alone(*user, *table, write, &note).await,
            Op::Savepoint(slot) => {
                if let Some(open) = &mut self.open[*slot] {
                    assert_eq!(open.transaction.mark(), open.marks.len());
                    open.marks.push(open.writes.clone());
                }
            }
            Op::BackTo(slot, mark) => {
                if let Some(open) = self.open[*slot].as_mut().filter(|open| *mark < open.marks.len()) {
                    open.transaction.back_to(*mark).unwrap();
                    open.writes = open.marks[*mark].clone();
                    open.marks.truncate(mark + 1);
                }
            }
            Op::Release(slot, mark) => {
                if let Some(open) = self.open[*slot].as_mut().filter(|open| *mark < open.marks.len()) {
                    open.transaction.release(*mark);
                    open.marks.truncate(*mark);
                }
            }
            Op::Commit(slot) => self.commit(*slot).await,
            Op::RollBack(slot) => self.open[*slot] = None,
            Op::Flush(table) => drop(self.store.flush(self.tables[*table].id).await.unwrap()),
            Op::Compact(table) => drop(self.store.compact(self.tables[*table].id).await.unwrap()),
        }
        for slot in 0..SLOTS {
            self.check_within(slot).await;
        }
    }

    async fn within(&mut self, slot: usize, table: usize, write: &Write, note: &str) {
        if self.open[slot].is_none() {
            // Two slots are the first user's, so that transactions of one user meet as well.
            let user = slot as u64 % USERS;
            let mut transaction = self.store.transaction();
            transaction.view();
            let began = (self.committed[user as usize].rows.clone(), self.commits);
            self.open[slot] = Some(Open { transaction, user, began, writes: Rows::new(), marks: Vec::new() });
        }
        let mut open = self.open[slot].take().unwrap();
        let (user, rows) = (open.user, open.sees());
        let result = match self.set(user, table, write, note, &rows) {
            Ok(set) => open.transaction.write(set).await.map(drop),
            Err(error) => Err(error),
        };
        match apply(&rows, table, write, note) {
            Some(changed) => {
                result.unwrap();
                open.writes.extend(changed);
            }
            None => assert_eq!(kind(result), ErrorKind::AlreadyExists),
        }
        self.open[slot] = Some(open);
    }

    async fn alone(&mut self, user: u64, table: usize, write: &Write, note: &str) {
        let rows = self.committed[user as usize].rows.clone();
        let lock = self.store.lock(&self.tables[table], UserNo(user)).await;
        let result = match self.set(user, table, write, note, &rows) {
            Ok(set) => self.store.commit(&lock, set).await.map(drop),
            Err(error) => Err(error),
        };
        match apply(&rows, table, write, note) {
            Some(changed) => {
                result.unwrap();
                self.committed(user, changed);
            }
            None => assert_eq!(kind(result), ErrorKind::AlreadyExists),
        }
    }

    fn committed(&mut self, user: u64, changed: Rows) {
        self.commits += 1;
        let of_user = &mut self.committed[user as usize];
        of_user.at.extend(changed.keys().map(|key| (*key, self.commits)));
        of_user.rows.extend(changed);
    }

    async fn commit(&mut self, slot: usize) {
        let Some(open) = self.open[slot].take() else { return };
        let at = &self.committed[open.user as usize].at;
        let conflict = open.writes.keys().any(|key| at.get(key).is_some_and(|at| *at > open.began.1));
        let result = open.transaction.commit().await;
        if conflict {
            assert_eq!(kind(result), ErrorKind::Conflict);
        } else {
            assert_eq!(result.unwrap().rows, open.writes.len() as u64);
            self.committed(open.user, open.writes);
        }
    }

    async fn check_within(&mut self, slot: usize) {
        let Some(mut open) = self.open[slot].take() else { return };
        assert_eq!(self.read(&open.transaction.view(), open.user).await, open.sees());
        self.open[slot] = Some(open);
    }

    async fn check(&self) {
        for user in 0..USERS {
            assert_eq!(self.read(&self.store.view(), user).await, self.committed[user as usize].rows);
        }
    }

    async fn read(&self, view: &Arc<ReadView>, user: u64) -> Rows {
        let mut rows = Rows::new();
        for (number, table) in self.tables.iter().enumerate() {
            for (key, row) in seen(&self.store, view, table, UserNo(user)).await {
                let id = i64::from_be_bytes(key.try_into().unwrap()) ^ i64::MIN;
                rows.insert((number, id), row);
            }
        }
        rows
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn any_interleaving_of_transactions_is_snapshot_isolation(ops in prop::collection::vec(op(), 1..50)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut bench = Bench::new().await;
            for op in &ops {
                bench.run(op).await;
            }
            bench.check().await;
            for slot in 0..SLOTS {
                bench.commit(slot).await;
            }
            bench.check().await;
        });
    }
}
