#!/usr/bin/env bash
# Measures Insula beside PostgreSQL, DuckDB and DataFusion, from nothing: `bench.sh [WORKLOAD…] [--scale small|full]`.
. "$(dirname "$0")/env.sh"
timed "setup" scripts/setup.sh bench
timed "build" scripts/build.sh
exec "$PYTHON" -m bench "$@"
