//! Table options: `WITH (flush_rows = 1000, flush_interval = '5 minutes', …)`.

use std::time::Duration;

use datafusion::sql::sqlparser::ast::{CreateTableOptions, SqlOption};
use insula_storage::{Durability, Placement, TableKind, TableOptions};

use super::text;
use crate::{Error, Result, sql::normalize};

const KNOWN: [&str; 8] =
    ["type", "grants", "flush_rows", "flush_bytes", "flush_interval", "deleted_retention", "durability", "placement"];

/// What a list of options says.
#[derive(Default)]
pub(super) struct Given {
    pub options: TableOptions,
    pub kind: Option<TableKind>,
    /// Whether nobody is to read a shared table before they are granted it.
    pub without_grants: Option<bool>,
}

pub(super) fn parse(options: &CreateTableOptions) -> Result<Given> {
    let list = match options {
        CreateTableOptions::None => return Ok(Given::default()),
        CreateTableOptions::With(list) => list,
        _ => return Err(Error::invalid("table options stand in WITH (…)")),
    };
    change(TableOptions::default(), list)
}

/// `parsed` with what the list says.
pub(super) fn change(mut parsed: TableOptions, list: &[SqlOption]) -> Result<Given> {
    let (mut kind, mut without_grants) = (None, None);
    for option in list {
        let SqlOption::KeyValue { key, value } = option else {
            return Err(Error::invalid(format!("table option \"{option}\" has no value; write name = value")));
        };
        let (key, value) = (normalize(key), text(value)?);
        match key.as_str() {
            "type" => kind = Some(table_kind(&value)?),
            "grants" if value.eq_ignore_ascii_case("none") => without_grants = Some(true),
            "grants" if value.eq_ignore_ascii_case("select") => without_grants = Some(false),
            "grants" => return Err(Error::invalid(format!("grants is 'select' or 'none', not '{value}'"))),
            "flush_rows" => parsed.flush_rows = positive(&key, value.parse().ok(), &value)?,
            "flush_bytes" => parsed.flush_bytes = positive(&key, bytes(&value), &value)?,
            "flush_interval" => parsed.flush_interval = duration(&key, &value)?,
            "deleted_retention" => parsed.deleted_retention = duration(&key, &value)?,
            "durability" => parsed.durability = durability(&value)?,
            "placement" if value.eq_ignore_ascii_case("packed") => parsed.placement = Placement::Packed,
            "placement" if value.eq_ignore_ascii_case("file") => parsed.placement = Placement::File,
            "placement" => return Err(Error::invalid(format!("placement is 'packed' or 'file', not '{value}'"))),
            _ => {
                return Err(Error::invalid(format!("unknown table option \"{key}\"; there are {}", KNOWN.join(", "))));
            }
        }
    }
    Ok(Given { options: parsed, kind, without_grants })
}

fn table_kind(value: &str) -> Result<TableKind> {
    match value.to_ascii_lowercase().as_str() {
        "user" => Ok(TableKind::User),
        "shared" => Ok(TableKind::Shared),
        "stream" => Ok(TableKind::Stream),
        _ => Err(Error::invalid(format!("type is 'user', 'shared' or 'stream', not '{value}'"))),
    }
}

fn durability(value: &str) -> Result<Durability> {
    match value.to_ascii_lowercase().as_str() {
        "sync" => Ok(Durability::Sync),
        "periodic" => Ok(Durability::Periodic),
        _ => Err(Error::invalid(format!("durability is 'sync' or 'periodic', not '{value}'"))),
    }
}

fn positive(key: &str, number: Option<u64>, value: &str) -> Result<u64> {
    let number = number.filter(|number| *number > 0);
    number.ok_or_else(|| Error::invalid(format!("{key} takes a number above 0, not '{value}'")))
}

/// `1048576`, `'1MB'`, `'64 MiB'`.
fn bytes(value: &str) -> Option<u64> {
    let value = value.trim();
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "kib" => 1 << 10,
        "mb" => 1_000_000,
        "mib" => 1 << 20,
        "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// `'5 minutes'`, `'30s'`; `'off'`: never.
fn duration(key: &str, value: &str) -> Result<Option<Duration>> {
    if value.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let parsed = humantime::parse_duration(value).ok().filter(|duration| !duration.is_zero());
    parsed
        .map(Some)
        .ok_or_else(|| Error::invalid(format!("{key} takes a time such as '5 minutes', or 'off', not '{value}'")))
}
