//! The program `insula`; everything it does is in the library.

use std::process::ExitCode;

/// A call makes and drops hundreds of small things, often on different threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    insula_server::cli::run()
}
