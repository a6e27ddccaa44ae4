//! The blocking half of a compaction: sorted runs of files in, pieces of new files out.
//!
//! It runs on a thread of its own and waits there for the object store. In memory are a window of each run, the rows
//! picked for the next batch, and the row group under way.

use std::{collections::VecDeque, sync::Arc};

use arrow::{
    array::{AsArray, BooleanArray, RecordBatch},
    compute::{filter_record_batch, interleave_record_batch},
    datatypes::TimestampMicrosecondType,
};
use insula_proto::UserNo;
use roaring::RoaringBitmap;
use tokio::{runtime::Handle, sync::mpsc};

use crate::{
    Error, ErrorKind, KeyCodec, KeyRows, Result, TableDef,
    change::files::{Encoder, Piece, Sizes},
    cold::{
        ColdFile, ColdTier,
        rows::{self, FileRows},
    },
};

/// Rows handed to the encoder at a time.
const BATCH_ROWS: usize = 8192;
/// Bytes of finished input batches that picked rows may hold on to.
const HELD_BYTES: usize = 16 << 20;
/// A user whose rows would fill this part of a file gets files of their own.
const LARGE: u64 = 4;

/// One input.
pub(super) struct Source {
    pub file: ColdFile,
    pub replaced: Arc<RoaringBitmap>,
}

pub(super) struct Job {
    pub table: Arc<TableDef>,
    pub cold: Arc<ColdTier>,
    /// Each a chain of files in the order of their rows.
    pub runs: Vec<VecDeque<Source>>,
    pub sizes: Sizes,
    /// Deleted rows from before this time go.
    pub expired_before: Option<i64>,
    /// This user's rows go.
    pub without: Option<UserNo>,
    /// Fails once the work makes no sense any more.
    pub check: Box<dyn Fn() -> Result<()> + Send>,
}

/// Merges all runs. Returns the number of rows written.
pub(super) fn merge(job: Job, out: &mpsc::Sender<Piece>) -> Result<u64> {
    let given_up = |_| Error::new(ErrorKind::Internal, "the compaction was given up");
    let send = |piece: Piece| out.blocking_send(piece).map_err(given_up);
    let mut encoder = Encoder::new(&job.table, job.sizes, &send);
    let large_rows = large_rows(&job);
    let mut input = Input::open(&job)?;
    let mut picked = Picked::new(job.runs.len());
    let mut rows = 0;
    loop {
        let stretch = input.stretch();
        if let Some((run, end)) = stretch {
            let head = &mut input.runs[run];
            picked.take(run, head, end);
            head.at = end;
            if let Some(batch) = head.finished() {
                picked.let_go(run, batch.get_array_memory_size());
                head.load(&job, &input.codec, &input.handle)?;
            }
        }
        if picked.is_full() || stretch.is_none() {
            (job.check)()?;
            if let Some((batch, keys)) = picked.batch()? {
                rows += batch.num_rows() as u64;
                encoder.write(&batch, &keys, |user| input.rows_of(user) >= large_rows)?;
            }
        }
        if stretch.is_none() {
            encoder.finish()?;
            return Ok(rows);
        }
    }
}

/// Rows that make a user a large one.
fn large_rows(job: &Job) -> u64 {
    let files = || job.runs.iter().flatten().map(|source| &source.file);
    let (rows, bytes) = files().fold((0, 0), |sum, file| (sum.0 + file.rows, sum.1 + file.bytes));
    let row_bytes = (bytes / rows.max(1)).max(1);
    (job.sizes.file / LARGE / row_bytes).max(1)
}

struct Input {
    runs: Vec<Run>,
    codec: KeyCodec,
    handle: Handle,
}

/// A sorted run, and the place in it.
struct Run {
    files: VecDeque<Source>,
    reader: Option<(Source, FileRows)>,
    /// Place of the reader's file in its order of users.
    user: usize,
    batch: Option<Batch>,
    at: usize,
}

struct Batch {
    rows: RecordBatch,
    users: Vec<UserNo>,
    keys: KeyRows,
}

impl Input {
    fn open(job: &Job) -> Result<Self> {
        let (codec, handle) = (KeyCodec::new(&job.table)?, Handle::current());
        let mut runs = Vec::with_capacity(job.runs.len());
        for files in &job.runs {
            let files = files.iter().map(|s| Source { file: s.file.clone(), replaced: Arc::clone(&s.replaced) });
            let mut run = Run { files: files.collect(), reader: None, user: 0, batch: None, at: 0 };
            run.load(job, &codec, &handle)?;
            runs.push(run);
        }
        Ok(Self { runs, codec, handle })
    }

    /// The run that comes next, and up to where it may be taken before another run comes.
    fn stretch(&self) -> Option<(usize, usize)> {
        let heads = || self.runs.iter().enumerate().filter_map(|(i, run)| Some((run.head()?, i)));
        let (_, next) = heads().min()?;
        let (run, limit) = (&self.runs[next], heads().filter(|(_, i)| *i != next).min().map(|(head, _)| head));
        let batch = run.batch.as_ref()?;
        // At least one row is taken, also where two runs hold the same key: the encoder refuses it then.
        let end = limit.map_or(batch.users.len(), |limit| batch.first_from(run.at, limit).max(run.at + 1));
        Some((next, end))
    }

    /// Rows of `user` in the files under way, replaced ones included. Users are asked for in their order.
    fn rows_of(&mut self, user: UserNo) -> u64 {
        self.runs.iter_mut().map(|run| run.rows_of(user)).sum()
    }
}

