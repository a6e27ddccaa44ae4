//! Texts and plans as clients send them, any bytes at all: parsed and taken apart as a statement is before it is planned.
//! See `fuzz/` in the repository.

pub use insula_storage::fuzz::Target;

use crate::{
    sql::parse,
    statement::{substrait, work_of},
};

pub const TARGETS: &[Target] = &[("sql", sql), ("substrait", substrait_plan)];

/// This crate's targets, and those of the storage.
pub fn targets() -> impl Iterator<Item = Target> {
    insula_storage::fuzz::TARGETS.iter().chain(TARGETS).copied()
}

fn sql(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if parse(&text).is_ok() {
        let _ = work_of(&text);
    }
}

fn substrait_plan(data: &[u8]) {
    let _ = substrait::decode(data);
}
