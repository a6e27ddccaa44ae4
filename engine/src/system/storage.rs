//! What lies where: `system.storage` and `files`. A user sees what is theirs, by their own rows alone; an admin sees the
//! sums over all users of each table, and its files. Nobody sees another user's part: an admin who wants to know how
//! much one user has would learn of their rows, and that is not metadata of a table.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use futures::{StreamExt, stream};
use insula_proto::UserNo;
use insula_storage::{DiskUsage, FileInfo, TableDef, TableKind};

use super::{
    Asking, View,
    fields::{maybe_number, maybe_text, maybe_time, number, text},
    rows::{attempt, maybe_numbers, maybe_texts, numbers, of_each, texts, times},
};
use crate::{Engine, Result, RowStream};

pub(super) static VIEWS: [View; 2] = [
    View {
        namespace: "system",
        name: "storage",
        fields: || {
            vec![
                text("namespace"),
                text("table"),
                maybe_text("user"),
                number("hot_rows"),
                number("hot_bytes"),
                number("cold_rows"),
                number("cold_bytes"),
                number("files"),
            ]
        },
        rows: storage,
    },
    View {
        namespace: "system",
        name: "files",
        fields: || {
            vec![
                text("namespace"),
                text("table"),
                maybe_text("path"),
                number("rows"),
                maybe_number("bytes"),
                maybe_number("deleted_rows"),
                maybe_number("replaced_rows"),
                maybe_number("level"),
                maybe_number("version"),
                maybe_time("created"),
            ]
        },
        rows: files,
    },
];

/// The tables whose storage concerns the reader: rows of shared ones are no user's own.
fn tables(asking: &Asking) -> Vec<Arc<TableDef>> {
    let all = asking.is_admin();
    asking.tables().filter(|table| all || table.kind != TableKind::Shared).cloned().collect()
}

/// `None`: an admin, who is told of all rows together.
fn own(asking: &Asking) -> Option<UserNo> {
    (!asking.is_admin()).then_some(asking.user.no)
}

fn storage(asking: Asking, schema: SchemaRef) -> RowStream {
    attempt(|| {
        let (engine, owner) = (asking.engine()?, own(&asking));
        let usage = move |table: Arc<TableDef>| {
            let engine = Arc::clone(&engine);
            async move { Ok((Arc::clone(&table), engine.store().usage(&table, owner).await?)) }
        };
        let each = stream::iter(tables(&asking)).then(usage);
        // A table that was dropped meanwhile has nothing any more.
        let each = each.filter(|item| std::future::ready(!is_gone(item)));
        let name = owner.map(|_| Arc::clone(&asking.user.name));
        Ok(of_each(each, schema, move |part: &[(Arc<TableDef>, DiskUsage)]| {
            vec![
                texts(part, |(table, _)| &table.namespace),
                texts(part, |(table, _)| &table.name),
                maybe_texts(part, |_| name.clone()),
                numbers(part, |(_, usage)| usage.hot_rows),
                numbers(part, |(_, usage)| usage.hot_bytes),
                numbers(part, |(_, usage)| usage.cold_rows),
                numbers(part, |(_, usage)| usage.cold_bytes),
                numbers(part, |(_, usage)| usage.cold_files),
            ]
        }))
    })
}

fn is_gone<T>(item: &Result<T>) -> bool {
    item.as_ref().is_err_and(|error| error.kind() == crate::ErrorKind::NotFound)
}

/// A file as the reader may see it.
struct Seen {
    table: Arc<TableDef>,
    rows: u64,
    /// Names, sizes and times are those of a thing that many users share.
    whole: Option<FileInfo>,
}

fn files(asking: Asking, schema: SchemaRef) -> RowStream {
    attempt(|| {
        let (engine, owner) = (asking.engine()?, own(&asking));
        let of_table = move |table: Arc<TableDef>| {
            let engine = Arc::clone(&engine);
            async move { seen(&engine, table, owner).await }
        };
        let each = stream::iter(tables(&asking)).then(of_table).filter(|item| std::future::ready(!is_gone(item)));
        let each = each.flat_map(|found| match found {
            Ok(files) => stream::iter(files.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        });
        Ok(of_each(each, schema, |part: &[Seen]| {
            let of = |value: fn(&FileInfo) -> u64| maybe_numbers(part, move |seen| seen.whole.as_ref().map(value));
            vec![
                texts(part, |seen| &seen.table.namespace),
                texts(part, |seen| &seen.table.name),
                maybe_texts(part, |seen| seen.whole.as_ref().map(|file| file.path.clone())),
                numbers(part, |seen| seen.rows),
                of(|file| file.bytes),
                of(|file| file.deleted_rows),
                of(|file| file.replaced_rows),
                of(|file| file.level.into()),
                of(|file| file.schema_version.into()),
                times(part, |seen| seen.whole.as_ref().map(|file| file.created_micros)),
            ]
        }))
    })
}

async fn seen(engine: &Engine, table: Arc<TableDef>, owner: Option<UserNo>) -> Result<Vec<Seen>> {
    let seen = |rows, whole| Seen { table: Arc::clone(&table), rows, whole };
    match owner {
        Some(owner) => {
            let counts = engine.store().rows_by_file(&table, owner).await?;
            Ok(counts.into_iter().map(|rows| seen(rows, None)).collect())
        }
        None => {
            let files = engine.store().files(table.id)?;
            Ok(files.into_iter().map(|file| seen(file.rows, Some(file))).collect())
        }
    }
}
