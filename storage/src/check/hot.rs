//! What RocksDB holds: definitions, manifests, rows.

use std::sync::Arc;

use insula_proto::{Generation, TableId, UserNo};

use super::{Checker, RESTORE, START, TABLE, full_text};
use crate::{
    Result, TableDef, TableKind,
    cold::{Manifest, manifest},
    hot::{
        chunk::{self, At},
        db::{Db, Family},
        decode::RowDecoder,
        key,
        scan::StoredChunks,
        tables::{Active, record_key},
    },
    store::load_def,
};

/// Rows decoded at a time, and bytes.
const BATCH_ROWS: usize = 1024;
const BATCH_BYTES: usize = 8 << 20;

/// A table of which definition and manifest can be read.
pub(super) struct Table {
    pub def: Arc<TableDef>,
    pub manifest: Manifest,
}

impl Table {
    fn may_hold(&self, user: UserNo, generation: Generation, active: Active) -> bool {
        let owned = (user == UserNo::SHARED) == (self.def.kind == TableKind::Shared);
        owned && generation <= active.generation && generation > self.manifest.flushed
    }
}

impl Checker<'_> {
    /// Checks everything in RocksDB. Returns the tables whose files can be looked for.
    pub fn hot(&mut self, db: &Arc<Db>) -> Vec<Table> {
        for (family, name) in [(Family::Meta, "meta"), (Family::Manifest, "manifest")] {
            if let Err(error) = db.scan(family, &[]) {
                self.fault(format!("hot, family {name}"), full_text(&error), RESTORE);
            }
        }
        let tables = self.tables(db);
        if let Err(error) = manifest::intents(db) {
            self.fault("hot, family manifest", full_text(&error), RESTORE);
        }
        match db.get(Family::Meta, record_key::RESTORING) {
            Ok(Some(_)) => self.note("hot", "a restore was cut short", START),
            _ => self.rows(db, &tables),
        }
        tables
    }

    fn tables(&mut self, db: &Arc<Db>) -> Vec<Table> {
        let mut tables: Vec<Table> = Vec::new();
        let definitions = db.scan(Family::Meta, record_key::DEFINITIONS);
        for (_, sealed) in definitions.unwrap_or_default() {
            self.report.tables += 1;
            match load_def(db, &sealed) {
                Ok(def) => tables.push(Table { def: Arc::new(def), manifest: Manifest::default() }),
                Err(error) => self.fault("hot, definition of a table", full_text(&error), RESTORE),
            }
        }
        for (id, manifest) in manifest::each(db).unwrap_or_default() {
            let place = format!("hot, manifest of table {id}");
            match (tables.iter_mut().find(|table| table.def.id == id), manifest) {
                (Some(table), Ok(manifest)) => table.manifest = manifest,
                (_, Err(error)) => self.fault(place, full_text(&error), TABLE),
                (None, Ok(_)) => self.fault(place, "there is no such table", RESTORE),
            }
        }
        tables
    }

    /// Every row of every table, and that there are no others.
    fn rows(&mut self, db: &Arc<Db>, tables: &[Table]) {
        let mut after = Vec::new();
        for table in tables {
            let lower = table.def.id.0.to_be_bytes().to_vec();
            let upper = key::after_prefix(&lower);
            self.no_rows(db, after, &lower);
            let rows = self.rows_of(db, table, lower.clone(), upper.clone());
            if let Err(error) = rows.and_then(|()| self.chunks_of(db, table, lower, upper.clone())) {
                self.fault(format!("hot, rows of table {}", table.def.id), full_text(&error), TABLE);
            }
            after = upper;
        }
        self.no_rows(db, after, &key::after_prefix(&[]));
    }

    fn no_rows(&mut self, db: &Arc<Db>, lower: Vec<u8>, upper: &[u8]) {
        [Family::Hot, Family::Chunk].into_iter().for_each(|family| self.none_of(db, family, &lower, upper));
    }

    fn none_of(&mut self, db: &Arc<Db>, family: Family, lower: &[u8], upper: &[u8]) {
        if !db.has(family) {
            return;
        }
        let first = || -> Result<Option<TableId>> {
            let mut cursor = db.snapshot().cursor(family, lower.to_vec(), upper.to_vec(), true)?;
            cursor.seek(lower)?;
            cursor.key().map(|key| key::split(key).map(|parts| parts.table)).transpose()
        };
        match first() {
            Ok(None) => {}
            Ok(Some(table)) => self.fault(format!("hot, rows of table {table}"), "there is no such table", RESTORE),
            Err(error) => self.fault("hot, rows", full_text(&error), RESTORE),
        }
    }

    fn rows_of(&mut self, db: &Arc<Db>, table: &Table, lower: Vec<u8>, upper: Vec<u8>) -> Result<()> {
        let place = format!("hot, rows of table {}", table.def.id);
        let Some(active) = db.get(Family::Meta, &record_key::generation(table.def.id))? else {
            self.fault(place, "the table has no generation", TABLE);
            return Ok(());
        };
        let active = Active::from_record(&active)?;
        if active.schema_version != table.def.schema_version {
            self.fault(&place, "its generation and its definition are of different versions", TABLE);
        }
        let all: Vec<usize> = (0..table.def.stored_schema().fields().len()).collect();
        let mut decoder = RowDecoder::new(&table.def, &all)?;
        let snapshot = db.snapshot();
        let chunks = StoredChunks { snapshot: Arc::clone(&snapshot), table: Arc::clone(&table.def) };
        let mut cursor = snapshot.cursor(Family::Hot, lower.clone(), upper, true)?;
        let (mut wrong, mut undecodable, mut rows) = (0u64, 0u64, 0u64);
        cursor.seek(&lower)?;
        while let Some((stored, value)) = cursor.item() {
            let row = key::split(stored)?;
            wrong += u64::from(!table.may_hold(row.user, row.generation, active));
            undecodable += u64::from(decoder.push(&row, value).is_err());
            if decoder.len() >= BATCH_ROWS || decoder.memory() >= BATCH_BYTES {
                decoder.finish(&chunks)?;
            }
            rows += 1;
            cursor.next()?;
        }
        decoder.finish(&chunks)?;
        self.report.rows += rows;
        if undecodable > 0 {
            self.fault(&place, format!("{undecodable} of {rows} row versions cannot be decoded"), TABLE);
        }
        if wrong > 0 {
            self.fault(&place, format!("{wrong} of {rows} row versions lie where none may be"), TABLE);
        }
        Ok(())
    }

    /// The chunks of all rows, those that no row lies in any more included.
    fn chunks_of(&mut self, db: &Arc<Db>, table: &Table, lower: Vec<u8>, upper: Vec<u8>) -> Result<()> {
        let Some(active) = db.get(Family::Meta, &record_key::generation(table.def.id))? else { return Ok(()) };
        if !db.has(Family::Chunk) {
            return Ok(());
        }
        let active = Active::from_record(&active)?;
        let mut cursor = db.snapshot().cursor(Family::Chunk, lower.clone(), upper, true)?;
        cursor.seek(&lower)?;
        while let Some((stored, value)) = cursor.item() {
            let at = At::read(stored)?;
            chunk::check(value)?;
            if !table.may_hold(at.user, at.generation, active) {
                let place = format!("hot, rows of table {}", table.def.id);
                self.fault(place, "a chunk lies where none may be", TABLE);
            }
            cursor.next()?;
        }
        Ok(())
    }
}
