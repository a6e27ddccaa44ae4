//! The users' statements, what they make of each user's model, and the comparison after a restart; beside them flushes,
//! compactions, and loads of all users' rows at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arrow::{
    array::{Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use futures::{TryStreamExt, stream};
use insula_client::{Client, Ingest, IngestMode};
use insula_tests::{Rng, Server, execute, query};
use tonic::Code;

pub const USERS: usize = 4;
const KEYS: u64 = 400;
/// Rows that each user gets of one load.
const LOAD_ROWS: u64 = 25;

/// What one user must find in the tables of one epoch.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Model {
    /// `keyed (id BIGINT PRIMARY KEY, v BIGINT, s VARCHAR)`.
    keyed: BTreeMap<u64, (u64, String)>,
    /// `log (n BIGINT)`, without a key: a doubled row would show.
    log: BTreeSet<u64>,
    next: u64,
}

impl Model {
    fn rows(&self) -> (Vec<String>, Vec<String>) {
        let keyed = self.keyed.iter().map(|(id, (v, s))| format!("{id}|{v}|{s}")).collect();
        (keyed, self.log.iter().map(u64::to_string).collect())
    }
}

/// A statement, what it must answer (`None`: a duplicate key), and the model once it is done.
struct Step {
    sql: String,
    count: Option<i64>,
    after: Model,
}

#[derive(Default)]
pub struct Totals {
    pub acknowledged: AtomicU64,
    pub flushes: AtomicU64,
    pub broken_flushes: AtomicU64,
    pub stored: AtomicU64,
    pub absent: AtomicU64,
    pub compactions: AtomicU64,
    loads: Mutex<BTreeMap<u64, Loads>>,
}

/// Loads of one epoch by number: those that were acknowledged, and those that nobody was told of.
#[derive(Clone, Default)]
struct Loads {
    next: u64,
    stored: BTreeSet<u64>,
    uncertain: BTreeSet<u64>,
}

impl Totals {
    fn loads<T>(&self, epoch: u64, with: impl FnOnce(&mut Loads) -> T) -> T {
        with(self.loads.lock().expect("the loads").entry(epoch).or_default())
    }

    /// Of all epochs.
    pub fn loaded(&self) -> usize {
        self.loads.lock().expect("the loads").values().map(|loads| loads.stored.len()).sum()
    }
}

pub fn user(index: usize) -> String {
    format!("user {index}")
}

pub async fn create_tables(server: &Server, epoch: u64) {
    let admin = server.client("admin").await;
    let keyed = "id BIGINT PRIMARY KEY, v BIGINT NOT NULL, s VARCHAR NOT NULL";
    execute(&admin, &format!("CREATE TABLE app.keyed{epoch} ({keyed})")).await;
    execute(&admin, &format!("CREATE TABLE app.log{epoch} (n BIGINT NOT NULL)")).await;
    let loaded = "part BIGINT NOT NULL, n BIGINT NOT NULL, PRIMARY KEY (part, n)";
    execute(&admin, &format!("CREATE TABLE app.loaded{epoch} ({loaded})")).await;
}

pub async fn flush(client: Client, epoch: u64, mut rng: Rng, killing: Arc<AtomicBool>, totals: Arc<Totals>) {
    loop {
        tokio::time::sleep(Duration::from_millis(rng.below(60))).await;
        let sql = match rng.below(5) {
            0 => "FLUSH ALL".to_owned(),
            1 => format!("FLUSH TABLE app.log{epoch}"),
            2 => format!("FLUSH TABLE app.keyed{epoch}"),
            3 => format!("COMPACT TABLE app.log{epoch}"),
            _ => format!("COMPACT TABLE app.keyed{epoch}"),
        };
        let begun_before = !killing.load(Ordering::SeqCst);
        let done = async { client.query(&sql).await?.try_collect::<Vec<_>>().await }.await;
        match done {
            Ok(_) if sql.starts_with("COMPACT") => totals.compactions.fetch_add(1, Ordering::Relaxed),
            Ok(_) => totals.flushes.fetch_add(1, Ordering::Relaxed),
            Err(_) if killing.load(Ordering::SeqCst) => {
                totals.broken_flushes.fetch_add(u64::from(begun_before), Ordering::Relaxed);
                return;
            }
            Err(error) => panic!("{sql}: {:?} {error}", error.code()),
        };
    }
}

