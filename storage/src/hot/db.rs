//! RocksDB: opening it, its column families, owned snapshots and cursors.
//!
//! Everything else of the crate speaks [`Batch`], [`Snapshot`] and [`Cursor`]; the names of RocksDB's own types end
//! here and in the committer, which is the only writer.

mod purge;

use std::{path::Path, sync::Arc};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DBCompressionType, DBRawIterator, DBRecoveryMode,
    Options, ReadOptions, SliceTransform, checkpoint::Checkpoint,
};
use self_cell::self_cell;

use super::{key, logs, sealed::Sealer};
use crate::{Error, ErrorKind, Result, StoreMemory, store::LockFile};

/// Memtables of a family: the one that is written, and one on its way to disk.
const MEMTABLES: i32 = 2;
/// The largest memtable of the hot family, and of the others.
const WRITE_BUFFER: usize = 64 << 20;
const SMALL_WRITE_BUFFER: usize = 4 << 20;
const MAX_OPEN_FILES: i32 = 1024;

/// The column families: a fixed few, because each costs memtables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Family {
    /// Table definitions, generations, high-water marks, and the opaque records of the layers above.
    Meta,
    /// Manifests and flush intents.
    Manifest,
    /// Rows.
    Hot,
    /// Chunks of rows.
    Chunk,
}

impl Family {
    pub const ALL: [Self; 4] = [Self::Meta, Self::Manifest, Self::Hot, Self::Chunk];

    fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Manifest => "manifest",
            Self::Hot => "hot",
            Self::Chunk => "chunk",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Put(Family, Vec<u8>, Vec<u8>),
    Delete(Family, Vec<u8>),
    DeleteRange(Family, Vec<u8>, Vec<u8>),
}

/// Changes that become durable together.
#[derive(Clone, Default, Debug)]
pub(crate) struct Batch {
    pub(crate) ops: Vec<Op>,
}

impl Batch {
    pub fn put(&mut self, family: Family, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.ops.push(Op::Put(family, key.into(), value.into()));
    }

    pub fn delete(&mut self, family: Family, key: impl Into<Vec<u8>>) {
        self.ops.push(Op::Delete(family, key.into()));
    }

    /// Deletes the keys from `from` up to but not including `to`.
    pub fn delete_range(&mut self, family: Family, from: impl Into<Vec<u8>>, to: impl Into<Vec<u8>>) {
        self.ops.push(Op::DeleteRange(family, from.into(), to.into()));
    }

    pub fn touches(&self, family: Family) -> bool {
        self.ops.iter().any(|op| match op {
            Op::Put(of, ..) | Op::Delete(of, _) | Op::DeleteRange(of, ..) => *of == family,
        })
    }

    /// Adds the changes to RocksDB's own batch.
    pub(super) fn write_into(self, db: &Db, target: &mut rocksdb::WriteBatch) -> Result<()> {
        for op in self.ops {
            match op {
                Op::Put(family, key, value) => target.put_cf(db.family(family)?, key, value),
                Op::Delete(family, key) => target.delete_cf(db.family(family)?, key),
                Op::DeleteRange(family, from, to) => target.delete_range_cf(db.family(family)?, from, to),
            }
        }
        Ok(())
    }
}

pub(crate) struct Db {
    rocks: rocksdb::DB,
    /// Behind RocksDB in this struct, for it lists the files that RocksDB has closed.
    _sealer: Option<Sealer>,
    /// Behind RocksDB in this struct, so that the directory stays ours until RocksDB has closed. A copy that is only
    /// read has none.
    _lock: Option<LockFile>,
}

impl Db {
    pub fn open(path: &Path, lock: LockFile, memory: &StoreMemory) -> Result<Arc<Self>> {
        logs::check(path)?;
        let sealer = Sealer::unseal(path)?;
        let cache = Cache::new_lru_cache(memory.block_cache);
        let descriptors =
            Family::ALL.map(|f| ColumnFamilyDescriptor::new(f.name(), family_options(f, &cache, memory.write_buffers)));
        let rocks = rocksdb::DB::open_cf_descriptors(&database_options(memory.write_buffers), path, descriptors)
            .map_err(|e| {
                let kind = match e.kind() {
                    rocksdb::ErrorKind::Corruption => ErrorKind::DataLoss,
                    _ => ErrorKind::Unavailable,
                };
                Error::new(kind, format!("cannot open the hot tier at {}: {e}", path.display())).with_source(e)
            })?;
        Ok(Arc::new(Self { rocks, _sealer: Some(sealer), _lock: Some(lock) }))
    }

