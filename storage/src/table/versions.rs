//! The versions of a table's definition: what rows of older ones look like, and the history that people read.

use std::sync::Arc;

use arrow::datatypes::DataType;
use insula_proto::{ColumnId, UserNo, storage as proto};
use prost::Message;

use super::{TableDef, persist::damaged};
use crate::{Error, ErrorKind, Result, hot::record};

/// What has to be known of a version to read rows that were written under it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Version {
    pub number: u32,
    pub columns: Vec<(ColumnId, DataType)>,
}

impl Version {
    pub fn of(table: &TableDef) -> Self {
        let columns = table.columns.iter().map(|c| (c.id, c.field.data_type().clone())).collect();
        Self { number: table.schema_version, columns }
    }

    pub fn has_columns_of(&self, table: &TableDef) -> bool {
        let theirs = table.columns.iter().map(|c| (c.id, c.field.data_type()));
        self.columns.iter().map(|(id, data_type)| (*id, data_type)).eq(theirs)
    }
}

/// Ascending, without gaps.
#[derive(Clone, Default, PartialEq, Debug)]
pub(crate) struct Versions(Arc<Vec<Arc<Version>>>);

impl Versions {
    pub fn get(&self, number: u32) -> Option<&Arc<Version>> {
        self.0.binary_search_by_key(&number, |version| version.number).ok().and_then(|at| self.0.get(at))
    }

    pub fn with(&self, version: Version) -> Self {
        Self(Arc::new(self.0.iter().cloned().chain([Arc::new(version)]).collect()))
    }
}

/// One entry of a table's history.
#[derive(Clone, PartialEq, Debug)]
pub struct TableVersion {
    pub version: u32,
    pub at_micros: i64,
    /// What was changed, as SQL.
    pub change: String,
    /// `None`: unknown.
    pub author: Option<UserNo>,
}

impl TableVersion {
    /// The record of `table`, which is the definition after the change.
    pub(crate) fn to_record(&self, table: &TableDef) -> Result<Vec<u8>> {
        let version = proto::TableVersion {
            table: Some(table.to_proto()?),
            at_micros: self.at_micros,
            change: self.change.clone(),
            author: self.author.map(|no| no.0),
        };
        Ok(record::seal(&version.encode_to_vec()))
    }

    pub(crate) fn from_record(sealed: &[u8]) -> Result<(Self, Version)> {
        let version = proto::TableVersion::decode(record::open(sealed, "a version of a table")?)
            .map_err(|e| Error::new(ErrorKind::DataLoss, "a version of a table cannot be decoded").with_source(e))?;
        let table = TableDef::from_proto(version.table.ok_or_else(|| damaged("is missing in its history"))?)?;
        let (change, author) = (version.change, version.author.map(UserNo));
        let entry = Self { version: table.schema_version, at_micros: version.at_micros, change, author };
        Ok((entry, Version::of(&table)))
    }
}
