//! The plan that reads a user's cold rows: their ranges of the Parquet files, guarded, live, unshadowed, renamed.
//!
//! ```text
//! Projection( Shadow( Live( TenantGuard( Restore( Parquet ranges )))))
//! ```
//!
//! Only what a statement needs is there. Filters, limits and orders find their way down by DataFusion's own rules; each
//! node says what may pass it (`wrapper.rs`). `cold/files.rs` makes the scan itself.

mod files;
mod keyed;
mod reader;
mod selective;
mod split;
mod statistics;

use std::sync::Arc;

use datafusion::{
    catalog::Session,
    error::Result,
    logical_expr::Expr,
    physical_expr::expressions::Column as PhysicalColumn,
    physical_plan::{
        ExecutionPlan,
        projection::{ProjectionExec, ProjectionExpr},
    },
};
use insula_storage::{ColdSlice, KeyBounds, TableSlice};

use super::{guard::TenantGuard, live::Live, provider::Column, restore::Restore, shadow::Shadow};
use crate::{Error, types::seen_schema};

pub(super) use keyed::KeyedExec;

/// Where the cold tier's object store is registered with DataFusion.
pub(crate) const OBJECT_STORE_URL: &str = "insula://cold";

const USER_NO: usize = 0;
const SEQ: usize = 1;
const UPDATED: usize = 2;
const DELETED: usize = 3;

pub(super) struct Scan<'a> {
    pub slice: &'a TableSlice,
    /// To be yielded, in this order.
    pub columns: &'a [Column],
    /// The statement's; evaluated above, too.
    pub filters: &'a [Expr],
    /// Soft-deleted rows too.
    pub deleted: bool,
    /// What the filters say of the key.
    pub wanted: &'a KeyBounds,
}

impl Scan<'_> {
    /// `hot`: bounds of the user's hot keys. `None`: no file has such rows.
    pub async fn plan(
        &self,
        state: &dyn Session,
        hot: Option<&(Vec<u8>, Vec<u8>)>,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let files = self.slice.cold_within(self.wanted).await.map_err(Error::from)?;
        if files.is_empty() { Ok(None) } else { self.plan_of(state, files, hot).map(Some) }
    }

    fn plan_of(
        &self,
        state: &dyn Session,
        files: Vec<ColdSlice>,
        hot: Option<&(Vec<u8>, Vec<u8>)>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let table = self.slice.table();
        let stored = table.stored_schema();
        let hide_deleted = !self.deleted && files.iter().any(|file| file.has_deleted);
        let shadowed = hot.is_some_and(|hot| files.iter().any(|file| overlap(hot, &file.key_bounds)));

        let mut read = vec![USER_NO];
        read.extend(hide_deleted.then_some(DELETED));
        read.extend(shadowed.then(|| table.stored_key()).into_iter().flatten());
        read.extend(self.columns.iter().map(|column| column.stored));
        read.sort_unstable();
        read.dedup();
        let at = |stored: usize| read.binary_search(&stored).unwrap_or_default();

        let mut plan = files::scan(state, table, &read, self.filters, files, self.wanted)?;
        let restored = seen_schema(&stored.project(&read)?);
        if plan.schema() != restored {
            plan = Arc::new(Restore::new(plan, restored));
        }
        plan = Arc::new(TenantGuard::new(plan, at(USER_NO), self.slice.user()));
        if hide_deleted {
            plan = Arc::new(Live::new(plan, at(DELETED)));
        }
        if shadowed {
            let key = table.stored_key().into_iter().map(at).collect();
            plan = Arc::new(Shadow::new(plan, self.slice.clone(), self.wanted.clone(), key)?);
        }
        let renamed = self.columns.iter().map(|column| ProjectionExpr {
            expr: Arc::new(PhysicalColumn::new(stored.field(column.stored).name(), at(column.stored))),
            alias: column.field.name().clone(),
        });
        Ok(Arc::new(ProjectionExec::try_new(renamed, plan)?))
    }
}

/// Can a key be in both closed ranges?
fn overlap(a: &(Vec<u8>, Vec<u8>), b: &(Vec<u8>, Vec<u8>)) -> bool {
    a.0 <= b.1 && b.0 <= a.1
}

#[cfg(test)]
mod tests;
