//! The keys of a user's hot rows, and the question that every cold batch asks of them: which rows do they shadow?
//!
//! A key of one integer (or date, or time) is kept as a number in the order of its bytes, so that a batch is compared
//! number by number and nothing is encoded. Where the numbers lie close together there is a bit for each that could be,
//! and a cold row asks for its own; else both sides are merged. Cold rows come in key order nearly always; rows in another
//! order are still right, only slower.

use arrow::{
    array::{Array, ArrayRef, BooleanArray, BooleanBufferBuilder},
    buffer::BooleanBuffer,
};

use crate::{KeyCodec, KeyRows, Result, bits::Bits};

/// Where one side has this many times fewer keys than the other, its keys are sought one by one.
const SPARSE: usize = 8;
/// Numbers that there may be to one that is, for bits: they take four times as much as the numbers themselves then.
const CLOSE: u64 = 256;

/// The set of keys present in a user's hot rows; what it contains shadows the cold tier.
#[derive(Debug)]
pub struct HotKeys {
    keys: Keys,
}

/// Ascending.
#[derive(Debug)]
enum Keys {
    Bytes(KeyRows),
    /// Keys of one number, of so many bytes each.
    Numbers(usize, Vec<u64>, Option<Bits>),
}

/// A bit for each of the numbers, which ascend. `None`: they lie too far apart.
fn bits_of(numbers: &[u64]) -> Option<Bits> {
    let (first, last) = (*numbers.first()?, *numbers.last()?);
    if (last - first) / CLOSE > numbers.len() as u64 {
        return None;
    }
    let mut bits = Bits::between(first, last);
    numbers.iter().for_each(|number| bits.insert(*number));
    Some(bits)
}

impl HotKeys {
    pub(crate) fn new(codec: &KeyCodec, keys: KeyRows) -> Self {
        let numbers = |width| (0..keys.len()).map(|i| number(keys.row(i), width)).collect::<Option<Vec<u64>>>();
        match codec.number_width().and_then(|width| Some((width, numbers(width)?))) {
            Some((width, numbers)) => {
                let bits = bits_of(&numbers);
                Self { keys: Keys::Numbers(width, numbers, bits) }
            }
            None => Self { keys: Keys::Bytes(keys) },
        }
    }

    pub fn len(&self) -> usize {
        match &self.keys {
            Keys::Bytes(keys) => keys.len(),
            Keys::Numbers(_, keys, _) => keys.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn memory(&self) -> usize {
        match &self.keys {
            Keys::Bytes(keys) => keys.memory(),
            Keys::Numbers(_, keys, bits) => keys.capacity() * size_of::<u64>() + bits.as_ref().map_or(0, Bits::memory),
        }
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.keys {
            Keys::Bytes(keys) => {
                let at = keys.partition_point(|k| k < key);
                at < keys.len() && keys.row(at) == key
            }
            Keys::Numbers(width, keys, _) => number(key, *width).is_some_and(|key| keys.binary_search(&key).is_ok()),
        }
    }

    /// Those that are not present.
    pub fn without(&self, keys: &KeyRows) -> KeyRows {
        let mut absent = KeyRows::default();
        keys.iter().filter(|key| !self.contains(key)).for_each(|key| absent.push(key));
        absent
    }

    /// One bit per row: true where the key is present.
    pub fn mask(&self, keys: &KeyRows) -> BooleanArray {
        match &self.keys {
            Keys::Bytes(hot) => BooleanArray::new(mask_bytes(hot, keys), None),
            Keys::Numbers(..) => keys.iter().map(|key| Some(self.contains(key))).collect(),
        }
    }

    /// One bit per row of a batch: true where no hot row has its key. `None`: nowhere. `columns`: those of
    /// [`crate::TableDef::stored_key`].
    pub fn unshadowed(&self, codec: &KeyCodec, columns: &[ArrayRef]) -> Result<Option<BooleanArray>> {
        if self.is_empty() || columns.first().is_none_or(|column| column.is_empty()) {
            return Ok(None);
        }
        let shadowed = match &self.keys {
            Keys::Numbers(_, _, Some(hot)) => {
                let cold = codec.numbers(columns)?;
                unless_empty(BooleanBuffer::collect_bool(cold.len(), |row| hot.contains(cold[row])))
            }
            Keys::Numbers(_, hot, None) => shadowed_numbers(hot, &codec.numbers(columns)?),
            Keys::Bytes(hot) => unless_empty(mask_bytes(hot, &codec.encode(columns)?)),
        };
        Ok(shadowed.map(|shadowed| BooleanArray::new(!&shadowed, None)))
    }
}

/// `None`: no bit is set.
fn unless_empty(mask: BooleanBuffer) -> Option<BooleanBuffer> {
    (mask.count_set_bits() > 0).then_some(mask)
}

/// A key of `width` bytes as a number.
fn number(key: &[u8], width: usize) -> Option<u64> {
    (key.len() == width).then(|| key.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// `None`: no row is shadowed.
fn shadowed_numbers(hot: &[u64], cold: &[u64]) -> Option<BooleanBuffer> {
    let low = cold.iter().copied().min()?;
    let high = cold.iter().copied().max()?;
    let hot = &hot[hot.partition_point(|key| *key < low)..hot.partition_point(|key| *key <= high)];
    if hot.is_empty() {
        return None;
    }
    let mut shadowed = BooleanBufferBuilder::new(cold.len());
    shadowed.append_n(cold.len(), false);
    let mut found = false;
    let mut mark = |row: usize| {
        shadowed.set_bit(row, true);
        found = true;
    };
    let is_sorted = cold.is_sorted();
    if is_sorted && hot.len() * SPARSE < cold.len() {
        let mut from = 0;
        for key in hot {
            from += lower_bound(cold.len() - from, |i| cold[from + i] < *key);
            (from..cold.len()).take_while(|row| cold[*row] == *key).for_each(&mut mark);
        }
    } else if is_sorted {
        let mut hot = hot.iter().peekable();
        for (row, key) in cold.iter().enumerate() {
            while hot.next_if(|hot| *hot < key).is_some() {}
            if hot.peek() == Some(&key) {
                mark(row);
            }
        }
    } else {
        cold.iter().enumerate().filter(|(_, key)| hot.binary_search(key).is_ok()).for_each(|(row, _)| mark(row));
    }
    found.then(|| shadowed.finish())
}

fn mask_bytes(hot: &KeyRows, keys: &KeyRows) -> BooleanBuffer {
    let (mut at, mut last): (usize, Option<&[u8]>) = (0, None);
    let present = keys.iter().map(|key| {
        let from = if last.is_some_and(|last| last > key) { 0 } else { at };
        at = from + lower_bound(hot.len() - from, |i| hot.row(from + i) < key);
        last = Some(key);
        at < hot.len() && hot.row(at) == key
    });
    present.collect()
}

/// The first index of `0..len` that is not `below`: steps that double, then a binary search.
fn lower_bound(len: usize, below: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut step) = (0, 1);
    while low + step <= len && below(low + step - 1) {
        low += step;
        step *= 2;
    }
    let mut high = (low + step - 1).min(len);
    while low < high {
        let middle = low.midpoint(high);
        if below(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests;
