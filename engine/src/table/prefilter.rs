//! A filter as the scan of the files gets it: exact where it skips much, all-true where it does not, and evaluated again
//! above. Parquet decodes the filter's columns first and then only the rows that pass; when those lie scattered all over
//! a page, keeping account of them costs more than decoding them all.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use arrow::{
    array::{Array, AsArray, BooleanArray, RecordBatch},
    buffer::BooleanBuffer,
    datatypes::{DataType, Schema},
    util::bit_iterator::BitSliceIterator,
};
use datafusion::{error::Result, logical_expr::ColumnarValue, physical_plan::PhysicalExpr};

use super::wrapper::only;

/// Rows that a run of passing rows must be worth on average, or all of its batch pass.
const ROWS_A_RUN: usize = 128;
/// While batches in a row all passed in the end, only one of so many is looked at.
const PROBE: u32 = 16;
/// Batches in a row that make it so.
const IN_A_ROW: u32 = 4;

#[derive(Debug)]
pub(super) struct Prefilter {
    exact: Arc<dyn PhysicalExpr>,
    /// Batches in a row that passed whole; shared by all partitions and files of a scan.
    passed: Arc<AtomicU32>,
}

impl Prefilter {
    pub fn over(exact: Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
        Arc::new(Self { exact, passed: Arc::default() })
    }

    fn worth_a_look(&self) -> bool {
        let passed = self.passed.load(Ordering::Relaxed);
        passed < IN_A_ROW || {
            self.passed.fetch_add(1, Ordering::Relaxed);
            passed.is_multiple_of(PROBE)
        }
    }

    fn widened(&self, exact: BooleanArray) -> BooleanArray {
        // Few rows are few runs.
        let budget = exact.len() / ROWS_A_RUN;
        if exact.true_count() <= budget || runs(&exact) <= budget {
            self.passed.store(0, Ordering::Relaxed);
            return exact;
        }
        self.passed.fetch_add(1, Ordering::Relaxed);
        all(exact.len())
    }
}

fn runs(passing: &BooleanArray) -> usize {
    let values = match passing.nulls() {
        Some(valid) => valid.inner() & passing.values(),
        None => passing.values().clone(),
    };
    BitSliceIterator::new(values.values(), values.offset(), values.len()).count()
}

fn all(rows: usize) -> BooleanArray {
    BooleanArray::new(BooleanBuffer::new_set(rows), None)
}

impl PhysicalExpr for Prefilter {
    fn data_type(&self, _: &Schema) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.exact.nullable(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        if !self.worth_a_look() {
            return Ok(ColumnarValue::Array(Arc::new(all(batch.num_rows()))));
        }
        let exact = self.exact.evaluate(batch)?.into_array(batch.num_rows())?;
        Ok(ColumnarValue::Array(Arc::new(self.widened(exact.as_boolean().clone()))))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.exact]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let exact = only("Prefilter", children)?;
        Ok(Arc::new(Self { exact, passed: Arc::clone(&self.passed) }))
    }

    /// What row groups and pages are pruned by: the exact filter.
    fn snapshot(&self) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        Ok(Some(Arc::clone(&self.exact)))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.exact.fmt_sql(f)
    }
}

impl fmt::Display for Prefilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.exact.fmt(f)
    }
}

impl PartialEq for Prefilter {
    fn eq(&self, other: &Self) -> bool {
        self.exact.eq(&other.exact)
    }
}

impl Eq for Prefilter {}

impl Hash for Prefilter {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.exact.hash(state);
    }
}