/// Loads rows of all users, the same for each, until the server dies.
pub async fn load(client: Client, epoch: u64, killing: Arc<AtomicBool>, totals: Arc<Totals>) {
    let target = Ingest {
        namespace: Some("app".into()),
        table: format!("loaded{epoch}"),
        mode: IngestMode::Append,
        user_column: Some("who".into()),
    };
    loop {
        let number = totals.loads(epoch, |loads| {
            loads.next += 1;
            loads.uncertain.insert(loads.next);
            loads.next
        });
        let rows: Vec<(usize, u64)> = (0..LOAD_ROWS).flat_map(|n| (0..USERS).map(move |user| (user, n))).collect();
        let who = StringArray::from_iter_values(rows.iter().map(|(index, _)| user(*index)));
        let load = Int64Array::from_value(number as i64, rows.len());
        let n = Int64Array::from_iter_values(rows.iter().map(|(_, n)| *n as i64));
        let field = |name: &str, data_type: DataType| Field::new(name, data_type, false);
        let fields = [field("who", DataType::Utf8), field("part", DataType::Int64), field("n", DataType::Int64)];
        let schema = Arc::new(Schema::new(fields.to_vec()));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(who), Arc::new(load), Arc::new(n)]);
        let batches = stream::iter([Ok(batch.expect("three columns"))]);
        match client.ingest(&target, schema, batches).await {
            Ok(count) => {
                assert_eq!(count as usize, rows.len());
                totals.loads(epoch, |loads| {
                    loads.uncertain.remove(&number);
                    loads.stored.insert(number);
                });
            }
            Err(_) if killing.load(Ordering::SeqCst) => return,
            Err(error) => panic!("a load: {:?} {error}", error.code()),
        }
    }
}

pub async fn write(
    client: Client,
    epoch: u64,
    mut model: Model,
    mut rng: Rng,
    killing: Arc<AtomicBool>,
    totals: Arc<Totals>,
) -> (Model, Option<Model>) {
    loop {
        let after = match rng.below(4) {
            0 => transaction(&client, epoch, &model, &mut rng, &killing).await,
            _ => {
                let step = step(&model, epoch, &mut rng);
                run(&client, &step, &model, &killing).await.map_err(|()| Some(step.after))
            }
        };
        match after {
            Ok(after) => {
                totals.acknowledged.fetch_add(1, Ordering::Relaxed);
                model = after;
            }
            Err(in_flight) => return (model, in_flight),
        }
    }
}

/// Some statements that are one commit, or none. The error is what may be there if the server died at the commit.
async fn transaction(
    client: &Client,
    epoch: u64,
    model: &Model,
    rng: &mut Rng,
    killing: &AtomicBool,
) -> Result<Model, Option<Model>> {
    control(client, "BEGIN", killing).await.map_err(|()| None)?;
    let mut within = model.clone();
    for _ in 0..=rng.below(3) {
        let step = step(&within, epoch, rng);
        within = run(client, &step, &within, killing).await.map_err(|()| None)?;
    }
    if rng.below(4) == 0 {
        return control(client, "ROLLBACK", killing).await.map(|()| model.clone()).map_err(|()| None);
    }
    match control(client, "COMMIT", killing).await {
        Ok(()) => Ok(within),
        Err(()) => Err(Some(within)),
    }
}

async fn control(client: &Client, sql: &str, killing: &AtomicBool) -> Result<(), ()> {
    match client.update(sql).await {
        Ok(_) => Ok(()),
        Err(_) if killing.load(Ordering::SeqCst) => Err(()),
        Err(error) => panic!("{sql}\n{:?} {error}", error.code()),
    }
}

/// The model after a step that was acknowledged or refused; an error if the server is dying.
async fn run(client: &Client, step: &Step, model: &Model, killing: &AtomicBool) -> Result<Model, ()> {
    match (client.update(&step.sql).await, step.count) {
        (Ok(count), Some(expected)) => {
            assert_eq!(count, expected, "{}", step.sql);
            Ok(step.after.clone())
        }
        (Ok(count), None) => panic!("a duplicate key passed, {count} rows: {}", step.sql),
        (Err(error), None) if error.code() == Some(Code::AlreadyExists) => Ok(model.clone()),
        (Err(_), _) if killing.load(Ordering::SeqCst) => Err(()),
        (Err(error), _) => panic!("{}\n{:?} {error}", step.sql, error.code()),
    }
}

