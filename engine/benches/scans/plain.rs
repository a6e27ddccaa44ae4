//! The same rows in one Parquet file, read by DataFusion as it comes.

use std::fs::File;

use arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use parquet::{arrow::ArrowWriter, basic::Compression, file::properties::WriterProperties};

use crate::flights::{self, BATCH_ROWS};

pub struct Plain {
    context: SessionContext,
    _dir: tempfile::TempDir,
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
        Self { context, _dir: dir }
    }

    pub async fn query(&self, sql: &str) -> String {
        let batches = self.context.sql(sql).await.expect("plans").collect().await.expect("runs");
        pretty_format_batches(&batches).expect("text").to_string().replace('-', "")
    }
}
