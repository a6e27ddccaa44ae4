//! The corpus holds what the encoders write today. A file that differs means that bytes on disk have changed. (The record of
//! a table has its options in no order, so that one is only read.)

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, new_null_array},
    compute::cast,
    datatypes::Schema,
};
use insula_proto::{Generation, Seq, UserNo};

use crate::{
    ColumnDef, TableDef,
    hot::{chunk, fuzz::table_of, key, value},
};

/// Tests run in the directory of their package. A path from when they were built may be that of another clone, with which
/// this one shares what is built.
fn place(target: &str, name: &str) -> PathBuf {
    Path::new("../fuzz/corpus").join(target).join(name)
}

/// What the targets complete is left out: checksums, and what stands before them.
fn samples() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let mut stored =
        [&key::prefix(insula_proto::TableId(7), Generation(0), UserNo(3))[..], b"key\0\0", &[0; 8]].concat();
    key::complete(&mut stored, Generation(2), Seq(9));
    let table = table_of(&[0]);
    let layout = value::Layout::of(&table).unwrap();
    let columns = table.columns.iter().map(|column| new_null_array(column.field.data_type(), 1));
    let nullable = table.columns.iter().map(|column| Arc::new(column.field.as_ref().clone().with_nullable(true)));
    let schema = Arc::new(Schema::new(nullable.collect::<Vec<_>>()));
    let nulls = RecordBatch::try_new(schema, columns.collect()).unwrap();
    let mut row = Vec::new();
    value::Rows::new(&layout, &nulls).unwrap().encode(0, true, &mut row).unwrap();
    let mut in_chunk = Vec::new();
    value::Encoder::InChunks { schema_version: 1, first: 5, rows: 3 }.encode(4, false, &mut in_chunk).unwrap();
    vec![
        ("hot_key", "text", stored),
        ("hot_value", "nulls", row),
        ("hot_value", "in_chunk", in_chunk),
        ("chunk", "nulls", chunk::encode(&nulls).unwrap()),
        ("chunk", "values", chunk::encode(&some_values(&table)).unwrap()),
        ("user_index", "two_users", crate::cold::fuzz::samples::user_index()),
        ("deletion_vector", "runs_and_single_rows", crate::cold::fuzz::samples::deletion_vector()),
        ("manifest", "one_file", crate::cold::fuzz::samples::manifest()),
    ]
}

/// Small numbers as values of all types that numbers can be cast to, and NULLs of the others.
fn some_values(table: &TableDef) -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None, Some(12)]));
    let column = |column: &ColumnDef| {
        let data_type = column.field.data_type();
        (column.stored_name(), cast(&numbers, data_type).unwrap_or_else(|_| new_null_array(data_type, 3)))
    };
    RecordBatch::try_from_iter(table.columns.iter().map(column)).unwrap()
}

#[test]
fn the_corpus_is_what_the_encoders_write() {
    for (target, name, bytes) in samples() {
        let path = place(target, name);
        if std::env::var_os("INSULA_WRITE_CORPUS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        assert!(fs::read(&path).unwrap() == bytes, "{target}/{name}: what is written has changed");
    }
}

#[test]
fn the_record_of_a_table_is_read() {
    let bytes = fs::read(place("table_record", "twelve_columns")).unwrap();
    let table = crate::TableDef::from_record(&crate::hot::record::seal(&bytes)).unwrap();
    assert_eq!(table.columns.len(), 12);
}
