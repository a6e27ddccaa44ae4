//! A run: as many rows as are sorted and encoded together, one row group of a cold file.

use std::{cmp::Ordering, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, BooleanArray, Int64Array, MutableArrayData, RecordBatch, RecordBatchOptions,
        TimestampMicrosecondArray, UInt64Array, make_array,
    },
    buffer::BooleanBuffer,
    compute::interleave,
};
use insula_proto::UserNo;

use super::{Mode, Owners, duplicate};
use crate::{
    Error, ErrorKind, KeyCodec, KeyRows, Result, TableDef,
    cold::writer::groups::{Format, Group, GroupWriter},
};

/// Unused bytes of a column that are not worth a copy.
const SLACK: usize = 16 << 10;
/// Rows that are put in order at a time.
const CHUNK_ROWS: usize = 16 << 10;

/// One batch as it came.
struct Piece {
    rows: RecordBatch,
    owners: Owners,
    /// The first of the row ids of a table without a key.
    first_id: u64,
}

#[derive(Default)]
pub(super) struct Run {
    pieces: Vec<Piece>,
    pub(super) rows: usize,
    /// Memory of the rows.
    pub(super) bytes: usize,
}

/// An encoded run.
pub(super) struct Encoded {
    pub(super) group: Group,
    pub(super) bytes: usize,
}

impl Run {
    pub(super) fn push(&mut self, rows: RecordBatch, owners: Owners, first_id: u64) {
        self.rows += rows.num_rows();
        self.bytes += memory_of(&rows) + rows.num_rows() * size_of::<Place>();
        self.pieces.push(Piece { rows, owners, first_id });
    }

    /// Blocking.
    pub(super) fn encode(self, table: &TableDef, format: &Format, mode: Mode) -> Result<Encoded> {
        let codec = KeyCodec::new(table)?;
        let keys = self.pieces.iter().map(|piece| piece.keys(table, &codec)).collect::<Result<Vec<_>>>()?;
        let mut group = format.group()?;
        let (users, keys) = if self.ascends(&keys) {
            self.write_as_is(table, &mut group, keys)?
        } else {
            self.write_in_order(table, &mut group, &keys, mode)?
        };
        Ok(Encoded { group: group.finish(users, keys)?, bytes: self.bytes })
    }

    /// Whether the rows came in the order of users and keys, none of them twice: as most loads do, since numbers and
    /// times grow.
    fn ascends(&self, keys: &[KeyRows]) -> bool {
        let mut last: Option<(UserNo, &[u8])> = None;
        for (piece, keys) in self.pieces.iter().zip(keys) {
            for (row, key) in keys.iter().enumerate() {
                let here = (piece.owners.of(row), key);
                if last.is_some_and(|last| last >= here) {
                    return false;
                }
                last = Some(here);
            }
        }
        true
    }

    fn write_as_is(
        &self,
        table: &TableDef,
        group: &mut GroupWriter<'_>,
        keys: Vec<KeyRows>,
    ) -> Result<(Vec<UserNo>, KeyRows)> {
        let mut users = Vec::with_capacity(self.rows);
        let mut all = KeyRows::default();
        for (piece, keys) in self.pieces.iter().zip(keys) {
            let rows = piece.rows.num_rows();
            users.extend((0..rows).map(|row| piece.owners.of(row)));
            keys.iter().for_each(|key| all.push(key));
            let columns = piece.rows.columns().to_vec();
            group.write(&stored(table, piece.owners.array(rows), piece.ids(table), columns)?)?;
        }
        Ok((users, all))
    }

    fn write_in_order(
        &self,
        table: &TableDef,
        group: &mut GroupWriter<'_>,
        keys: &[KeyRows],
        mode: Mode,
    ) -> Result<(Vec<UserNo>, KeyRows)> {
        let places = self.order(table, keys, mode)?;
        let columns: Vec<Vec<&dyn Array>> = (0..table.columns.len())
            .map(|column| self.pieces.iter().map(|piece| piece.rows.column(column).as_ref()).collect())
            .collect();
        for places in places.chunks(CHUNK_ROWS) {
            let indices: Vec<_> = places.iter().map(|place| (place.piece as usize, place.row as usize)).collect();
            let columns = columns.iter().map(|pieces| interleave(pieces, &indices));
            let columns = columns.collect::<Result<Vec<_>, _>>().map_err(|error| {
                Error::new(ErrorKind::Internal, "rows of a load cannot be put in order").with_source(error)
            })?;
            let users = UInt64Array::from_iter_values(places.iter().map(|place| place.user));
            let ids = table.has_row_id().then(|| {
                let id = |place: &Place| self.pieces[place.piece as usize].first_id + u64::from(place.row);
                UInt64Array::from_iter_values(places.iter().map(id))
            });
            group.write(&stored(table, users, ids, columns)?)?;
        }
        let mut ordered = KeyRows::default();
        places.iter().for_each(|place| ordered.push(place.key(keys)));
        Ok((places.iter().map(|place| UserNo(place.user)).collect(), ordered))
    }

