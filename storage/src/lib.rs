//! Insula's two storage tiers: hot rows in RocksDB, cold rows in Parquet, one snapshot over both.
//!
//! Storage knows Arrow batches, keys and users **as numbers**. It knows nothing of SQL, sessions or gRPC, and no
//! function of its read side takes "all users": a [`TableSlice`] is one user's rows of one table, always.

mod backup;
mod bits;
mod cache;
mod change;
mod check;
mod clock;
mod cold;
mod compact;
mod erase;
mod error;
mod fail_points;
#[cfg(test)]
mod faulty;
mod figures;
mod flush;
#[doc(hidden)]
pub mod fuzz;
mod hot;
mod jobs;
pub mod load;
mod meta;
#[cfg(test)]
mod notes;
mod read;
mod store;
mod stream;
mod sweep;
pub mod table;
mod transaction;
mod write;

pub use backup::BackupReport;
pub use bits::Bits;
pub use check::{CheckReport, Finding};
pub use clock::{Clock, SystemClock};
pub use cold::{
    Shadowed, Stamp,
    parquet_type::{file_schema, restore},
};
pub use compact::CompactReport;
pub use erase::EraseReport;
pub use error::{Error, ErrorKind, Result};
pub use fail_points::{arm_fail_points, disarm_fail_points, fail_points};
pub use figures::{Figures, FileInfo};
pub use flush::FlushReport;
pub use hot::{
    bounds::{KeyBounds, KeyRange},
    key::{KeyCodec, KeyRows},
    scan::HotSpan,
};
pub use jobs::{Job, JobKind, Outcome as JobOutcome, Total as JobTotal, Work as JobWork};
pub use load::Load;
pub use meta::{Meta, MetaBatch};
pub use read::{ColdSlice, HotKeys, HotScan, ReadView, TableSlice};
pub use store::{DiskUsage, Filling, Freed, Store, StoreConfig, StoreMemory};
pub use table::{
    Alteration, Check, ColumnDef, Durability, Initial, NewCheck, NewColumn, NewTable, Placement, TableDef, TableKind,
    TableOptions, TableVersion,
};
pub use transaction::Transaction;
pub use write::{Commit, WriteLock, WriteSet};
