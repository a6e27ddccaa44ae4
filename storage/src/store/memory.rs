//! What a store may hold in memory, part by part. Whoever runs the process divides its memory; these are the shares.

/// Bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreMemory {
    /// Memtables of the hot tier, all column families together.
    pub write_buffers: usize,
    /// Blocks of the hot tier's files, with their indexes and filters.
    pub block_cache: usize,
    /// Decoded hot rows and keys.
    pub hot_rows: usize,
    /// Decoded blocks of cold rows, of which single keys were read.
    pub cold_rows: usize,
    /// Footers and user indexes of the cold tier's files.
    pub files: usize,
    /// Deletion vectors.
    pub vectors: usize,
    /// A row group that a flush or a rewrite gathers before it is written out.
    pub row_group: usize,
}

impl StoreMemory {
    /// All of it.
    pub fn total(&self) -> usize {
        let Self { write_buffers, block_cache, hot_rows, cold_rows, files, vectors, row_group } = *self;
        write_buffers + block_cache + hot_rows + cold_rows + files + vectors + row_group
    }
}

impl Default for StoreMemory {
    /// For a store that is embedded in a program without a limit of its own: about half a gigabyte.
    fn default() -> Self {
        Self {
            write_buffers: 128 << 20,
            block_cache: 128 << 20,
            hot_rows: 64 << 20,
            cold_rows: 32 << 20,
            files: 96 << 20,
            vectors: 16 << 20,
            row_group: 64 << 20,
        }
    }
}
