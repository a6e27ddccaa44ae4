//! Bodies of the fuzz targets of the hot tier: keys, values, table definitions.

use std::sync::{Arc, OnceLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use insula_proto::{ColumnId, Generation, Seq, TableId, UserNo};

use super::{
    chunk::{self, NoChunks},
    decode::RowDecoder,
    key, record, value,
};
use crate::{ColumnDef, KeyCodec, TableDef, TableKind, TableOptions};

/// A stored key, and the values that its first column may have.
pub(crate) fn key(data: &[u8]) {
    let Ok(parts) = key::split(data) else { return };
    for table in tables() {
        if let Ok(codec) = KeyCodec::new(table) {
            let _ = codec.first_value(parts.key);
        }
    }
}

/// Values of a table with a column of each shape: nested, of fixed size, of any length.
pub(crate) fn value(data: &[u8]) {
    let mut sealed = data.to_vec();
    sealed.resize(sealed.len().max(18), 0);
    // Format and version are looked at first, and the checksum before them.
    sealed[0] = if sealed[0] == value::FORMAT_IN_CHUNK { value::FORMAT_IN_CHUNK } else { value::FORMAT };
    sealed[1..5].copy_from_slice(&1u32.to_le_bytes());
    value::complete(&mut sealed, 0);
    for (number, table) in tables().iter().enumerate() {
        let columns: Vec<usize> = (0..table.stored_schema().fields().len()).collect();
        for projection in [&columns[..], &columns[columns.len() - 1..]] {
            let Ok(mut decoder) = RowDecoder::new(table, projection) else { continue };
            let row = key::Parts {
                table: table.id,
                generation: Generation(1),
                user: UserNo(number as u64),
                key: &[0; 8],
                seq: Seq(1),
            };
            if decoder.push(&row, &sealed).is_ok() {
                let _ = decoder.finish(&NoChunks);
            }
        }
    }
}

/// Chunks of the same table, all columns and one.
pub(crate) fn chunk(data: &[u8]) {
    let mut sealed = data.to_vec();
    sealed.extend_from_slice(&[0; 4]);
    sealed[0] = chunk::FORMAT;
    chunk::seal(&mut sealed);
    let columns = &tables()[0].columns;
    let schema: SchemaRef =
        Arc::new(Schema::new(columns.iter().map(|column| Arc::clone(&column.field)).collect::<Vec<_>>()));
    let all: Vec<usize> = (0..columns.len()).collect();
    for projection in [&all[..], &all[columns.len() - 1..]] {
        let _ = chunk::decode(&sealed, &schema, projection);
    }
}

pub(crate) fn table(data: &[u8]) {
    if let Ok(table) = TableDef::from_record(&record::seal(data)) {
        let _ = KeyCodec::new(&table);
        let _ = value::Layout::of(&table);
    }
    let _ = TableDef::from_record(data);
}

/// One with a key of text, one with a key of many columns, one without a key.
fn tables() -> &'static [Arc<TableDef>; 3] {
    static TABLES: OnceLock<[Arc<TableDef>; 3]> = OnceLock::new();
    TABLES.get_or_init(|| [table_of(&[0]), table_of(&[1, 0, 2]), table_of(&[])].map(Arc::new))
}

pub(crate) fn table_of(key: &[usize]) -> TableDef {
    let item = |data_type| Arc::new(Field::new_list_field(data_type, true));
    let nested = vec![Field::new("a", DataType::Int16, true), Field::new("b", DataType::Utf8, true)];
    let types = [
        DataType::Utf8,
        DataType::Int64,
        DataType::FixedSizeBinary(3),
        DataType::Boolean,
        DataType::Float64,
        DataType::Decimal128(20, 3),
        DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Binary,
        DataType::List(item(DataType::Utf8)),
        DataType::FixedSizeList(item(DataType::Int32), 2),
        DataType::Struct(nested.into()),
        DataType::List(item(DataType::List(item(DataType::Boolean)))),
    ];
    let columns = types.into_iter().zip(1..).map(|(data_type, id)| ColumnDef {
        id: ColumnId(id),
        field: Arc::new(Field::new(format!("c{id}"), data_type, id > 3)),
        default: None,
        initial: None,
    });
    TableDef {
        id: TableId(7),
        namespace: "public".into(),
        name: "t".into(),
        kind: TableKind::User,
        columns: columns.collect(),
        next_column_id: 13,
        key: key.to_vec(),
        checks: Vec::new(),
        options: TableOptions::default(),
        schema_version: 1,
        created_micros: 0,
        older: Default::default(),
    }
}
