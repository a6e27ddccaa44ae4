//! The same rows read by DataFusion as it comes: in one Parquet file of its own, or in the files of a database.

use std::{fs::File, path::Path};

use arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use parquet::{arrow::ArrowWriter, basic::Compression, file::properties::WriterProperties};

use crate::flights::{self, BATCH_ROWS};

pub struct Plain {
    context: SessionContext,
    _dir: Option<tempfile::TempDir>,
}

impl Plain {
    pub async fn write(rows: usize) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("flights.parquet");
        let schema = flights::schema();
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(Default::default())).build();
        let file = File::create(&path).expect("file");
        let mut writer = ArrowWriter::try_new(file, schema.clone(), Some(properties)).expect("writer");
        let ids: Vec<i64> = (0..rows as i64).collect();
        for ids in ids.chunks(BATCH_ROWS) {
            writer.write(&flights::rows(&schema, ids)).expect("written");
        }
        writer.close().expect("closed");
        let context = SessionContext::new();
        let path = path.to_str().expect("text");
        context.register_parquet("flights", path, ParquetReadOptions::default()).await.expect("registered");
        Self { context, _dir: Some(dir) }
    }

    /// One user's rows in the files under `objects`, which hold nothing but live versions.
    pub async fn over(objects: &Path, user: u64) -> Self {
        let context = SessionContext::new();
        // A listing does not look into directories; there is one, of the table.
        let tables = objects.read_dir().expect("objects").map(|entry| entry.expect("an object").path());
        let table = tables.filter(|path| path.is_dir()).last().expect("the table's files");
        let objects = table.to_str().expect("text");
        context.register_parquet("stored", objects, ParquetReadOptions::default()).await.expect("registered");
        let schema = flights::schema();
        let names = schema.fields().iter().enumerate().map(|(i, f)| format!("c{} AS {}", i + 1, f.name()));
        let names = names.collect::<Vec<_>>().join(", ");
        let view = format!("CREATE VIEW flights AS SELECT {names} FROM stored WHERE _user_no = {user}");
        context.sql(&view).await.expect("plans").collect().await.expect("made");
        Self { context, _dir: None }
    }

    pub async fn query(&self, sql: &str) -> String {
        let batches = self.context.sql(sql).await.expect("plans").collect().await.expect("runs");
        pretty_format_batches(&batches).expect("text").to_string().replace('-', "")
    }
}
