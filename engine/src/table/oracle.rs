//! The oracle of the tests: the newest version of each key, found in the plainest way.
//!
//! It merges all versions of a user's rows, hot and cold, and keeps of each key the one with the highest sequence
//! number. It has no Shadow, pushes nothing down and looks at no deletion vector, so what makes the real scan fast
//! cannot make it wrong. A session asks for it by a call that no client can make; statements are otherwise the same.

use std::{fmt, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, RecordBatch},
    compute::interleave_record_batch,
    datatypes::{Int64Type, SchemaRef},
};
use datafusion::{
    error::{DataFusionError, Result},
    execution::TaskContext,
    physical_expr::EquivalenceProperties,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SendableRecordBatchStream,
        execution_plan::{Boundedness, EmissionType},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{StreamExt, stream, stream::BoxStream};
use insula_storage::{KeyCodec, KeyRows, TableSlice};

use super::{guard, provider::Column, wrapper::leaf_plan};
use crate::{Error, statement::output::conform};

const USER_NO: usize = 0;
const SEQ: usize = 1;
const DELETED: usize = 3;

pub(super) struct OracleExec {
    slice: TableSlice,
    /// Indices in the stored schema.
    projection: Vec<usize>,
    schema: SchemaRef,
    deleted: bool,
    properties: Arc<PlanProperties>,
}

impl OracleExec {
    pub fn new(slice: TableSlice, columns: &[Column], schema: SchemaRef, deleted: bool) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Self { slice, projection: columns.iter().map(|c| c.stored).collect(), schema, deleted, properties }
    }
}

impl fmt::Debug for OracleExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OracleExec").field("projection", &self.projection).finish_non_exhaustive()
    }
}

impl DisplayAs for OracleExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OracleExec: newest version of each key")
    }
}

impl ExecutionPlan for OracleExec {
    leaf_plan!("OracleExec");

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (slice, projection, deleted) = (self.slice.clone(), self.projection.clone(), self.deleted);
        let schema = Arc::clone(&self.schema);
        let merged = stream::once(async move { Merge::open(&slice, deleted).await })
            .map(|merge| match merge {
                Ok(merge) => merge.rows().boxed(),
                Err(error) => stream::iter([Err(error)]).boxed(),
            })
            .flatten();
        let renamed = merged.map(move |batch| Ok(conform(&batch?.project(&projection)?, &schema)?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), renamed)))
    }
}

/// Versions in key order, each key once.
struct Source {
    rows: BoxStream<'static, insula_storage::Result<RecordBatch>>,
    /// `None` at the end.
    current: Option<Current>,
}

struct Current {
    batch: RecordBatch,
    keys: KeyRows,
    at: usize,
}

impl Current {
    fn key(&self) -> &[u8] {
        self.keys.row(self.at)
    }

    fn seq(&self) -> i64 {
        self.batch.column(SEQ).as_primitive::<Int64Type>().value(self.at)
    }
}

struct Merge {
    sources: Vec<Source>,
    codec: KeyCodec,
    slice: TableSlice,
    deleted: bool,
}

impl Merge {
    async fn open(slice: &TableSlice, deleted: bool) -> Result<Self> {
        let mut rows = slice.cold_versions().await.map_err(Error::from)?;
        rows.push(slice.hot_versions().map_err(Error::from)?);
        let sources = rows.into_iter().map(|rows| Source { rows, current: None }).collect();
        let codec = KeyCodec::new(slice.table()).map_err(Error::from)?;
        let mut merge = Self { sources, codec, slice: slice.clone(), deleted };
        for source in 0..merge.sources.len() {
            merge.advance(source).await?;
        }
        Ok(merge)
    }

    fn rows(self) -> impl futures::Stream<Item = Result<RecordBatch>> + Send {
        stream::try_unfold(self, |mut merge| async move {
            let batch = merge.next().await?;
            Ok::<_, DataFusionError>(batch.map(|batch| (batch, merge)))
        })
    }

    /// The next batch of a source.
    async fn advance(&mut self, source: usize) -> Result<()> {
        let source = &mut self.sources[source];
        source.current = None;
        while let Some(batch) = source.rows.next().await {
            let batch = guard::check(batch.map_err(Error::from)?, USER_NO, self.slice.user())?;
            if batch.num_rows() > 0 {
                let key = self.slice.table().stored_key();
                let columns: Vec<ArrayRef> = key.iter().map(|i| Arc::clone(batch.column(*i))).collect();
                let keys = self.codec.encode(&columns).map_err(Error::from)?;
                source.current = Some(Current { batch, keys, at: 0 });
                return Ok(());
            }
        }
        Ok(())
    }

    /// Rows up to the end of one of the batches; `None` once there are no more.
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let mut picked: Vec<(usize, usize)> = Vec::new();
            let batches: Vec<RecordBatch> = self.sources.iter().map(|s| self.batch_of(s)).collect();
            let mut ended = Vec::new();
            while ended.is_empty() {
                let Some(winner) = self.winner() else { break };
                let Some(current) = &self.sources[winner].current else { break };
                let is_deleted = current.batch.column(DELETED).as_boolean().value(current.at);
                if self.deleted || !is_deleted {
                    picked.push((winner, current.at));
                }
                let key = current.key().to_vec();
                for (number, source) in self.sources.iter_mut().enumerate() {
                    let Some(current) = source.current.as_mut().filter(|current| current.key() == key) else {
                        continue;
                    };
                    current.at += 1;
                    if current.at == current.keys.len() {
                        ended.push(number);
                    }
                }
            }
            if ended.is_empty() {
                return Ok(None);
            }
            let rows = interleave_record_batch(&batches.iter().collect::<Vec<_>>(), &picked)?;
            for source in ended {
                self.advance(source).await?;
            }
            if rows.num_rows() > 0 {
                return Ok(Some(rows));
            }
        }
    }

    fn batch_of(&self, source: &Source) -> RecordBatch {
        let empty = || RecordBatch::new_empty(self.slice.table().stored_schema());
        source.current.as_ref().map_or_else(empty, |current| current.batch.clone())
    }

    /// The source with the smallest key, and of several versions of it the newest.
    fn winner(&self) -> Option<usize> {
        let sources = self.sources.iter().enumerate().filter_map(|(i, source)| Some((i, source.current.as_ref()?)));
        let order = |a: &Current, b: &Current| a.key().cmp(b.key()).then(b.seq().cmp(&a.seq()));
        sources.min_by(|(_, a), (_, b)| order(a, b)).map(|(i, _)| i)
    }
}
