//! All that the files hold of a user, without a look at deletion vectors: what the oracle of the tests merges.
//!
//! It answers no statement. A key's newest version here is the one that the table has, unless a compaction dropped an
//! expired soft-deleted row and left an older version of it, behind a deletion vector, in another file.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};

use super::ColdFile;
use crate::{
    Error, ErrorKind, Result, TableDef, TableSlice,
    table::{SEQ, UPDATED, conform},
};

impl TableSlice {
    /// For each file with rows of this user, all of them, in key order, under [`TableDef::stored_schema`].
    #[doc(hidden)]
    pub async fn cold_versions(&self) -> Result<Vec<BoxStream<'static, Result<RecordBatch>>>> {
        let mut files = Vec::new();
        for file in self.manifest().files.iter().filter(|file| file.spans(self.user())) {
            let open = self.cold_tier().open_file(self.table().id, file).await?;
            let Some(entry) = open.users.get(self.user())? else { continue };
            let stored = self.table().stored_schema();
            let names: Vec<String> = stored.fields().iter().map(|field| field.name().clone()).collect();
            let rows = open.read(&names, std::slice::from_ref(&entry.rows))?;
            let (table, file) = (Arc::clone(self.table()), file.clone());
            let rows = rows.map_err(move |error| open.read_error(error));
            let rows =
                rows.map(move |batch| stamped(&conform(&table, &batch?, &table.stored_schema())?, &table, &file));
            files.push(rows.boxed());
        }
        Ok(files)
    }

    /// The user's hot rows in the same form, soft-deleted ones too.
    #[doc(hidden)]
    pub fn hot_versions(&self) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let all: Vec<usize> = (0..self.table().stored_schema().fields().len()).collect();
        Ok(stream::iter(self.hot(&all, 1024, true)?).boxed())
    }
}

/// The rows with the sequence number and the time that a file written before its commit has in its manifest only.
fn stamped(rows: &RecordBatch, table: &TableDef, file: &ColdFile) -> Result<RecordBatch> {
    let Some(stamp) = file.stamp else { return Ok(rows.clone()) };
    let broken = || Error::new(ErrorKind::DataLoss, format!("a stamp of table {} cannot be read", table.id));
    let seq = i64::try_from(stamp.seq.0).map_err(|_| broken())?;
    let times = TimestampMicrosecondArray::from_value(stamp.updated_micros, rows.num_rows()).with_timezone("UTC");
    let mut columns = rows.columns().to_vec();
    let values: [(&str, ArrayRef); 2] =
        [(SEQ, Arc::new(Int64Array::from_value(seq, rows.num_rows()))), (UPDATED, Arc::new(times))];
    for (name, values) in values {
        columns[rows.schema().index_of(name).map_err(|_| broken())?] = values;
    }
    RecordBatch::try_new(rows.schema(), columns).map_err(|error| broken().with_source(error))
}
