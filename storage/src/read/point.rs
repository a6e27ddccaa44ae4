//! One row by its key: what applications ask most, without a scan.

use arrow::array::ArrayRef;

use super::TableSlice;
use crate::{
    KeyRows, Result,
    hot::{decode::RowDecoder, scan::UserHot, value::Header},
};

impl TableSlice {
    /// The row under the first of `keys`, as the columns `projection` of the stored schema, which have no row where there
    /// is none. With `deleted` false, a soft-deleted row is none. Ready at once where the cold tier remembers the key's
    /// block.
    pub async fn row(&self, keys: &KeyRows, projection: &[usize], deleted: bool) -> Result<Vec<ArrayRef>> {
        self.settle().await?;
        match self.hot.row(keys.row(0), projection, deleted)? {
            Some(row) => Ok(row),
            None => self.cold_row(keys, projection, deleted).await,
        }
    }
}

impl UserHot {
    /// `None`: the key is not here. A key that is here and soft-deleted hides what the cold tier has of it.
    fn row(&self, key: &[u8], projection: &[usize], deleted: bool) -> Result<Option<Vec<ArrayRef>>> {
        let mut lookup = self.lookup();
        let Some(place) = lookup.find(key)? else { return Ok(None) };
        let Some((row, value)) = lookup.row(place)? else { return Ok(None) };
        let header = Header::read(value)?;
        let mut decoder = RowDecoder::new(&self.table, projection)?;
        if deleted || !header.deleted {
            decoder.push_checked(&row, &header)?;
        }
        Ok(Some(decoder.finish(self)?.columns().to_vec()))
    }
}
