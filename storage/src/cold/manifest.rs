//! Which files are a table's cold tier at one version, kept in RocksDB so that one snapshot covers both tiers.
//!
//! Column family `manifest`: `'m' | table u32 BE` → manifest and `'i' | table u32 BE | uuid` → intent of a change, both
//! protobuf, and `'o'` → the 16 bytes of the id under which the database owns its object store; all in the frame of
//! `hot::record`.

use std::sync::Arc;

use insula_proto::{Generation, Seq, TableId, UserNo, storage as proto};
use prost::Message;
use uuid::Uuid;

use super::blocks::Tail;
use crate::{
    Error, ErrorKind, Result,
    hot::{
        self,
        db::{Batch, Db, Family, Snapshot},
        record,
    },
};

const MANIFEST: u8 = b'm';
const INTENT: u8 = b'i';
const OWNER: &[u8] = b"o";

/// The cold tier of one table at one version.
#[derive(Clone, Default, PartialEq, Debug)]
pub(crate) struct Manifest {
    pub(crate) version: u64,
    /// The deepest level first, each in the order of its rows; level 0 last, oldest first.
    pub(crate) files: Vec<ColdFile>,
    /// Hot generations up to and including this one are in `files`; 0: none yet.
    pub(crate) flushed: Generation,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct ColdFile {
    pub(crate) id: Uuid,
    pub(crate) bytes: u64,
    pub(crate) rows: u64,
    /// Rows whose `_deleted` is true.
    pub(crate) deleted_rows: u64,
    pub(crate) users: (UserNo, UserNo),
    /// Keys of the first and of the last row, cut to [`writer::BOUND_BYTES`]: rounded down, and up.
    ///
    /// [`writer::BOUND_BYTES`]: super::writer::BOUND_BYTES
    pub(crate) keys: (Vec<u8>, Vec<u8>),
    pub(crate) seqs: (u64, u64),
    pub(crate) level: u32,
    pub(crate) schema_version: u32,
    pub(crate) deletion_vector: Option<DeletionVectorRef>,
    pub(crate) created_micros: i64,
    /// Sequence number and commit time of every row, where the file was written before its commit.
    pub(crate) stamp: Option<Stamp>,
    /// Where its indexes and footer begin, and their checksum.
    pub(crate) tail: Tail,
    /// Commit time of the oldest row whose `_deleted` is true: when retention may end for the first of them.
    pub(crate) oldest_deleted_micros: Option<i64>,
}

/// When one commit happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    pub seq: Seq,
    pub updated_micros: i64,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct DeletionVectorRef {
    pub(crate) id: Uuid,
    pub(crate) cardinality: u64,
    pub(crate) bytes: u64,
}

impl ColdFile {
    /// Whether the file may hold rows of `user`.
    pub(crate) fn spans(&self, user: UserNo) -> bool {
        self.users.0 <= user && user <= self.users.1
    }
}

impl Manifest {
    /// Paths of all objects named.
    pub(crate) fn objects(&self, table: TableId) -> Vec<object_store::path::Path> {
        let vectors = self.files.iter().filter_map(|file| file.deletion_vector.as_ref());
        let vectors = vectors.map(|vector| super::layout::vector_path(table, vector.id));
        self.files.iter().map(|file| super::layout::file_path(table, file.id)).chain(vectors).collect()
    }

    /// Of all objects named.
    pub(crate) fn bytes(&self) -> u64 {
        let vector = |file: &ColdFile| file.deletion_vector.as_ref().map_or(0, |vector| vector.bytes);
        self.files.iter().map(|file| file.bytes + vector(file)).sum()
    }

    fn from_proto(manifest: proto::Manifest) -> Result<Self> {
        let files = manifest.files.into_iter().map(ColdFile::from_proto).collect::<Result<_>>()?;
        Ok(Self { version: manifest.version, files, flushed: Generation(manifest.flushed_generation) })
    }

