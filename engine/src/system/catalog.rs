//! What is defined: `system.namespaces`, `tables`, `columns`, `table_history`. Definitions are everybody's, but for the
//! shared tables that the reader may not know of; who changed them is told to admins.

use std::sync::Arc;

use arrow::{array::ArrayRef, datatypes::SchemaRef};
use futures::{StreamExt, stream};
use insula_storage::{Durability, Placement, TableDef, TableKind, TableVersion};

use super::{
    Asking, NAMESPACES, View,
    fields::{flag, maybe_number, maybe_text, maybe_time, number, text, time},
    rows::{self, attempt, flags, made, maybe_numbers, maybe_texts, numbers, texts, times},
    views,
};
use crate::RowStream;

pub(super) static VIEWS: [View; 4] = [
    View {
        namespace: "system",
        name: "namespaces",
        fields: || vec![text("namespace"), text("kind"), number("tables")],
        rows: namespaces,
    },
    View {
        namespace: "system",
        name: "tables",
        fields: || {
            vec![
                text("namespace"),
                text("table"),
                text("kind"),
                maybe_text("key"),
                number("columns"),
                maybe_number("version"),
                maybe_time("created"),
                maybe_text("options"),
            ]
        },
        rows: tables,
    },
    View {
        namespace: "system",
        name: "columns",
        fields: || {
            vec![
                text("namespace"),
                text("table"),
                text("column"),
                number("position"),
                text("type"),
                flag("nullable"),
                maybe_text("default"),
                maybe_number("key_position"),
            ]
        },
        rows: columns,
    },
    View {
        namespace: "system",
        name: "table_history",
        fields: || {
            vec![text("namespace"), text("table"), number("version"), time("at"), text("change"), maybe_text("by")]
        },
        rows: history,
    },
];

fn namespaces(asking: Asking, schema: SchemaRef) -> RowStream {
    let count = |name: &str| match NAMESPACES.contains(&name) {
        true => views().filter(|view| view.namespace == name).count(),
        false => asking.tables().filter(|table| table.namespace == name).count(),
    };
    let found = asking.namespaces().into_iter().map(|name| (name.to_owned(), count(name) as u64)).collect();
    rows::of(found, schema, |part: &[(String, u64)]| {
        let kind = |(name, _): &(String, u64)| if NAMESPACES.contains(&name.as_str()) { "system" } else { "user" };
        vec![texts(part, |(name, _)| name), made(part, |item| kind(item).to_owned()), numbers(part, |(_, n)| *n)]
    })
}

/// A table of either sort.
pub(super) enum Table {
    Declared(Arc<TableDef>),
    System(&'static View),
}

impl Table {
    /// All that the reader may know of, in the order of their names.
    pub fn all(asking: &Asking) -> Vec<Self> {
        let declared = asking.tables().map(|table| Self::Declared(Arc::clone(table)));
        let mut all: Vec<_> = declared.chain(views().map(Self::System)).collect();
        all.sort_by(|a, b| (a.namespace(), a.name()).cmp(&(b.namespace(), b.name())));
        all
    }

    pub fn namespace(&self) -> &str {
        match self {
            Self::Declared(table) => &table.namespace,
            Self::System(view) => view.namespace,
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Self::Declared(table) => &table.name,
            Self::System(view) => view.name,
        }
    }

    pub fn schema(&self) -> SchemaRef {
        match self {
            Self::Declared(table) => table.schema(),
            Self::System(view) => view.schema(),
        }
    }

    pub fn declared(&self) -> Option<&TableDef> {
        match self {
            Self::Declared(table) => Some(table),
            Self::System(_) => None,
        }
    }

    fn kind(&self) -> &'static str {
        match self.declared().map(|table| table.kind) {
            None => "system",
            Some(TableKind::User) => "user",
            Some(TableKind::Shared) => "shared",
            Some(TableKind::Stream) => "stream",
        }
    }

    /// Names of the key's columns, in the key's order.
    pub fn key(&self) -> Vec<&str> {
        let Some(table) = self.declared() else { return Vec::new() };
        table.key.iter().map(|i| table.columns[*i].field.name().as_str()).collect()
    }
}

