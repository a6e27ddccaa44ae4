//! The committer's thread: takes what waits, writes it, tells everyone.

use std::{
    collections::BTreeMap,
    sync::Arc,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::Duration,
};

use insula_proto::{Generation, Seq, TableId};
use tokio::sync::oneshot;

use super::{After, Done, FIRST_GENERATION, HighWater, Parts, Request, Rows, Stamped, Work, confused};
use crate::{
    Durability, Error, ErrorKind, Result, Stamp, TableDef,
    cold::manifest,
    fail_points::FailPoint,
    hot::{
        chunk::At,
        db::{Batch, Family},
        key,
        tables::{Active, Load, record_key},
        value,
    },
};

/// Bytes after which a group is full.
const GROUP_BYTES: usize = 4 << 20;
/// How often the log is synced for tables with periodic durability.
pub(super) const SYNC_EVERY: Duration = Duration::from_millis(200);

pub(super) struct Thread {
    parts: Parts,
    last: HighWater,
    active: BTreeMap<TableId, Current>,
    /// Why the store is poisoned.
    poison: Option<String>,
    /// Whether the log has writes that no sync covers.
    unsynced: bool,
}

/// A table, as the next request finds it.
#[derive(Clone, Copy)]
struct Current {
    active: Active,
    /// Rows that were encoded under a version before this one do not fit the definition any more.
    writable_from: u32,
}

impl From<Active> for Current {
    fn from(active: Active) -> Self {
        Self { active, writable_from: 0 }
    }
}

/// One group on its way to disk.
#[derive(Default)]
struct Group {
    batch: rocksdb::WriteBatch,
    sync: bool,
    replies: Vec<(oneshot::Sender<Result<Done>>, Done, Effect)>,
}

