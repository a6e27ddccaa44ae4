//! Keys read back from cold files, for loads that check their own files against each other and the older ones.

use std::ops::Range;

use arrow::array::ArrayRef;
use futures::TryStreamExt;
use insula_proto::{TableId, UserNo};

use super::{Columns, Want};
use crate::{
    Error, ErrorKind, KeyCodec, KeyRows, Result, TableDef,
    cold::{ColdFile, ColdTier, writer::groups::Bounds},
};

/// Users and keys of some rows in a row of a file.
#[derive(Default)]
pub(crate) struct KeyWindow {
    pub(crate) users: Vec<UserNo>,
    pub(crate) keys: KeyRows,
}

impl ColdTier {
    /// The bounds of the file's rows, or of one user's rows in it; `None`: they have none.
    pub(crate) async fn bounds(&self, table: TableId, file: &ColdFile, user: Option<UserNo>) -> Result<Option<Bounds>> {
        let open = self.open_file(table, file).await?;
        let Some(user) = user else { return open.users.bounds() };
        let entry = open.users.get(user)?;
        Ok(entry.map(|entry| Bounds { first: (user, entry.blocks[0].to_vec()), last: (user, entry.last.to_vec()) }))
    }

    pub(crate) async fn keys(&self, table: &TableDef, file: &ColdFile, rows: Range<u64>) -> Result<KeyWindow> {
        let mut window = KeyWindow::default();
        if rows.is_empty() {
            return Ok(window);
        }
        let open = self.open_file(table.id, file).await?;
        let (columns, codec) = (Columns::of(table, Want::Place), KeyCodec::new(table)?);
        let wanted = rows.end - rows.start;
        let mut batches = open.read(&columns.names(), std::slice::from_ref(&rows))?;
        while let Some(batch) = batches.try_next().await.map_err(|error| open.read_error(error))? {
            let picked = columns.pick(&open, &batch)?;
            window.users.extend(picked.users.values().iter().map(|user| UserNo(*user)));
            codec.encode(&picked.key)?.iter().for_each(|key| window.keys.push(key));
        }
        if window.keys.len() as u64 != wanted {
            return Err(Error::new(ErrorKind::DataLoss, format!("{} ended early", open.path())));
        }
        Ok(window)
    }

    /// The key's columns of one row, for messages.
    pub(crate) async fn key_columns(&self, table: &TableDef, file: &ColdFile, row: u64) -> Result<Vec<ArrayRef>> {
        let open = self.open_file(table.id, file).await?;
        let columns = Columns::of(table, Want::Place);
        let range = row..row + 1;
        let mut batches = open.read(&columns.names(), std::slice::from_ref(&range))?;
        match batches.try_next().await.map_err(|error| open.read_error(error))? {
            Some(batch) => Ok(columns.pick(&open, &batch)?.key),
            None => Err(Error::new(ErrorKind::DataLoss, format!("{} ended early", open.path()))),
        }
    }
}