impl Batch {
    fn at(&self, i: usize) -> (UserNo, &[u8]) {
        (self.users[i], self.keys.row(i))
    }

    /// The first row from `from` on that is not below `limit`: steps that double, then a binary search.
    fn first_from(&self, from: usize, limit: (UserNo, &[u8])) -> usize {
        let (mut low, mut step) = (from, 1);
        while low + step <= self.users.len() && self.at(low + step - 1) < limit {
            low += step;
            step *= 2;
        }
        let mut high = (low + step - 1).min(self.users.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.at(middle) < limit {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

impl Run {
    fn head(&self) -> Option<(UserNo, &[u8])> {
        self.batch.as_ref().map(|batch| batch.at(self.at))
    }

    /// The batch, if all of it has been taken.
    fn finished(&mut self) -> Option<RecordBatch> {
        let done = self.batch.as_ref().is_some_and(|batch| self.at >= batch.users.len());
        if done { self.batch.take().map(|batch| batch.rows) } else { None }
    }

    /// The next batch that has rows, if there is one.
    fn load(&mut self, job: &Job, codec: &KeyCodec, handle: &Handle) -> Result<()> {
        self.at = 0;
        loop {
            let Some((source, reader)) = &mut self.reader else {
                let Some(source) = self.files.pop_front() else { return Ok(()) };
                let replaced = Arc::clone(&source.replaced);
                let reader = handle.block_on(job.cold.live_rows(&job.table, &source.file, replaced, job.without))?;
                (self.reader, self.user) = (Some((source, reader)), 0);
                continue;
            };
            let Some(lying) = handle.block_on(reader.next())? else {
                self.reader = None;
                continue;
            };
            let rows = rows::to_stored(&job.table, &source.file, &lying)?;
            let rows = without_expired(rows, job.expired_before)?;
            if rows.num_rows() > 0 {
                let (users, keys) = rows::users_and_keys(&job.table, codec, &rows)?;
                self.batch = Some(Batch { rows, users, keys });
                return Ok(());
            }
        }
    }

    fn rows_of(&mut self, user: UserNo) -> u64 {
        let Some((_, reader)) = &self.reader else { return 0 };
        // A damaged index shows when its rows are read; here it only decides about the cut of files.
        while let Ok(Some((here, rows))) = reader.user(self.user) {
            match here.cmp(&user) {
                std::cmp::Ordering::Less => self.user += 1,
                std::cmp::Ordering::Equal => return rows,
                std::cmp::Ordering::Greater => return 0,
            }
        }
        0
    }
}

fn without_expired(rows: RecordBatch, before: Option<i64>) -> Result<RecordBatch> {
    let Some(before) = before else { return Ok(rows) };
    let (updated, deleted) = (rows.column(2).as_primitive::<TimestampMicrosecondType>(), rows.column(3).as_boolean());
    if deleted.true_count() == 0 {
        return Ok(rows);
    }
    let stays = |i: usize| !(deleted.value(i) && updated.value(i) < before);
    let mask: BooleanArray = (0..rows.num_rows()).map(|i| Some(stays(i))).collect();
    filter_record_batch(&rows, &mask).map_err(cannot_gather)
}

/// Rows that make the next batch, as stretches of the inputs' batches.
struct Picked {
    batches: Vec<RecordBatch>,
    /// Of each run, where its batch under way is in `batches`.
    slots: Vec<Option<usize>>,
    stretches: Vec<(usize, std::ops::Range<usize>)>,
    keys: KeyRows,
    /// Of batches that only we hold on to.
    held_bytes: usize,
}

impl Picked {
    fn new(runs: usize) -> Self {
        let (batches, stretches, keys) = Default::default();
        Self { batches, slots: vec![None; runs], stretches, keys, held_bytes: 0 }
    }

    fn take(&mut self, run: usize, head: &Run, end: usize) {
        let Some(batch) = &head.batch else { return };
        let slot = *self.slots[run].get_or_insert_with(|| {
            self.batches.push(batch.rows.clone());
            self.batches.len() - 1
        });
        self.stretches.push((slot, head.at..end));
        (head.at..end).for_each(|i| self.keys.push(batch.keys.row(i)));
    }

    /// The run has no more rows in its batch.
    fn let_go(&mut self, run: usize, bytes: usize) {
        self.slots[run] = None;
        self.held_bytes += bytes;
    }

    fn is_full(&self) -> bool {
        self.keys.len() >= BATCH_ROWS || self.held_bytes >= HELD_BYTES
    }

    fn batch(&mut self) -> Result<Option<(RecordBatch, KeyRows)>> {
        let batches = std::mem::take(&mut self.batches);
        let stretches = std::mem::take(&mut self.stretches);
        self.slots.fill(None);
        self.held_bytes = 0;
        let rows = match stretches.as_slice() {
            [] => return Ok(None),
            // The common case where inputs hardly overlap copies nothing.
            [(slot, range)] => batches[*slot].slice(range.start, range.len()),
            _ => {
                let places = stretches.iter().flat_map(|(slot, range)| range.clone().map(move |row| (*slot, row)));
                let batches: Vec<&RecordBatch> = batches.iter().collect();
                interleave_record_batch(&batches, &places.collect::<Vec<_>>()).map_err(cannot_gather)?
            }
        };
        Ok(Some((rows, std::mem::take(&mut self.keys))))
    }
}

fn cannot_gather(error: arrow::error::ArrowError) -> Error {
    Error::new(ErrorKind::Internal, "rows of cold files cannot be put together").with_source(error)
}
