//! A set of numbers that lie close together.

/// A bit for each number from the first to the last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bits {
    first: u64,
    words: Vec<u64>,
}

impl Bits {
    /// None of `first..=last`, which all may be.
    pub fn between(first: u64, last: u64) -> Self {
        Self { first, words: vec![0; (last.saturating_sub(first) / 64 + 1) as usize] }
    }

    /// A number that may not be is none.
    pub fn insert(&mut self, number: u64) {
        let at = number.wrapping_sub(self.first);
        if let Some(word) = self.words.get_mut((at / 64) as usize) {
            *word |= 1 << (at % 64);
        }
    }

    pub fn contains(&self, number: u64) -> bool {
        // What is below the first wraps around, and lies behind the last.
        let at = number.wrapping_sub(self.first);
        usize::try_from(at / 64)
            .ok()
            .and_then(|word| self.words.get(word))
            .is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    /// Bytes.
    pub fn memory(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }
}
