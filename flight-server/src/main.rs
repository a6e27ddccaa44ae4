//! The program `insula`; everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    insula_server::cli::run()
}
