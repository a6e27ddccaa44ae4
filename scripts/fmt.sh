#!/usr/bin/env bash
# Formats the Rust sources; `--check` only looks. What a merge left behind in any file is refused.
. "$(dirname "$0")/env.sh"
if git grep -nE '^(<{7}|>{7}) ' -- .; then fail "fmt: the lines above are left of a merge"; fi
cargo fmt --all -- "$@"
