//! Table definitions as they lie in the `meta` column family.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arrow::{
    datatypes::{Field, Schema},
    ipc::{
        convert::{IpcSchemaEncoder, fb_to_schema},
        root_as_schema,
    },
};
use insula_proto::{ColumnId, TableId, storage as proto};
use prost::Message;

use super::{Check, ColumnDef, Durability, Initial, Placement, TableDef, TableKind, TableOptions, Versions};
use crate::{Error, ErrorKind, Result, hot::record};

const OFF: &str = "off";

impl TableDef {
    pub(crate) fn to_record(&self) -> Result<Vec<u8>> {
        Ok(record::seal(&self.to_proto()?.encode_to_vec()))
    }

    pub(super) fn to_proto(&self) -> Result<proto::Table> {
        let kind = match self.kind {
            TableKind::User => proto::TableKind::User,
            TableKind::Shared => proto::TableKind::Shared,
            TableKind::Stream => proto::TableKind::Stream,
        };
        let column = |column: &ColumnDef| {
            let schema = Schema::new(vec![Arc::clone(&column.field)]);
            let field = IpcSchemaEncoder::new().schema_to_fb(&schema).finished_data().to_vec();
            let initial = column.initial.as_ref().map(|initial| initial.to_bytes(&column.field)).transpose()?;
            Ok::<_, Error>(proto::Column { id: column.id.0, field, default: column.default.clone(), initial })
        };
        Ok(proto::Table {
            id: self.id.0,
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            kind: kind.into(),
            columns: self.columns.iter().map(column).collect::<Result<_>>()?,
            key: self.key.iter().filter_map(|i| self.columns.get(*i)).map(|c| c.id.0).collect(),
            options: self.options.to_map(),
            schema_version: self.schema_version,
            next_column_id: self.next_column_id,
            created_micros: self.created_micros,
            checks: self.checks.iter().map(check_to_proto).collect(),
        })
    }

    /// Without its older versions, which have records of their own.
    pub(crate) fn from_record(sealed: &[u8]) -> Result<Self> {
        let table = proto::Table::decode(record::open(sealed, "a table definition")?)
            .map_err(|e| damaged("cannot be decoded").with_source(e))?;
        Self::from_proto(table)
    }

    pub(super) fn from_proto(table: proto::Table) -> Result<Self> {
        let kind = match table.kind() {
            proto::TableKind::User => TableKind::User,
            proto::TableKind::Shared => TableKind::Shared,
            proto::TableKind::Stream => TableKind::Stream,
        };
        let columns: Vec<ColumnDef> = table.columns.into_iter().map(column).collect::<Result<_>>()?;
        let position = |id: u32| {
            columns.iter().position(|c| c.id.0 == id).ok_or_else(|| damaged("has a key column that is not there"))
        };
        Ok(Self {
            id: TableId(table.id),
            key: table.key.into_iter().map(position).collect::<Result<_>>()?,
            namespace: table.namespace,
            name: table.name,
            kind,
            columns,
            checks: table.checks.into_iter().map(check).collect(),
            options: TableOptions::from_map(&table.options)?,
            schema_version: table.schema_version,
            next_column_id: table.next_column_id,
            created_micros: table.created_micros,
            older: Versions::default(),
        })
    }
}

fn check_to_proto(check: &Check) -> proto::Check {
    let columns = check.columns.iter().map(|id| id.0).collect();
    proto::Check { name: check.name.clone(), sql: check.sql.clone(), columns }
}

fn check(check: proto::Check) -> Check {
    Check { name: check.name, sql: check.sql, columns: check.columns.into_iter().map(ColumnId).collect() }
}

fn column(column: proto::Column) -> Result<ColumnDef> {
    let schema = root_as_schema(&column.field).map_err(|e| damaged(&format!("has a broken column: {e}")))?;
    // It panics at types that Arrow does not know.
    let schema = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| fb_to_schema(schema)))
        .map_err(|_| damaged("has a column of an unknown type"))?;
    let field: Arc<Field> = schema.fields().first().cloned().ok_or_else(|| damaged("has an empty column"))?;
    let initial = column.initial.map(|bytes| Initial::from_bytes(&bytes, &field)).transpose()?;
    Ok(ColumnDef { id: ColumnId(column.id), field, default: column.default, initial })
}

impl TableOptions {
    pub(super) fn to_map(&self) -> HashMap<String, String> {
        let micros = |time: Option<Duration>| time.map_or(OFF.to_owned(), |time| time.as_micros().to_string());
        let durability = match self.durability {
            Durability::Sync => "sync",
            Durability::Periodic => "periodic",
        };
        let placement = match self.placement {
            Placement::Packed => "packed",
            Placement::File => "file",
        };
        HashMap::from([
            ("flush_rows".into(), self.flush_rows.to_string()),
            ("flush_bytes".into(), self.flush_bytes.to_string()),
            ("flush_interval_micros".into(), micros(self.flush_interval)),
            ("durability".into(), durability.into()),
            ("deleted_retention_micros".into(), micros(self.deleted_retention)),
            ("placement".into(), placement.into()),
            ("ttl_micros".into(), micros(self.ttl)),
            ("max_rows".into(), self.max_rows.map_or(OFF.to_owned(), |rows| rows.to_string())),
        ])
    }

    /// What is missing has its default: an older version wrote the record.
    fn from_map(map: &HashMap<String, String>) -> Result<Self> {
        let mut options = Self::default();
        for (name, value) in map {
            let wrong = || damaged(&format!("has an option {name} = {value} that this version does not know"));
            let number = || value.parse().map_err(|_| wrong());
            let time = || if value == OFF { Ok(None) } else { Ok(Some(Duration::from_micros(number()?))) };
            match name.as_str() {
                "flush_rows" => options.flush_rows = number()?,
                "flush_bytes" => options.flush_bytes = number()?,
                "flush_interval_micros" => options.flush_interval = time()?,
                "deleted_retention_micros" => options.deleted_retention = time()?,
                "durability" if value == "sync" => options.durability = Durability::Sync,
                "durability" if value == "periodic" => options.durability = Durability::Periodic,
                "placement" if value == "packed" => options.placement = Placement::Packed,
                "placement" if value == "file" => options.placement = Placement::File,
                "ttl_micros" => options.ttl = time()?,
                "max_rows" if value == OFF => options.max_rows = None,
                "max_rows" => options.max_rows = Some(number()?),
                _ => return Err(wrong()),
            }
        }
        Ok(options)
    }
}

pub(super) fn damaged(how: &str) -> Error {
    Error::new(ErrorKind::DataLoss, format!("a table definition {how}"))
}
