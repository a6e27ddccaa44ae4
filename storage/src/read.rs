//! Reading: one snapshot over both tiers, one user's slice of one table.

mod cold_slice;
mod hot_keys;
mod hot_scan;
mod point;
mod shadowed;
pub(crate) mod state;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use insula_proto::{Seq, TableId, UserNo};

use crate::{
    Error, ErrorKind, HotSpan, KeyBounds, KeyCodec, Result, TableDef, TableKind,
    clock::Clock,
    cold::{ColdTier, Manifest, Pin},
    hot::{
        committer::HighWater,
        db::{Db, Family, Snapshot},
        decoded::{DecodedCache, Moment},
        expiry::Expiry,
        pending::Runs,
        scan::UserHot,
        tables::{Active, Tables},
    },
};
pub use cold_slice::ColdSlice;
pub use hot_keys::HotKeys;
pub use hot_scan::HotScan;
use state::State;

/// What a transaction has written and not yet committed.
pub(crate) type Overlay = BTreeMap<(TableId, UserNo), Runs>;

/// A RocksDB snapshot over all column families, and the manifests as of it; within a transaction, also what that has
/// written so far.
pub struct ReadView {
    snapshot: Arc<Snapshot>,
    cold: Arc<ColdTier>,
    tables: Arc<Tables>,
    decoded: Arc<DecodedCache>,
    /// When it was taken.
    taken_micros: i64,
    /// Of the last commit that the snapshot holds; read when first needed.
    last: OnceLock<HighWater>,
    /// Number of the state that it shows; `None`: a change was under way when it was taken.
    state: Option<u64>,
    overlay: Arc<Overlay>,
    pin: Arc<Pin>,
}

impl ReadView {
    pub(crate) fn take(
        db: &Arc<Db>,
        cold: &Arc<ColdTier>,
        tables: &Arc<Tables>,
        decoded: &Arc<DecodedCache>,
        clock: &dyn Clock,
    ) -> Arc<Self> {
        // In this order: what the snapshot's manifests name must be pinned before a flush can let go of it.
        let pin = cold.pin();
        let state = tables.changes.state();
        let (snapshot, cold) = (db.snapshot(), Arc::clone(cold));
        let state = state.filter(|state| tables.changes.state() == Some(*state));
        let (tables, decoded) = (Arc::clone(tables), Arc::clone(decoded));
        let (last, overlay, pin) = (OnceLock::new(), Arc::default(), Arc::new(pin));
        let taken_micros = clock.now_micros();
        Arc::new(Self { snapshot, cold, tables, decoded, taken_micros, last, state, overlay, pin })
    }

    /// The same moment, with rows that a transaction has not committed yet.
    pub(crate) fn with(&self, overlay: &Arc<Overlay>) -> Arc<Self> {
        Arc::new(Self {
            snapshot: Arc::clone(&self.snapshot),
            cold: Arc::clone(&self.cold),
            tables: Arc::clone(&self.tables),
            decoded: Arc::clone(&self.decoded),
            taken_micros: self.taken_micros,
            last: self.last.clone(),
            state: self.state,
            overlay: Arc::clone(overlay),
            pin: Arc::clone(&self.pin),
        })
    }

    /// The rows of `user` in `table`. `Stale` if the view knows a newer definition of the table than the caller. Pins the cold files it names until it is dropped.
    pub fn slice(self: &Arc<Self>, table: &Arc<TableDef>, user: UserNo) -> Result<TableSlice> {
        let state = self.state(table)?;
        if state.active.schema_version > table.schema_version {
            let message = format!("table \"{}\" was altered while the statement was planned", table.full_name());
            return Err(Error::new(ErrorKind::Stale, message));
        }
        self.slice_of(table, user, state)
    }

    /// The same for readers of keys alone, which mean the same under every version of the definition.
    pub(crate) fn key_slice(self: &Arc<Self>, table: &Arc<TableDef>, user: UserNo) -> Result<TableSlice> {
        self.slice_of(table, user, self.state(table)?)
    }

    fn slice_of(self: &Arc<Self>, table: &Arc<TableDef>, user: UserNo, state: State) -> Result<TableSlice> {
        let State { active: Active { generation, .. }, manifest } = state;
        // Asked after the snapshot was taken; what says so was raised before any row of it could be seen.
        let is_hot = self.tables.last_writes.may_be_hot(table.id, user, manifest.flushed);
        let first = if is_hot { manifest.flushed.0 + 1 } else { generation.0 + 1 };
        let mut hot = UserHot {
            snapshot: Arc::clone(&self.snapshot),
            table: Arc::clone(table),
            user,
            generations: first..=generation.0,
            pending: self.overlay.get(&(table.id, user)).cloned().unwrap_or_default(),
            expiry: None,
        };
        if table.kind == TableKind::Stream {
            hot.expiry = Some(Arc::new(self.expiry(&hot)?));
        }
        Ok(TableSlice { view: Arc::clone(self), hot, manifest })
    }

    pub(crate) fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Those that hold hot rows of a table, whoever owns them.
    pub(crate) fn live_generations(&self, table: &TableDef) -> Result<std::ops::RangeInclusive<u32>> {
        let State { active, manifest } = self.state(table)?;
        Ok(manifest.flushed.0 + 1..=active.generation.0)
    }

    /// By one moment for all tables and users: never before the newest commit in view, lest a row be born old when the
    /// clock was set back.
    fn expiry(&self, hot: &UserHot) -> Result<Expiry> {
        let now_micros = self.taken_micros.max(self.high_water()?.micros);
        let memory = self.moment(hot)?.map(|moment| (Arc::clone(&self.decoded), moment));
        Ok(Expiry::new(&hot.table.options, now_micros, memory))
    }

