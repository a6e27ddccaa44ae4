//! Runs a fuzz target on its corpus and on mutations of it, each of which a seed repeats. It knows nothing of coverage:
//! that is what cargo-fuzz is for. Included by tests.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

#[path = "../tests/src/rng.rs"]
#[allow(dead_code, reason = "shared with the tests of the whole server")]
mod rng;

use rng::Rng;

/// Inputs are no longer than this, but for those of the corpus.
const LONGEST: usize = 8 << 10;
/// Numbers at which arithmetic goes wrong.
const EDGES: [u64; 10] =
    [0, 1, 0x7f, 0x80, 0xff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x7fff_ffff_ffff_ffff, 0xffff_ffff_ffff_ffff];

/// Tests run in the directory of their package. A path from when they were built may be that of another clone, with which
/// this one shares what is built.
fn corpus_of(target: &str) -> PathBuf {
    Path::new("../fuzz/corpus").join(target)
}

/// The file of the corpus must be this; `INSULA_WRITE_CORPUS` makes it so.
pub fn keep(target: &str, name: &str, bytes: &[u8]) {
    let path = corpus_of(target).join(name);
    if std::env::var_os("INSULA_WRITE_CORPUS").is_some() {
        fs::create_dir_all(corpus_of(target)).expect("a directory");
        fs::write(&path, bytes).expect("a file");
    }
    assert!(fs::read(&path).is_ok_and(|kept| kept == bytes), "{target}/{name}: what is written has changed");
}

/// The executions.
pub fn run(target: &str, body: fn(&[u8]), runs: u64, seed: u64) -> u64 {
    let mut paths: Vec<_> =
        fs::read_dir(corpus_of(target)).expect("a corpus").map(|e| e.expect("a file").path()).collect();
    paths.sort();
    let corpus: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).expect("a file")).collect();
    assert!(!corpus.is_empty(), "{target}: the corpus is empty");
    corpus.iter().for_each(|input| once(target, body, input));
    let mut rng = Rng::new(seed);
    for _ in 0..runs {
        once(target, body, &mutated(&corpus, &mut rng));
    }
    runs + corpus.len() as u64
}

fn once(target: &str, body: fn(&[u8]), input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(input))) {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        eprintln!("{target} panicked on {} bytes: {hex}", input.len());
        std::panic::resume_unwind(panic);
    }
}

fn mutated(corpus: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut input = any_of(corpus, rng).clone();
    for _ in 0..1 + rng.below(6) {
        let at = rng.below(input.len() as u64 + 1) as usize;
        match rng.below(8) {
            0 if at < input.len() => input[at] ^= 1 << rng.below(8),
            1 if at < input.len() => input[at] = rng.next_u64() as u8,
            2 => overwrite(&mut input, at, &edge(rng)),
            3 => input.truncate(at),
            4 => {
                let end = (at + rng.below(16) as usize).min(input.len());
                input.drain(at..end);
            }
            5 => {
                let piece = piece_of(&input.clone(), rng);
                input.splice(at..at, piece);
            }
            6 => {
                let piece = piece_of(any_of(corpus, rng), rng);
                input.splice(at..at, piece);
            }
            _ => {
                let byte = rng.next_u64() as u8;
                input.splice(at..at, std::iter::repeat_n(byte, 1 + rng.below(9) as usize));
            }
        }
    }
    input.truncate(LONGEST);
    input
}

fn any_of<'a>(corpus: &'a [Vec<u8>], rng: &mut Rng) -> &'a Vec<u8> {
    &corpus[rng.below(corpus.len() as u64) as usize]
}

/// A number of one, two, four or eight bytes, in either order.
fn edge(rng: &mut Rng) -> Vec<u8> {
    let number = EDGES[rng.below(EDGES.len() as u64) as usize];
    let width = 1 << rng.below(4);
    match rng.below(2) {
        0 => number.to_le_bytes()[..width].to_vec(),
        _ => number.to_be_bytes()[8 - width..].to_vec(),
    }
}

fn overwrite(input: &mut [u8], at: usize, bytes: &[u8]) {
    input[at..].iter_mut().zip(bytes).for_each(|(old, new)| *old = *new);
}

fn piece_of(of: &[u8], rng: &mut Rng) -> Vec<u8> {
    let start = rng.below(of.len() as u64 + 1) as usize;
    let end = (start + rng.below(64) as usize).min(of.len());
    of[start..end].to_vec()
}
