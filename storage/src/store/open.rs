//! Opening a store: the directory and its lock, the database, what lies in it, and the tasks that keep it going.

use std::{
    collections::BTreeMap,
    fs::File,
    path::Path,
    sync::{Arc, atomic::AtomicU32},
};

use insula_proto::{Generation, TableId};
use object_store::ObjectStore;

use super::{Clock, Ids, LockFile, Locks, Store, StoreConfig, StoreMemory};
use crate::{
    Error, ErrorKind, Meta, Result, TableDef,
    backup::{clear_scratch, restore},
    change::files::Sizes,
    cold::{ColdTier, Objects, create_dir_synced},
    compact::{self, Compactor, Pace},
    flush::{Flusher, Turns, recover, scheduler::Scheduler},
    hot::{
        chunk::At,
        committer::{Committer, HighWater, Parts},
        db::{Db, Family},
        decoded::DecodedCache,
        key,
        last_writes::LastWrites,
        record,
        tables::{Active, Load, Tables, record_key},
        value,
    },
    jobs::Jobs,
    stream::{self, Streams},
    table::TableVersion,
};

/// `objects`: in the place of the configured object store.
pub(super) async fn open(
    config: StoreConfig,
    clock: Arc<dyn Clock>,
    objects: Option<Arc<dyn ObjectStore>>,
) -> Result<Arc<Store>> {
    let (data_dir, memory, max_hot_bytes) = (config.data_dir.clone(), config.memory, config.max_hot_bytes);
    let work = move || {
        let db = open_database(&data_dir, &memory)?;
        let tables = load_tables(&db, max_hot_bytes)?;
        Ok::<_, Error>((db, tables))
    };
    let (db, tables) = tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::new(ErrorKind::Internal, "opening the hot tier died").with_source(e))??;
    let tables = Arc::new(tables);
    let ids = Arc::new(Ids::new(Arc::clone(&clock), HighWater::load(&db)?.id));
    let objects = match objects {
        Some(store) => Objects::over(store),
        None => Objects::open(config.store_url.as_deref(), &config.data_dir)?,
    };
    let cold = Arc::new(ColdTier::new(objects, &memory));
    let hot_dir = config.data_dir.join("hot");
    let committer = Committer::start(Parts {
        db: Arc::clone(&db),
        tables: Arc::clone(&tables),
        clock: Arc::clone(&clock),
        ids: Arc::clone(&ids),
        free_bytes: Box::new(move || free_bytes(&hot_dir)),
        min_free_bytes: config.min_free_bytes,
        write: Box::new(Db::write),
    })?;
    restore::recover(&db, &committer).await?;
    recover::recover(&db, &cold, &committer).await?;
    let flusher = Arc::new(Flusher {
        db: Arc::clone(&db),
        cold: Arc::clone(&cold),
        committer: committer.clone(),
        tables: Arc::clone(&tables),
        clock: Arc::clone(&clock),
        sizes: Sizes { file: config.file_bytes, row_group: memory.row_group },
        turns: Turns::default(),
        jobs: Jobs::default(),
    });
    let decoded = Arc::new(DecodedCache::new(memory.hot_rows));
    let streams = Arc::new(Streams::new(Arc::clone(&flusher), Arc::clone(&decoded)));
    let compactor = Compactor::new(Arc::clone(&flusher), Pace::new(config.compaction_bytes_per_second));
    let compactor = Arc::new(compactor);
    Ok(Arc::new(Store {
        compactions: compact::scheduler::Scheduler::start(&compactor, config.compaction),
        compactor,
        scheduler: Scheduler::start(Arc::clone(&flusher)),
        stream_scheduler: stream::scheduler::Scheduler::start(&streams, config.compaction),
        streams,
        meta: Meta::new(Arc::clone(&db), committer.clone()),
        locks: Locks::default(),
        erased: parking_lot::RwLock::default(),
        definitions: tokio::sync::Mutex::default(),
        next_table: AtomicU32::new(next_table(&db)?),
        data_dir: config.data_dir,
        db,
        tables,
        committer,
        cold,
        load_bytes: config.load_bytes.max(1),
        chunk_rows: config.chunk_rows,
        flusher,
        decoded,
        stall_timeout: config.stall_timeout,
        stalls: Default::default(),
        ids,
        clock,
    }))
}

/// The number that follows all tables that ever were.
fn next_table(db: &Db) -> Result<u32> {
    match db.get(Family::Meta, record_key::NEXT_TABLE)? {
        None => Ok(1),
        Some(sealed) => record::number(&sealed, "the next table's number"),
    }
}

