//! One user's hot rows as batches: recalled, or read and then remembered. Text and bytes are remembered as views, which is
//! what statements see of them: else each statement would make views of all of them anew.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions},
    compute::cast,
    datatypes::{DataType, Field, Schema},
    error::ArrowError,
};

use super::TableSlice;
use crate::{
    KeyBounds, Result,
    hot::{
        decoded::{Moment, What},
        scan::UserRows,
    },
};

/// Blocking.
pub struct HotScan {
    source: Source,
}

enum Source {
    Recalled { rows: Arc<[RecordBatch]>, at: usize },
    Read { rows: Box<UserRows>, gathered: Option<Gathered> },
}

/// Batches on their way into the cache. A scan that is given up, fails, or grows too large remembers nothing.
struct Gathered {
    slice: TableSlice,
    what: What,
    moment: Moment,
    rows: Vec<RecordBatch>,
    bytes: usize,
}

impl HotScan {
    pub(super) fn new(
        slice: &TableSlice,
        wanted: &KeyBounds,
        projection: &[usize],
        batch_rows: usize,
        deleted: bool,
    ) -> Result<Self> {
        let what = What::Rows { projection: projection.to_vec(), batch_rows, deleted };
        let moment = if slice.is_all(wanted)? { slice.moment()? } else { None };
        if let Some(rows) = moment.and_then(|moment| slice.recall(&what, moment)) {
            return Ok(Self { source: Source::Recalled { rows, at: 0 } });
        }
        let rows = Box::new(slice.hot.rows(wanted, projection, batch_rows, deleted)?);
        let gathered = moment.map(|moment| Gathered { slice: slice.clone(), what, moment, rows: Vec::new(), bytes: 0 });
        Ok(Self { source: Source::Read { rows, gathered } })
    }
}

impl TableSlice {
    /// The batches that [`Self::hot_within`] would yield, where all of them are remembered.
    pub fn recalled(
        &self,
        wanted: &KeyBounds,
        projection: &[usize],
        batch_rows: usize,
        deleted: bool,
    ) -> Result<Option<Arc<[RecordBatch]>>> {
        let moment = if self.is_all(wanted)? { self.moment()? } else { None };
        let what = What::Rows { projection: projection.to_vec(), batch_rows, deleted };
        Ok(moment.and_then(|moment| self.recall(&what, moment)))
    }

    fn recall(&self, what: &What, moment: Moment) -> Option<Arc<[RecordBatch]>> {
        self.view.decoded.rows(self.table().id, self.user(), what, moment)
    }
}

impl HotScan {
    /// Whether it takes so little time that no thread of its own is worth it.
    pub fn is_quick(&self) -> bool {
        match &self.source {
            Source::Recalled { .. } => true,
            Source::Read { rows, .. } => rows.is_quick(),
        }
    }
}

impl Iterator for HotScan {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.source {
            Source::Recalled { rows, at } => {
                *at += 1;
                rows.get(*at - 1).cloned().map(Ok)
            }
            Source::Read { rows, gathered } => {
                let batch = rows.next_batch().transpose();
                *gathered = gathered.take().and_then(|gathered| gathered.with(batch.as_ref()));
                batch
            }
        }
    }
}

impl Gathered {
    /// `None`: there is nothing more to gather.
    fn with(mut self, batch: Option<&Result<RecordBatch>>) -> Option<Self> {
        let decoded = &self.slice.view.decoded;
        match batch {
            Some(Ok(batch)) => {
                let batch = with_views(batch).ok()?;
                self.bytes += batch.get_array_memory_size();
                if self.bytes > decoded.largest() {
                    return None;
                }
                self.rows.push(batch);
                Some(self)
            }
            Some(Err(_)) => None,
            None => {
                let (table, user) = (self.slice.table().id, self.slice.user());
                decoded.keep_rows(table, user, self.what, self.moment, self.rows, self.bytes);
                None
            }
        }
    }
}

fn with_views(batch: &RecordBatch) -> std::result::Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
        let view = match field.data_type() {
            DataType::Utf8 => DataType::Utf8View,
            DataType::Binary => DataType::BinaryView,
            _ => return Ok((Arc::clone(field), Arc::clone(column))),
        };
        let column = cast(column, &view)?;
        Ok((Arc::new(Field::clone(field).with_data_type(view)), column))
    });
    let (fields, columns): (Vec<_>, Vec<ArrayRef>) =
        columns.collect::<std::result::Result<Vec<_>, ArrowError>>()?.into_iter().unzip();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}
