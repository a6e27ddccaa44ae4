#!/usr/bin/env bash
# Builds the binary `insula` in release.
. "$(dirname "$0")/env.sh"
scripts/setup.sh native
# The whole workspace with its tests: one selection of packages has one set of features, so DataFusion is compiled once.
cargo build --release --workspace --bins --tests
echo "built $BUILD_BIN"
