//! The decoders of the storage: the first byte says which, the others are what it is given.
#![no_main]

use insula_storage::fuzz::TARGETS;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((which, rest)) = data.split_first() else { return };
    let (_, body) = TARGETS[usize::from(*which) % TARGETS.len()];
    body(rest);
});
