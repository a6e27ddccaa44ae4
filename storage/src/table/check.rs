//! `CHECK` constraints. The layer above computes them for the rows that it writes; storage keeps their SQL, which it does not
//! read, and keeps the columns that they name from going away under them.

use insula_proto::ColumnId;

use super::TableDef;
use crate::{Error, ErrorKind, Result};

/// A condition that no row of the table fails which was written since it is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// Unique in its table.
    pub name: String,
    /// The condition, in which columns have the names that they have now.
    pub sql: String,
    /// Those that it names, each once.
    pub columns: Vec<ColumnId>,
}

/// A check as asked for, by the names of its columns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewCheck {
    pub name: String,
    pub sql: String,
    pub columns: Vec<String>,
}

impl TableDef {
    /// The checks that name a column.
    pub fn checks_of(&self, column: ColumnId) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(move |check| check.columns.contains(&column))
    }

    /// Returns what was done, as SQL.
    pub(super) fn add_check(&mut self, check: &NewCheck) -> Result<String> {
        let NewCheck { name, sql, columns } = check;
        if self.checks.iter().any(|known| known.name == *name) {
            let message = format!("table \"{}\" has a constraint \"{name}\" already", self.full_name());
            return Err(Error::new(ErrorKind::AlreadyExists, message));
        }
        let id = |column: &String| Ok(self.columns[self.position(column)?].id);
        let columns = columns.iter().map(id).collect::<Result<_>>()?;
        self.checks.push(Check { name: name.clone(), sql: sql.clone(), columns });
        Ok(format!("ADD CONSTRAINT \"{name}\" CHECK ({sql})"))
    }

    pub(super) fn drop_check(&mut self, name: &str, if_exists: bool) -> Result<Option<String>> {
        if let Some(at) = self.checks.iter().position(|check| check.name == name) {
            self.checks.remove(at);
            return Ok(Some(format!("DROP CONSTRAINT \"{name}\"")));
        }
        if if_exists {
            return Ok(None);
        }
        let table = self.full_name();
        let names = self.checks.iter().map(|check| check.name.as_str()).collect::<Vec<_>>().join(", ");
        let has = if names.is_empty() { "has no CHECK constraints".into() } else { format!("has {names}") };
        let message = format!("table \"{table}\" has no constraint \"{name}\"; it {has}");
        Err(Error::new(ErrorKind::NotFound, message))
    }

    /// Gives the checks that name a column the text that they have under its new name.
    pub(super) fn reword_checks(&mut self, at: usize, reworded: &[(String, String)]) -> Result<()> {
        let id = self.columns[at].id;
        let left = self.checks_of(id).find(|check| reworded.iter().all(|(name, _)| *name != check.name));
        if let Some(check) = left {
            return Err(self.in_use(at, "be renamed", &check.name));
        }
        for check in self.checks.iter_mut().filter(|check| check.columns.contains(&id)) {
            if let Some((_, sql)) = reworded.iter().find(|(name, _)| *name == check.name) {
                check.sql.clone_from(sql);
            }
        }
        Ok(())
    }

    /// Refuses to do to a column what the checks that name it were not made for.
    pub(super) fn unchecked(&self, at: usize, what: &str) -> Result<()> {
        match self.checks_of(self.columns[at].id).next() {
            None => Ok(()),
            Some(check) => Err(self.in_use(at, what, &check.name)),
        }
    }

    fn in_use(&self, at: usize, what: &str, check: &str) -> Error {
        let (column, table) = (self.columns[at].field.name(), self.full_name());
        let message = format!(
            "column \"{column}\" of table \"{table}\" is in use by constraint \"{check}\" and cannot {what}; DROP CONSTRAINT \
             \"{check}\" first, and add it again afterwards"
        );
        Error::new(ErrorKind::FailedPrecondition, message)
    }
}

#[cfg(test)]
mod tests;
