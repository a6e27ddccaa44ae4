//! The one place that divides the process's memory: what `--memory-limit` allows, share by share.
//!
//! Every part below bounds itself by its share. The reserve is for what nobody counts: the program, its threads,
//! messages on their way in and out, batches between two plan nodes, and what the allocator keeps.

use std::fmt;

use bytesize::ByteSize;
use insula_engine::StoreMemory;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shares {
    pub store: StoreMemory,
    /// The pool that all statements together draw on.
    pub statements: usize,
    pub reserve: usize,
}

impl Shares {
    /// Below this the shares would be too small to work with.
    pub const SMALLEST: ByteSize = ByteSize::mib(64);

    pub fn of(limit: ByteSize) -> Self {
        let limit = usize::try_from(limit.as_u64()).unwrap_or(usize::MAX);
        let store = StoreMemory {
            // More would only make recovery longer and larger files out of few rows.
            write_buffers: (limit / 8).min(512 << 20),
            block_cache: limit / 16,
            hot_rows: limit / 16,
            cold_rows: limit / 16,
            files: limit / 16,
            vectors: limit / 64,
            row_group: (limit / 16).min(128 << 20),
        };
        let reserve = limit / 6;
        Self { store, statements: limit - store.total() - reserve, reserve }
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |bytes: usize| ByteSize(bytes as u64);
        let store = &self.store;
        write!(f, "statements={} hot_rows={} ", size(self.statements), size(store.hot_rows))?;
        write!(f, "cold_rows={} ", size(store.cold_rows))?;
        write!(f, "write_buffers={} block_cache={} ", size(store.write_buffers), size(store.block_cache))?;
        write!(f, "cold_files={} deletion_vectors={} ", size(store.files), size(store.vectors))?;
        write!(f, "row_group={} reserve={}", size(store.row_group), size(self.reserve))
    }
}

#[cfg(test)]
mod tests;
