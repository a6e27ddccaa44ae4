//! A user's part of the cold tier: which ranges of which files, and how much that is.

use futures::TryStreamExt;
use insula_proto::{TableId, UserNo};

use super::{ColdTier, Manifest, deletion_vector::live_ranges, layout};
use crate::{ColdSlice, KeyBounds, Result, TableSlice};

/// Rows of a file that are read to estimate the size of all.
const SAMPLE_ROWS: u64 = 512;

/// Rows and bytes in Parquet.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct ColdUsage {
    /// Replaced rows not counted.
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) files: u64,
}

impl TableSlice {
    /// The cold files that hold rows of this user, oldest first, deletion vectors already taken off.
    pub async fn cold(&self) -> Result<Vec<ColdSlice>> {
        self.cold_within(&KeyBounds::All).await
    }

    /// What of them may hold wanted keys: whole blocks of the user index.
    pub async fn cold_within(&self, wanted: &KeyBounds) -> Result<Vec<ColdSlice>> {
        self.cold_tier().slices(self.manifest(), self.table().id, self.user(), wanted).await
    }
}

impl ColdTier {
    pub(crate) async fn slices(
        &self,
        manifest: &Manifest,
        table: TableId,
        user: UserNo,
        wanted: &KeyBounds,
    ) -> Result<Vec<ColdSlice>> {
        let mut slices = Vec::new();
        for file in manifest.files.iter().filter(|file| file.spans(user)) {
            let open = self.open_file(table, file).await?;
            let Some(entry) = open.users.get(user)? else { continue };
            let Some(part) = entry.part(wanted) else { continue };
            let replaced = self.vector(table, file).await?;
            let ranges: Vec<_> = part.rows.iter().flat_map(|rows| live_ranges(rows.clone(), &replaced)).collect();
            if ranges.is_empty() {
                continue;
            }
            let ends = (ranges.first().map(|range| range.start), ranges.last().map(|range| range.end));
            slices.push(ColdSlice {
                id: file.id,
                path: layout::file_path(table, file.id),
                file_bytes: file.bytes,
                file_rows: file.rows,
                ranges,
                whole: part.rows,
                replaced,
                key_bounds: (part.bounds.0.to_vec(), part.bounds.1.to_vec()),
                bounds_live: ends == (Some(entry.rows.start), Some(entry.rows.end)),
                has_deleted: entry.deleted > 0,
                stamp: file.stamp,
                footer: open.metadata().clone(),
            });
        }
        Ok(slices)
    }

    /// `user`: `None` for the whole table. A user's bytes are an estimate from some of their own rows, decoded: a share of
    /// the file's bytes would tell how large the rows of others are.
    pub(crate) async fn usage(&self, manifest: &Manifest, table: TableId, user: Option<UserNo>) -> Result<ColdUsage> {
        let mut usage = ColdUsage::default();
        let Some(user) = user else {
            for file in &manifest.files {
                let vector = file.deletion_vector.as_ref();
                usage.rows += file.rows.saturating_sub(vector.map_or(0, |vector| vector.cardinality));
                usage.bytes += file.bytes + vector.map_or(0, |vector| vector.bytes);
                usage.files += 1;
            }
            return Ok(usage);
        };
        for slice in self.slices(manifest, table, user, &KeyBounds::All).await? {
            usage.rows += slice.rows();
            usage.bytes += self.decoded_bytes(manifest, table, &slice).await?;
            usage.files += 1;
        }
        Ok(usage)
    }

    /// What the rows of the slice would be in memory, by the size of the first of them.
    async fn decoded_bytes(&self, manifest: &Manifest, table: TableId, slice: &ColdSlice) -> Result<u64> {
        let named = manifest.files.iter().find(|file| layout::file_path(table, file.id) == slice.path);
        let (Some(file), Some(first)) = (named, slice.ranges.first()) else { return Ok(0) };
        let open = self.open_file(table, file).await?;
        let sample = first.start..first.end.min(first.start + SAMPLE_ROWS);
        let mut batches = open.read(&open.columns(), std::slice::from_ref(&sample))?;
        let (mut rows, mut bytes) = (0, 0);
        while let Some(batch) = batches.try_next().await.map_err(|error| open.read_error(error))? {
            rows += batch.num_rows() as u64;
            for column in batch.columns() {
                bytes += column.to_data().get_slice_memory_size().unwrap_or_default() as u64;
            }
        }
        Ok((u128::from(bytes) * u128::from(slice.rows()) / u128::from(rows.max(1))) as u64)
    }
}
