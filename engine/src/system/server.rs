//! The server around the engine: `system.sessions` and `settings`. Users see their own sessions and their own settings;
//! admins all sessions, and the settings of the server too, of which none is a secret.

use arrow::datatypes::SchemaRef;

use super::{
    Asking, HostSession, View,
    fields::{number, text, time},
    rows::{self, attempt, numbers, texts, times},
};
use crate::{RowStream, audit::micros};

pub(super) static VIEWS: [View; 2] = [
    View {
        namespace: "system",
        name: "sessions",
        fields: || vec![text("user"), text("by"), time("began"), number("idle_micros")],
        rows: sessions,
    },
    View {
        namespace: "system",
        name: "settings",
        fields: || vec![text("name"), text("value"), text("of")],
        rows: settings,
    },
];

fn sessions(asking: Asking, schema: SchemaRef) -> RowStream {
    attempt(|| {
        let engine = asking.engine()?;
        let of = (!asking.is_admin()).then_some(asking.user.no);
        let open = engine.host().map(|host| host.sessions(of)).unwrap_or_default();
        // A user who was dropped has no name any more, and soon no session.
        let named = |session: HostSession| Some((engine.identity(session.user).ok()?.name, session));
        let named: Vec<_> = open.into_iter().filter_map(named).collect();
        Ok(rows::of(named, schema, |part| {
            vec![
                texts(part, |(name, _)| name),
                texts(part, |(_, session)| session.by),
                times(part, |(_, session)| Some(micros(session.began))),
                numbers(part, |(_, session)| u64::try_from(session.idle.as_micros()).unwrap_or(u64::MAX)),
            ]
        }))
    })
}

fn settings(asking: Asking, schema: SchemaRef) -> RowStream {
    attempt(|| {
        let mut all: Vec<(String, String, &'static str)> = Vec::new();
        all.extend(asking.settings.options().into_iter().map(|(name, value)| (name, value, "session")));
        if asking.is_admin() {
            let host = asking.engine()?.host();
            let settings = host.map(|host| host.settings()).unwrap_or_default();
            all.extend(settings.into_iter().map(|(name, value)| (name, value, "server")));
        }
        Ok(rows::of(all, schema, |part| {
            vec![texts(part, |(name, ..)| name), texts(part, |(_, value, _)| value), texts(part, |(.., of)| of)]
        }))
    })
}
