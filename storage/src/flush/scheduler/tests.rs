use arrow::datatypes::{DataType, Field};
use insula_proto::TableId;

use super::*;
use crate::{ColumnDef, TableKind, TableOptions};

pub(crate) fn table(options: TableOptions) -> TableDef {
    let field = Arc::new(Field::new("id", DataType::Int64, false));
    TableDef {
        id: TableId(1),
        namespace: "public".into(),
        name: "t".into(),
        kind: TableKind::User,
        columns: vec![ColumnDef { id: insula_proto::ColumnId(1), field, default: None, initial: None }],
        key: vec![0],
        checks: Vec::new(),
        options,
        schema_version: 1,
        next_column_id: 2,
        created_micros: 0,
        older: Default::default(),
    }
}

#[test]
fn a_table_is_due_by_rows_bytes_or_age() {
    let options = TableOptions {
        flush_rows: 10,
        flush_bytes: 1000,
        flush_interval: Some(Duration::from_secs(60)),
        ..TableOptions::default()
    };
    let timed = table(options.clone());
    let untimed = table(TableOptions { flush_interval: None, ..options });
    let load = |rows, bytes| Load { rows, bytes, oldest_micros: Some(0), newest_micros: Some(0) };
    let minute = 60_000_000;
    assert!(!is_due(&timed, load(9, 999), minute - 1, false));
    assert!(is_due(&timed, load(10, 1), 0, false));
    assert!(is_due(&timed, load(1, 1000), 0, false));
    assert!(is_due(&timed, load(1, 1), minute, false));
    assert!(!is_due(&untimed, load(1, 1), i64::MAX, false));
    assert!(!is_due(&timed, Load::default(), minute, false), "an empty table has nothing to flush");
    assert!(is_due(&untimed, load(1, 1), 0, true) && !is_due(&untimed, Load::default(), 0, true));
    assert!(!is_due(&timed, load(1, 1), -minute, false), "a clock that went back flushes nothing");
}
