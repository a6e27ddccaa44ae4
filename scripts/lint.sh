#!/usr/bin/env bash
# Clippy compiles every dependency a second time, so it is not a part of `make test`.
. "$(dirname "$0")/env.sh"
scripts/setup.sh native
cargo clippy --release --workspace --all-targets -- -D warnings
