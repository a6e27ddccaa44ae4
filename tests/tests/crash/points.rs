//! The process dies at each of its fail points, after which it starts again and has lost, doubled and halved nothing.
//!
//! The names are asked of the program itself, so that a new fail point is tried from the day it is there; one that the
//! work below never reaches fails the test.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use insula_client::Client;
use insula_tests::{Rng, Server, Setup, execute, query};

use super::workload::{self, Model, Totals, USERS, create_tables, no_orphans, user, verify, write};

/// Points of statements that the work below does not have.
const BY_HAND: [&str; 3] = ["backup.", "restore.", "erase."];
/// A point that is not reached within this time is none.
const LIMIT: Duration = Duration::from_secs(180);
/// Rows of a table that is made by one statement.
const SIDE_ROWS: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_fail_point_loses_doubles_and_halves_nothing() {
    let seed = Rng::seed("INSULA_CRASH_SEED");
    let mut rng = Rng::new(seed);
    let only = std::env::var("INSULA_CRASH_POINT").ok();
    let mut err = std::io::stderr();
    let _ = writeln!(err, "crashes at fail points: INSULA_CRASH_SEED={seed}");
    a_first_start_cut_short().await;
    let totals = Arc::new(Totals::default());
    let mut server = Setup::dev().start();
    execute(&server.client("admin").await, "CREATE NAMESPACE app").await;
    let (mut epoch, mut tried) = (0, 0);
    for point in points().iter().filter(|point| only.as_ref().is_none_or(|only| only == *point)) {
        // Reached at a first start alone, or by work that is done by hand (`upkeep`).
        if point == "recover.owned" || BY_HAND.iter().any(|group| point.starts_with(group)) {
            continue;
        }
        let _ = writeln!(err, "crash at {point}");
        server.restart_armed(None);
        create_tables(&server, epoch).await;
        let models = vec![Model::default(); USERS];
        let models = crash_at(&mut server, point, epoch, models, &mut rng, &totals).await;
        // What was recovered goes on working, and dies of the next crash no worse.
        crash_at(&mut server, "commit.written", epoch, models, &mut rng, &totals).await;
        no_orphans(&mut server);
        (epoch, tried) = (epoch + 1, tried + 1);
    }
    let _ = writeln!(
        err,
        "{tried} fail points; {} statements and {} loads acknowledged and found; no orphans; of the statements in flight {} \
         wholly there, {} wholly absent",
        totals.acknowledged.load(Ordering::Relaxed),
        totals.loaded(),
        totals.stored.load(Ordering::Relaxed),
        totals.absent.load(Ordering::Relaxed),
    );
}

/// The program names them when it is asked for one that it does not have.
fn points() -> Vec<String> {
    let output = Setup::dev().environment("INSULA_FAILPOINTS", "which=off").run();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "a fail point that is not there was armed");
    let line = text.lines().find_map(|line| line.split_once("; there are ")).map(|(_, names)| names);
    let names = line.unwrap_or_else(|| panic!("no list of fail points in: {text}"));
    let names: Vec<String> = names.split(", ").map(|name| name.trim().to_owned()).collect();
    assert!(names.len() > 20, "{names:?}");
    names
}

/// Those of one group.
pub fn points_of(group: &str) -> Vec<String> {
    let points: Vec<String> = points().into_iter().filter(|point| point.starts_with(group)).collect();
    assert!(!points.is_empty(), "no fail points {group}");
    points
}

async fn a_first_start_cut_short() {
    let setup = Setup::dev();
    let armed = setup.clone().environment("INSULA_FAILPOINTS", "recover.owned=return(crash)").run();
    assert!(!armed.status.success(), "the first start did not reach recover.owned");
    let server = setup.start();
    execute(&server.client("admin").await, "CREATE NAMESPACE app").await;
}

/// Works until the process dies at `point`, starts it again and compares.
async fn crash_at(
    server: &mut Server,
    point: &str,
    epoch: u64,
    models: Vec<Model>,
    rng: &mut Rng,
    totals: &Arc<Totals>,
) -> Vec<Model> {
    let often = rng.below(3);
    let armed = match point {
        // A start has something to tidy only after a crash, and only a failed change is abandoned.
        _ if point.starts_with("recover.") => "flush.vectors=return(crash)".to_owned(),
        "change.abandoned" => "change.vector=1*return;change.abandoned=return(crash)".to_owned(),
        _ => format!("{point}={often}*off->return(crash)"),
    };
    let ends = if server.starts_armed(Some(&armed)) {
        work_until_dead(server, point, epoch, models, rng, totals).await
    } else {
        models.into_iter().map(|model| (model, None)).collect()
    };
    if point.starts_with("recover.") {
        let armed = server.setup().clone().environment("INSULA_FAILPOINTS", &format!("{point}=return(crash)")).run();
        assert!(!armed.status.success(), "the start after a crash did not reach {point}");
    }
    server.restart_armed(None);
    no_half_table(server, epoch).await;
    verify(server, epoch, ends, totals).await
}

