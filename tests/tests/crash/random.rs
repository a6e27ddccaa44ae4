//! kill -9 at random moments, again and again on one data directory.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use insula_tests::{Rng, Server, Setup, execute};

use super::workload::{self, Model, Totals, USERS, create_tables, no_orphans, user, verify, write};

/// Kills until a new pair of tables takes over, so that one run does not only test ever larger tables.
const EPOCH: u64 = 25;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_crash_loses_doubles_or_halves_anything() {
    let kills: u64 = std::env::var("INSULA_CRASHES").map_or(40, |text| text.parse().expect("a number of kills"));
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
            no_orphans(&mut server);
            finished.push((epoch, std::mem::replace(&mut models, vec![Model::default(); USERS])));
        }
    }
    let acknowledged = totals.acknowledged.load(Ordering::Relaxed);
    for (epoch, models) in finished {
        let ends = models.into_iter().map(|model| (model, None)).collect();
        verify(&server, epoch, ends, &totals).await;
    }
    no_orphans(&mut server);
    let _ = writeln!(
        err,
        "crash test: {kills} kills survived; {acknowledged} statements and {} loads acknowledged and found; no orphans; {} \
         compactions and {} flushes ended and {} of either were killed; of the statements in flight {} were wholly there \
         and {} wholly absent",
        totals.loaded(),
        totals.compactions.load(Ordering::Relaxed),
        totals.flushes.load(Ordering::Relaxed),
        totals.broken_flushes.load(Ordering::Relaxed),
        totals.stored.load(Ordering::Relaxed),
        totals.absent.load(Ordering::Relaxed),
    );
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
    let flusher =
        workload::flush(server.client("admin").await, epoch, rng.fork(), Arc::clone(&killing), Arc::clone(totals));
    let flusher = tokio::spawn(flusher);
    let loader = workload::load(server.client("admin").await, epoch, Arc::clone(&killing), Arc::clone(totals));
    let loader = tokio::spawn(loader);
    tokio::time::sleep(Duration::from_millis(10 + rng.below(250))).await;
    killing.store(true, Ordering::SeqCst);
    server.kill();
    flusher.await.expect("the flushing task");
    loader.await.expect("the loading task");
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
