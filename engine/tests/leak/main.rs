//! No reply holds another user's canary, key or count: generated statements of many users, run side by side on few
//! threads over rows that lie hot, cold and in files that users share.
//!
//! Each user's rows hold texts and numbers that name their owner ([`canary`]); every reply, be it rows, an error, a plan
//! or a table of the server, is searched for those of others, whatever was asked. What is asked comes from a grammar
//! ([`grammar`]); where the answer is known from a copy of the user's rows, it must be that ([`known`], [`changes`]).
//!
//! `INSULA_LEAK_QUERIES` says how many statements are made (4,000), by `INSULA_LEAK_USERS` users (100);
//! `INSULA_LEAK_SEED` repeats a run.

mod actions;
mod canary;
mod changes;
mod grammar;
mod known;
mod names;
#[path = "../../../tests/src/rng.rs"]
#[allow(dead_code, reason = "shared with the tests of the whole server")]
mod rng;
mod rows;
mod world;

use std::sync::{Arc, atomic::Ordering};

use rng::Rng;
use world::{User, World};

/// Users are divided among so many tasks, each asking for one of its users at a time.
const LANES: usize = 12;

fn setting(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// A fixed seed where none is given, so that a build fails by what was changed and not by chance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_reply_holds_what_is_anothers() {
    let (queries, count) = (setting("INSULA_LEAK_QUERIES", 4_000), setting("INSULA_LEAK_USERS", 100) as usize);
    let seed = setting("INSULA_LEAK_SEED", 7);
    eprintln!("INSULA_LEAK_SEED={seed} INSULA_LEAK_USERS={count} INSULA_LEAK_QUERIES={queries}");
    let (world, users) = World::new(seed, count).await;
    let world = Arc::new(world);
    let mut lanes: Vec<Vec<User>> = (0..LANES).map(|_| Vec::new()).collect();
    for user in users {
        lanes[user.index % LANES].push(user);
    }
    let mut rng = Rng::new(seed ^ 0x5eed);
    let tasks: Vec<_> = lanes
        .into_iter()
        .map(|users| tokio::spawn(ask_all(Arc::clone(&world), users, rng.fork(), queries / LANES as u64)))
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let (asked, answered) = (world.asked.load(Ordering::Relaxed), world.answered.load(Ordering::Relaxed));
    eprintln!("{asked} statements by {count} users, {answered} of them answered, 0 leaks");
    if std::env::var("INSULA_LEAK_TELL").is_ok() {
        let mut refusals: Vec<_> = world.refusals.lock().iter().map(|(what, n)| (*n, what.clone())).collect();
        refusals.sort();
        refusals.iter().for_each(|(n, what)| eprintln!("{n:>8} {what}"));
    }
    assert!(answered * 10 > asked * 8, "too many statements are refused to prove much");
    world.engine.close().await.unwrap();
}

async fn ask_all(world: Arc<World>, mut users: Vec<User>, mut rng: Rng, statements: u64) {
    for _ in 0..statements {
        let at = rng.below(users.len() as u64) as usize;
        world.act(&mut users[at], &mut rng).await;
    }
    for user in &users {
        for question in known::everything(&user.rows) {
            world.verify(user, &question).await;
        }
    }
}
