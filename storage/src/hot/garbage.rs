//! What lies on disk of a user's stream rows and nobody will read again: versions that newer ones replaced, and rows
//! that are gone ([`super::expiry`]).

use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc};

use insula_proto::{Generation, TableId, UserNo};

use super::{
    bounds::KeyRange,
    db::{Batch, Cursor, Family, Snapshot},
    key::{self, USER_AT},
    scan::UserHot,
    tables::Load,
};
use crate::Result;

/// Versions after which a piece is full.
const PIECE_VERSIONS: u64 = 16 << 10;

/// Versions to delete, and how much of each generation they are.
#[derive(Default)]
pub(crate) struct Piece {
    pub batch: Batch,
    pub gone: BTreeMap<Generation, Load>,
    pub versions: u64,
    pub bytes: u64,
}

impl Piece {
    fn add(&mut self, stored: &[u8], value_bytes: usize) -> Result<()> {
        let bytes = (stored.len() + value_bytes) as u64;
        let generation = key::split(stored)?.generation;
        self.gone.entry(generation).or_default().add(Load { rows: 1, bytes, ..Load::default() });
        self.batch.delete(Family::Hot, stored);
        self.versions += 1;
        self.bytes += bytes;
        Ok(())
    }

    pub fn is_full(&self) -> bool {
        self.versions >= PIECE_VERSIONS
    }
}

/// Walks all versions of a user's rows and gives to `out` pieces of those that can go: `all` of them, or the garbage.
/// Returns the number of versions met.
///
/// The newest version of a key comes behind its older ones, in the same piece or a later one: an older one that
/// outlived it, if only for a moment, would be the newest then.
pub(crate) fn collect(
    hot: &UserHot,
    all: bool,
    piece: &mut Piece,
    mut out: impl FnMut(Piece) -> Result<()>,
) -> Result<u64> {
    let range = KeyRange::default();
    let mut walks: Vec<Cursor> =
        hot.generations.clone().map(|generation| hot.cursor(generation, &range, false)).collect::<Result<_>>()?;
    let (mut met, mut last, mut newest) = (0, Vec::new(), None::<(Vec<u8>, usize)>);
    loop {
        // Behind the generation, the newest version of a key sorts first.
        let keys = walks.iter().enumerate().filter_map(|(at, cursor)| Some((at, cursor.key()?.get(USER_AT..)?)));
        let Some((at, _)) = keys.min_by(|(_, a), (_, b)| a.cmp(b)) else { break };
        let Some((stored, value)) = walks[at].item() else { break };
        let row = key::split(stored)?;
        hot.guard(&row)?;
        met += 1;
        if key::user_and_key(stored)? == last.as_slice() {
            piece.add(stored, value.len())?;
        } else {
            if let Some((stored, bytes)) = newest.take() {
                piece.add(&stored, bytes)?;
            }
            last.clear();
            last.extend_from_slice(key::user_and_key(stored)?);
            if all || !hot.shows(&row, value)? {
                newest = Some((stored.to_vec(), value.len()));
            }
        }
        if piece.is_full() {
            out(std::mem::take(piece))?;
        }
        walks[at].next()?;
    }
    if let Some((stored, bytes)) = newest {
        piece.add(&stored, bytes)?;
    }
    Ok(met)
}

/// The users who have hot rows of a table. The only other read that crosses users, beside that of flushes: it yields
/// numbers alone.
pub(crate) struct Users {
    table: TableId,
    walks: Vec<(Generation, Cursor)>,
}

impl Users {
    pub fn new(snapshot: &Arc<Snapshot>, table: TableId, generations: RangeInclusive<u32>) -> Result<Self> {
        let walk = |generation| {
            let (lower, upper) = key::one_generation(table, generation);
            let mut cursor = snapshot.cursor(Family::Hot, lower.clone(), upper, true)?;
            cursor.seek(&lower)?;
            Ok((generation, cursor))
        };
        Ok(Self { table, walks: generations.map(Generation).map(walk).collect::<Result<_>>()? })
    }

    /// The first one from `from` on, which must not descend.
    pub fn next(&mut self, from: UserNo) -> Result<Option<UserNo>> {
        let mut first = None;
        for (generation, cursor) in &mut self.walks {
            let user = |cursor: &Cursor| cursor.key().map(|stored| key::split(stored).map(|row| row.user)).transpose();
            if user(cursor)?.is_some_and(|user| user < from) {
                cursor.seek(&key::prefix(self.table, *generation, from))?;
            }
            first = [first, user(cursor)?].into_iter().flatten().min();
        }
        Ok(first)
    }
}