fn step(model: &Model, epoch: u64, rng: &mut Rng) -> Step {
    match rng.below(10) {
        0..=2 => insert(model, epoch, rng),
        3 => replace(model, epoch, rng),
        4 => update_range(model, epoch, rng),
        5 => update_by_subquery(model, epoch, rng),
        6 | 7 => delete(model, epoch, rng),
        8 => append(model, epoch, rng),
        _ => cut(model, epoch, rng),
    }
}

fn values(rows: &BTreeMap<u64, (u64, String)>) -> String {
    let rows: Vec<_> = rows.iter().map(|(id, (v, s))| format!("({id}, {v}, '{s}')")).collect();
    rows.join(", ")
}

/// Now and then a large statement, of which a half would be easy to see.
fn some_rows(rng: &mut Rng) -> BTreeMap<u64, (u64, String)> {
    let size = if rng.below(6) == 0 { 150 } else { 1 + rng.below(6) };
    (0..size).map(|_| (rng.below(KEYS), (rng.below(1000), format!("s{}", rng.below(1_000_000))))).collect()
}

fn insert(model: &Model, epoch: u64, rng: &mut Rng) -> Step {
    let mut rows = some_rows(rng);
    // Mostly new keys; else one that is taken must refuse all.
    if rng.below(4) != 0 {
        rows.retain(|id, _| !model.keyed.contains_key(id));
    }
    if rows.is_empty() {
        return append(model, epoch, rng);
    }
    let sql = format!("INSERT INTO app.keyed{epoch} VALUES {}", values(&rows));
    let mut after = model.clone();
    let duplicate = rows.keys().any(|id| model.keyed.contains_key(id));
    let count = (!duplicate).then_some(rows.len() as i64);
    if !duplicate {
        after.keyed.extend(rows);
    }
    Step { sql, count, after }
}

fn replace(model: &Model, epoch: u64, rng: &mut Rng) -> Step {
    let rows = some_rows(rng);
    let sql = format!("REPLACE INTO app.keyed{epoch} VALUES {}", values(&rows));
    let mut after = model.clone();
    let count = Some(rows.len() as i64);
    after.keyed.extend(rows);
    Step { sql, count, after }
}

fn range(rng: &mut Rng) -> (u64, u64) {
    let from = rng.below(KEYS);
    (from, from + rng.below(KEYS / 4))
}

fn change(model: &Model, sql: String, mut apply: impl FnMut(u64, &mut (u64, String)) -> bool) -> Step {
    let mut after = model.clone();
    let count = after.keyed.iter_mut().filter_map(|(id, row)| apply(*id, row).then_some(())).count();
    Step { sql, count: Some(count as i64), after }
}

fn update_range(model: &Model, epoch: u64, rng: &mut Rng) -> Step {
    let (from, to) = range(rng);
    let sql = format!("UPDATE app.keyed{epoch} SET v = v + 1 WHERE id BETWEEN {from} AND {to}");
    change(model, sql, |id, row| {
        let hit = (from..=to).contains(&id);
        row.0 += u64::from(hit);
        hit
    })
}

fn update_by_subquery(model: &Model, epoch: u64, rng: &mut Rng) -> Step {
    let (rest, text) = (rng.below(7), format!("u{}", rng.below(1_000_000)));
    let inner = format!("SELECT id FROM app.keyed{epoch} WHERE v % 7 = {rest}");
    let sql = format!("UPDATE app.keyed{epoch} SET s = '{text}' WHERE id IN ({inner})");
    change(model, sql, |_, row| {
        let hit = row.0 % 7 == rest;
        if hit {
            row.1.clone_from(&text);
        }
        hit
    })
}

fn delete(model: &Model, epoch: u64, rng: &mut Rng) -> Step {
    let (from, to) = range(rng);
    let sql = format!("DELETE FROM app.keyed{epoch} WHERE id BETWEEN {from} AND {to}");
    let mut after = model.clone();
    after.keyed.retain(|id, _| !(from..=to).contains(id));
    Step { sql, count: Some((model.keyed.len() - after.keyed.len()) as i64), after }
}

fn append(model: &Model, epoch: u64, rng: &mut Rng) -> Step {
    let size = if rng.below(10) == 0 { 1500 } else { 1 + rng.below(5) };
    let mut after = model.clone();
    after.next += size;
    after.log.extend(model.next..after.next);
    let rows: Vec<_> = (model.next..after.next).map(|n| format!("({n})")).collect();
    Step { sql: format!("INSERT INTO app.log{epoch} VALUES {}", rows.join(", ")), count: Some(size as i64), after }
}

