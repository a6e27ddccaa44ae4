//! The scan of the files: which rows of which file in which partition, what is known of them, in which order they come.
//!
//! A file's own values are put in the table's terms per file in [`partitioned`], its own columns by [`Evolution`].

use std::sync::Arc;

use arrow::{
    compute::SortOptions,
    datatypes::{Schema, SchemaRef},
};
use datafusion::{
    catalog::Session,
    common::ScalarValue,
    datasource::{
        listing::PartitionedFile,
        physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource, parquet::ParquetRowSelection},
        source::DataSourceExec,
        table_schema::TableSchema,
    },
    error::Result,
    execution::object_store::ObjectStoreUrl,
    logical_expr::Expr,
    physical_expr::{LexOrdering, PhysicalSortExpr, expressions::Column},
    physical_plan::ExecutionPlan,
};
use insula_storage::{ColdSlice, KeyBounds, TableDef, file_schema};
use parquet::arrow::arrow_reader::RowSelection;

use super::{
    super::evolve::Evolution,
    OBJECT_STORE_URL, masked,
    reader::{Footer, Readers},
    selective::selective,
    split::{Piece, split},
    statistics,
};
use crate::{Error, types::seen_schema};

/// The stored columns, and behind them the place of each row: the index of its file and its number there.
pub(super) fn with_places(stored: &Schema) -> Schema {
    let fields = stored.fields().iter().cloned();
    Schema::new(fields.chain([masked::file_field(), masked::row_field()]).collect::<Vec<_>>())
}

/// `read`: columns of [`with_places`], ascending; `filters`: what the statement asks of the rows. `files` are put in the
/// order that the first column of a place means.
pub(super) fn scan(
    state: &dyn Session,
    table: &TableDef,
    read: &[usize],
    filters: &[Expr],
    files: &mut [ColdSlice],
    wanted: &KeyBounds,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = seen_schema(&file_schema(&table.stored_schema()));
    let url = ObjectStoreUrl::parse(OBJECT_STORE_URL)?;
    let store = state.runtime_env().object_store(&url)?;
    let places = read.last().is_some_and(|last| *last >= schema.fields().len());
    let builder = TableSchema::builder(Arc::clone(&schema));
    let columns = match places {
        true => builder
            .with_table_partition_cols(vec![masked::file_field()])
            .with_virtual_columns(vec![masked::row_field()]),
        false => builder,
    };
    let columns = columns.build();
    let all = Arc::clone(columns.table_schema());
    let source = ParquetSource::new(columns)
        .with_parquet_file_reader_factory(Arc::new(Readers::new(store)))
        .with_pushdown_filters(selective(table, filters, files))
        .with_reorder_filters(true)
        .with_enable_page_index(true)
        // The user index has narrowed these rows to few blocks, and a filter of a million keys is larger than those.
        .with_bloom_filter_on_read(matches!(wanted, KeyBounds::All));
    let partitions = split(files, state.config().target_partitions());
    let groups = partitions.into_iter().map(|pieces| {
        let pieces = pieces.into_iter().map(|piece| partitioned(table, &schema, files, piece, places));
        Ok(FileGroup::new(pieces.collect::<Result<_>>()?))
    });
    let config = FileScanConfigBuilder::new(url, Arc::new(source))
        .with_file_groups(groups.collect::<Result<_>>()?)
        .with_statistics(statistics::of_all(table, &all, files)?)
        .with_output_ordering(key_order(table, &schema).into_iter().collect())
        .with_projection_indices(Some(read.to_vec()))?
        .with_expr_adapter(Some(Evolution::of(table)?))
        .build();
    Ok(DataSourceExec::from_data_source(config))
}

/// One piece of a file, as DataFusion is to read it.
fn partitioned(
    table: &TableDef,
    schema: &SchemaRef,
    files: &[ColdSlice],
    piece: Piece,
    places: bool,
) -> Result<PartitionedFile> {
    let file = &files[piece.file];
    let rows = piece.ranges.iter().map(|range| range.end - range.start).sum();
    let statistics = statistics::of_piece(table, schema, file, rows, rows == file.rows())?;
    let ranges = piece.ranges.iter().map(|range| range.start as usize..range.end as usize);
    let selection = RowSelection::from_consecutive_ranges(ranges, file.file_rows as usize);
    let number = ScalarValue::UInt32(Some(u32::try_from(piece.file).map_err(|_| Error::internal("too many files"))?));
    let mut partitioned = PartitionedFile::new(file.path.to_string(), file.file_bytes)
        .with_partition_values(places.then_some(number).into_iter().collect())
        .with_extension(ParquetRowSelection::new(selection))
        .with_extension(Footer(Arc::clone(file.footer.metadata())))
        .with_statistics(Arc::new(statistics));
    partitioned.arrow_schema = Some(Arc::clone(file.footer.schema()));
    Ok(partitioned)
}

/// A user's rows of a file lie in the order of the key, up to its first float: keys and SQL order NaN and -0.0 otherwise.
/// Whether the order holds across the files of a partition, DataFusion sees by their statistics.
fn key_order(table: &TableDef, schema: &SchemaRef) -> Option<LexOrdering> {
    let key = table.stored_key().into_iter();
    let sorted = key.take_while(|column| !schema.field(*column).data_type().is_floating());
    LexOrdering::new(sorted.map(|column| PhysicalSortExpr {
        expr: Arc::new(Column::new(schema.field(column).name(), column)),
        options: SortOptions { descending: false, nulls_first: false },
    }))
}