fn open_database(data_dir: &Path, memory: &StoreMemory) -> Result<Arc<Db>> {
    let hot = data_dir.join("hot");
    // RocksDB syncs what is in its directory but not the directory's own entry; without that the whole of it can
    // vanish with the power.
    let created = create_dir_synced(&hot).and_then(|()| File::open(data_dir)?.sync_all());
    created
        .map_err(|e| Error::new(ErrorKind::Unavailable, format!("cannot create {}", hot.display())).with_source(e))?;
    let lock = LockFile::take(data_dir)?;
    clear_scratch(data_dir)?;
    Db::open(&hot, lock, memory)
}

/// Definitions and generations as they were left, and what each table has in the hot tier: counted, since a counter on
/// disk would have to be written with every row.
pub(crate) fn load_tables(db: &Arc<Db>, max_hot_bytes: u64) -> Result<Tables> {
    let tables = Tables::new(max_hot_bytes);
    for (_, sealed) in db.scan(Family::Meta, record_key::DEFINITIONS)? {
        let def = Arc::new(load_def(db, &sealed)?);
        let generation = db.get(Family::Meta, &record_key::generation(def.id))?.ok_or_else(|| {
            Error::new(ErrorKind::DataLoss, format!("table \"{}\" has no generation", def.full_name()))
        })?;
        let active = Active::from_record(&generation)?.generation;
        let loads = count_rows(db, def.id, &tables.last_writes)?;
        tables.insert(def, active, loads);
    }
    Ok(tables)
}

/// A definition out of its record, and what must be known of the versions before it.
pub(crate) fn load_def(db: &Arc<Db>, sealed: &[u8]) -> Result<TableDef> {
    let mut def = TableDef::from_record(sealed)?;
    for (_, sealed) in db.scan(Family::Meta, &record_key::versions(def.id))? {
        let (_, version) = TableVersion::from_record(&sealed)?;
        if version.number < def.schema_version {
            def.older = def.older.with(version);
        }
    }
    Ok(def)
}

/// What a table has in the hot tier. A damaged block must not keep everybody from the rest of the database, so the rows
/// behind one are not counted; statements that need it fail by themselves.
fn count_rows(db: &Arc<Db>, table: TableId, writes: &LastWrites) -> Result<BTreeMap<Generation, Load>> {
    let mut loads = BTreeMap::new();
    match count_into(db, table, &mut loads, writes) {
        Err(error) if error.kind() == ErrorKind::DataLoss => {
            writes.found_unknown();
            // What was not counted may be newer.
            loads.values_mut().for_each(|load| load.newest_micros = None);
            tracing::error!(%table, "the hot rows of the table are damaged; insula check says more");
        }
        counted => counted?,
    }
    Ok(loads)
}

fn count_into(db: &Arc<Db>, table: TableId, loads: &mut BTreeMap<Generation, Load>, writes: &LastWrites) -> Result<()> {
    let lower = table.0.to_be_bytes().to_vec();
    let mut cursor = db.snapshot().cursor(Family::Hot, lower.clone(), key::after_prefix(&lower), true)?;
    cursor.seek(&lower)?;
    while let Some((stored, value)) = cursor.item() {
        let row = key::split(stored)?;
        let bytes = (stored.len() + value.len()) as u64;
        let oldest_micros = value::updated(value);
        writes.found(table, row.user, row.generation);
        let load = Load { rows: 1, bytes, oldest_micros, newest_micros: oldest_micros };
        loads.entry(row.generation).or_default().add(load);
        cursor.next()?;
    }
    if !db.has(Family::Chunk) {
        return Ok(());
    }
    let mut cursor = db.snapshot().cursor(Family::Chunk, lower.clone(), key::after_prefix(&lower), true)?;
    cursor.seek(&lower)?;
    while let Some((stored, value)) = cursor.item() {
        let bytes = (stored.len() + value.len()) as u64;
        loads.entry(At::read(stored)?.generation).or_default().add(Load { bytes, ..Load::default() });
        cursor.next()?;
    }
    Ok(())
}

fn free_bytes(path: &Path) -> Result<u64> {
    let disk = rustix::fs::statvfs(path).map_err(|e| {
        Error::new(ErrorKind::Unavailable, format!("cannot ask for the free space of {}", path.display()))
            .with_source(e)
    })?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}
