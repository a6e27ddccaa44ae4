//! Clauses that sqlparser reads and DataFusion passes over. A statement with one would run as if it were not there, and
//! its answer would look like that of what was asked.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Query, Select, Statement, TableFactor, Visit, Visitor};

use crate::{Error, Result};

/// Refuses a statement with one of them.
pub(super) fn check(statement: &Statement) -> Result<()> {
    match statement.visit(&mut Unserved) {
        ControlFlow::Break(reason) => Err(Error::unimplemented(reason)),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Unserved;

impl Visitor for Unserved {
    type Break = &'static str;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<&'static str> {
        if !query.locks.is_empty() {
            return ControlFlow::Break(
                "FOR UPDATE and FOR SHARE are not there: nothing locks rows; of two transactions that write the same \
                 row, the one that commits later is refused as ABORTED",
            );
        }
        if query.for_clause.is_some() || query.settings.is_some() || query.format_clause.is_some() {
            return ControlFlow::Break("FOR XML, FOR JSON, SETTINGS and FORMAT are not there");
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<&'static str> {
        match select.into {
            Some(_) => {
                ControlFlow::Break("SELECT … INTO is not there; CREATE TABLE … AS SELECT makes a table of a query")
            }
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<&'static str> {
        match factor {
            TableFactor::Table { sample: Some(_), .. } | TableFactor::Derived { sample: Some(_), .. } => {
                ControlFlow::Break("TABLESAMPLE is not there; WHERE random() < 0.1 takes about a tenth of the rows")
            }
            TableFactor::Table { version: Some(_), .. } => {
                ControlFlow::Break("FOR SYSTEM_TIME AS OF is not there: a table is read as it is now")
            }
            TableFactor::Table { with_hints, partitions, index_hints, .. }
                if !(with_hints.is_empty() && partitions.is_empty() && index_hints.is_empty()) =>
            {
                ControlFlow::Break("a table takes neither hints nor PARTITION")
            }
            _ => ControlFlow::Continue(()),
        }
    }
}
