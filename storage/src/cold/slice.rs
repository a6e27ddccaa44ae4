//! A user's part of the cold tier: which ranges of which files, and how much that is.

use insula_proto::{TableId, UserNo};

use super::{ColdTier, Manifest, deletion_vector::live_ranges, layout};
use crate::{ColdSlice, KeyBounds, Result, TableSlice};

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
            let ranges: Vec<_> = part.rows.into_iter().flat_map(|rows| live_ranges(rows, &replaced)).collect();
            if ranges.is_empty() {
                continue;
            }
            let ends = (ranges.first().map(|range| range.start), ranges.last().map(|range| range.end));
            slices.push(ColdSlice {
                path: layout::file_path(table, file.id),
                file_bytes: file.bytes,
                file_rows: file.rows,
                ranges,
                key_bounds: (part.bounds.0.to_vec(), part.bounds.1.to_vec()),
                bounds_live: ends == (Some(entry.rows.start), Some(entry.rows.end)),
                has_deleted: entry.deleted > 0,
                stamp: file.stamp,
                footer: open.metadata().clone(),
            });
        }
        Ok(slices)
    }

    /// `user`: `None` for the whole table. A user's bytes are the file's, by share of rows.
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
            let rows = slice.rows();
            usage.rows += rows;
            usage.bytes +=
                (u128::from(slice.file_bytes) * u128::from(rows) / u128::from(slice.file_rows.max(1))) as u64;
            usage.files += 1;
        }
        Ok(usage)
    }
}
