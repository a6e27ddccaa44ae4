//! Crashes of the real process, at random moments and at every fail point. After each restart every user's rows are
//! compared with a model in which the statement in flight may be wholly there or wholly absent: no acknowledged row is
//! lost, none is doubled, no half statement stays.
//!
//! `INSULA_CRASHES` sets the number of random kills (40), `INSULA_CRASH_SEED` repeats a run's choices (though not its
//! timing), `INSULA_CRASH_POINT` tries a single fail point.

mod points;
mod random;
mod upkeep;
mod workload;
