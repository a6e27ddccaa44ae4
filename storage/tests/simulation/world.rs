//! One seed's world: a store with its runtime and clock, the users' sorted maps, and the schedule.

mod alter;
mod life;
mod other;
mod statement;

use std::{fmt, sync::Arc};

use insula_storage::{Error, ReadView, TableDef, arm_fail_points, fail_points};

use super::{
    model::{Rows, difference, settle},
    read::{self, Initial},
    rng::Rng,
};
use life::{Life, RETENTION_MICROS};

pub const USERS: u64 = 3;

/// What happened, over all seeds: a simulation that never meets a fault proves nothing.
#[derive(Default)]
pub struct Totals {
    steps: u64,
    statements: u64,
    loads: u64,
    duplicates: u64,
    flushes: u64,
    compactions: u64,
    alterations: u64,
    crashes: u64,
    cut_short: u64,
    faults: u64,
    stored: u64,
    absent: u64,
    views: u64,
}

impl Totals {
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.parts_mut().into_iter().zip(other.parts()) {
            *sum += more.1;
        }
    }

    fn parts(&self) -> [(&'static str, u64); 13] {
        [
            ("steps", self.steps),
            ("statements", self.statements),
            ("of them loads", self.loads),
            ("refused duplicates", self.duplicates),
            ("flushes", self.flushes),
            ("compactions", self.compactions),
            ("alterations", self.alterations),
            ("crashes", self.crashes),
            ("of them in the middle of a step", self.cut_short),
            ("faults met", self.faults),
            ("cut statements wholly there", self.stored),
            ("wholly absent", self.absent),
            ("views read again", self.views),
        ]
    }

    fn parts_mut(&mut self) -> [&mut u64; 13] {
        [
            &mut self.steps,
            &mut self.statements,
            &mut self.loads,
            &mut self.duplicates,
            &mut self.flushes,
            &mut self.compactions,
            &mut self.alterations,
            &mut self.crashes,
            &mut self.cut_short,
            &mut self.faults,
            &mut self.stored,
            &mut self.absent,
            &mut self.views,
        ]
    }

    /// Every kind of event must have come to pass in so many seeds.
    pub fn check(&self) {
        for (name, count) in self.parts() {
            assert!(count > 0, "the simulation never met: {name}");
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.parts().iter().map(|(name, count)| format!("{count} {name}")).collect();
        f.write_str(&parts.join(", "))
    }
}

/// A view from before, and what it showed.
struct Held {
    view: Arc<ReadView>,
    table: Arc<TableDef>,
    users: Vec<Rows>,
    initial: Initial,
}

pub struct World {
    rng: Rng,
    life: Life,
    table: Arc<TableDef>,
    users: Vec<Rows>,
    initial: Initial,
    held: Vec<Held>,
    others: other::Others,
    totals: Totals,
    /// Prints each step.
    tell: bool,
}

impl World {
    /// Runs one seed to its end; panics where the store and the maps differ.
    pub fn run(seed: u64, tell: bool) -> Totals {
        let mut rng = Rng::new(seed);
        let life = Life::new(&mut rng);
        let table = life.block_on(statement::create_table(life.store(), &mut rng)).unwrap();
        let users = vec![Rows::new(); USERS as usize];
        let (initial, held, others, totals) = Default::default();
        let mut world = Self { rng, life, table, users, initial, held, others, totals, tell };
        for _ in 0..20 + world.rng.below(40) {
            world.step();
        }
        world.reopen();
        world.check();
        world.totals
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.tell {
            eprintln!("{:6} {}", self.totals.steps, what());
        }
    }

    fn step(&mut self) {
        self.totals.steps += 1;
        self.life.pass(1 + self.rng.below(2_000_000) as i64);
        match self.rng.below(40) {
            0..20 => self.write(),
            20..25 => self.flush(),
            25 => {
                let days = [1, 3, 8][self.rng.below(3) as usize];
                self.tell(|| format!("{days} days pass"));
                self.life.pass(days * RETENTION_MICROS / 7);
            }
            26..28 => self.hold(),
            28..30 => self.read_held(),
            30 => self.crash("between two steps"),
            31 => self.reopen(),
            32..35 => self.arm(),
            35..37 => self.other(),
            37..39 => self.alter(),
            _ => self.compact(),
        }
        if self.rng.below(2) == 0 {
            self.check();
        }
    }

    /// Arms a fail point: one of the steps to come will fail there.
    fn arm(&mut self) {
        // Starts have crashes of their own, and what is done by hand is not part of the schedule.
        let others = ["recover.", "backup.", "restore.", "erase."];
        let met = |name: &&&str| !others.iter().any(|group| name.starts_with(group));
        let points: Vec<_> = fail_points().iter().filter(met).collect();
        let name = points[self.rng.below(points.len() as u64) as usize];
        let action =
            format!("{name}={}*off->1*return{}", self.rng.below(3), ["", "(full)"][self.rng.below(2) as usize]);
        self.tell(|| action.clone());
        arm_fail_points(&action).unwrap();
        self.life.faulty = true;
    }

    /// An error that a fault explains; any other is a fault of the store.
    fn expect_fault(&mut self, error: &Error) {
        self.tell(|| format!("  failed: {error}"));
        assert!(self.life.faulty, "nothing was made to fail, and yet: {error} {error:?}");
        self.totals.faults += 1;
    }

    fn flush(&mut self) {
        self.tell(|| "flush".into());
        let (store, table) = (Arc::clone(self.life.store()), self.table.id);
        match self.life.run(&mut self.rng, async move { store.flush(table).await }) {
            None => self.crash("in a flush"),
            Some(Ok(_)) => self.totals.flushes += 1,
            Some(Err(error)) => self.expect_fault(&error),
        }
    }

    fn compact(&mut self) {
        self.tell(|| "compact".into());
        let (store, table) = (Arc::clone(self.life.store()), self.table.id);
        match self.life.run(&mut self.rng, async move { store.compact(table).await }) {
            None => self.crash("in a compaction"),
            Some(Ok(report)) => self.totals.compactions += u64::from(report.rows > 0),
            Some(Err(error)) => self.expect_fault(&error),
        }
    }

    fn hold(&mut self) {
        if !self.check() {
            return;
        }
        self.tell(|| "hold a view".into());
        let (view, table) = (self.life.store().view(), Arc::clone(&self.table));
        self.held.push(Held { view, table, users: self.users.clone(), initial: self.initial.clone() });
    }

    /// What a view shows never changes.
    fn read_held(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let index = self.rng.below(self.held.len() as u64) as usize;
        let held = self.held.swap_remove(index);
        self.tell(|| "read a view again".into());
        for (user, rows) in (0..).zip(&held.users) {
            let found = self.life.block_on(read::rows(self.life.store(), &held.view, &held.table, user, &held.initial));
            match found {
                Ok(found) => {
                    if let Some(difference) = difference(rows, &found, i64::MIN) {
                        panic!("user {user}, through a view from before: {difference}");
                    }
                }
                Err(error) => return self.expect_fault(&error),
            }
        }
        self.totals.views += 1;
    }

    /// Compares all users' rows with their maps; false: a fault was in the way.
    fn check(&mut self) -> bool {
        let view = self.life.store().view();
        for user in 0..USERS {
            let read = read::rows(self.life.store(), &view, &self.table, user, &self.initial);
            let found = match self.life.block_on(read) {
                Ok(found) => found,
                Err(error) => {
                    self.expect_fault(&error);
                    return false;
                }
            };
            let rows = &mut self.users[user as usize];
            if let Some(difference) = difference(rows, &found, self.life.horizon()) {
                panic!("user {user}: {difference}");
            }
            settle(rows, &found);
        }
        true
    }

    /// Close and open again.
    fn reopen(&mut self) {
        self.tell(|| "close and open".into());
        self.held.clear();
        self.life.close();
        self.opened();
    }

    /// The store is dropped as it is, in the middle of whatever it does, and opened again.
    fn crash(&mut self, place: &str) {
        self.tell(|| format!("crash {place}"));
        self.totals.crashes += 1;
        self.totals.cut_short += u64::from(place != "between two steps");
        self.held.clear();
        self.life.kill();
        self.opened();
    }

    fn opened(&mut self) {
        self.totals.faults += self.life.open(&mut self.rng);
        let orphans = self.life.block_on(self.life.store().orphans()).unwrap();
        assert!(orphans.is_empty(), "no manifest names {orphans:?}");
        let tables = self.life.store().tables();
        let table = tables.into_iter().find(|table| table.id == self.table.id).expect("the table is lost");
        self.altered(&table);
        self.settle_others();
    }
}