    /// What the user's committed hot rows depend on; `None`: a newer commit than those in view has begun.
    fn moment(&self, hot: &UserHot) -> Result<Option<Moment>> {
        let seq = self.tables.last_writes.at(hot.table.id, hot.user, self.last()?);
        let generations = (*hot.generations.start(), *hot.generations.end());
        Ok(seq.map(|seq| Moment { generations, seq, schema_version: hot.table.schema_version }))
    }

    /// Number of the last commit that the view holds.
    fn last(&self) -> Result<Seq> {
        Ok(Seq(self.high_water()?.seq))
    }

    fn high_water(&self) -> Result<HighWater> {
        match self.last.get() {
            Some(last) => Ok(*last),
            None => {
                let last = HighWater::read(|key| self.snapshot.get(Family::Meta, key))?;
                Ok(*self.last.get_or_init(|| last))
            }
        }
    }
}

/// One user's rows of one table at one snapshot.
#[derive(Clone)]
pub struct TableSlice {
    view: Arc<ReadView>,
    hot: UserHot,
    manifest: Arc<Manifest>,
}

impl TableSlice {
    pub fn table(&self) -> &Arc<TableDef> {
        &self.hot.table
    }

    pub fn user(&self) -> UserNo {
        self.hot.user
    }

    /// To be awaited before rows are asked for on a thread that must not be held up: with `max_rows`, which of them are
    /// there may take a look at all of the user's keys.
    pub async fn settle(&self) -> Result<()> {
        if self.hot.is_settled() {
            return Ok(());
        }
        // Whoever wants only what is at hand polls once, and nothing is begun for them.
        tokio::task::yield_now().await;
        let hot = self.hot.clone();
        let settled = tokio::task::spawn_blocking(move || hot.overflows()).await;
        settled.map_err(|e| Error::new(ErrorKind::Internal, "a look at hot keys died").with_source(e))?.map(drop)
    }

    /// Memcomparable bytes of the smallest and largest hot key, tombstones included; `None`: no hot rows. Two seeks a
    /// generation.
    pub fn hot_bounds(&self) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        Ok(self.hot_span(&KeyBounds::All)?.map(|span| span.bounds))
    }

    /// What the hot tier has of the wanted keys, without reading rows; `None`: nothing.
    pub fn hot_span(&self, wanted: &KeyBounds) -> Result<Option<HotSpan>> {
        self.hot.span(wanted)
    }

    /// Blocking iterator over the newest version of each hot key, in key order, in batches of up to `batch_rows` rows
    /// of the stored schema's columns `projection`. With `deleted` false, soft-deleted rows are left out.
    pub fn hot(&self, projection: &[usize], batch_rows: usize, deleted: bool) -> Result<HotScan> {
        self.hot_within(&KeyBounds::All, projection, batch_rows, deleted)
    }

    /// The same of the wanted keys alone: seeks for single ones, a bounded scan for a range.
    pub fn hot_within(
        &self,
        wanted: &KeyBounds,
        projection: &[usize],
        batch_rows: usize,
        deleted: bool,
    ) -> Result<HotScan> {
        HotScan::new(self, wanted, projection, batch_rows, deleted)
    }

    /// All hot keys, tombstones included. Blocking.
    pub fn hot_keys(&self) -> Result<Arc<HotKeys>> {
        self.hot_keys_within(&KeyBounds::All)
    }

    /// The wanted ones of them. Blocking.
    pub fn hot_keys_within(&self, wanted: &KeyBounds) -> Result<Arc<HotKeys>> {
        let (decoded, place) = (&self.view.decoded, (self.hot.table.id, self.hot.user));
        let moment = if self.is_all(wanted)? { self.moment()? } else { None };
        if let Some(keys) = moment.and_then(|moment| decoded.keys(place.0, place.1, moment)) {
            return Ok(keys);
        }
        let keys = Arc::new(HotKeys::new(&KeyCodec::new(&self.hot.table)?, self.hot.keys(wanted)?));
        if let Some(moment) = moment {
            decoded.keep_keys(place.0, place.1, moment, &keys);
        }
        Ok(keys)
    }

    /// Whether no hot key is left out, so that what is remembered of all of them serves.
    fn is_all(&self, wanted: &KeyBounds) -> Result<bool> {
        Ok(match wanted {
            KeyBounds::All => true,
            KeyBounds::Keys(_) => false,
            KeyBounds::Range(range) => {
                let bounds = self.hot_bounds()?;
                bounds.is_some_and(|(low, high)| range.contains(&low) && range.contains(&high))
            }
        })
    }

    /// `None`: nothing may be remembered of this view, for a newer commit has begun, or it shows what is no commit yet, or
    /// rows that go by the clock.
    fn moment(&self) -> Result<Option<Moment>> {
        let hot = &self.hot;
        let ages = hot.expiry.is_some() && hot.table.options.ttl.is_some();
        if ages || !hot.pending.is_empty() { Ok(None) } else { self.view.moment(hot) }
    }

    /// Number of the last commit that the slice's view holds.
    pub(crate) fn last(&self) -> Result<Seq> {
        self.view.last()
    }

    pub(crate) fn hot_rows(&self) -> &UserHot {
        &self.hot
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub(crate) fn cold_tier(&self) -> &ColdTier {
        &self.view.cold
    }
}