fn cut(model: &Model, epoch: u64, rng: &mut Rng) -> Step {
    let from = rng.below(model.next.max(1));
    let to = from + rng.below(40);
    let sql = format!("DELETE FROM app.log{epoch} WHERE n >= {from} AND n < {to}");
    let mut after = model.clone();
    after.log.retain(|n| !(from..to).contains(n));
    Step { sql, count: Some((model.log.len() - after.log.len()) as i64), after }
}

/// Compares what each user finds with the model, and returns the models that hold now.
pub async fn verify(server: &Server, epoch: u64, ends: Vec<(Model, Option<Model>)>, totals: &Totals) -> Vec<Model> {
    verify_loads(server, epoch, totals).await;
    let mut models = Vec::new();
    for (index, (before, after)) in ends.into_iter().enumerate() {
        let client = server.client(&user(index)).await;
        let keyed = query(&client, &format!("SELECT id, v, s FROM app.keyed{epoch} ORDER BY id")).await;
        let log = query(&client, &format!("SELECT n FROM app.log{epoch} ORDER BY n")).await;
        let found = (keyed, log);
        let in_flight = u64::from(after.is_some());
        let passed = after.filter(|after| after.rows() == found && *after != before);
        if let Some(mut after) = passed {
            totals.stored.fetch_add(1, Ordering::Relaxed);
            after.next = after.next.max(before.next);
            models.push(after);
        } else {
            totals.absent.fetch_add(in_flight, Ordering::Relaxed);
            assert_same(&user(index), &before.rows().0, &found.0);
            assert_same(&user(index), &before.rows().1, &found.1);
            models.push(before);
        }
    }
    models
}

/// Every load that was acknowledged is there with all its rows of every user; one in flight is so too, or not at all.
async fn verify_loads(server: &Server, epoch: u64, totals: &Totals) {
    let expected = totals.loads(epoch, |loads| loads.clone());
    let mut found: Option<BTreeSet<u64>> = None;
    for index in 0..USERS {
        let client = server.client(&user(index)).await;
        let sql = format!("SELECT part, count(*), count(DISTINCT n) FROM app.loaded{epoch} GROUP BY part");
        let lines = query(&client, &sql).await;
        let of_user: BTreeSet<u64> = lines
            .iter()
            .map(|line| {
                let (load, counts) = line.split_once('|').expect("three columns");
                assert_eq!(counts, format!("{LOAD_ROWS}|{LOAD_ROWS}"), "{} has a part of load {load}", user(index));
                load.parse().expect("a number")
            })
            .collect();
        let of_first = found.get_or_insert_with(|| of_user.clone());
        assert_eq!(*of_first, of_user, "a load is there for {} and not for another, or the other way", user(index));
    }
    let found = found.unwrap_or_default();
    assert!(found.is_superset(&expected.stored), "lost loads: {:?}", expected.stored.difference(&found));
    let unknown: Vec<_> =
        found.difference(&expected.stored).filter(|load| !expected.uncertain.contains(load)).collect();
    assert!(unknown.is_empty(), "loads from nowhere: {unknown:?}");
    totals.loads(epoch, |loads| {
        loads.stored = found;
        loads.uncertain.clear();
    });
}

/// A start in which the sweep finds an orphan dies of it.
pub fn no_orphans(server: &mut Server) {
    // What the last crash left is swept here, and an orderly end leaves nothing.
    server.restart_armed(None);
    assert!(server.terminate().success());
    server.restart_armed(Some("recover.object=return(crash)"));
    server.restart_armed(None);
}

/// Says which rows differ, not all that there are.
fn assert_same(user: &str, expected: &[String], found: &[String]) {
    let (wanted, there): (BTreeSet<_>, BTreeSet<_>) = (expected.iter().collect(), found.iter().collect());
    let lost: Vec<_> = wanted.difference(&there).take(20).collect();
    let foreign: Vec<_> = there.difference(&wanted).take(20).collect();
    assert!(
        expected == found,
        "{user}: {} rows expected, {} found; lost {lost:?}; too many {foreign:?}; doubled {}",
        expected.len(),
        found.len(),
        found.len() - there.len(),
    );
}
