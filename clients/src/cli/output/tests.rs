//! What each format looks like.

use std::sync::{Arc, Mutex};

use arrow::{
    array::{Int64Array, ListArray, RecordBatch, StringArray},
    datatypes::Int64Type,
};

use super::{Format, Write, print_table, writer};

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no other writer panics").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn sample() -> RecordBatch {
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None]), None]);
    RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(vec![Some(1), None])) as _),
        ("name", Arc::new(StringArray::from(vec!["a,b", "c"])) as _),
        ("list", Arc::new(list) as _),
    ])
    .expect("columns of one length")
}

fn written(format: Format, batches: &[RecordBatch]) -> String {
    let out = Shared::default();
    let mut writer = writer(out.clone(), format, &sample().schema()).expect("a writer");
    for batch in batches {
        writer.write(batch).expect("a batch");
    }
    writer.finish().expect("the end");
    drop(writer);
    let bytes = out.0.lock().expect("no other writer panics").clone();
    String::from_utf8(bytes).expect("text")
}

#[test]
fn csv_has_one_header_and_turns_lists_into_text() {
    assert_eq!(written(Format::Csv, &[sample()]), "id,name,list\n1,\"a,b\",\"[1, ]\"\n,c,\n");
    assert_eq!(written(Format::Csv, &[]), "id,name,list\n");
}

#[test]
fn json_is_one_object_per_line_with_its_nulls() {
    let lines = written(Format::Json, &[sample()]);
    assert_eq!(lines, "{\"id\":1,\"name\":\"a,b\",\"list\":[1,null]}\n{\"id\":null,\"name\":\"c\",\"list\":null}\n");
    assert_eq!(written(Format::Json, &[]), "");
}

#[test]
fn a_table_counts_its_rows() {
    let mut out = Vec::new();
    print_table(&mut out, sample().schema(), &[sample()]).expect("a table");
    let text = String::from_utf8(out).expect("text");
    assert!(text.contains("| id | name | list") && text.ends_with("(2 rows)\n"), "{text}");
}
