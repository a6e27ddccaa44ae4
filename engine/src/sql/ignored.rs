//! What sqlparser understands and DataFusion passes over. Passed over, it would change what the statement means without a
//! word, so it is refused.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Query, Select, Statement, TableFactor, Visit, Visitor};

use crate::{Error, Result};

pub(super) fn refuse(statement: &Statement) -> Result<()> {
    match statement.visit(&mut Ignored) {
        ControlFlow::Break(what) => Err(Error::unimplemented(what)),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Ignored;

impl Visitor for Ignored {
    type Break = &'static str;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<&'static str> {
        if !query.locks.is_empty() {
            let what = "FOR UPDATE and FOR SHARE lock nothing here: a transaction that meets another one's change is \
                        ABORTED and begun anew";
            return ControlFlow::Break(what);
        }
        if query.fetch.as_ref().is_some_and(|fetch| fetch.with_ties || fetch.percent) {
            return ControlFlow::Break("FETCH takes a number of rows, neither PERCENT nor WITH TIES");
        }
        if query.for_clause.is_some() || query.format_clause.is_some() || query.settings.is_some() {
            return ControlFlow::Break("FOR XML, FOR JSON, FORMAT and SETTINGS are other databases'");
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<&'static str> {
        match select.prewhere {
            Some(_) => ControlFlow::Break("PREWHERE is another database's: write WHERE"),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<&'static str> {
        match factor {
            TableFactor::Table { sample: Some(_), .. } | TableFactor::Derived { sample: Some(_), .. } => {
                ControlFlow::Break("TABLESAMPLE does not work: filter by random() < 0.1 instead")
            }
            TableFactor::Table { version: Some(_), .. } => {
                ControlFlow::Break("a table is read as it is now: there is no FOR SYSTEM_TIME AS OF")
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

#[cfg(test)]
mod tests {
    use crate::{ErrorKind, sql::parse};

    #[test]
    fn what_would_be_passed_over_is_refused_wherever_it_stands() {
        let refused = [
            "SELECT * FROM t FOR UPDATE",
            "SELECT * FROM (SELECT * FROM t FOR SHARE) x",
            "INSERT INTO u SELECT * FROM t TABLESAMPLE BERNOULLI (10)",
            "SELECT * FROM t FETCH FIRST 1 ROWS WITH TIES",
            "SELECT * FROM t WITH (NOLOCK)",
        ];
        for sql in refused {
            let error = parse(sql).err().unwrap_or_else(|| panic!("{sql} was taken"));
            assert_eq!(error.kind(), ErrorKind::Unimplemented, "{sql}: {error}");
        }
        parse("SELECT * FROM t FETCH FIRST 2 ROWS ONLY").unwrap();
    }
}
