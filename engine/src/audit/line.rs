//! An event as a line of JSON, and back.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use insula_proto::UserNo;
use serde::{Deserialize, Serialize};

use super::{
    Verb,
    event::{Event, Kind},
};

/// The names are for people and programs that read the files; none is ever given another meaning.
#[derive(Serialize, Deserialize)]
pub(super) struct Line<'a> {
    /// RFC 3339, UTC, microseconds.
    at: String,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    user: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_no: Option<u64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    actor: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    actor_no: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    method: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    query_id: Option<String>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    statement: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    text_hash: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tables: Vec<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    rows: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    bytes: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    queue_micros: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    plan_micros: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    run_micros: u64,
    #[serde(borrow)]
    result: Cow<'a, str>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Ways of logging in, so that a line that is read back shares their names.
const METHODS: [&str; 5] = ["password", "token", "jwt", "vouched", "run_as"];

impl<'a> Line<'a> {
    /// `hash`: of the text. `with_text`: the settings allow it to be written down.
    pub fn new(event: &'a Event, hash: Option<u64>, with_text: bool) -> Self {
        let told = with_text || event.verb.is_some_and(Verb::is_of_names);
        let since = event.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            at: humantime::format_rfc3339_micros(UNIX_EPOCH + since).to_string(),
            kind: event.kind.name().into(),
            user: event.user.as_deref().map(Cow::Borrowed),
            user_no: event.user_no.map(|no| no.0),
            actor: event.actor.as_deref().map(Cow::Borrowed),
            actor_no: event.actor_no.map(|no| no.0),
            from: event.from.map(|from| from.to_string()),
            method: event.method.map(Cow::Borrowed),
            query_id: event.query_id.map(|id| id.to_string()),
            statement: event.verb.map(|verb| verb.name().into()),
            text: event.text.as_deref().filter(|_| told).map(Cow::Borrowed),
            text_hash: hash.map(|hash| format!("{hash:016x}").into()),
            tables: event.tables.iter().map(|table| table.to_string()).collect(),
            rows: event.rows,
            bytes: event.bytes,
            queue_micros: event.queue_micros,
            plan_micros: event.plan_micros,
            run_micros: event.run_micros,
            result: event.result.as_ref().into(),
        }
    }

    /// `None`: the line is of another version.
    pub fn into_event(self) -> Option<Event> {
        let shared = |name: Option<Cow<'_, str>>| name.map(Arc::<str>::from);
        Some(Event {
            at: humantime::parse_rfc3339(&self.at).ok()?,
            kind: Kind::named(&self.kind)?,
            user: shared(self.user),
            user_no: self.user_no.map(UserNo),
            actor: shared(self.actor),
            actor_no: self.actor_no.map(UserNo),
            from: self.from.and_then(|from| from.parse().ok()),
            method: self.method.and_then(|method| METHODS.into_iter().find(|known| *known == method)),
            query_id: self.query_id.and_then(|id| id.parse().ok()),
            verb: self.statement.and_then(|name| Verb::named(&name)),
            text: shared(self.text),
            text_hash: self.text_hash.and_then(|hash| u64::from_str_radix(&hash, 16).ok()),
            tables: self.tables.into_iter().map(Arc::from).collect(),
            rows: self.rows,
            bytes: self.bytes,
            queue_micros: self.queue_micros,
            plan_micros: self.plan_micros,
            run_micros: self.run_micros,
            result: Cow::Owned(self.result.into_owned()),
        })
    }

    pub fn write(&self, into: &mut Vec<u8>) {
        // Strings and numbers alone cannot fail to become JSON; a line cut short would be taken for the next one's begin.
        let start = into.len();
        if serde_json::to_writer(&mut *into, self).is_err() {
            into.truncate(start);
            return;
        }
        into.push(b'\n');
    }
}

/// The other way round, of a line without its end.
pub(super) fn parse(line: &[u8]) -> Option<Event> {
    serde_json::from_slice::<Line<'_>>(line).ok()?.into_event()
}

/// Microseconds since 1970.
pub(crate) fn micros(at: SystemTime) -> i64 {
    let since: Duration = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
