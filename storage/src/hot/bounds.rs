//! Which keys a reader wants. Bounds may hold more than what it asks for, never less.

use std::sync::Arc;

use super::key::KeyRows;

#[derive(Clone, Default, Debug)]
pub enum KeyBounds {
    #[default]
    All,
    Range(KeyRange),
    /// Ascending and distinct; made by [`Self::keys`].
    Keys(Arc<KeyRows>),
}

/// Memcomparable bytes: `lower <= key < upper`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct KeyRange {
    pub lower: Vec<u8>,
    /// `None`: no upper bound.
    pub upper: Option<Vec<u8>>,
}

impl KeyRange {
    /// From the keys that begin with `first`, or lie above, to those that begin with `last`.
    pub fn of_prefixes(first: Vec<u8>, last: &[u8]) -> Self {
        Self { lower: first, upper: after(last) }
    }

    /// That key and those above it.
    pub(crate) fn from_key(key: &[u8]) -> Self {
        Self { lower: key.to_vec(), upper: None }
    }

    /// No key of the range is smaller than `lower`, or none is as large as `upper`.
    pub fn is_empty(&self) -> bool {
        self.upper.as_ref().is_some_and(|upper| *upper <= self.lower)
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        self.lower.as_slice() <= key && self.upper.as_ref().is_none_or(|upper| key < upper.as_slice())
    }
}

impl KeyBounds {
    /// Exactly these keys.
    pub fn keys(keys: &KeyRows) -> Self {
        let mut order: Vec<&[u8]> = keys.iter().collect();
        order.sort_unstable();
        order.dedup();
        let mut sorted = KeyRows::default();
        order.into_iter().for_each(|key| sorted.push(key));
        Self::Keys(Arc::new(sorted))
    }

    /// Can one of the wanted keys lie between these two, both included? Of a cold file's bounds, for instance.
    pub fn touches(&self, (low, high): &(Vec<u8>, Vec<u8>)) -> bool {
        match self {
            Self::All => true,
            Self::Range(range) => {
                range.lower <= *high && range.upper.as_ref().is_none_or(|upper| low < upper) && !range.is_empty()
            }
            Self::Keys(keys) => {
                let at = keys.partition_point(|key| key < low.as_slice());
                at < keys.len() && keys.row(at) <= high.as_slice()
            }
        }
    }

    /// The one range that holds all of the wanted keys.
    pub fn range(&self) -> KeyRange {
        match self {
            Self::All => KeyRange::default(),
            Self::Range(range) => range.clone(),
            Self::Keys(keys) if keys.is_empty() => KeyRange { lower: Vec::new(), upper: Some(Vec::new()) },
            // The smallest byte string above a key is the key and a zero.
            Self::Keys(keys) => {
                KeyRange { lower: keys.row(0).to_vec(), upper: Some([keys.row(keys.len() - 1), &[0]].concat()) }
            }
        }
    }
}

/// The smallest byte string above all that begin with `prefix`; `None`: there is none.
fn after(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut upper = prefix.to_vec();
    while let Some(last) = upper.pop() {
        if last < u8::MAX {
            upper.push(last + 1);
            return Some(upper);
        }
    }
    None
}

#[cfg(test)]
mod tests;
