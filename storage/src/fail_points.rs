//! Fail points: the places at which a test stops the process, fails a step, or holds it.
//!
//! One lies after each step of whatever must survive a crash at any moment. They are compiled in always, so that the
//! tests kill the very program that is shipped, and cost one look into an empty map until one is armed. What is not in
//! the list below does not compile, and what is in it but nowhere reached is a warning of the compiler; that each is
//! really met by the workload of the tests is what `tests/tests/crash.rs` checks.

use crate::{Error, ErrorKind, Result};

macro_rules! points {
    ($($point:ident $name:literal,)*) => {
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum FailPoint {
            $($point,)*
        }

        impl FailPoint {
            fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)*
                }
            }
        }

        const NAMES: &[&str] = &[$($name,)*];
    };
}

points! {
    // The committer, for rows, definitions and manifests alike: nothing written; written and synced, nobody told.
    CommitBegun "commit.begun",
    CommitWritten "commit.written",
    // A transaction that found no conflict, before it goes to the committer.
    TransactionChecked "transaction.checked",
    // Opaque records of the layers above.
    MetaBegun "meta.begun",
    MetaWritten "meta.written",
    // Tables; `removed` is the end of a dropped or replaced one, before its objects go.
    TableDeclared "table.declared",
    TableCreated "table.created",
    TableRemoved "table.removed",
    AlterBegun "alter.begun",
    AlterDone "alter.done",
    // What all changes of the cold tier share.
    ChangeIntent "change.intent",
    ChangeFile "change.file",
    ChangeVector "change.vector",
    ChangePersisted "change.persisted",
    ChangeAbandoned "change.abandoned",
    Reclaim "reclaim",
    FlushFrozen "flush.frozen",
    FlushFiles "flush.files",
    FlushVectors "flush.vectors",
    FlushPersisted "flush.persisted",
    FlushCommitted "flush.committed",
    FlushReclaimed "flush.reclaimed",
    // A compaction; from `caught_up` on it has the table's turn.
    CompactMerged "compact.merged",
    CompactCaughtUp "compact.caught_up",
    CompactVectors "compact.vectors",
    CompactPersisted "compact.persisted",
    CompactCommitted "compact.committed",
    CompactReclaimed "compact.reclaimed",
    // Loads: all files written; keys checked and vectors persisted; committed.
    LoadSealed "load.sealed",
    LoadChecked "load.checked",
    LoadCommitted "load.committed",
    // An erasure: refused commits; the table's hot rows in files; a table without the user; no object left; no byte left.
    EraseBegun "erase.begun",
    EraseFlushed "erase.flushed",
    EraseTable "erase.table",
    EraseReclaimed "erase.reclaimed",
    ErasePurged "erase.purged",
    // A backup; only from `finished` on is there one.
    BackupCheckpoint "backup.checkpoint",
    BackupFile "backup.file",
    BackupCopied "backup.copied",
    BackupFinished "backup.finished",
    // A restore: the backup's checkpoint here; the marker; an object, all objects, the rows; the batch that ends it.
    RestoreFetched "restore.fetched",
    RestoreMarked "restore.marked",
    RestoreObject "restore.object",
    RestoreRows "restore.rows",
    RestoreCommitted "restore.committed",
    // The object store out of reach, full or broken: before a PUT ends, an fsync, a DELETE; at the first read of a file.
    ObjectPut "object.put",
    ObjectSync "object.sync",
    ObjectDelete "object.delete",
    ObjectRead "object.read",
    // The start: each may be the second crash in a row.
    RecoverOwned "recover.owned",
    RecoverClaimed "recover.claimed",
    RecoverObject "recover.object",
    RecoverSwept "recover.swept",
    RecoverEnded "recover.ended",
}

impl FailPoint {
    /// Where the step ends: does what the point is armed for.
    ///
    /// `return(crash)` ends the process at once, as a kill does: nothing is unwound, closed or synced. `return(full)`
    /// fails the step as a full disk would, `return` as a store that is out of reach.
    pub(crate) fn reached(self) -> Result<()> {
        let name = self.name();
        fail::fail_point!(name, |action| match action.as_deref() {
            Some("crash") => {
                tracing::warn!("fail point {name}: the process ends here");
                std::process::abort()
            }
            Some("full") => Err(Error::new(ErrorKind::ResourceExhausted, format!("fail point {name}: no space left"))),
            _ => Err(Error::new(ErrorKind::Unavailable, format!("fail point {name}"))),
        });
        Ok(())
    }
}

/// Names of all fail points.
pub fn fail_points() -> &'static [&'static str] {
    NAMES
}

/// Arms fail points: `NAME=ACTION`, separated by `;`, actions as the crate `fail` knows them. `2*off->return(crash)`
/// ends the process when the point is reached for the third time. For tests; it holds for the whole process.
pub fn arm_fail_points(text: &str) -> Result<()> {
    let invalid = |message: String| Error::new(ErrorKind::Invalid, message);
    for one in text.split(';').map(str::trim).filter(|one| !one.is_empty()) {
        let (name, action) =
            one.split_once('=').ok_or_else(|| invalid(format!("\"{one}\" is no fail point; write NAME=ACTION")))?;
        if !NAMES.contains(&name) {
            return Err(invalid(format!("there is no fail point \"{name}\"; there are {}", NAMES.join(", "))));
        }
        fail::cfg(name, action).map_err(|reason| invalid(format!("fail point {name}: {reason}")))?;
    }
    Ok(())
}

/// Disarms all, and lets go of whoever is held at one.
pub fn disarm_fail_points() {
    NAMES.iter().for_each(fail::remove);
}
