//! From one version of a definition to the next: what an ALTER TABLE may change, and what it makes of the columns.

use std::sync::Arc;

use arrow::{array::ArrayRef, datatypes::DataType};
use insula_proto::ColumnId;

use super::{ColumnDef, Initial, NewCheck, NewColumn, TableDef, TableOptions, Version, stored_field, stored_type};
use crate::{Error, ErrorKind, Result};

/// One action of an ALTER TABLE. Columns are named as they are called after the actions before it.
#[derive(Clone, Debug)]
pub enum Alteration {
    /// `initial`: the default, evaluated: one value, which the rows that are there get.
    Add {
        column: NewColumn,
        initial: ArrayRef,
        if_not_exists: bool,
    },
    Drop {
        column: String,
        if_exists: bool,
    },
    /// `checks`: name and SQL, under the new name, of those that name the column.
    Rename {
        from: String,
        to: String,
        checks: Vec<(String, String)>,
    },
    /// To a type that holds every value of the old one.
    Widen {
        column: String,
        to: DataType,
    },
    Default {
        column: String,
        default: Option<String>,
    },
    DropNotNull {
        column: String,
    },
    /// `holds`: the rows that are there meet it, or are not asked to. Otherwise there may be none: to look at them would be
    /// to read everybody's.
    AddCheck {
        check: NewCheck,
        holds: bool,
    },
    DropCheck {
        name: String,
        if_exists: bool,
    },
    Options(TableOptions),
    /// Within its namespace.
    RenameTable {
        to: String,
    },
}

/// What the actions make of a definition.
pub(crate) struct Altered {
    pub def: TableDef,
    /// What was done, as SQL.
    pub change: String,
    /// Why there may be no rows, where there may be none.
    pub needs_empty: Option<Error>,
    /// Rows that were encoded under the definition before may not be what this one says of them.
    pub outdates_writes: bool,
}

impl TableDef {
    /// The definition with one action done, for whoever has to know it to say what the next one is.
    pub fn after(&self, action: &Alteration) -> Result<Self> {
        let mut def = self.clone();
        def.apply(action)?;
        Ok(def)
    }

    /// `None`: there was nothing to do. One action that cannot be done undoes all.
    pub(crate) fn altered(&self, actions: &[Alteration]) -> Result<Option<Altered>> {
        let mut def = self.clone();
        let mut done = Vec::new();
        for action in actions {
            done.extend(def.apply(action)?);
        }
        if done.is_empty() {
            return Ok(None);
        }
        if def.columns.is_empty() {
            let message = format!("table \"{}\" would have no columns left; DROP TABLE drops it", self.full_name());
            return Err(Error::new(ErrorKind::FailedPrecondition, message));
        }
        def.schema_version += 1;
        def.older = self.older.with(Version::of(self));
        let is_new = |column: &&ColumnDef| self.columns.iter().all(|old| old.id != column.id);
        let lacks_value = |column: &ColumnDef| !column.field.is_nullable() && column.initial.is_none();
        let new_check = |action: &Alteration| match action {
            Alteration::AddCheck { check, holds } => Some((check.name.clone(), *holds)),
            _ => None,
        };
        let mut new_checks = actions.iter().filter_map(new_check);
        let has_new_checks = new_checks.clone().next().is_some();
        let needs_empty = if def.columns.iter().filter(is_new).any(lacks_value) {
            Some(self.not_null_needs_empty())
        } else {
            new_checks.find(|(_, holds)| !holds).map(|(name, _)| self.check_needs_empty(&name))
        };
        let outdates_writes = needs_empty.is_some() || has_new_checks;
        Ok(Some(Altered { def, change: done.join(", "), needs_empty, outdates_writes }))
    }

