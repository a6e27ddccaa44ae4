//! Generations of a table with a `ttl`: a new one from time to time, and the end of those that have wholly expired.

use std::{sync::Arc, time::Duration};

use insula_proto::{Generation, TableId};

use super::Streams;
use crate::{
    Result, TableDef,
    cold::{Manifest, manifest},
    flush::Turn,
    hot::{self, db::Batch},
    jobs::Work,
};

/// Generations that a row's life spans: each is a place more to look for a key, and the fewer there are, the longer
/// expired rows take up space.
const GENERATIONS: i64 = 4;
/// Each new generation is a commit.
const SHORTEST: Duration = Duration::from_secs(10);

impl Streams {
    /// Drops what has expired by generations; returns it.
    pub(super) async fn retire(self: &Arc<Self>, table: TableId) -> Result<Work> {
        let streams = Arc::clone(self);
        // Half of it must not be left to a caller who goes away.
        super::sweep::detached(async move {
            let turn = streams.flusher.turns.take(table).await?;
            let def = streams.flusher.tables.get(table)?;
            streams.retire_now(&def, &turn).await
        })
        .await
    }

    async fn retire_now(&self, table: &TableDef, _turn: &Turn) -> Result<Work> {
        let flusher = &self.flusher;
        let Some(ttl) = table.options.ttl else { return Ok(Work::default()) };
        let ttl = i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX);
        let now = flusher.clock.now_micros();
        let expired = |newest: Option<i64>| newest.is_some_and(|newest| newest < now.saturating_sub(ttl));
        let shortest = i64::try_from(SHORTEST.as_micros()).unwrap_or(i64::MAX);
        let begun_before = now.saturating_sub((ttl / GENERATIONS).max(shortest));

        let Some((active, loads)) = flusher.tables.generations(table.id) else { return Ok(Work::default()) };
        let fill = loads.get(&active).copied().unwrap_or_default();
        let is_old = fill.oldest_micros.is_some_and(|oldest| oldest < begun_before);
        if fill.rows > 0 && (is_old || expired(fill.newest_micros)) {
            flusher.committer.freeze(table.id, |_, _| {}).await?;
        }

        // Asked for after the freeze: what is frozen gets no more rows.
        let Some((active, loads)) = flusher.tables.generations(table.id) else { return Ok(Work::default()) };
        let frozen = loads.range(..active).take_while(|(_, load)| expired(load.newest_micros));
        let gone: Vec<_> = frozen.collect();
        let Some((last, _)) = gone.last() else { return Ok(Work::default()) };
        let sum = |of: fn(&hot::tables::Load) -> u64| gone.iter().map(|(_, load)| of(load)).sum();
        let work = Work { rows: sum(|load| load.rows), files: 0, bytes: sum(|load| load.bytes) };
        self.drop_generations(table, **last).await?;
        self.done(table, work);
        Ok(work)
    }

    /// One synced batch, as at the end of a flush: readers of now and later begin behind these generations.
    async fn drop_generations(&self, table: &TableDef, up_to: Generation) -> Result<()> {
        let base = manifest::current(&self.flusher.db, table.id)?;
        let next = Manifest { version: base.version + 1, flushed: up_to, ..base };
        let mut batch = Batch::default();
        manifest::put(&mut batch, table.id, &next);
        hot::delete_generations(&mut batch, table.id, up_to);
        self.flusher.committer.flushed(table.id, up_to, batch).await
    }
}