enum Effect {
    Wrote(Vec<(TableId, Generation, Load)>, #[allow(dead_code, reason = "held until it is dropped")] Box<dyn Send>),
    Loaded(#[allow(dead_code, reason = "held until it is dropped")] Box<dyn Send>),
    Created(Arc<TableDef>, Load, Option<TableId>),
    Froze(TableId, Generation),
    After(After),
}

impl Thread {
    pub fn new(parts: Parts) -> Result<Self> {
        let last = HighWater::load(&parts.db)?;
        let active = parts.tables.actives().into_iter().map(|(table, active)| (table, active.into())).collect();
        Ok(Self { parts, last, active, poison: None, unsynced: false })
    }

    pub fn run(mut self, requests: &Receiver<Request>) {
        loop {
            let first = if self.unsynced {
                requests.recv_timeout(SYNC_EVERY)
            } else {
                requests.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match first {
                Ok(first) => {
                    if let Some(stop) = self.group(first, requests) {
                        // Whoever waits for the end learns whether the last writes are on disk.
                        let result = if self.unsynced { self.sync() } else { Ok(()) };
                        drop(self);
                        let _ = stop.send(result.map(|()| Done::Batch));
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => drop(self.sync()),
                Err(RecvTimeoutError::Disconnected) => {
                    return if self.unsynced {
                        drop(self.sync())
                    };
                }
            }
        }
    }

    /// Writes `first` and what waits behind it; returns the sender of a request to stop.
    fn group(&mut self, first: Request, requests: &Receiver<Request>) -> Option<oneshot::Sender<Result<Done>>> {
        let mut group = Group::default();
        let mut free = None;
        let mut next = Some(first);
        let mut stop = None;
        while let Some(request) = next {
            if matches!(request.work, Work::Stop) {
                stop = Some(request.reply);
                break;
            }
            // These ask for what the requests before have left: is the table empty, what is to be copied.
            if matches!(request.work, Work::Alter { .. } | Work::Checkpoint(_)) {
                self.commit(std::mem::take(&mut group));
            }
            self.admit(request, &mut group, &mut free);
            next = if group.batch.size_in_bytes() < GROUP_BYTES { requests.try_recv().ok() } else { None };
        }
        self.commit(group);
        stop
    }

    /// Adds a request to the group, or refuses it. `free`: whether there is space, once it has been asked.
    fn admit(&mut self, request: Request, group: &mut Group, free: &mut Option<bool>) {
        let Request { work, reply } = request;
        if let Some(cause) = &self.poison {
            let _ = reply.send(Err(poisoned(cause)));
            return;
        }
        let frees_space = matches!(work, Work::Freeze { .. } | Work::Batch { frees_space: true, .. });
        if !frees_space && !*free.get_or_insert_with(|| self.has_space()) {
            let _ = reply.send(Err(self.disk_full()));
            return;
        }
        match self.add(work, group) {
            Ok((done, effect)) => group.replies.push((reply, done, effect)),
            Err(e) => drop(reply.send(Err(e))),
        }
    }

    fn add(&mut self, work: Work, group: &mut Group) -> Result<(Done, Effect)> {
        match work {
            Work::Rows { rows, durability, held } => {
                let mut parts = Vec::with_capacity(rows.len());
                for (table, rows) in rows {
                    let Current { active: Active { generation, .. }, writable_from } = self.current(table)?;
                    if rows.schema_version < writable_from {
                        return Err(stale());
                    }
                    parts.push((table, generation, rows));
                }
                let stamp = self.stamp();
                let mut wrote = Vec::with_capacity(parts.len());
                for (table, generation, rows) in parts {
                    wrote.push((table, generation, self.add_rows(stamp, generation, rows, group)?));
                }
                self.gave(stamp);
                group.sync |= durability == Durability::Sync;
                Ok((Done::Rows(stamp.seq), Effect::Wrote(wrote, held)))
            }
            Work::Load { table, schema_version, stamped, held } => {
                // As for rows: a column that became NOT NULL since would be missing from the files, a check not made.
                if schema_version < self.current(table)?.writable_from {
                    return Err(stale());
                }
                let seq = self.add_stamped(stamped, Batch::default(), group)?;
                group.sync = true;
                Ok((Done::Rows(seq), Effect::Loaded(held)))
            }
            Work::Create { def, rows, stamped, replaced, batch } => {
                // A definition alone takes no number: the order is one of rows.
                let (seq, load) = match stamped {
                    Some(stamped) => (self.add_stamped(stamped, batch, group)?, Load::default()),
                    None => {
                        batch.write_into(&self.parts.db, &mut group.batch)?;
                        match rows.places.is_empty() {
                            true => (Seq(self.last.seq), Load::default()),
                            false => {
                                let stamp = self.stamp();
                                let load = self.add_rows(stamp, FIRST_GENERATION, rows, group)?;
                                self.gave(stamp);
                                (stamp.seq, load)
                            }
                        }
                    }
                };
                let active = Active { generation: FIRST_GENERATION, schema_version: def.schema_version };
                self.active.insert(def.id, active.into());
                if let Some(replaced) = replaced {
                    self.active.remove(&replaced);
                }
                group.sync = true;
                Ok((Done::Rows(seq), Effect::Created(def, load, replaced)))
            }
            Work::Freeze { table, also } => {
                let current = self.current(table)?;
                let generation = current.active.generation;
                let next = Generation(generation.0 + 1);
                let active = Active { generation: next, ..current.active };
                let mut batch = Batch::default();
                also(generation, &mut batch);
                batch.put(Family::Meta, record_key::generation(table), active.to_record());
                batch.write_into(&self.parts.db, &mut group.batch)?;
                self.active.insert(table, Current { active, ..current });
                group.sync = true;
                Ok((Done::Frozen(generation), Effect::Froze(table, next)))
            }
            Work::Restored { batch, high_water, tables } => {
                batch.write_into(&self.parts.db, &mut group.batch)?;
                self.parts.ids.raise(high_water.id);
                self.last = HighWater {
                    seq: self.last.seq.max(high_water.seq),
                    micros: self.last.micros.max(high_water.micros),
                    ..self.last
                };
                self.active.extend(tables.actives().into_iter().map(|(table, active)| (table, active.into())));
                group.sync = true;
                Ok((Done::Batch, Effect::After(After::Restored(tables))))
            }
            Work::Checkpoint(directory) => {
                self.parts.db.checkpoint(&directory)?;
                Ok((Done::Batch, Effect::After(After::Nothing)))
            }
            Work::Alter { def, needs_empty, outdates_writes, batch } => {
                if let Some(error) = needs_empty
                    && !self.is_empty(def.id)?
                {
                    return Err(error);
                }
                self.alter(def, outdates_writes, batch, group)
            }
            Work::Batch { batch, after, .. } => {
                // Flushed generations are not those of a later reader, a dropped table's number never comes back, and most
                // that is purged was not visible; whatever else removes rows has to be told to all.
                if matches!(after, After::Nothing | After::Purged(.., true)) && batch.touches(Family::Hot) {
                    self.parts.tables.last_writes.begin_all(Seq(self.last.seq + 1));
                }
                batch.write_into(&self.parts.db, &mut group.batch)?;
                if let After::Dropped(table) = &after {
                    self.active.remove(table);
                }
                group.sync = true;
                Ok((Done::Batch, Effect::After(after)))
            }
            Work::Stop => Err(confused()),
        }
    }

    fn alter(
        &mut self,
        def: Arc<TableDef>,
        outdates_writes: bool,
        mut batch: Batch,
        group: &mut Group,
    ) -> Result<(Done, Effect)> {
        let mut current = self.current(def.id)?;
        if current.active.schema_version + 1 != def.schema_version {
            return Err(stale());
        }
        current.active.schema_version = def.schema_version;
        if outdates_writes {
            current.writable_from = def.schema_version;
        }
        batch.put(Family::Meta, record_key::generation(def.id), current.active.to_record());
        batch.write_into(&self.parts.db, &mut group.batch)?;
        self.active.insert(def.id, current);
        group.sync = true;
        Ok((Done::Batch, Effect::After(After::Altered(def))))
    }

    /// All groups before this one must be on disk.
    fn is_empty(&self, table: TableId) -> Result<bool> {
        Ok(self.parts.tables.load(table).rows == 0 && manifest::current(&self.parts.db, table)?.files.is_empty())
    }

    fn current(&self, table: TableId) -> Result<Current> {
        let gone = || Error::new(ErrorKind::NotFound, "the table was dropped meanwhile");
        self.active.get(&table).copied().ok_or_else(gone)
    }

    /// The next number and time.
    fn stamp(&self) -> Stamp {
        let updated_micros = self.parts.clock.now_micros().max(self.last.micros);
        Stamp { seq: Seq(self.last.seq + 1), updated_micros }
    }

    /// The number and time are a commit's now.
    fn gave(&mut self, stamp: Stamp) {
        (self.last.seq, self.last.micros) = (stamp.seq.0, stamp.updated_micros);
    }

    fn add_stamped(&mut self, stamped: Stamped, mut batch: Batch, group: &mut Group) -> Result<Seq> {
        let stamp = self.stamp();
        stamped(stamp, &mut batch);
        batch.write_into(&self.parts.db, &mut group.batch)?;
        self.gave(stamp);
        Ok(stamp.seq)
    }

    fn add_rows(&self, stamp: Stamp, generation: Generation, mut rows: Rows, group: &mut Group) -> Result<Load> {
        let Stamp { seq, updated_micros: micros } = stamp;
        let mut load = Load { rows: 0, bytes: 0, oldest_micros: Some(micros), newest_micros: Some(micros) };
        let mut writer = None;
        for [start, middle, end] in rows.places {
            let (stored, row) = rows.bytes[start..end].split_at_mut(middle - start);
            key::complete(stored, generation, seq);
            value::complete(row, micros);
            self.parts.db.put_into(&mut group.batch, Family::Hot, stored, row)?;
            let written = key::split(stored)?;
            if writer.replace((written.table, written.user)) != Some((written.table, written.user)) {
                // Before the write, so that no reader who sees the rows recalls what was there before them.
                self.parts.tables.last_writes.begin(written.table, written.user, seq, generation);
            }
            load.rows += 1;
            load.bytes += (end - start) as u64;
        }
        if let Some((table, user)) = writer {
            for chunk in rows.chunks {
                let key = At { generation, user, chunk: chunk.number }.key(table);
                self.parts.db.put_into(&mut group.batch, Family::Chunk, &key, &chunk.value)?;
                load.bytes += (key.len() + chunk.value.len()) as u64;
            }
        }
        Ok(load)
    }

    fn commit(&mut self, mut group: Group) {
        if group.replies.is_empty() {
            return;
        }
        self.last.id = self.parts.ids.last();
        let mut high_water = Batch::default();
        high_water.put(Family::Meta, record_key::HIGH_WATER, self.last.record());
        let changes = !group.replies.iter().all(|(_, _, effect)| matches!(effect, Effect::Wrote(..)));
        if changes {
            self.parts.tables.changes.begin();
        }
        let result = high_water
            .write_into(&self.parts.db, &mut group.batch)
            .and_then(|()| FailPoint::CommitBegun.reached())
            .and_then(|()| (self.parts.write)(&self.parts.db, group.batch, group.sync))
            .and_then(|()| FailPoint::CommitWritten.reached());
        if changes {
            self.parts.tables.changes.end();
        }
        match result {
            Ok(()) => {
                // A synced write syncs all of the log before it.
                self.unsynced = !group.sync;
                for (reply, done, effect) in group.replies {
                    self.apply(effect);
                    let _ = reply.send(Ok(done));
                }
            }
            Err(e) => {
                self.set_poison(&e);
                for (reply, ..) in group.replies {
                    let _ = reply.send(Err(poisoned(e.message())));
                }
            }
        }
    }

    fn apply(&self, effect: Effect) {
        let tables = &self.parts.tables;
        match effect {
            Effect::Wrote(wrote, _held) => {
                wrote.into_iter().for_each(|(table, generation, load)| tables.wrote(table, generation, load));
            }
            Effect::Created(def, load, replaced) => {
                replaced.map(|table| tables.remove(table)).unwrap_or_default();
                let table = def.id;
                tables.insert(def, FIRST_GENERATION, BTreeMap::new());
                if load.rows > 0 {
                    tables.wrote(table, FIRST_GENERATION, load);
                }
            }
            Effect::Froze(table, active) => tables.froze(table, active),
            Effect::Loaded(_) | Effect::After(After::Nothing) => {}
            Effect::After(After::Dropped(table)) => tables.remove(table),
            Effect::After(After::Altered(def)) => tables.altered(def),
            Effect::After(After::Restored(restored)) => tables.adopt(restored),
            Effect::After(After::Flushed(table, up_to)) => tables.flushed(table, up_to),
            Effect::After(After::Purged(table, gone, _)) => tables.purged(table, gone),
        }
    }

    fn sync(&mut self) -> Result<()> {
        self.unsynced = false;
        let result = self.parts.db.sync();
        if let Err(e) = &result {
            self.set_poison(e);
        }
        result
    }

    fn set_poison(&mut self, e: &Error) {
        tracing::error!("the store refuses writes from now on: {}", e.message());
        self.poison = Some(e.message().to_owned());
    }

    fn has_space(&self) -> bool {
        match (self.parts.free_bytes)() {
            Ok(free) => free >= self.parts.min_free_bytes,
            Err(e) => {
                // A full disk still fails the write itself; not knowing must not stop a healthy one.
                tracing::warn!("cannot tell how much disk space is free: {}", e.message());
                true
            }
        }
    }

    fn disk_full(&self) -> Error {
        let message = format!(
            "less than {} bytes are free on the disk of the data directory; free some space and try again",
            self.parts.min_free_bytes
        );
        Error::new(ErrorKind::ResourceExhausted, message)
    }
}

fn stale() -> Error {
    Error::new(ErrorKind::Stale, "the table was altered while the statement ran; run it again")
}

fn poisoned(cause: &str) -> Error {
    let message = format!("the store refuses writes since one failed ({cause}); restart the server");
    Error::new(ErrorKind::Unavailable, message)
}
