#!/usr/bin/env bash
# What a session costs: time, bytes held and allocations per statement.
. "$(dirname "$0")/env.sh"
scripts/setup.sh native
cargo bench --workspace --bench session_cost "$@"