    fn to_proto(&self) -> proto::Manifest {
        proto::Manifest {
            version: self.version,
            files: self.files.iter().map(ColdFile::to_proto).collect(),
            flushed_generation: self.flushed.0,
        }
    }
}

impl ColdFile {
    fn from_proto(file: proto::File) -> Result<Self> {
        let deletion_vector = file.deletion_vector.map(|vector| {
            let id = uuid(&vector.uuid)?;
            Ok::<_, Error>(DeletionVectorRef { id, cardinality: vector.cardinality, bytes: vector.bytes })
        });
        Ok(Self {
            id: uuid(&file.uuid)?,
            bytes: file.bytes,
            rows: file.rows,
            deleted_rows: file.deleted_rows,
            users: (UserNo(file.min_user), UserNo(file.max_user)),
            keys: (file.min_key, file.max_key),
            seqs: (file.min_seq, file.max_seq),
            level: file.level,
            schema_version: file.schema_version,
            deletion_vector: deletion_vector.transpose()?,
            created_micros: file.created_micros,
            stamp: file.stamp.map(|s| Stamp { seq: Seq(s.seq), updated_micros: s.updated_micros }),
            tail: Tail { offset: file.tail_offset, crc: file.tail_crc32 },
            oldest_deleted_micros: file.oldest_deleted_micros,
        })
    }

    fn to_proto(&self) -> proto::File {
        proto::File {
            uuid: self.id.as_bytes().to_vec(),
            bytes: self.bytes,
            rows: self.rows,
            deleted_rows: self.deleted_rows,
            min_user: self.users.0.0,
            max_user: self.users.1.0,
            min_seq: self.seqs.0,
            max_seq: self.seqs.1,
            level: self.level,
            schema_version: self.schema_version,
            deletion_vector: self.deletion_vector.as_ref().map(|vector| proto::DeletionVector {
                uuid: vector.id.as_bytes().to_vec(),
                cardinality: vector.cardinality,
                bytes: vector.bytes,
            }),
            created_micros: self.created_micros,
            stamp: self.stamp.map(|s| proto::Stamp { seq: s.seq.0, updated_micros: s.updated_micros }),
            tail_offset: self.tail.offset,
            tail_crc32: self.tail.crc,
            min_key: self.keys.0.clone(),
            max_key: self.keys.1.clone(),
            oldest_deleted_micros: self.oldest_deleted_micros,
        }
    }
}

pub(crate) use proto::ChangeKind;

/// What a change is about to create; written, synced, before it creates anything.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Intent {
    pub(crate) table: TableId,
    pub(crate) id: Uuid,
    pub(crate) kind: ChangeKind,
    pub(crate) objects: Vec<Uuid>,
}

impl Intent {
    pub(crate) fn new(table: TableId, kind: ChangeKind) -> Self {
        Self { table, id: Uuid::now_v7(), kind, objects: Vec::new() }
    }
}

/// The manifest of `table` as of `snapshot`; the empty one if nothing was flushed yet.
pub(crate) fn load(snapshot: &Snapshot, table: TableId) -> Result<Arc<Manifest>> {
    let value = snapshot.get(Family::Manifest, &key(MANIFEST, table))?;
    value.map_or_else(|| Ok(Arc::default()), |value| Ok(Arc::new(open_manifest(table, &value)?)))
}

/// The newest manifest of `table`.
pub(crate) fn current(db: &Db, table: TableId) -> Result<Manifest> {
    let value = db.get(Family::Manifest, &key(MANIFEST, table))?;
    value.map_or_else(|| Ok(Manifest::default()), |value| open_manifest(table, &value))
}

/// The manifests of all tables.
pub(crate) fn all(db: &Arc<Db>) -> Result<Vec<(TableId, Manifest)>> {
    each(db)?.into_iter().map(|(table, manifest)| Ok((table, manifest?))).collect()
}

/// As [`all`], with the damage of each.
pub(crate) fn each(db: &Arc<Db>) -> Result<Vec<(TableId, Result<Manifest>)>> {
    let records = db.scan(Family::Manifest, &[MANIFEST])?.into_iter();
    records.map(|(key, value)| table_of(&key).map(|table| (table, open_manifest(table, &value)))).collect()
}

