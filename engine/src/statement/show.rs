//! Of what a SHOW tells: `FROM` something, `LIKE` a pattern. What is not understood is refused, never passed over: a list
//! that leaves nothing out would look like the answer.

use arrow::{
    array::{RecordBatch, Scalar, StringArray},
    compute::{filter_record_batch, ilike, like},
};
use datafusion::sql::sqlparser::ast::{
    ShowStatementFilter as Filter, ShowStatementFilterPosition as Position, ShowStatementIn,
    ShowStatementInParentType as In, ShowStatementOptions,
};

use crate::{
    Error, Result,
    sql::{command::Like, parts},
};

pub(super) struct Shown {
    pub within: Option<Vec<String>>,
    pub like: Option<Like>,
}

impl Shown {
    /// `more`: words before the name of what is shown, such as FULL.
    pub fn of(options: ShowStatementOptions, more: bool) -> Result<Self> {
        if more {
            return Err(Error::unimplemented("SHOW takes no TERSE, HISTORY, EXTENDED, FULL or EXTERNAL"));
        }
        if options.starts_with.is_some() || options.limit.is_some() || options.limit_from.is_some() {
            return Err(Error::unimplemented("SHOW takes FROM and LIKE; for more, query the tables of system"));
        }
        let within = match options.show_in {
            None => None,
            Some(ShowStatementIn {
                parent_type: None | Some(In::Schema | In::Table), parent_name: Some(name), ..
            }) => Some(parts(&name)?),
            Some(_) => return Err(Error::unimplemented("SHOW takes FROM and the name of a namespace or table")),
        };
        let like = match options.filter_position {
            None => None,
            Some(Position::Infix(filter) | Position::Suffix(filter)) => Some(pattern(filter)?),
        };
        Ok(Self { within, like })
    }
}

fn pattern(filter: Filter) -> Result<Like> {
    match filter {
        Filter::Like(pattern) | Filter::NoKeyword(pattern) => Ok(Like { pattern, any_case: false }),
        Filter::ILike(pattern) => Ok(Like { pattern, any_case: true }),
        Filter::Where(_) => Err(Error::unimplemented("SHOW takes no WHERE; query the tables of system")),
    }
}

impl Like {
    /// The rows whose text in this column is like the pattern.
    pub fn of(&self, rows: &RecordBatch, column: &str) -> Result<RecordBatch> {
        let names = rows.column_by_name(column).ok_or_else(|| Error::internal("SHOW has no such column"))?;
        let pattern = Scalar::new(StringArray::from(vec![self.pattern.as_str()]));
        let told = if self.any_case { ilike(names, &pattern) } else { like(names, &pattern) }?;
        Ok(filter_record_batch(rows, &told)?)
    }
}
