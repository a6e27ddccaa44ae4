//! The blocking half of a flush: frozen rows in, pieces of Parquet files and their keys out.
//!
//! It runs on a thread of its own and hands each piece to the asynchronous half over a short channel, so that no more
//! than a row group and a few pieces are ever in memory.

use insula_proto::UserNo;
use tokio::sync::mpsc;

use crate::{Error, ErrorKind, Result, TableDef, change::files, hot::scan::Frozen};

/// Rows decoded at a time.
const BATCH_ROWS: usize = 8192;
/// Keys looked up in the older files at a time.
const LOOKUP_KEYS: usize = 64 << 10;

pub(super) enum Piece {
    File(files::Piece),
    /// Keys that were written, to be looked up in the older files.
    Keys(Keys),
}

/// Keys of many users, ascending by user and key.
#[derive(Default)]
pub(super) struct Keys {
    users: Vec<UserNo>,
    ends: Vec<usize>,
    bytes: Vec<u8>,
}

impl Keys {
    fn push(&mut self, user: UserNo, key: &[u8]) {
        self.users.push(user);
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
    }

    fn len(&self) -> usize {
        self.users.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (UserNo, &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let keys = starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end]);
        self.users.iter().copied().zip(keys)
    }
}

/// Encodes all of `rows` into as few files as `file_bytes` allows. Returns the number of rows.
pub(super) fn encode(
    table: &TableDef,
    mut rows: Frozen,
    sizes: files::Sizes,
    wants_keys: bool,
    out: &mpsc::Sender<Piece>,
) -> Result<u64> {
    let send = |piece: Piece| out.blocking_send(piece).map_err(|_| given_up());
    let send_file = |piece| send(Piece::File(piece));
    let mut encoder = files::Encoder::new(table, sizes, &send_file);
    let mut looked_up = Keys::default();
    let mut count = 0;
    while let Some(batch) = rows.next_batch(BATCH_ROWS)? {
        count += batch.rows.num_rows() as u64;
        // Who is large is left to compaction, which knows how many rows a user has.
        encoder.write(&batch.rows, batch.keys(), |_| false)?;
        if wants_keys {
            batch.users().zip(batch.keys().iter()).for_each(|(user, key)| looked_up.push(user, key));
            if looked_up.len() >= LOOKUP_KEYS {
                send(Piece::Keys(std::mem::take(&mut looked_up)))?;
            }
        }
    }
    encoder.finish()?;
    if looked_up.len() > 0 {
        send(Piece::Keys(looked_up))?;
    }
    Ok(count)
}

/// The other half hit an error of its own, which is the one that gets reported.
fn given_up() -> Error {
    Error::new(ErrorKind::Internal, "the flush was given up")
}