    /// The places of the rows by user and key. Of a key that comes twice, the last row stays or the load is refused.
    fn order(&self, table: &TableDef, keys: &[KeyRows], mode: Mode) -> Result<Vec<Place>> {
        let mut places = Vec::with_capacity(self.rows);
        for (number, (piece, keys)) in self.pieces.iter().zip(keys).enumerate() {
            for (row, key) in keys.iter().enumerate() {
                places.push(Place::new(piece.owners.of(row), key, number, row)?);
            }
        }
        places.sort_unstable_by(|a, b| a.compare(b, keys).then((a.piece, a.row).cmp(&(b.piece, b.row))));
        let mut twice = None;
        // Of two neighbours, `dedup_by` drops the first argument, the later one: so the later one is moved down.
        places.dedup_by(|later, kept| {
            if kept.compare(later, keys).is_ne() {
                return false;
            }
            twice = Some(*later);
            *kept = *later;
            true
        });
        match twice.filter(|_| mode == Mode::Insert) {
            None => Ok(places),
            Some(place) => {
                let rows = &self.pieces[place.piece as usize].rows;
                let columns: Vec<_> = table.key.iter().map(|column| Arc::clone(rows.column(*column))).collect();
                Err(duplicate(table, &columns, place.row as usize))
            }
        }
    }
}

impl Piece {
    fn keys(&self, table: &TableDef, codec: &KeyCodec) -> Result<KeyRows> {
        match self.ids(table) {
            Some(ids) => codec.encode(&[Arc::new(ids)]),
            None => {
                let columns: Vec<ArrayRef> = table.key.iter().map(|i| Arc::clone(self.rows.column(*i))).collect();
                codec.encode(&columns)
            }
        }
    }

    fn ids(&self, table: &TableDef) -> Option<UInt64Array> {
        let ids = || UInt64Array::from_iter_values((self.first_id..).take(self.rows.num_rows()));
        table.has_row_id().then(ids)
    }
}

impl Owners {
    fn of(&self, row: usize) -> UserNo {
        match self {
            Self::One(user) => *user,
            Self::Each(users) => UserNo(users.value(row)),
        }
    }

    fn array(&self, rows: usize) -> UInt64Array {
        match self {
            Self::One(user) => UInt64Array::from_value(user.0, rows),
            Self::Each(users) => users.clone(),
        }
    }
}

/// Where a row lies, with as much of its key as decides most comparisons.
#[derive(Clone, Copy)]
struct Place {
    user: u64,
    head: u64,
    piece: u32,
    row: u32,
}

impl Place {
    fn new(user: UserNo, key: &[u8], piece: usize, row: usize) -> Result<Self> {
        let mut head = [0; 8];
        let length = key.len().min(head.len());
        head[..length].copy_from_slice(&key[..length]);
        let number = |n: usize| u32::try_from(n).map_err(|_| Error::new(ErrorKind::Internal, "a run is too large"));
        Ok(Self { user: user.0, head: u64::from_be_bytes(head), piece: number(piece)?, row: number(row)? })
    }

    fn key<'a>(&self, keys: &'a [KeyRows]) -> &'a [u8] {
        keys[self.piece as usize].row(self.row as usize)
    }

    fn compare(&self, other: &Self, keys: &[KeyRows]) -> Ordering {
        let heads = (self.user, self.head).cmp(&(other.user, other.head));
        heads.then_with(|| self.key(keys).cmp(other.key(keys)))
    }
}

/// Rows of the stored schema. Order and time of their commit are not known yet: the manifest will say them.
fn stored(
    table: &TableDef,
    users: UInt64Array,
    ids: Option<UInt64Array>,
    declared: Vec<ArrayRef>,
) -> Result<RecordBatch> {
    let rows = users.len();
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(users),
        Arc::new(Int64Array::from_value(0, rows)),
        Arc::new(TimestampMicrosecondArray::from_value(0, rows).with_timezone("UTC")),
        Arc::new(BooleanArray::new(BooleanBuffer::new_unset(rows), None)),
    ];
    columns.extend(ids.map(|ids| Arc::new(ids) as ArrayRef));
    columns.extend(declared);
    RecordBatch::try_new(table.stored_schema(), columns).map_err(|error| {
        Error::new(ErrorKind::Internal, "rows of a load do not have their table's types").with_source(error)
    })
}

/// The same rows in memory of their own, as far as they would keep much more: a few columns that share the buffer of the
/// message in which they came keep all of it.
pub fn compact(rows: RecordBatch) -> RecordBatch {
    let compact = |column: &ArrayRef| {
        let data = column.to_data();
        let size = data.get_slice_memory_size().unwrap_or(usize::MAX);
        if data.get_buffer_memory_size() <= size.saturating_add(size / 4).saturating_add(SLACK) {
            return Arc::clone(column);
        }
        let mut copy = MutableArrayData::new(vec![&data], false, data.len());
        match copy.try_extend(0, 0, data.len()) {
            Ok(()) => make_array(copy.freeze()),
            Err(_) => Arc::clone(column),
        }
    };
    let columns = rows.columns().iter().map(compact).collect();
    // Neither types nor length have changed, so it cannot fail.
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(rows.schema(), columns, &options).unwrap_or(rows)
}

/// Bytes of the rows' values. Columns that came in one message share its buffer, so capacities would count it often.
pub fn memory_of(rows: &RecordBatch) -> usize {
    let columns = rows.columns().iter();
    columns
        .map(|column| column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size()))
        .sum()
}
