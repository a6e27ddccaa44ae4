//! The plan that reads a user's cold rows: their ranges of the Parquet files, guarded, live, unshadowed, renamed.
//!
//! ```text
//! Projection( Shadow( Live( Masked( TenantGuard( Restore( Parquet ranges ))))))
//! ```
//!
//! Only what a statement needs is there. Filters, limits and orders find their way down by DataFusion's own rules; each
//! node says what may pass it (`wrapper.rs`). `cold/files.rs` makes the scan itself.

mod files;
mod keyed;
mod masked;
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
use insula_storage::{ColdSlice, KeyBounds, Shadowed, TableSlice};

use super::{guard::TenantGuard, live::Live, provider::Column, restore::Restore, shadow::Shadow};
use crate::{Error, types::seen_schema};

pub(super) use keyed::KeyedExec;
use masked::Masked;

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

/// How rows are dropped that a newer version replaces, where the ranges to be read do not leave them out.
#[derive(Default)]
struct Drops {
    /// Their keys are compared with the hot ones.
    by_key: bool,
    /// They are known, by deletion vectors and here.
    by_place: bool,
    shadowed: Option<Arc<Shadowed>>,
}

impl Scan<'_> {
    /// `hot`: bounds of the user's hot keys. `None`: no file has such rows.
    pub async fn plan(
        &self,
        state: &dyn Session,
        hot: Option<&(Vec<u8>, Vec<u8>)>,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let files = self.slice.cold_within(self.wanted).await.map_err(Error::from)?;
        if files.is_empty() {
            return Ok(None);
        }
        let shadows = hot.is_some_and(|hot| files.iter().any(|file| overlap(hot, &file.key_bounds)));
        let shadowed = if shadows { self.slice.shadowed(&files).await.map_err(Error::from)? } else { None };
        let drops = Drops {
            by_key: shadows && shadowed.is_none(),
            by_place: shadowed.is_some() || self.drops_by_place(&files),
            shadowed,
        };
        self.plan_of(state, files, drops).map(Some)
    }

    /// Whether the rows that deletion vectors name are to be read and then dropped. What the smallest or the largest key
    /// answers, or the number of rows, is known of the live ranges alone.
    fn drops_by_place(&self, files: &[ColdSlice]) -> bool {
        let first = self.slice.table().stored_key().first().copied();
        self.columns.iter().any(|column| Some(column.stored) != first) && files.iter().any(ColdSlice::is_riddled)
    }

    fn plan_of(&self, state: &dyn Session, mut files: Vec<ColdSlice>, drops: Drops) -> Result<Arc<dyn ExecutionPlan>> {
        let table = self.slice.table();
        let stored = table.stored_schema();
        let hide_deleted = !self.deleted && files.iter().any(|file| file.has_deleted);

        let mut read = vec![USER_NO];
        read.extend(hide_deleted.then_some(DELETED));
        read.extend(drops.by_key.then(|| table.stored_key()).into_iter().flatten());
        read.extend(self.columns.iter().map(|column| column.stored));
        read.sort_unstable();
        read.dedup();
        let place = stored.fields().len();
        if drops.by_place {
            read.extend([place, place + 1]);
            let riddled = files.iter_mut().filter(|file| file.is_riddled());
            riddled.for_each(|file| file.ranges.clone_from(&file.whole));
        }
        let at = |stored: usize| read.binary_search(&stored).unwrap_or_default();

        let mut plan = files::scan(state, table, &read, self.filters, &mut files, self.wanted)?;
        let restored = seen_schema(&files::with_places(&stored).project(&read)?);
        if plan.schema() != restored {
            plan = Arc::new(Restore::new(plan, restored));
        }
        plan = Arc::new(TenantGuard::new(plan, at(USER_NO), self.slice.user()));
        if drops.by_place {
            let hidden = files.iter().map(|file| file.hidden(drops.shadowed.as_deref())).collect();
            plan = Arc::new(Masked::new(plan, hidden)?);
        }
        if hide_deleted {
            plan = Arc::new(Live::new(plan, at(DELETED)));
        }
        if drops.by_key {
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
