//! Flight SQL's metadata commands: catalogs, schemas, tables and keys, as the caller may see them.
//!
//! A schema is a property of the command alone, rows of the command and the caller; FlightInfo needs the former only.

use std::sync::{Arc, LazyLock};

use arrow::{
    array::{Int32Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use arrow_flight::sql::{
    Command, CommandGetDbSchemas, CommandGetPrimaryKeys, CommandGetTableTypes, CommandGetTables,
    metadata::{GetCatalogsBuilder, SqlInfoDataBuilder},
};
use insula_engine::{Engine, TableInfo};
use tonic::Status;

use super::{Service, columns};
use crate::{identity::Caller, status};

static PRIMARY_KEYS: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(&[
        ("catalog_name", DataType::Utf8, true),
        ("db_schema_name", DataType::Utf8, true),
        ("table_name", DataType::Utf8, false),
        ("column_name", DataType::Utf8, false),
        ("key_name", DataType::Utf8, true),
        ("key_sequence", DataType::Int32, false),
    ])
});

static FOREIGN_KEYS: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(&[
        ("pk_catalog_name", DataType::Utf8, true),
        ("pk_db_schema_name", DataType::Utf8, true),
        ("pk_table_name", DataType::Utf8, false),
        ("pk_column_name", DataType::Utf8, false),
        ("fk_catalog_name", DataType::Utf8, true),
        ("fk_db_schema_name", DataType::Utf8, true),
        ("fk_table_name", DataType::Utf8, false),
        ("fk_column_name", DataType::Utf8, false),
        ("key_sequence", DataType::Int32, false),
        ("fk_key_name", DataType::Utf8, true),
        ("pk_key_name", DataType::Utf8, true),
        ("update_rule", DataType::UInt8, false),
        ("delete_rule", DataType::UInt8, false),
    ])
});

fn schema(fields: &[(&str, DataType, bool)]) -> SchemaRef {
    let fields = fields.iter().map(|(name, data_type, nullable)| Field::new(*name, data_type.clone(), *nullable));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

impl Service {
    /// `None`: no metadata command.
    pub(super) fn metadata_schema(&self, command: &Command) -> Option<SchemaRef> {
        Some(match command {
            Command::CommandGetCatalogs(_) => GetCatalogsBuilder::new().schema(),
            Command::CommandGetDbSchemas(query) => query.clone().into_builder().schema(),
            Command::CommandGetTables(query) => query.clone().into_builder().schema(),
            Command::CommandGetTableTypes(query) => query.into_builder().schema(),
            Command::CommandGetPrimaryKeys(_) => Arc::clone(&PRIMARY_KEYS),
            Command::CommandGetExportedKeys(_)
            | Command::CommandGetImportedKeys(_)
            | Command::CommandGetCrossReference(_) => Arc::clone(&FOREIGN_KEYS),
            Command::CommandGetSqlInfo(_) => Arc::new(SqlInfoDataBuilder::schema().clone()),
            Command::CommandGetXdbcTypeInfo(_) => self.type_info.schema(),
            _ => return None,
        })
    }

    pub(super) fn metadata_rows(&self, caller: &Caller, command: &Command) -> Option<Result<RecordBatch, Status>> {
        let built = match command {
            Command::CommandGetCatalogs(_) => {
                let mut builder = GetCatalogsBuilder::new();
                builder.append(Engine::CATALOG);
                builder.build()
            }
            Command::CommandGetDbSchemas(query) => self.db_schemas(caller, query),
            Command::CommandGetTables(query) => self.tables(caller, query),
            Command::CommandGetTableTypes(query) => table_types(query),
            Command::CommandGetPrimaryKeys(query) => self.primary_keys(caller, query),
            // There are no foreign keys.
            Command::CommandGetExportedKeys(_)
            | Command::CommandGetImportedKeys(_)
            | Command::CommandGetCrossReference(_) => Ok(RecordBatch::new_empty(Arc::clone(&FOREIGN_KEYS))),
            Command::CommandGetSqlInfo(query) => self.sql_info.record_batch(query.info.iter().copied()),
            Command::CommandGetXdbcTypeInfo(query) => self.type_info.record_batch(query.data_type),
            _ => return None,
        };
        Some(built.map_err(status::internal))
    }

    fn db_schemas(&self, caller: &Caller, query: &CommandGetDbSchemas) -> Built {
        let mut builder = query.clone().into_builder();
        for namespace in self.engine.namespaces(&caller.identity) {
            builder.append(Engine::CATALOG, namespace);
        }
        builder.build()
    }

    fn tables(&self, caller: &Caller, query: &CommandGetTables) -> Built {
        let mut builder = query.clone().into_builder();
        for table in self.engine.tables(&caller.identity) {
            let schema = match query.include_schema {
                true => columns::described(&table),
                false => Schema::empty(),
            };
            builder.append(Engine::CATALOG, &table.namespace, &table.name, table.table_type, &schema)?;
        }
        builder.build()
    }

    fn primary_keys(&self, caller: &Caller, query: &CommandGetPrimaryKeys) -> Built {
        let in_catalog = query.catalog.as_deref().is_none_or(|catalog| catalog == Engine::CATALOG);
        let in_schema = |namespace: &str| query.db_schema.as_deref().is_none_or(|schema| schema == namespace);
        let asked = |table: &TableInfo| in_catalog && table.name == query.table && in_schema(&table.namespace);
        let tables = self.engine.tables(&caller.identity).into_iter().filter(asked);
        let keys: Vec<(String, String, i32)> = tables
            .flat_map(|table| {
                (1..).zip(table.key).map(move |(sequence, column)| (table.namespace.clone(), column, sequence))
            })
            .collect();
        let n = keys.len();
        let column = |values: Vec<&str>| Arc::new(StringArray::from(values));
        let columns: Vec<arrow::array::ArrayRef> = vec![
            column(vec![Engine::CATALOG; n]),
            column(keys.iter().map(|(namespace, _, _)| namespace.as_str()).collect()),
            column(vec![&query.table; n]),
            column(keys.iter().map(|(_, column, _)| column.as_str()).collect()),
            Arc::new(StringArray::new_null(n)),
            Arc::new(Int32Array::from_iter_values(keys.iter().map(|(_, _, sequence)| *sequence))),
        ];
        Ok(RecordBatch::try_new(Arc::clone(&PRIMARY_KEYS), columns)?)
    }
}

type Built = arrow_flight::error::Result<RecordBatch>;

fn table_types(query: &CommandGetTableTypes) -> Built {
    let mut builder = query.into_builder();
    builder.append("TABLE");
    builder.append("SYSTEM TABLE");
    builder.build()
}