    /// What was done; `None`: nothing, and that is as it should be.
    fn apply(&mut self, action: &Alteration) -> Result<Option<String>> {
        match action {
            Alteration::Add { column, initial, if_not_exists } => self.add(column, initial, *if_not_exists),
            Alteration::Drop { column, if_exists } => self.drop(column, *if_exists),
            Alteration::Rename { from, to, checks } => self.rename(from, to, checks),
            Alteration::Widen { column, to } => self.widen(column, to),
            Alteration::Default { column, default } => {
                let at = self.position(column)?;
                self.columns[at].default.clone_from(default);
                let how = default.as_ref().map_or("DROP DEFAULT".into(), |sql| format!("SET DEFAULT {sql}"));
                Ok(Some(format!("ALTER COLUMN \"{column}\" {how}")))
            }
            Alteration::DropNotNull { column } => {
                let at = self.key_free(column, "be NULL")?;
                self.set_field(at, |field| field.with_nullable(true));
                Ok(Some(format!("ALTER COLUMN \"{column}\" DROP NOT NULL")))
            }
            Alteration::AddCheck { check, .. } => self.add_check(check).map(Some),
            Alteration::DropCheck { name, if_exists } => self.drop_check(name, *if_exists),
            Alteration::Options(options) => Ok(self.set_options(options)),
            Alteration::RenameTable { to } if *to == self.name => Ok(None),
            Alteration::RenameTable { to } => {
                self.name.clone_from(to);
                Ok(Some(format!("RENAME TO \"{to}\"")))
            }
        }
    }

    fn add(&mut self, column: &NewColumn, initial: &ArrayRef, if_not_exists: bool) -> Result<Option<String>> {
        let name = column.field.name();
        if self.columns.iter().any(|c| c.field.name() == name) {
            return if if_not_exists { Ok(None) } else { Err(self.exists(name)) };
        }
        let field = Arc::new(stored_field(&column.field)?);
        if initial.data_type() != field.data_type() {
            return Err(Error::new(ErrorKind::Internal, "an initial value has not its column's type"));
        }
        // An id is never used twice, so a column that comes back under its old name shows none of its old values.
        let id = ColumnId(self.next_column_id);
        let next = id.0.checked_add(1);
        self.next_column_id = next.ok_or_else(|| self.refused("has had too many columns"))?;
        let not_null = if field.is_nullable() { "" } else { " NOT NULL" };
        let default = column.default.as_ref().map(|sql| format!(" DEFAULT {sql}")).unwrap_or_default();
        let done = format!("ADD COLUMN \"{name}\" {}{not_null}{default}", field.data_type());
        let initial = Initial::new(Arc::clone(initial))?;
        self.columns.push(ColumnDef { id, field, default: column.default.clone(), initial });
        Ok(Some(done))
    }

    fn drop(&mut self, column: &str, if_exists: bool) -> Result<Option<String>> {
        if if_exists && self.columns.iter().all(|c| c.field.name() != column) {
            return Ok(None);
        }
        let at = self.key_free(column, "be dropped")?;
        self.unchecked(at, "be dropped")?;
        self.columns.remove(at);
        for key in self.key.iter_mut().filter(|key| **key > at) {
            *key -= 1;
        }
        Ok(Some(format!("DROP COLUMN \"{column}\"")))
    }

    fn rename(&mut self, from: &str, to: &str, checks: &[(String, String)]) -> Result<Option<String>> {
        let at = self.position(from)?;
        if self.columns.iter().any(|c| c.field.name() == to) {
            return Err(self.exists(to));
        }
        self.reword_checks(at, checks)?;
        self.set_field(at, |field| field.with_name(to));
        Ok(Some(format!("RENAME COLUMN \"{from}\" TO \"{to}\"")))
    }

