//! `insula check`: everything that a stopped database has, read and compared with what was written.
//!
//! Nothing is changed. `hot` looks at RocksDB's files and at what they hold, `cold::check` at each Parquet file; here the
//! two are joined: the objects that the manifests name against those that are there. All of it streams, whatever the
//! database's size.

mod hot;

use std::{collections::HashSet, fmt, sync::Arc};

use crate::{
    Error, ErrorKind, Result, Store, StoreConfig,
    cold::{ColdTier, Flaw},
    hot::{db::Db, sealed},
    store::LockFile,
};
use hot::Table;

/// One thing that `check` has found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Or a remark, which needs nobody.
    pub is_fault: bool,
    /// A file or an object, or a part of one.
    pub place: String,
    /// Where in it, in bytes.
    pub offset: Option<u64>,
    pub what: String,
    /// What to do about it.
    pub remedy: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", if self.is_fault { "fault" } else { "note" }, self.place)?;
        if let Some(offset) = self.offset {
            write!(f, ", byte {offset}")?;
        }
        write!(f, ": {}", self.what)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

impl Finding {
    /// One line.
    pub fn to_json(&self) -> String {
        let Self { is_fault, place, offset, what, remedy } = self;
        let kind = if *is_fault { "fault" } else { "note" };
        serde_json::json!({"kind": kind, "place": place, "offset": offset, "what": what, "remedy": remedy}).to_string()
    }
}

/// What `check` has looked at.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct CheckReport {
    pub tables: u64,
    /// Parquet files.
    pub files: u64,
    /// Row versions of both tiers.
    pub rows: u64,
    pub faults: u64,
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tables, files, rows, faults } = self;
        write!(f, "{tables} tables, {files} files, {rows} row versions checked; {faults} faults")
    }
}

impl CheckReport {
    /// One line.
    pub fn to_json(&self) -> String {
        let Self { tables, files, rows, faults } = self;
        serde_json::json!({"kind": "sum", "tables": tables, "files": files, "rows": rows, "faults": faults}).to_string()
    }
}

const RESTORE: &str = "restore a backup into a new data directory";
const TABLE: &str = "drop the table, or restore a backup into a new data directory";
const START: &str = "the next start of the server puts it right";

/// What the parts of a check share.
struct Checker<'a> {
    tell: &'a mut (dyn FnMut(Finding) + Send),
    report: CheckReport,
}

impl Checker<'_> {
    fn fault(&mut self, place: impl Into<String>, what: impl Into<String>, remedy: &'static str) {
        self.find(Finding { is_fault: true, place: place.into(), offset: None, what: what.into(), remedy });
    }

    fn note(&mut self, place: impl Into<String>, what: impl Into<String>, remedy: &'static str) {
        self.find(Finding { is_fault: false, place: place.into(), offset: None, what: what.into(), remedy });
    }

    fn find(&mut self, finding: Finding) {
        self.report.faults += u64::from(finding.is_fault);
        (self.tell)(finding);
    }
}

impl Store {
    /// Checks the database of a configuration, which no server may have open. Blocks its thread.
    ///
    /// An error is about the check itself; whatever is wrong with the database is told by `tell`.
    pub async fn check(config: &StoreConfig, tell: &mut (dyn FnMut(Finding) + Send)) -> Result<CheckReport> {
        let hot = config.data_dir.join("hot");
        if !hot.is_dir() {
            let message = format!("there is no database in {}", config.data_dir.display());
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        let _lock = LockFile::take(&config.data_dir)?;
        let mut checker = Checker { tell, report: CheckReport::default() };
        let was_closed = checker.files(&hot);
        let db = match Db::open_read_only(&hot) {
            Ok(db) => db,
            Err(error) => {
                checker.fault("hot", full_text(&error), RESTORE);
                return Ok(checker.report);
            }
        };
        let tables = checker.hot(&db);
        if config.store_url.as_deref().is_some_and(|url| url.starts_with("memory:")) {
            checker.note("memory://", "what lay in memory is gone", "");
            return Ok(checker.report);
        }
        let cold = ColdTier::open(config.store_url.as_deref(), &config.data_dir, &config.memory)?;
        checker.cold(&db, &cold, &tables, was_closed).await?;
        Ok(checker.report)
    }
}

impl Checker<'_> {
    /// Compares RocksDB's files with the list that was made of them when the database was closed. Whether there is one.
    fn files(&mut self, hot: &std::path::Path) -> bool {
        let sealed = match sealed::read(hot) {
            Ok(Some(sealed)) => sealed,
            Ok(None) => {
                let what = "the server was not stopped in order, so RocksDB's files can be read, but not compared";
                self.note("hot", what, "");
                return false;
            }
            Err(error) => {
                self.fault(sealed::NAME, error.message(), "it is made anew when the server stops");
                return false;
            }
        };
        let mut present = match sealed::names(hot) {
            Ok(names) => HashSet::from_iter(names),
            Err(error) => {
                self.fault("hot", error.to_string(), RESTORE);
                HashSet::new()
            }
        };
        for (name, expected) in sealed {
            let place = format!("hot/{name}");
            if !present.remove(&name) {
                self.fault(place, "the file is missing", RESTORE);
                continue;
            }
            match sealed::sum(&hot.join(&name)) {
                Ok(found) if found == expected.sum => {}
                Ok((bytes, _)) if bytes != expected.sum.0 => {
                    self.fault(place, format!("it has {bytes} bytes instead of {}", expected.sum.0), RESTORE);
                }
                Ok(_) => self.fault(place, "it fails its checksum", RESTORE),
                Err(error) => self.fault(place, error.to_string(), RESTORE),
            }
        }
        for name in present {
            self.fault(format!("hot/{name}"), "the file was not there when the database was closed", RESTORE);
        }
        true
    }

    async fn cold(&mut self, db: &Arc<Db>, cold: &ColdTier, tables: &[Table], was_closed: bool) -> Result<()> {
        match crate::cold::manifest::owner(db) {
            Ok(Some(owner)) => match cold.owner().await {
                Ok(found) if found == owner.to_string().as_bytes() => {}
                Ok(_) => self.fault(ColdTier::OWNER, "it does not name this database", "is this its object store?"),
                Err(error) => self.fault(ColdTier::OWNER, full_text(&error), "is this its object store?"),
            },
            Ok(None) => {}
            Err(error) => self.fault("hot, family manifest", full_text(&error), RESTORE),
        }
        let mut named = HashSet::new();
        for Table { def, manifest } in tables {
            named.extend(manifest.objects(def.id).iter().map(ToString::to_string));
            for file in 0..manifest.files.len() {
                let mut flaws = Vec::new();
                self.report.files += 1;
                self.report.rows += cold.check_file(def, manifest, file, &mut flaws).await;
                for Flaw { place, offset, what } in flaws {
                    self.find(Finding { is_fault: true, place, offset, what, remedy: TABLE });
                }
            }
        }
        // A manifest that cannot be read names objects that then seem to be nobody's.
        if self.report.faults > 0 {
            return Ok(());
        }
        for orphan in cold.unnamed(&named).await? {
            let what = "no manifest names the object";
            if was_closed { self.fault(orphan, what, START) } else { self.note(orphan, what, START) }
        }
        Ok(())
    }
}

/// With its causes: who checks a database may know what the operating system and RocksDB say.
fn full_text(error: &Error) -> String {
    let mut text = error.message().to_owned();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