async fn work_until_dead(
    server: &mut Server,
    point: &str,
    epoch: u64,
    models: Vec<Model>,
    rng: &mut Rng,
    totals: &Arc<Totals>,
) -> Vec<(Model, Option<Model>)> {
    // From the start: any error may be the end.
    let dying = Arc::new(AtomicBool::new(true));
    // The process may die of the very first connections, so these are part of the work.
    let mut writers = Vec::new();
    for (index, model) in models.into_iter().enumerate() {
        let (url, rng, dying, totals) = (server.url().to_owned(), rng.fork(), Arc::clone(&dying), Arc::clone(totals));
        writers.push(tokio::spawn(async move {
            match connect(&url, &user(index)).await {
                Some(client) => write(client, epoch, model, rng, dying, totals).await,
                None => (model, None),
            }
        }));
    }
    let (url, flushing, defining) = (server.url().to_owned(), rng.fork(), rng.fork());
    let (dying_too, counted) = (Arc::clone(&dying), Arc::clone(totals));
    let flusher = tokio::spawn(async move {
        let Some(client) = connect(&url, "admin").await else { return };
        workload::flush(client, epoch, flushing, dying, counted).await;
    });
    let url = server.url().to_owned();
    let (loading, counted) = (Arc::clone(&dying_too), Arc::clone(totals));
    let loader = tokio::spawn(async move {
        let Some(client) = connect(&url, "admin").await else { return };
        workload::load(client, epoch, loading, counted).await;
    });
    let url = server.url().to_owned();
    let definer = tokio::spawn(async move {
        let Some(client) = connect(&url, "admin").await else { return };
        define(client, &url, epoch, defining).await;
    });
    let all = async {
        let ends = join_all(writers).await;
        flusher.await.expect("the flushing task");
        definer.await.expect("the defining task");
        loader.await.expect("the loading task");
        ends
    };
    let Ok(ends) = tokio::time::timeout(LIMIT, all).await else {
        panic!("the work never reached the fail point {point}, or hangs");
    };
    assert!(server.ends_within(LIMIT), "{point}: statements failed, but the process lives");
    ends.into_iter().map(|end| end.expect("a writing task")).collect()
}

async fn connect(url: &str, user: &str) -> Option<Client> {
    Client::connect(url, &insula_client::Credentials::user(user)).await.ok()
}

/// Tables, namespaces and users come and go until a statement fails.
async fn define(client: Client, url: &str, epoch: u64, mut rng: Rng) {
    for round in 0.. {
        let side = format!("app.side{epoch}_{}", rng.below(3));
        let numbers = (0..SIDE_ROWS).map(|n| format!("({n})")).collect::<Vec<_>>().join(", ");
        let statements = [
            format!("DROP TABLE IF EXISTS {side}"),
            format!("CREATE TABLE {side} AS SELECT column1 AS n FROM (VALUES {numbers})"),
            format!("FLUSH TABLE {side}"),
            format!("ALTER TABLE {side} ADD COLUMN x BIGINT DEFAULT 7"),
            format!("DELETE FROM {side} WHERE n < 0"),
            format!("CREATE NAMESPACE round{epoch}_{round}_{}", rng.below(1 << 30)),
        ];
        for sql in statements {
            let done = if sql.starts_with("FLUSH") {
                use futures::TryStreamExt;
                async { client.query(&sql).await?.try_collect::<Vec<_>>().await }.await.map(drop)
            } else {
                client.update(&sql).await.map(drop)
            };
            if let Err(error) = done {
                use tonic::Code::{AlreadyExists, InvalidArgument, NotFound};
                let fault = matches!(error.code(), Some(AlreadyExists | InvalidArgument | NotFound));
                assert!(!fault, "{sql}: {error}");
                return;
            }
        }
        // A user who was never seen before is written down.
        let Some(guest) = connect(url, &format!("guest {epoch} {round} {}", rng.next_u64())).await else { return };
        if guest.update("DELETE FROM app.nothing").await.is_err_and(|e| e.code() != Some(tonic::Code::NotFound)) {
            return;
        }
    }
}

/// A table that was made with its rows has all of them, or is not there.
async fn no_half_table(server: &Server, epoch: u64) {
    let admin = server.client("admin").await;
    for n in 0..3 {
        let side = format!("app.side{epoch}_{n}");
        let Ok(rows) = admin.query(&format!("SELECT n FROM {side}")).await else { continue };
        drop(rows);
        assert_eq!(query(&admin, &format!("SELECT count(*) FROM {side}")).await, [SIDE_ROWS.to_string()], "{side}");
    }
}