    fn widen(&mut self, column: &str, to: &DataType) -> Result<Option<String>> {
        let (at, to) = (self.position(column)?, stored_type(to)?);
        let from = self.columns[at].field.data_type().clone();
        if from == to {
            return Ok(None);
        }
        self.key_free(column, "change its type")?;
        self.unchecked(at, "change its type")?;
        if !widens(&from, &to) {
            let message = format!(
                "column \"{column}\" of table \"{}\" cannot change from {from} to {to}: a type only widens (a longer \
                 integer, float or decimal); add a column and fill it with UPDATE … SET … = CAST(…)",
                self.full_name()
            );
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let initial = self.columns[at].initial.as_ref().map(|initial| initial.cast(&to)).transpose()?;
        self.columns[at].initial = initial;
        self.set_field(at, |field| field.with_data_type(to.clone()));
        Ok(Some(format!("ALTER COLUMN \"{column}\" TYPE {to}")))
    }

    fn set_options(&mut self, options: &TableOptions) -> Option<String> {
        let (before, after) = (self.options.to_map(), options.to_map());
        let changed = after.into_iter().filter(|(name, value)| before.get(name) != Some(value));
        let mut changed: Vec<String> = changed.map(|(name, value)| format!("{name} = {value}")).collect();
        changed.sort();
        self.options = options.clone();
        (!changed.is_empty()).then(|| format!("SET ({})", changed.join(", ")))
    }

    fn set_field(&mut self, at: usize, change: impl FnOnce(arrow::datatypes::Field) -> arrow::datatypes::Field) {
        let column = &mut self.columns[at];
        column.field = Arc::new(change(column.field.as_ref().clone()));
    }

    pub(super) fn position(&self, column: &str) -> Result<usize> {
        self.columns.iter().position(|c| c.field.name() == column).ok_or_else(|| {
            let names = self.columns.iter().map(|c| c.field.name().as_str()).collect::<Vec<_>>().join(", ");
            let table = self.full_name();
            Error::new(ErrorKind::Invalid, format!("table \"{table}\" has no column \"{column}\"; it has {names}"))
        })
    }

    /// Index of a column that is not part of the key: keys lie on disk as bytes that must not change their meaning.
    fn key_free(&self, column: &str, what: &str) -> Result<usize> {
        let at = self.position(column)?;
        if !self.key.contains(&at) {
            return Ok(at);
        }
        let message = format!(
            "column \"{column}\" is part of the primary key of table \"{}\" and cannot {what}; create a table with the \
             key that you want and fill it with INSERT … SELECT",
            self.full_name()
        );
        Err(Error::new(ErrorKind::FailedPrecondition, message))
    }

    fn not_null_needs_empty(&self) -> Error {
        let message = format!(
            "table \"{}\" holds rows (deleted ones count), which would be NULL in a new column that is NOT NULL; give the \
             column a DEFAULT",
            self.full_name()
        );
        Error::new(ErrorKind::Invalid, message)
    }

    fn check_needs_empty(&self, check: &str) -> Error {
        let message = format!(
            "table \"{}\" holds rows (deleted ones count), and all of everybody's would have to be read to know that they \
             meet constraint \"{check}\"; ALTER TABLE … ADD CONSTRAINT … NOT VALID asks it of those that are written from now \
             on",
            self.full_name()
        );
        Error::new(ErrorKind::FailedPrecondition, message)
    }

    fn exists(&self, column: &str) -> Error {
        let message = format!("table \"{}\" has a column \"{column}\" already", self.full_name());
        Error::new(ErrorKind::AlreadyExists, message)
    }

    fn refused(&self, why: &str) -> Error {
        Error::new(ErrorKind::FailedPrecondition, format!("table \"{}\" {why}", self.full_name()))
    }
}

/// Does `to` hold every value of `from`, exactly?
fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Binary, Decimal128, Decimal256, Float16, Float32, Float64, Int8, Int16, Int32, Int64, LargeBinary, LargeUtf8,
        UInt8, UInt16, UInt32, UInt64, Utf8,
    };
    let digits = |integer: &DataType| match integer {
        Int8 | UInt8 => Some(3),
        Int16 | UInt16 => Some(5),
        Int32 | UInt32 => Some(10),
        Int64 => Some(19),
        UInt64 => Some(20),
        _ => None,
    };
    match (from, to) {
        (Int8, Int16 | Int32 | Int64) | (Int16, Int32 | Int64) | (Int32, Int64) => true,
        (UInt8, UInt16 | UInt32 | UInt64 | Int16 | Int32 | Int64) => true,
        (UInt16, UInt32 | UInt64 | Int32 | Int64) | (UInt32, UInt64 | Int64) => true,
        (Int8 | UInt8 | Int16 | UInt16 | Float16, Float32 | Float64) => true,
        (Int32 | UInt32 | Float32, Float64) => true,
        (Utf8, LargeUtf8) | (Binary, LargeBinary) => true,
        (Decimal128(p, s) | Decimal256(p, s), Decimal256(q, t)) | (Decimal128(p, s), Decimal128(q, t)) => {
            t >= s && i16::from(*q) - i16::from(*t) >= i16::from(*p) - i16::from(*s)
        }
        (integer, Decimal128(q, t) | Decimal256(q, t)) => {
            digits(integer).is_some_and(|digits| *t >= 0 && i16::from(*q) - i16::from(*t) >= digits)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
