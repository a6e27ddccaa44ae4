//! The plan that reads a user's cold rows: their ranges of the Parquet files, guarded, live, unshadowed, renamed.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::{
    catalog::Session,
    common::{
        Column as ColumnName, DFSchema, Statistics,
        stats::Precision,
        tree_node::{Transformed, TreeNode},
    },
    datasource::{
        listing::PartitionedFile,
        physical_plan::{
            FileGroup, FileScanConfigBuilder, ParquetSource,
            parquet::{CachedParquetFileReaderFactory, ParquetRowSelection},
        },
        source::DataSourceExec,
    },
    error::Result,
    execution::object_store::ObjectStoreUrl,
    logical_expr::{Expr, utils::conjunction},
    physical_expr::expressions::{Column as PhysicalColumn, NotExpr},
    physical_plan::{
        ExecutionPlan, PhysicalExpr,
        filter::FilterExec,
        projection::{ProjectionExec, ProjectionExpr},
    },
};
use insula_storage::{ColdSlice, TableSlice, file_schema};
use parquet::arrow::arrow_reader::RowSelection;

use super::{evolve::Evolution, guard::TenantGuard, provider::Column, restore::Restore, shadow::Shadow};

/// Where the cold tier's object store is registered with DataFusion.
pub(crate) const OBJECT_STORE_URL: &str = "insula://cold";

const USER_NO: usize = 0;
const DELETED: usize = 3;

pub(super) struct Scan<'a> {
    pub slice: &'a TableSlice,
    /// To be yielded, in this order.
    pub columns: &'a [Column],
    /// All columns of the table, which filters may name.
    pub all: &'a [Column],
    /// Soft-deleted rows too.
    pub deleted: bool,
}

impl Scan<'_> {
    pub fn plan(
        &self,
        state: &dyn Session,
        files: Vec<ColdSlice>,
        hot: Option<&(Vec<u8>, Vec<u8>)>,
        filters: &[Expr],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let stored = self.slice.table().stored_schema();
        let hide_deleted = !self.deleted && files.iter().any(|file| file.has_deleted);
        let shadowed = hot.is_some_and(|hot| files.iter().any(|file| overlap(hot, &file.key_bounds)));

        let mut read = vec![USER_NO];
        read.extend(hide_deleted.then_some(DELETED));
        read.extend(shadowed.then(|| self.slice.table().stored_key()).into_iter().flatten());
        read.extend(self.columns.iter().map(|column| column.stored));
        read.sort_unstable();
        read.dedup();
        let at = |stored: usize| read.binary_search(&stored).unwrap_or_default();

        let mut parquet = self.parquet(state, &file_schema(&stored), &read, files, filters)?;
        let restored = Arc::new(stored.project(&read)?);
        if parquet.schema() != restored {
            parquet = Arc::new(Restore::new(parquet, restored));
        }
        let mut plan: Arc<dyn ExecutionPlan> = Arc::new(TenantGuard::new(parquet, at(USER_NO), self.slice.user()));
        if hide_deleted {
            let column = PhysicalColumn::new(stored.field(DELETED).name(), at(DELETED));
            let live: Arc<dyn PhysicalExpr> = Arc::new(NotExpr::new(Arc::new(column)));
            plan = Arc::new(FilterExec::try_new(live, plan)?);
        }
        if shadowed {
            let key = self.slice.table().stored_key().into_iter().map(at).collect();
            plan = Arc::new(Shadow::new(plan, self.slice.clone(), key)?);
        }
        let renamed = self.columns.iter().map(|column| ProjectionExpr {
            expr: Arc::new(PhysicalColumn::new(stored.field(column.stored).name(), at(column.stored))),
            alias: column.field.name().clone(),
        });
        Ok(Arc::new(ProjectionExec::try_new(renamed, plan)?))
    }

    fn parquet(
        &self,
        state: &dyn Session,
        schema: &SchemaRef,
        read: &[usize],
        files: Vec<ColdSlice>,
        filters: &[Expr],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let url = ObjectStoreUrl::parse(OBJECT_STORE_URL)?;
        let runtime = state.runtime_env();
        let footers = CachedParquetFileReaderFactory::new(
            runtime.object_store(&url)?,
            runtime.cache_manager.get_file_metadata_cache(),
        );
        let mut source = ParquetSource::new(Arc::clone(schema))
            .with_parquet_file_reader_factory(Arc::new(footers))
            .with_pushdown_filters(true)
            .with_reorder_filters(true)
            .with_enable_page_index(true);
        if let Some(predicate) = self.predicate(state, schema, filters)? {
            source = source.with_predicate(predicate);
        }
        let rows: u64 = files.iter().map(ColdSlice::rows).sum();
        let mut statistics = Statistics::new_unknown(schema);
        statistics.num_rows = Precision::Inexact(usize::try_from(rows).unwrap_or(usize::MAX));
        let groups = files.into_iter().map(|file| FileGroup::new(vec![partitioned(&file)])).collect();
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups)
            .with_projection_indices(Some(read.to_vec()))?
            .with_statistics(statistics)
            .with_expr_adapter(Some(Evolution::of(self.slice.table())?))
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    /// The filters in the files' terms. What cannot be said there is left out: DataFusion filters again above.
    fn predicate(
        &self,
        state: &dyn Session,
        files: &SchemaRef,
        filters: &[Expr],
    ) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        let schema = DFSchema::try_from(Arc::clone(files))?;
        let mut usable = Vec::new();
        for filter in filters {
            let renamed = filter.clone().transform(|expr| {
                Ok(match expr {
                    Expr::Column(column) => {
                        let found = self.all.iter().find(|c| c.field.name() == &column.name);
                        let name = found.map_or(column.name.clone(), |c| files.field(c.stored).name().clone());
                        Transformed::yes(Expr::Column(ColumnName::new_unqualified(name)))
                    }
                    other => Transformed::no(other),
                })
            })?;
            if state.create_physical_expr(renamed.data.clone(), &schema).is_ok() {
                usable.push(renamed.data);
            }
        }
        conjunction(usable).map(|all| state.create_physical_expr(all, &schema)).transpose()
    }
}

/// The file with the user's ranges as its row selection.
fn partitioned(file: &ColdSlice) -> PartitionedFile {
    let range = |rows: &std::ops::Range<u64>| rows.start as usize..rows.end as usize;
    let selection = RowSelection::from_consecutive_ranges(file.ranges.iter().map(range), file.file_rows as usize);
    PartitionedFile::new(file.path.to_string(), file.file_bytes).with_extension(ParquetRowSelection::new(selection))
}

/// Can a key be in both closed ranges?
fn overlap(a: &(Vec<u8>, Vec<u8>), b: &(Vec<u8>, Vec<u8>)) -> bool {
    a.0 <= b.1 && b.0 <= a.1
}
