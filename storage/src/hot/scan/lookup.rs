//! Single keys of one user: whether they are in the hot tier, and their newest version.

use insula_proto::Seq;

use super::UserHot;
use crate::{
    Result,
    hot::{bounds::KeyRange, db::Cursor, key, value::Header},
};

/// What the hot tier says of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Presence {
    Absent,
    Live,
    /// Soft-deleted; whatever the cold tier holds under the key is replaced.
    Deleted,
}

/// Point look-ups of ascending keys.
pub(crate) struct Lookup {
    hot: UserHot,
    /// Newest generation first; opened when first needed.
    cursors: Vec<(u32, Option<Cursor>)>,
}

impl Lookup {
    pub fn new(hot: UserHot) -> Self {
        let cursors = hot.generations.clone().rev().map(|generation| (generation, None)).collect();
        Self { hot, cursors }
    }

    /// `key` must be above those asked for before.
    pub fn presence(&mut self, key: &[u8]) -> Result<Presence> {
        let Some(at) = self.find(key)? else { return Ok(Presence::Absent) };
        let Some((_, value)) = self.row(at)? else { return Ok(Presence::Absent) };
        Ok(if Header::read(value)?.deleted { Presence::Deleted } else { Presence::Live })
    }

    /// The number of the key's newest version. `key` must be above those asked for before.
    pub fn newest(&mut self, key: &[u8]) -> Result<Option<Seq>> {
        let Some(at) = self.find(key)? else { return Ok(None) };
        Ok(self.row(at)?.map(|(row, _)| row.seq))
    }

    /// Where the newest version of a key is, if the row is there.
    pub fn find(&mut self, key: &[u8]) -> Result<Option<Place>> {
        let found = self.locate(key)?;
        let Some(place) = found.filter(|_| self.hot.expiry.is_some()) else { return Ok(found) };
        let shows = match self.row(place)? {
            Some((row, value)) => self.hot.shows(&row, value)?,
            None => false,
        };
        Ok(shows.then_some(place))
    }

    fn locate(&mut self, key: &[u8]) -> Result<Option<Place>> {
        for (run, rows) in self.hot.pending.iter().enumerate() {
            if let Some(at) = rows.find(key) {
                return Ok(Some(Place::Pending(run, at)));
            }
        }
        for (i, (generation, cursor)) in self.cursors.iter_mut().enumerate() {
            let cursor = match cursor {
                Some(cursor) => cursor,
                None => cursor.insert(self.hot.cursor(*generation, &KeyRange::from_key(key), false)?),
            };
            // A cursor at its end, or already past the key, needs no seek: loads in key order cost next to nothing.
            let at = |cursor: &Cursor| cursor.key().map(|stored| primary(stored).cmp(key));
            if at(cursor) == Some(std::cmp::Ordering::Less) {
                let prefix = self.hot.prefix(*generation);
                cursor.seek(&[prefix.as_slice(), key].concat())?;
            }
            if at(cursor) == Some(std::cmp::Ordering::Equal) {
                return Ok(Some(Place::Stored(i)));
            }
        }
        Ok(None)
    }

    pub fn row(&self, place: Place) -> Result<Option<(key::Parts<'_>, &[u8])>> {
        let item = match place {
            Place::Pending(run, at) => self.hot.pending.get(run).and_then(|run| run.item(at)),
            Place::Stored(cursor) => {
                self.cursors.get(cursor).and_then(|(_, cursor)| cursor.as_ref()).and_then(Cursor::item)
            }
        };
        let Some((stored, value)) = item else { return Ok(None) };
        let parts = key::split(stored)?;
        self.hot.guard(&parts)?;
        Ok(Some((parts, value)))
    }
}

/// Where a look-up found a row.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    /// Which run, and which of its rows.
    Pending(usize, usize),
    /// Which cursor stands at it.
    Stored(usize),
}

fn primary(stored: &[u8]) -> &[u8] {
    stored.get(key::PREFIX..stored.len().saturating_sub(key::SUFFIX)).unwrap_or_default()
}