/// All intents: after a crash, the changes that were under way.
pub(crate) fn intents(db: &Arc<Db>) -> Result<Vec<Intent>> {
    let records = db.scan(Family::Manifest, &[INTENT])?.into_iter();
    let intents = records.map(|(key, value)| {
        let table = table_of(&key)?;
        let what = format!("an intent of table {table}");
        let intent: proto::Intent = decode(&value, &what)?;
        let objects = intent.uuids.iter().map(|id| uuid(id)).collect::<Result<_>>()?;
        let (id, kind) = (uuid(&intent.id)?, intent.kind());
        Ok(Intent { table, id, kind, objects })
    });
    intents.collect()
}

pub(crate) fn put(batch: &mut Batch, table: TableId, manifest: &Manifest) {
    batch.put(Family::Manifest, key(MANIFEST, table), record_of(manifest));
}

pub(super) fn record_of(manifest: &Manifest) -> Vec<u8> {
    record::seal(&manifest.to_proto().encode_to_vec())
}

pub(crate) fn put_intent(batch: &mut Batch, intent: &Intent) {
    let message = proto::Intent {
        table: intent.table.0,
        uuids: intent.objects.iter().map(|id| id.as_bytes().to_vec()).collect(),
        id: intent.id.as_bytes().to_vec(),
        kind: intent.kind.into(),
    };
    batch.put(Family::Manifest, intent_key(intent), record::seal(&message.encode_to_vec()));
}

pub(crate) fn delete_intent(batch: &mut Batch, intent: &Intent) {
    batch.delete(Family::Manifest, intent_key(intent));
}

fn intent_key(intent: &Intent) -> Vec<u8> {
    [&key(INTENT, intent.table)[..], intent.id.as_bytes()].concat()
}

/// Forgets everything of a dropped table.
pub(crate) fn delete(batch: &mut Batch, table: TableId) {
    batch.delete(Family::Manifest, key(MANIFEST, table));
    let intents = key(INTENT, table).to_vec();
    batch.delete_range(Family::Manifest, intents.clone(), hot::key::after_prefix(&intents));
}

/// The id under which this database owns its object store, if it has one yet.
pub(crate) fn owner(db: &Db) -> Result<Option<Uuid>> {
    let value = db.get(Family::Manifest, OWNER)?;
    value.map(|value| uuid(record::open(&value, "the owner's id of the object store")?)).transpose()
}

pub(crate) fn put_owner(batch: &mut Batch, owner: Uuid) {
    batch.put(Family::Manifest, OWNER, record::seal(owner.as_bytes()));
}

fn key(kind: u8, table: TableId) -> [u8; 5] {
    let [a, b, c, d] = table.0.to_be_bytes();
    [kind, a, b, c, d]
}

fn table_of(key: &[u8]) -> Result<TableId> {
    let number = key.get(1..5).and_then(|rest| <[u8; 4]>::try_from(rest).ok());
    let number = number.ok_or_else(|| Error::new(ErrorKind::DataLoss, "a key of the manifest family is malformed"))?;
    Ok(TableId(u32::from_be_bytes(number)))
}

pub(super) fn open_manifest(table: TableId, value: &[u8]) -> Result<Manifest> {
    Manifest::from_proto(decode(value, &format!("manifest of table {table}"))?)
}

fn decode<M: Message + Default>(value: &[u8], what: &str) -> Result<M> {
    M::decode(record::open(value, what)?)
        .map_err(|error| Error::new(ErrorKind::DataLoss, format!("{what} is malformed")).with_source(error))
}

fn uuid(bytes: &[u8]) -> Result<Uuid> {
    Uuid::from_slice(bytes)
        .map_err(|error| Error::new(ErrorKind::DataLoss, "manifest: an object's id is malformed").with_source(error))
}

#[cfg(test)]
mod tests;
