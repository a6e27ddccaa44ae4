//! Every decoder of bytes that come from the disk, fed with any bytes: it may refuse them, and does nothing worse.
//!
//! Where a checksum stands before a decoder, the right one is put there, or nothing would ever get past it. Coverage
//! guided fuzzing and the deterministic run of the tests (`fuzz/` in the repository) share these bodies.

/// A name, by which its corpus is found, and what is done with the bytes.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: &[Target] = &[
    ("hot_key", crate::hot::fuzz::key),
    ("hot_value", crate::hot::fuzz::value),
    ("chunk", crate::hot::fuzz::chunk),
    ("table_record", crate::hot::fuzz::table),
    ("user_index", crate::cold::fuzz::user_index),
    ("deletion_vector", crate::cold::fuzz::deletion_vector),
    ("manifest", crate::cold::fuzz::manifest),
];

#[cfg(test)]
mod tests;
