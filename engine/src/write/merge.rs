//! What MERGE and ON CONFLICT have in common: a query that joins the rows of a source with the rows of the target, and
//! yields for each pair the old row, the new one, and the clause by which the one becomes the other. The statement's
//! rows are those that a clause takes; the sink does with them what the clause says, in one commit.

pub(super) mod conflict;
mod pairs;
mod stage;
pub(super) mod statement;

use arrow::{
    array::{AsArray, BooleanArray, RecordBatch},
    compute::filter_record_batch,
    datatypes::Int32Type,
};
use insula_storage::WriteSet;

use super::plan::{row_ids, stored_rows};
use crate::{Error, Result, checks::Checks};
pub(super) use stage::Key;

/// What becomes of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    Nothing,
    Insert,
    Update,
    Delete,
}

/// How the rows of a query of pairs are written. Its columns: the declared ones with their old values, the same with
/// their new values, the number of the clause, and the row id if there is no primary key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Merge {
    /// How errors call the statement.
    name: &'static str,
    /// What each clause does, from number 1 on; 0 is for pairs that no clause takes.
    actions: Vec<Action>,
    /// Where the statement compares the table's whole key with columns of the source: which ones.
    keys: Option<Vec<Key>>,
    /// What two source rows of one key are.
    repeated: Repeated,
    /// Rows of the target that match no row of the source are changed as well, so that all of them have to be seen.
    sees_all: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Repeated {
    /// Two pairs, which must not both change the target's row.
    Pairs,
    /// The second one does not count.
    Dropped,
    /// A mistake.
    Refused,
}

impl Merge {
    /// Puts one batch of pairs into the set. Returns which of them change something.
    pub fn add(&self, checks: &Checks, set: &mut WriteSet, batch: &RecordBatch) -> Result<BooleanArray> {
        let table = checks.table();
        let declared = table.columns.len();
        let clauses = batch.columns().get(2 * declared).and_then(|column| column.as_primitive_opt::<Int32Type>());
        let clauses = clauses.ok_or_else(|| Error::internal("the query of a merge does not say what it does"))?;
        let are = |is: &dyn Fn(Action) -> bool| -> BooleanArray {
            clauses.iter().map(|clause| Some(is(self.action(clause)))).collect()
        };
        for action in [Action::Delete, Action::Update, Action::Insert] {
            let wanted = are(&|of| of == action);
            if !wanted.has_true() {
                continue;
            }
            let wanted = filter_record_batch(batch, &wanted)?;
            let (old, new) = wanted.columns()[..2 * declared].split_at(declared);
            let ids = row_ids(wanted.columns().get(2 * declared + 1).filter(|_| table.has_row_id()))?;
            match action {
                Action::Nothing => {}
                Action::Insert => set.insert(&checks.rows(new.to_vec())?)?,
                Action::Update => set.update(ids, &stored_rows(table, old.to_vec())?, &checks.rows(new.to_vec())?)?,
                Action::Delete => set.delete(ids, &stored_rows(table, old.to_vec())?)?,
            }
            if matches!(action, Action::Update | Action::Delete) && !set.passed().is_empty() {
                return Err(self.second_time());
            }
        }
        Ok(are(&|action| action != Action::Nothing))
    }

    fn action(&self, clause: Option<i32>) -> Action {
        let place = clause.and_then(|clause| usize::try_from(clause).ok()?.checked_sub(1));
        place.and_then(|place| self.actions.get(place)).copied().unwrap_or(Action::Nothing)
    }

    fn second_time(&self) -> Error {
        let name = self.name;
        Error::invalid(format!("{name} cannot affect a row a second time; its source has several rows for one"))
    }
}

#[cfg(test)]
mod tests;
