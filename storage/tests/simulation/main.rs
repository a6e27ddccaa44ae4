//! Seeded simulation of the store: what happens, when, and what fails is drawn from one seed, and after every step each
//! user's rows equal a sorted map, soft-deleted ones within their retention included.
//!
//! Several users write, by statement and by load; tables are flushed; the clock jumps; views are held over changes and read again; the store is
//! closed, or dropped in the middle of a step as a crash does; a fail point, armed at random, makes a step fail as a
//! full or broken disk would. A statement cut short is wholly there afterwards or wholly absent; no object is left that
//! no manifest names.
//!
//! `INSULA_SIM_SEEDS` says how many seeds are run (60), `INSULA_SIM_FIRST` which is the first, and `INSULA_SIM_SEED`
//! repeats a single one, telling its steps. Tasks run on one thread; what the store does on threads of its own (the
//! log's writer, the encoding of files) is not in the hands of the seed, so that a repeated crash may fall a little
//! earlier or later in its step.

mod model;
mod read;
#[path = "../../../tests/src/rng.rs"]
#[allow(dead_code, reason = "shared with the tests of the whole server")]
mod rng;
mod world;

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::Instant,
};

use world::{Totals, World};

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn any_schedule_of_work_crashes_and_faults_answers_like_sorted_maps() {
    let single = std::env::var("INSULA_SIM_SEED").is_ok();
    let first = number("INSULA_SIM_SEED", number("INSULA_SIM_FIRST", 1));
    let seeds = if single { 1 } else { number("INSULA_SIM_SEEDS", 60) };
    let (start, mut totals) = (Instant::now(), Totals::default());
    for seed in first..first + seeds {
        let run = AssertUnwindSafe(|| World::run(seed, single));
        match catch_unwind(run) {
            Ok(more) => totals.add(&more),
            Err(panic) => {
                eprintln!("the seed was {seed}: repeat it with INSULA_SIM_SEED={seed}");
                resume_unwind(panic);
            }
        }
    }
    eprintln!("simulation: {seeds} seeds from {first} on in {:.1?}; {totals}", start.elapsed());
    if seeds >= 60 {
        totals.check();
    }
}