fn tables(asking: Asking, schema: SchemaRef) -> RowStream {
    rows::of(Table::all(&asking), schema, |part: &[Table]| {
        vec![
            texts(part, Table::namespace),
            texts(part, Table::name),
            texts(part, |table| table.kind()),
            maybe_texts(part, |table| Some(table.key().join(", ")).filter(|key| !key.is_empty())),
            numbers(part, |table| table.schema().fields().len() as u64),
            maybe_numbers(part, |table| table.declared().map(|table| table.schema_version.into())),
            times(part, |table| table.declared().map(|table| table.created_micros)),
            maybe_texts(part, |table| table.declared().map(options)),
        ]
    })
}

/// As `WITH (…)` takes them.
pub(crate) fn options(table: &TableDef) -> String {
    let options = &table.options;
    let time = |time: Option<std::time::Duration>| match time {
        Some(time) => humantime::format_duration(time).to_string(),
        None => "off".into(),
    };
    let durability = match options.durability {
        Durability::Sync => "sync",
        Durability::Periodic => "periodic",
    };
    let placement = match options.placement {
        Placement::Packed => "packed",
        Placement::File => "file",
    };
    if table.kind == TableKind::Stream {
        let max_rows = options.max_rows.map_or("'off'".to_owned(), |rows| rows.to_string());
        return format!("ttl = '{}', max_rows = {max_rows}, durability = '{durability}'", time(options.ttl));
    }
    format!(
        "flush_rows = {}, flush_bytes = {}, flush_interval = '{}', deleted_retention = '{}', durability = '{durability}', \
         placement = '{placement}'",
        options.flush_rows,
        options.flush_bytes,
        time(options.flush_interval),
        time(options.deleted_retention),
    )
}

/// One column of a table.
pub(super) struct Column {
    pub table: Arc<Table>,
    pub schema: SchemaRef,
    pub index: usize,
}

impl Column {
    pub fn all(asking: &Asking) -> Vec<Self> {
        let of = |table: Table| {
            let (schema, table) = (table.schema(), Arc::new(table));
            (0..schema.fields().len()).map(move |index| Self {
                table: Arc::clone(&table),
                schema: Arc::clone(&schema),
                index,
            })
        };
        Table::all(asking).into_iter().flat_map(of).collect()
    }

    pub fn field(&self) -> &arrow::datatypes::Field {
        self.schema.field(self.index)
    }

    pub fn default(&self) -> Option<&str> {
        self.table.declared()?.columns.get(self.index)?.default.as_deref()
    }

    fn key_position(&self) -> Option<u64> {
        let position = self.table.declared()?.key.iter().position(|key| *key == self.index)?;
        Some(position as u64 + 1)
    }
}

fn columns(asking: Asking, schema: SchemaRef) -> RowStream {
    rows::of(Column::all(&asking), schema, |part: &[Column]| {
        vec![
            texts(part, |column| column.table.namespace()),
            texts(part, |column| column.table.name()),
            texts(part, |column| column.field().name()),
            numbers(part, |column| column.index as u64 + 1),
            made(part, |column| column.field().data_type().to_string()),
            flags(part, |column| column.field().is_nullable()),
            maybe_texts(part, |column| column.default().map(str::to_owned)),
            maybe_numbers(part, Column::key_position),
        ]
    })
}

fn history(asking: Asking, schema: SchemaRef) -> RowStream {
    attempt(|| {
        let engine = asking.engine()?;
        let (tables, told) = (asking.tables().cloned().collect::<Vec<_>>(), asking.is_admin());
        let of = move |table: Arc<TableDef>| {
            let name = |no| engine.users().identity(no).ok().map(|identity| identity.name);
            let columns = |part: &[TableVersion]| -> Vec<ArrayRef> {
                vec![
                    rows::all(part, &table.namespace),
                    rows::all(part, &table.name),
                    numbers(part, |version| version.version.into()),
                    times(part, |version| Some(version.at_micros)),
                    texts(part, |version| &version.change),
                    maybe_texts(part, |version| version.author.filter(|_| told).and_then(name)),
                ]
            };
            let versions = engine.store().history(table.id)?;
            Ok(arrow::array::RecordBatch::try_new(Arc::clone(&schema), columns(&versions))?)
        };
        Ok(stream::iter(tables.into_iter().map(of)).boxed())
    })
}
