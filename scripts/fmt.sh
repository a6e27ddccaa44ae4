#!/usr/bin/env bash
# Formats the Rust sources; `--check` only looks.
. "$(dirname "$0")/env.sh"
cargo fmt --all -- "$@"
