//! Table options: `WITH (flush_rows = 1000, flush_interval = '5 minutes', …)`.

use std::time::Duration;

use datafusion::sql::sqlparser::ast::{CreateTableOptions, SqlOption};
use insula_storage::{
    Durability, Placement, TableKind, TableOptions,
    table::{DEFAULT_TTL, MOST_ROWS},
};

use super::text;
use crate::{Error, Result, sql::normalize};

/// Of user and shared tables.
const KNOWN: [&str; 8] =
    ["type", "grants", "flush_rows", "flush_bytes", "flush_interval", "deleted_retention", "durability", "placement"];
const KNOWN_OF_STREAMS: [&str; 4] = ["type", "ttl", "max_rows", "durability"];

/// What a list of options says.
pub(super) struct Given {
    pub options: TableOptions,
    pub kind: TableKind,
    /// Whether nobody is to read a shared table before they are granted it.
    pub without_grants: Option<bool>,
}

/// `kind`: the word before TABLE.
pub(super) fn parse(kind: Option<TableKind>, options: &CreateTableOptions) -> Result<Given> {
    let list = match options {
        CreateTableOptions::None => &Vec::new(),
        CreateTableOptions::With(list) => list,
        _ => return Err(Error::invalid("table options stand in WITH (…)")),
    };
    let kind = match (kind, kind_of(list)?) {
        (Some(a), Some(b)) if a != b => {
            return Err(Error::invalid("the table has two kinds: one before TABLE, one in WITH"));
        }
        (a, b) => a.or(b).unwrap_or(TableKind::User),
    };
    let mut options = TableOptions::default();
    // Whoever says how many rows stay has said enough.
    if kind == TableKind::Stream && !mentions(list, "max_rows") {
        options.ttl = Some(DEFAULT_TTL);
    }
    change(kind, options, list)
}

/// `options` of a table of that kind, with what the list says.
pub(super) fn change(kind: TableKind, mut options: TableOptions, list: &[SqlOption]) -> Result<Given> {
    let mut without_grants = None;
    for option in list {
        let (key, value) = key_value(option)?;
        check_known(kind, &key)?;
        match key.as_str() {
            "type" => _ = table_kind(&value)?,
            "grants" if value.eq_ignore_ascii_case("none") => without_grants = Some(true),
            "grants" if value.eq_ignore_ascii_case("select") => without_grants = Some(false),
            "grants" => return Err(Error::invalid(format!("grants is 'select' or 'none', not '{value}'"))),
            "flush_rows" => options.flush_rows = positive(&key, value.parse().ok(), &value)?,
            "flush_bytes" => options.flush_bytes = positive(&key, bytes(&value), &value)?,
            "flush_interval" => options.flush_interval = duration(&key, &value)?,
            "deleted_retention" => options.deleted_retention = duration(&key, &value)?,
            "durability" => options.durability = durability(&value)?,
            "placement" if value.eq_ignore_ascii_case("packed") => options.placement = Placement::Packed,
            "placement" if value.eq_ignore_ascii_case("file") => options.placement = Placement::File,
            "placement" => return Err(Error::invalid(format!("placement is 'packed' or 'file', not '{value}'"))),
            "ttl" => options.ttl = duration(&key, &value)?,
            "max_rows" => options.max_rows = max_rows(&value)?,
            _ => return Err(unknown(kind, &key)),
        }
    }
    if kind == TableKind::Stream && options.ttl.is_none() && options.max_rows.is_none() {
        return Err(Error::invalid(
            "a stream table needs a bound, since its rows stay in memory and are never flushed: a ttl, or max_rows",
        ));
    }
    Ok(Given { options, kind, without_grants })
}

fn key_value(option: &SqlOption) -> Result<(String, String)> {
    match option {
        SqlOption::KeyValue { key, value } => {
            let key = normalize(key);
            match text(value) {
                Ok(value) => Ok((key, value)),
                Err(_) => Err(Error::invalid(format!("{key} takes a literal as value, not {value}"))),
            }
        }
        _ => Err(Error::invalid(format!("table option \"{option}\" has no value; write name = value"))),
    }
}

fn mentions(list: &[SqlOption], name: &str) -> bool {
    list.iter().any(|option| matches!(option, SqlOption::KeyValue { key, .. } if normalize(key) == name))
}

/// What the list says of the kind.
pub(super) fn kind_of(list: &[SqlOption]) -> Result<Option<TableKind>> {
    for option in list {
        let (key, value) = key_value(option)?;
        if key == "type" {
            return table_kind(&value).map(Some);
        }
    }
    Ok(None)
}

fn check_known(kind: TableKind, key: &str) -> Result<()> {
    let (own, others) = match kind {
        TableKind::Stream => (&KNOWN_OF_STREAMS[..], &KNOWN[..]),
        TableKind::User | TableKind::Shared => (&KNOWN[..], &KNOWN_OF_STREAMS[..]),
    };
    if own.contains(&key) {
        return Ok(());
    }
    if !others.contains(&key) {
        return Err(unknown(kind, key));
    }
    let why = match kind {
        TableKind::Stream => "is no option of stream tables, the rows of which are never flushed",
        TableKind::User | TableKind::Shared => "is an option of stream tables alone",
    };
    Err(Error::invalid(format!("\"{key}\" {why}; there are {}", own.join(", "))))
}

fn unknown(kind: TableKind, key: &str) -> Error {
    let known = if kind == TableKind::Stream { KNOWN_OF_STREAMS.join(", ") } else { KNOWN.join(", ") };
    Error::invalid(format!("unknown table option \"{key}\"; there are {known}"))
}

/// `'off'`: as many as there come.
fn max_rows(value: &str) -> Result<Option<u64>> {
    if value.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let number = value.parse().ok().filter(|number| (1..=MOST_ROWS).contains(number));
    number.map(Some).ok_or_else(|| {
        Error::invalid(format!("max_rows takes a number from 1 to {MOST_ROWS}, or 'off', not '{value}'"))
    })
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
    // Times are kept in microseconds.
    let is_kept = |duration: &Duration| i64::try_from(duration.as_micros()).is_ok_and(|micros| micros > 0);
    let parsed = humantime::parse_duration(value).ok().filter(is_kept);
    parsed
        .map(Some)
        .ok_or_else(|| Error::invalid(format!("{key} takes a time such as '5 minutes', or 'off', not '{value}'")))
}
