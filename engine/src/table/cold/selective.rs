//! Whether a statement's filters are likely to drop nearly all rows. Only then is it worth to evaluate them while Parquet
//! is decoded; else they prune row groups and pages, and the rest is faster above, on whole batches.

use datafusion::logical_expr::{BinaryExpr, Expr, Operator, expr::InList, utils::split_conjunction};
use insula_storage::{ColdSlice, TableDef};

/// Bytes of a dictionary, compressed, up to which an equality finds many rows: some hundred values.
const FEW_VALUES: i64 = 1 << 10;

/// Filters that are not known yet, those of joins and of `ORDER BY … LIMIT`, count as selective.
pub(super) fn selective(table: &TableDef, filters: &[Expr], files: &[ColdSlice]) -> bool {
    let mut conjuncts = filters.iter().flat_map(split_conjunction);
    filters.is_empty() || conjuncts.any(|filter| drops_most(table, filter, files))
}

fn drops_most(table: &TableDef, filter: &Expr, files: &[ColdSlice]) -> bool {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let Some(column) = stored(table, left).or_else(|| stored(table, right)) else { return false };
            match op {
                Operator::Eq => has_many_values(table, files, column),
                // Rows lie in the order of the key.
                Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => leads_key(table, column),
                _ => false,
            }
        }
        Expr::Between(between) => stored(table, &between.expr).is_some_and(|column| leads_key(table, column)),
        Expr::InList(InList { expr, negated: false, .. }) => {
            stored(table, expr).is_some_and(|column| has_many_values(table, files, column))
        }
        _ => false,
    }
}

/// Index of a declared column in the stored schema.
fn stored(table: &TableDef, expr: &Expr) -> Option<usize> {
    let Expr::Column(column) = expr else { return None };
    let declared = table.columns.iter().position(|declared| declared.field.name() == column.name());
    declared.map(|declared| table.first_declared() + declared)
}

fn leads_key(table: &TableDef, column: usize) -> bool {
    table.stored_key().first() == Some(&column)
}

/// Whether a dictionary of the column would be large, as far as the files tell. This steers work only: the values are
/// those of all users.
fn has_many_values(table: &TableDef, files: &[ColdSlice], column: usize) -> bool {
    let stored = table.stored_schema();
    let name = stored.field(column).name();
    files.iter().any(|file| {
        let group = file.footer.metadata().row_groups().first();
        let mut chunks = group.into_iter().flat_map(|group| group.columns());
        chunks.find(|chunk| chunk.column_path().string() == *name).is_some_and(|chunk| {
            match chunk.dictionary_page_offset() {
                Some(dictionary) => chunk.data_page_offset() - dictionary > FEW_VALUES,
                None => true,
            }
        })
    })
}
