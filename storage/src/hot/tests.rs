//! What the tests of the hot tier share: table definitions.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use insula_proto::TableId;

use crate::{NewColumn, NewTable, TableDef, TableKind, TableOptions};

/// A table `ns.t` with these columns; `key` are indices into them.
pub(crate) fn table(columns: &[(&str, DataType, bool)], key: &[usize]) -> TableDef {
    new_table(columns, key).define(TableId(7), 0).unwrap()
}

pub(crate) fn new_table(columns: &[(&str, DataType, bool)], key: &[usize]) -> NewTable {
    let column = |(name, data_type, nullable): &(&str, DataType, bool)| NewColumn {
        field: Arc::new(Field::new(*name, data_type.clone(), *nullable)),
        default: None,
    };
    NewTable {
        namespace: "ns".into(),
        name: "t".into(),
        kind: TableKind::User,
        columns: columns.iter().map(column).collect(),
        key: key.to_vec(),
        checks: Vec::new(),
        options: TableOptions::default(),
    }
}
