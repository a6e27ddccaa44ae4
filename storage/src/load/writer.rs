//! The task behind a load: takes runs as they come, has them encoded side by side, and writes them in their order.
//!
//! It owns the change of the cold tier and so lives on by itself: when the load is dropped or fails it removes the
//! files, whoever is gone by then.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures::{StreamExt, stream::FuturesOrdered};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    Mode, Scope,
    finish::Sealed,
    joined,
    run::{Encoded, Run},
};
use crate::{
    Error, ErrorKind, Result, Store, TableDef,
    change::{Change, NewFile},
    cold::{
        ColdFile, layout,
        manifest::{ChangeKind, Intent},
        writer::groups::{Bounds, Format, GroupFile},
    },
};

/// Runs encoded at a time; each holds one run of memory.
const LANES: usize = 2;

pub(super) enum Message {
    Run(Run),
    /// There is no more; a channel that just ends is a load that was given up.
    Seal,
}

pub(super) struct Writer {
    store: Arc<Store>,
    table: Arc<TableDef>,
    scope: Scope,
    mode: Mode,
    format: Arc<Format>,
    change: Change,
    /// The file under way.
    open: Option<Open>,
    files: Vec<(ColdFile, Bounds)>,
    /// Files on their way to the disk.
    syncs: JoinSet<Result<()>>,
    under_way: Arc<AtomicUsize>,
}

struct Open {
    groups: GroupFile,
    file: NewFile,
}

impl Writer {
    pub(super) async fn begin(
        store: &Arc<Store>,
        table: &Arc<TableDef>,
        scope: Scope,
        mode: Mode,
        under_way: Arc<AtomicUsize>,
    ) -> Result<Self> {
        let format = Arc::new(Format::new(table)?);
        let change = store.flusher.change(table, Intent::new(table.id, ChangeKind::Load));
        change.begin().await?;
        Ok(Self {
            store: Arc::clone(store),
            table: Arc::clone(table),
            scope,
            mode,
            format,
            change,
            open: None,
            files: Vec::new(),
            syncs: JoinSet::new(),
            under_way,
        })
    }

    pub(super) async fn run(mut self, mut messages: mpsc::Receiver<Message>) -> Result<Sealed> {
        match self.write(&mut messages).await {
            Ok(()) => {
                let Self { store, table, scope, mode, change, files, .. } = self;
                Ok(Sealed { store, table, scope, mode, change, files })
            }
            Err(error) => {
                // Before the files go, so that nobody waits for it.
                messages.close();
                self.give_up().await;
                Err(error)
            }
        }
    }

    async fn write(&mut self, messages: &mut mpsc::Receiver<Message>) -> Result<()> {
        let mut lanes = FuturesOrdered::new();
        let mut sealed = false;
        loop {
            tokio::select! {
                message = messages.recv(), if !sealed && lanes.len() < LANES => match message {
                    Some(Message::Run(run)) => lanes.push_back(self.encode(run)),
                    Some(Message::Seal) => sealed = true,
                    None => return Err(Error::new(ErrorKind::Internal, "the load was given up")),
                },
                Some(encoded) = lanes.next(), if !lanes.is_empty() => self.append(joined(encoded)?).await?,
                else => break,
            }
        }
        self.close_file().await?;
        while let Some(synced) = self.syncs.join_next().await {
            joined(synced)?;
        }
        Ok(())
    }

    fn encode(&self, run: Run) -> tokio::task::JoinHandle<Result<Encoded>> {
        let (table, format, mode) = (Arc::clone(&self.table), Arc::clone(&self.format), self.mode);
        tokio::task::spawn_blocking(move || run.encode(&table, &format, mode))
    }

    async fn append(&mut self, encoded: Encoded) -> Result<()> {
        let Encoded { group, bytes } = encoded;
        if self.open.as_ref().is_some_and(|open| !open.groups.continues(&group)) {
            self.close_file().await?;
        }
        let Open { mut groups, mut file } = match self.open.take() {
            Some(open) => open,
            None => Open { groups: GroupFile::new(&self.table)?, file: self.change.new_file().await? },
        };
        let appended = tokio::task::spawn_blocking(move || {
            groups.append(group)?;
            let bytes = groups.take();
            Ok((groups, bytes))
        });
        let (groups, encoded) = joined(appended.await)?;
        let written = file.upload.write(encoded.into()).await;
        let is_full = groups.is_full(self.store.flusher.sizes.file);
        self.open = Some(Open { groups, file });
        written?;
        self.under_way.fetch_sub(bytes, Ordering::Relaxed);
        if is_full { self.close_file().await } else { Ok(()) }
    }

    async fn close_file(&mut self) -> Result<()> {
        let Some(Open { groups, mut file }) = self.open.take() else { return Ok(()) };
        let finished = tokio::task::spawn_blocking(move || groups.finish());
        let (bytes, summary, bounds) = joined(finished.await)?;
        if let Err(error) = file.upload.write(bytes.into()).await {
            file.upload.abort().await;
            return Err(error);
        }
        let file = self.change.finish_file(file, &summary, 0).await?;
        // Each file is synced while the next one is made: at the end only the last is left to wait for.
        let (cold, path) = (Arc::clone(&self.store.cold), layout::file_path(self.table.id, file.id));
        self.syncs.spawn(async move { cold.persist(&path).await });
        self.files.push((file, bounds));
        Ok(())
    }

    async fn give_up(&mut self) {
        if let Some(open) = self.open.take() {
            open.file.upload.abort().await;
        }
        self.syncs.shutdown().await;
        self.change.abandon().await;
    }
}
