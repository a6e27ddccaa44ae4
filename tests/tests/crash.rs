//! kill -9 at random moments of mixed writes and flushes, again and again on one data directory. After each restart
//! every user's rows are compared with a model in which the statement in flight may be wholly there or wholly absent:
//! no acknowledged row is lost, none is doubled, no half statement stays.
//!
//! `INSULA_CRASHES` sets the number of kills, `INSULA_CRASH_SEED` repeats a run's choices (though not its timing).

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{TryStreamExt, future::join_all};
use insula_client::Client;
use insula_tests::{Rng, Server, Setup, execute, query};
use tonic::Code;

const USERS: usize = 4;
const KEYS: u64 = 400;
/// Kills until a new pair of tables takes over, so that one run does not only test ever larger tables.
const EPOCH: u64 = 25;

/// What one user must find in the tables of one epoch.
#[derive(Clone, Default, PartialEq, Debug)]
struct Model {
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
struct Totals {
    acknowledged: AtomicU64,
    flushes: AtomicU64,
    broken_flushes: AtomicU64,
    stored: AtomicU64,
    absent: AtomicU64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_crash_loses_doubles_or_halves_anything() {
    let kills: u64 = std::env::var("INSULA_CRASHES").map_or(200, |text| text.parse().expect("a number of kills"));
    let seed = Rng::seed("INSULA_CRASH_SEED");
    let mut rng = Rng::new(seed);
    let mut err = std::io::stderr();
    // Past libtest's capture: a run that hangs should have told its seed.
    let _ = writeln!(err, "crash test: {kills} kills, INSULA_CRASH_SEED={seed}");
    let totals = Arc::new(Totals::default());
    let mut server = Setup::dev().start();
    execute(&server.client("admin").await, "CREATE NAMESPACE app").await;
    let mut finished: Vec<(u64, Vec<Model>)> = Vec::new();
    let mut models = vec![Model::default(); USERS];
    for kill in 0..kills {
        let epoch = kill / EPOCH;
        if kill % EPOCH == 0 {
            create_tables(&server, epoch).await;
        }
        let ends = write_until_killed(&mut server, epoch, models, &mut rng, &totals).await;
        if rng.below(8) == 0 {
            kill_while_starting(server.setup(), &mut rng);
        }
        server.restart();
        models = verify(&server, epoch, ends, &totals).await;
        if (kill + 1) % EPOCH == 0 {
            finished.push((epoch, std::mem::replace(&mut models, vec![Model::default(); USERS])));
        }
    }
    let acknowledged = totals.acknowledged.load(Ordering::Relaxed);
    for (epoch, models) in finished {
        let ends = models.into_iter().map(|model| (model, None)).collect();
        verify(&server, epoch, ends, &totals).await;
    }
    let _ = writeln!(
        err,
        "crash test: {kills} kills survived; {acknowledged} statements acknowledged and found; {} flushes ended and {} \
         were killed; of the statements in flight {} were wholly there and {} wholly absent",
        totals.flushes.load(Ordering::Relaxed),
        totals.broken_flushes.load(Ordering::Relaxed),
        totals.stored.load(Ordering::Relaxed),
        totals.absent.load(Ordering::Relaxed),
    );
}

fn user(index: usize) -> String {
    format!("user {index}")
}

async fn create_tables(server: &Server, epoch: u64) {
    let admin = server.client("admin").await;
    let keyed = "id BIGINT PRIMARY KEY, v BIGINT NOT NULL, s VARCHAR NOT NULL";
    execute(&admin, &format!("CREATE TABLE app.keyed{epoch} ({keyed})")).await;
    execute(&admin, &format!("CREATE TABLE app.log{epoch} (n BIGINT NOT NULL)")).await;
}

/// All users write and `admin` flushes until the kill; each user's model, and the model had the last statement passed.
async fn write_until_killed(
    server: &mut Server,
    epoch: u64,
    models: Vec<Model>,
    rng: &mut Rng,
    totals: &Arc<Totals>,
) -> Vec<(Model, Option<Model>)> {
    let killing = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for (index, model) in models.into_iter().enumerate() {
        let client = server.client(&user(index)).await;
        let work = write(client, epoch, model, rng.fork(), Arc::clone(&killing), Arc::clone(totals));
        writers.push(tokio::spawn(work));
    }
    let flusher = flush(server.client("admin").await, epoch, rng.fork(), Arc::clone(&killing), Arc::clone(totals));
    let flusher = tokio::spawn(flusher);
    tokio::time::sleep(Duration::from_millis(10 + rng.below(250))).await;
    killing.store(true, Ordering::SeqCst);
    server.kill();
    flusher.await.expect("the flushing task");
    let ends = join_all(writers).await;
    ends.into_iter().map(|end| end.expect("a writing task")).collect()
}

/// A crash of the recovery itself.
fn kill_while_starting(setup: &Setup, rng: &mut Rng) {
    let mut child = setup.spawn();
    std::thread::sleep(Duration::from_millis(rng.below(100)));
    let _ = child.kill();
    let _ = child.wait();
}

async fn flush(client: Client, epoch: u64, mut rng: Rng, killing: Arc<AtomicBool>, totals: Arc<Totals>) {
    loop {
        tokio::time::sleep(Duration::from_millis(rng.below(60))).await;
        let sql = match rng.below(3) {
            0 => "FLUSH ALL".to_owned(),
            1 => format!("FLUSH TABLE app.log{epoch}"),
            _ => format!("FLUSH TABLE app.keyed{epoch}"),
        };
        let begun_before = !killing.load(Ordering::SeqCst);
        let done = async { client.query(&sql).await?.try_collect::<Vec<_>>().await }.await;
        match done {
            Ok(_) => totals.flushes.fetch_add(1, Ordering::Relaxed),
            Err(_) if killing.load(Ordering::SeqCst) => {
                totals.broken_flushes.fetch_add(u64::from(begun_before), Ordering::Relaxed);
                return;
            }
            Err(error) => panic!("{sql}: {:?} {error}", error.code()),
        };
    }
}

async fn write(
    client: Client,
    epoch: u64,
    mut model: Model,
    mut rng: Rng,
    killing: Arc<AtomicBool>,
    totals: Arc<Totals>,
) -> (Model, Option<Model>) {
    loop {
        let step = step(&model, epoch, &mut rng);
        match (client.update(&step.sql).await, step.count) {
            (Ok(count), Some(expected)) => {
                assert_eq!(count, expected, "{}", step.sql);
                totals.acknowledged.fetch_add(1, Ordering::Relaxed);
                model = step.after;
            }
            (Ok(count), None) => panic!("a duplicate key passed, {count} rows: {}", step.sql),
            (Err(error), None) if error.code() == Some(Code::AlreadyExists) => {}
            (Err(_), _) if killing.load(Ordering::SeqCst) => return (model, Some(step.after)),
            (Err(error), _) => panic!("{}\n{:?} {error}", step.sql, error.code()),
        }
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
async fn verify(server: &Server, epoch: u64, ends: Vec<(Model, Option<Model>)>, totals: &Totals) -> Vec<Model> {
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