    /// A checkpoint, or a database that nobody has open. Nothing is changed.
    pub fn open_read_only(path: &Path) -> Result<Arc<Self>> {
        logs::check(path)?;
        let mut options = Options::default();
        options.set_paranoid_checks(true);
        // A database that was last written before there were chunks has no family for them.
        let there = rocksdb::DB::list_cf(&options, path).map_err(|e| {
            Error::new(ErrorKind::DataLoss, format!("the hot tier cannot be opened to read: {e}")).with_source(e)
        })?;
        let families = Family::ALL.map(Family::name).into_iter().filter(|name| there.iter().any(|found| found == name));
        let rocks = rocksdb::DB::open_cf_for_read_only(&options, path, families, false).map_err(|e| {
            Error::new(ErrorKind::DataLoss, format!("the hot tier cannot be opened to read: {e}")).with_source(e)
        })?;
        Ok(Arc::new(Self { rocks, _sealer: None, _lock: None }))
    }

    /// Puts the database as it is into a new directory: links to its immutable files, and the rest copied.
    pub(super) fn checkpoint(&self, directory: &Path) -> Result<()> {
        let checkpoint = Checkpoint::new(&self.rocks).and_then(|checkpoint| checkpoint.create_checkpoint(directory));
        checkpoint.map_err(|e| {
            Error::new(ErrorKind::Unavailable, format!("a checkpoint of the hot tier failed: {e}")).with_source(e)
        })
    }

    /// Databases that are only read may be from before a family.
    pub fn has(&self, family: Family) -> bool {
        self.rocks.cf_handle(family.name()).is_some()
    }

    fn family(&self, family: Family) -> Result<&ColumnFamily> {
        self.rocks
            .cf_handle(family.name())
            .ok_or_else(|| Error::new(ErrorKind::Internal, format!("column family {} is missing", family.name())))
    }

    /// The newest value, outside any snapshot.
    pub fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.rocks.get_cf(self.family(family)?, key).map_err(read_error)
    }

    /// All records under a prefix, as of now. For the small families only.
    pub fn scan(self: &Arc<Self>, family: Family, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.snapshot().scan(family, prefix)
    }

    pub fn snapshot(self: &Arc<Self>) -> Arc<Snapshot> {
        Arc::new(Snapshot(SnapshotCell::new(Arc::clone(self), |db| db.rocks.snapshot())))
    }

    /// A row or chunk of the committer, which borrows from its request.
    pub(super) fn put_into(
        &self,
        target: &mut rocksdb::WriteBatch,
        family: Family,
        key: &[u8],
        value: &[u8],
    ) -> Result<()> {
        target.put_cf(self.family(family)?, key, value);
        Ok(())
    }

    /// A number that RocksDB keeps of itself, added up over the families; `None`: it has none of that name.
    pub fn property(&self, name: &str) -> Option<u64> {
        let of = |family| self.rocks.property_int_value_cf(self.family(family).ok()?, name).ok()?;
        Family::ALL.into_iter().map(of).sum()
    }

    /// The same of the hot family alone: what the families share would be counted three times.
    pub fn shared_property(&self, name: &str) -> Option<u64> {
        self.rocks.property_int_value_cf(self.family(Family::Hot).ok()?, name).ok()?
    }

    pub fn write(&self, batch: rocksdb::WriteBatch, sync: bool) -> Result<()> {
        let mut options = rocksdb::WriteOptions::default();
        options.set_sync(sync);
        self.rocks.write_opt(batch, &options).map_err(write_error)
    }

    pub(super) fn sync(&self) -> Result<()> {
        self.rocks.flush_wal(true).map_err(write_error)
    }
}

type RocksSnapshot<'a> = rocksdb::Snapshot<'a>;

self_cell!(
    struct SnapshotCell {
        owner: Arc<Db>,
        #[covariant]
        dependent: RocksSnapshot,
    }
);

/// One moment of the whole database, across column families. It keeps the database open.
pub(crate) struct Snapshot(SnapshotCell);

impl Snapshot {
    pub fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let family = self.0.borrow_owner().family(family)?;
        self.0.borrow_dependent().get_cf(family, key).map_err(read_error)
    }

    /// Hands the value of a key to `read`, without a copy; false: there is none.
    pub fn with(&self, family: Family, key: &[u8], read: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool> {
        let family = self.0.borrow_owner().family(family)?;
        match self.0.borrow_dependent().get_pinned_cf(family, key).map_err(read_error)? {
            Some(value) => read(&value).map(|()| true),
            None => Ok(false),
        }
    }

    /// All records under a prefix. For the small families only.
    pub fn scan(self: &Arc<Self>, family: Family, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut cursor = self.cursor(family, prefix.to_vec(), key::after_prefix(prefix), true)?;
        let mut records = Vec::new();
        cursor.seek(prefix)?;
        while let Some((key, value)) = cursor.item() {
            records.push((key.to_vec(), value.to_vec()));
            cursor.next()?;
        }
        Ok(records)
    }

    /// A cursor over `lower..upper`. Without `total_order` both must share the row prefix of [`key::PREFIX`] bytes,
    /// for then whole files are skipped by their bloom filters.
    pub fn cursor(
        self: &Arc<Self>,
        family: Family,
        lower: Vec<u8>,
        upper: Vec<u8>,
        total_order: bool,
    ) -> Result<Cursor> {
        let cell = CursorCell::try_new(Arc::clone(self), |snapshot| {
            let family = snapshot.0.borrow_owner().family(family)?;
            let mut options = ReadOptions::default();
            options.set_iterate_lower_bound(lower);
            options.set_iterate_upper_bound(upper);
            options.set_total_order_seek(total_order);
            options.set_prefix_same_as_start(!total_order);
            Ok(snapshot.0.borrow_dependent().raw_iterator_cf_opt(family, options))
        })?;
        Ok(Cursor(cell))
    }
}

