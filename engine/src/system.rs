//! The namespace `system`: tables whose rows the server makes when they are read, for whoever reads them.

use std::{
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use async_trait::async_trait;
use datafusion::{
    catalog::{MemTable, Session, TableProvider},
    error::Result as PlanResult,
    logical_expr::{Expr, TableType},
    physical_plan::ExecutionPlan,
};
use insula_storage::table::updated_type;

use crate::{
    Error, Identity, Result,
    catalog::nearest,
    running::{Queries, QueryInfo},
};

pub(crate) const NAMESPACE: &str = "system";

/// One of the tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Statements that run now: the reader's own, for an admin everybody's without their texts.
    Queries,
}

impl Kind {
    pub const ALL: [Self; 1] = [Self::Queries];

    pub fn name(self) -> &'static str {
        match self {
            Self::Queries => "queries",
        }
    }

    pub fn schema(self) -> SchemaRef {
        let field = |name: &str, data_type, nullable| Field::new(name, data_type, nullable);
        Arc::new(Schema::new(match self {
            Self::Queries => vec![
                field("query_id", DataType::Utf8, false),
                field("user", DataType::Utf8, false),
                field("text", DataType::Utf8, true),
                field("text_hash", DataType::Utf8, false),
                field("began", updated_type(), false),
                field("elapsed_micros", DataType::Int64, false),
                field("rows", DataType::Int64, false),
                field("state", DataType::Utf8, false),
            ],
        }))
    }
}

/// A system table as one user reads it.
pub(crate) struct SystemTable {
    kind: Kind,
    reader: Identity,
    queries: Arc<Queries>,
}

impl SystemTable {
    pub fn new(name: &str, reader: &Identity, queries: &Arc<Queries>) -> Result<Self> {
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let names = Kind::ALL.into_iter().map(Kind::name);
            let hint = nearest(name, names).map(|n| format!("; did you mean \"{NAMESPACE}.{n}\"?")).unwrap_or_default();
            Error::not_found(format!("table \"{NAMESPACE}.{name}\" does not exist{hint}"))
        })?;
        Ok(Self { kind, reader: reader.clone(), queries: Arc::clone(queries) })
    }

    fn rows(&self) -> PlanResult<RecordBatch> {
        let columns = match self.kind {
            Kind::Queries => queries(&self.queries.visible_to(&self.reader)),
        };
        Ok(RecordBatch::try_new(self.kind.schema(), columns)?)
    }
}

impl fmt::Debug for SystemTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SystemTable({})", self.kind.name())
    }
}

#[async_trait]
impl TableProvider for SystemTable {
    fn schema(&self) -> SchemaRef {
        self.kind.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let table = MemTable::try_new(self.kind.schema(), vec![vec![self.rows()?]])?;
        table.scan(state, projection, filters, limit).await
    }
}

fn queries(queries: &[QueryInfo]) -> Vec<ArrayRef> {
    let text = |value: fn(&QueryInfo) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(queries.iter().map(value)))
    };
    let number = |value: fn(&QueryInfo) -> u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(queries.iter().map(|query| value(query).cast_signed())))
    };
    let began = queries.iter().map(|query| micros(query.began));
    vec![
        text(|query| &query.id),
        text(|query| &query.user),
        Arc::new(queries.iter().map(|query| query.text.as_deref()).collect::<StringArray>()),
        text(|query| &query.text_hash),
        Arc::new(TimestampMicrosecondArray::from_iter_values(began).with_timezone("UTC")),
        number(|query| query.elapsed_micros),
        number(|query| query.rows),
        text(|query| query.state),
    ]
}

fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
