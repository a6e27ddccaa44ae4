//! Where objects lie: `t{table}/{uuid}.parquet` and `t{table}/{uuid}.dv`. A path tells nothing of any user.

use insula_proto::TableId;
use object_store::path::Path;
use uuid::Uuid;

pub(crate) fn file_path(table: TableId, id: Uuid) -> Path {
    Path::from(format!("t{table}/{id}.parquet"))
}

pub(crate) fn vector_path(table: TableId, id: Uuid) -> Path {
    Path::from(format!("t{table}/{id}.dv"))
}

/// The id of the Parquet file that lies at `path`.
pub(super) fn file_id(path: &Path) -> Option<Uuid> {
    Uuid::try_parse(path.filename()?.strip_suffix(".parquet")?).ok()
}

/// The table of an object of ours.
pub(crate) fn table_of(path: &Path) -> Option<TableId> {
    let directory = path.as_ref().split_once('/').filter(|_| is_ours(path.as_ref()))?.0;
    directory.strip_prefix('t')?.parse().ok().map(TableId)
}

/// Whether `path` is an object of ours, or the staging file (`…#1`) that a crash left of one. The sweep deletes
/// nothing else, whatever people keep beside our objects.
pub(super) fn is_ours(path: &str) -> bool {
    let Some((directory, name)) = path.split_once('/') else { return false };
    let name = match name.split_once('#') {
        Some((name, staging)) if staging.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) => return false,
        None => name,
    };
    let Some((id, extension)) = name.split_once('.') else { return false };
    directory.strip_prefix('t').is_some_and(|number| number.parse::<u32>().is_ok())
        && matches!(extension, "parquet" | "dv")
        && Uuid::try_parse(id).is_ok()
}
