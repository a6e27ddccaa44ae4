//! Each kind of file gives the same rows back.

use std::{fs::File, io::Write, path::PathBuf};

use arrow::{
    array::{ArrayRef, Int32Array, StringArray},
    compute::concat_batches,
    datatypes::DataType,
};

use super::*;

fn sample() -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), Some(2), None]));
    let names: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("c")]));
    RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("name", names, true)]).expect("a batch")
}

fn write(directory: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = directory.path().join(name);
    File::create(&path).and_then(|mut file| file.write_all(text.as_bytes())).expect("a file");
    path
}

fn read(path: &Path, options: &Options) -> Result<RecordBatch> {
    let source = Source::open(path, options)?;
    let schema = Arc::clone(&source.schema);
    let batches = source.collect::<Result<Vec<_>>>()?;
    Ok(concat_batches(&schema, &batches)?)
}

#[test]
fn every_kind_gives_the_rows_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let batch = sample();
    let path = directory.path().join("f.parquet");
    let file = File::create(&path).expect("a file");
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("rows");
    writer.close().expect("a footer");
    assert_eq!(read(&path, &Options::default()).expect("Parquet"), batch);

    let path = directory.path().join("f.arrow");
    let file = File::create(&path).expect("a file");
    let mut writer = arrow::ipc::writer::FileWriter::try_new(file, &batch.schema()).expect("a writer");
    writer.write(&batch).and_then(|()| writer.finish()).expect("rows");
    assert_eq!(read(&path, &Options::default()).expect("Arrow file"), batch);

    let path = directory.path().join("s.arrow");
    let file = File::create(&path).expect("a file");
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(file, &batch.schema()).expect("a writer");
    writer.write(&batch).and_then(|()| writer.finish()).expect("rows");
    assert_eq!(read(&path, &Options::default()).expect("Arrow stream"), batch);

    let options = Options { table: Some(batch.schema()), null: None };
    let path = write(&directory, "f.csv", "id,name\n1,a\n2,\n,c\n");
    assert_eq!(read(&path, &options).expect("CSV"), batch);
    let path = write(&directory, "f.ndjson", "{\"id\":1,\"name\":\"a\"}\n{\"id\":2}\n{\"name\":\"c\",\"id\":null}\n");
    let json = read(&path, &options).expect("NDJSON");
    assert_eq!(
        json.project(&[json.schema().index_of("id").expect("id"), json.schema().index_of("name").expect("name")])
            .expect("both"),
        batch
    );
}

#[test]
fn text_takes_the_table_s_types_or_inferred_ones() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = write(&directory, "f.csv", "name,id\nNA,1\nb,NA\n");
    let null = Some("NA".to_owned());
    let inferred = read(&path, &Options { table: None, null: null.clone() }).expect("rows");
    assert_eq!(inferred.schema().field(1).data_type(), &DataType::Int64);
    assert_eq!((inferred.column(0).null_count(), inferred.column(1).null_count()), (1, 1));
    let typed = read(&path, &Options { table: Some(sample().schema()), null }).expect("rows");
    assert_eq!(typed.schema().field(1).data_type(), &DataType::Int32);
}

#[test]
fn a_column_that_the_table_lacks_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = write(&directory, "f.csv", "id,nmae\n1,a\n");
    let error = read(&path, &Options { table: Some(sample().schema()), null: None }).expect_err("no such column");
    let message = error.to_string();
    assert!(message.contains("`nmae`") && message.contains("id, name") && message.contains("f.csv"), "{message}");
}

#[test]
fn an_unknown_ending_is_refused() {
    let error = Source::open(Path::new("a.xlsx"), &Options::default()).err().expect("unknown");
    assert!(error.to_string().contains("a.xlsx"), "{error}");
}
