//! What is known of a user's rows of the files without reading them: from the user index, never from the files' own
//! statistics, which count and bound the rows of others too.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef},
    datatypes::{DataType, Schema},
};
use datafusion::{
    common::{ColumnStatistics, ScalarValue, Statistics, stats::Precision},
    error::Result,
};
use insula_storage::{ColdSlice, KeyCodec, TableDef, table};

use super::{DELETED, SEQ, UPDATED};
use crate::{Error, types::seen_type};

/// The smallest and largest value of the key's first column.
type Bounds = Option<(Precision<ScalarValue>, Precision<ScalarValue>)>;

/// Statistics of `rows` rows of one file. They hold for each part of the user's rows too, except for the bounds of the
/// key, which a part need not reach.
///
/// A column with one exact value and no nulls is not read: DataFusion puts the value in its place. So the stamp of a file
/// becomes its `_seq` and `_updated`, in filters as in results. For the same reason **nothing may be said of `_user_no`
/// here**: the guard would be shown what it is to check.
pub(super) fn of_piece(
    table: &TableDef,
    schema: &Schema,
    file: &ColdSlice,
    rows: u64,
    whole: bool,
) -> Result<Statistics> {
    let mut statistics = Statistics::new_unknown(schema);
    statistics.num_rows = Precision::Exact(usize::try_from(rows).unwrap_or(usize::MAX));
    if let Some(stamp) = file.stamp {
        let seq = ScalarValue::Int64(Some(stamp.seq.0.cast_signed()));
        statistics.column_statistics[SEQ] = constant(seq);
        let updated = ScalarValue::TimestampMicrosecond(Some(stamp.updated_micros), zone());
        statistics.column_statistics[UPDATED] = constant(updated);
    }
    if !file.has_deleted {
        statistics.column_statistics[DELETED] = constant(ScalarValue::Boolean(Some(false)));
    }
    key_columns(table, &mut statistics);
    let bounds = bounds(table, file)?;
    put_bounds(table, &mut statistics, bounds.map(|bounds| if whole { bounds } else { inexact(bounds) }));
    Ok(statistics)
}

/// Statistics of all the user's rows. Rows that are hidden further up make them inexact there.
pub(super) fn of_all(table: &TableDef, schema: &Schema, files: &[ColdSlice]) -> Result<Statistics> {
    let mut statistics = Statistics::new_unknown(schema);
    let rows: u64 = files.iter().map(ColdSlice::rows).sum();
    statistics.num_rows = Precision::Exact(usize::try_from(rows).unwrap_or(usize::MAX));
    key_columns(table, &mut statistics);
    let mut all: Bounds = None;
    for file in files {
        let Some((min, max)) = bounds(table, file)? else { return Ok(statistics) };
        all = Some(match all {
            None => (min, max),
            Some((least, most)) => (least.min(&min), most.max(&max)),
        });
    }
    put_bounds(table, &mut statistics, all);
    Ok(statistics)
}

fn constant(value: ScalarValue) -> ColumnStatistics {
    ColumnStatistics {
        null_count: Precision::Exact(0),
        min_value: Precision::Exact(value.clone()),
        max_value: Precision::Exact(value),
        ..ColumnStatistics::new_unknown()
    }
}

fn zone() -> Option<Arc<str>> {
    match table::updated_type() {
        DataType::Timestamp(_, zone) => zone,
        _ => None,
    }
}

/// Columns of a key are never null.
fn key_columns(table: &TableDef, statistics: &mut Statistics) {
    for column in table.stored_key() {
        statistics.column_statistics[column].null_count = Precision::Exact(0);
    }
}

fn put_bounds(table: &TableDef, statistics: &mut Statistics, bounds: Bounds) {
    if let (Some((min, max)), Some(first)) = (bounds, table.stored_key().first()) {
        statistics.column_statistics[*first].min_value = min;
        statistics.column_statistics[*first].max_value = max;
    }
}

fn bounds(table: &TableDef, file: &ColdSlice) -> Result<Bounds> {
    let codec = KeyCodec::new(table).map_err(Error::from)?;
    let value = |key: &[u8]| {
        let array = codec.first_value(key).map_err(Error::from)?;
        let seen = |array: ArrayRef| ScalarValue::try_from_array(&array, 0)?.cast_to(&seen_type(array.data_type()));
        array.map(seen).transpose()
    };
    let (Some(min), Some(max)) = (value(&file.key_bounds.0)?, value(&file.key_bounds.1)?) else { return Ok(None) };
    let bounds = (Precision::Exact(min), Precision::Exact(max));
    Ok(Some(if file.bounds_live { bounds } else { inexact(bounds) }))
}

fn inexact(
    (min, max): (Precision<ScalarValue>, Precision<ScalarValue>),
) -> (Precision<ScalarValue>, Precision<ScalarValue>) {
    (min.to_inexact(), max.to_inexact())
}