type RocksIterator<'a> = DBRawIterator<'a>;

self_cell!(
    struct CursorCell {
        owner: Arc<Snapshot>,
        #[covariant]
        dependent: RocksIterator,
    }
);

/// A position between two bounds of one column family. It keeps its snapshot.
pub(crate) struct Cursor(CursorCell);

impl Cursor {
    /// Moves to the first key at or after `key`.
    pub fn seek(&mut self, key: &[u8]) -> Result<()> {
        self.step(|iterator| iterator.seek(key))
    }

    /// Moves to the last key at or before `key`.
    pub fn seek_back(&mut self, key: &[u8]) -> Result<()> {
        self.step(|iterator| iterator.seek_for_prev(key))
    }

    pub fn next(&mut self) -> Result<()> {
        self.step(|iterator| iterator.next())
    }

    /// `None`: past the end.
    pub fn item(&self) -> Option<(&[u8], &[u8])> {
        self.0.borrow_dependent().item()
    }

    pub fn key(&self) -> Option<&[u8]> {
        self.0.borrow_dependent().key()
    }

    /// RocksDB says "end" and "cannot read on" alike by an invalid position; only the status tells them apart.
    fn step(&mut self, f: impl FnOnce(&mut DBRawIterator<'_>)) -> Result<()> {
        self.0.with_dependent_mut(|_, iterator| {
            f(iterator);
            if iterator.valid() { Ok(()) } else { iterator.status().map_err(read_error) }
        })
    }
}

/// RocksDB lists its files, with the first and last key of each, in a log that it begins anew only when that has grown.
/// By default that is at a gigabyte, and so keys that were deleted long ago would stay on disk.
const LIST_OF_FILES: &str = "max_manifest_file_size=4096;max_manifest_space_amp_pct=20";

fn database_options(write_buffers: usize) -> Options {
    let mut options = Options::default();
    match options.get_options_from_string(LIST_OF_FILES) {
        Ok(with) => options = with,
        Err(error) => tracing::warn!(%error, "RocksDB does not know the options of its list of files"),
    }
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_paranoid_checks(true);
    // A kill in the middle of an unacknowledged write leaves a torn tail; anything else that is wrong must not pass.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_max_background_jobs(4);
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(16 << 20);
    options.set_max_total_wal_size(512 << 20);
    // One bound for the memtables of all families: at it, the fattest is written out, long before a family is full.
    options.set_db_write_buffer_size(write_buffers);
    // Its counterpart for files: each that is open holds some memory outside the block cache.
    options.set_max_open_files(MAX_OPEN_FILES);
    options.set_bytes_per_sync(1 << 20);
    options
}

fn family_options(family: Family, cache: &Cache, write_buffers: usize) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_bloom_filter(10.0, false);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks.set_format_version(5);
    let mut options = Options::default();
    options.set_paranoid_checks(true);
    options.set_max_write_buffer_number(MEMTABLES);
    options.set_compression_type(DBCompressionType::Lz4);
    if matches!(family, Family::Hot | Family::Chunk) {
        options.set_write_buffer_size((write_buffers / 2).min(WRITE_BUFFER));
        options.set_prefix_extractor(SliceTransform::create_fixed_prefix(key::PREFIX));
        options.set_memtable_prefix_bloom_ratio(0.05);
        blocks.set_whole_key_filtering(false);
    } else {
        options.set_write_buffer_size((write_buffers / 16).min(SMALL_WRITE_BUFFER));
    }
    options.set_block_based_table_factory(&blocks);
    options
}

// RocksDB's text names files of this machine: it is for the log, never for a user.

fn read_error(e: rocksdb::Error) -> Error {
    let kind = match e.kind() {
        rocksdb::ErrorKind::Corruption => ErrorKind::DataLoss,
        _ => ErrorKind::Unavailable,
    };
    tracing::error!(error = %e, "the hot tier cannot be read");
    let message = match kind {
        ErrorKind::DataLoss => "a block of the hot tier is damaged; restore a backup (insula check lists all damage)",
        _ => "cannot read the hot tier",
    };
    Error::new(kind, message).with_source(e)
}

fn write_error(e: rocksdb::Error) -> Error {
    tracing::error!(error = %e, "the hot tier cannot be written");
    Error::new(ErrorKind::Unavailable, "cannot write the hot tier").with_source(e)
}
